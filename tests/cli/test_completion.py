"""What a shell offers on Tab, and the example in each command's help."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer

from rlhf_budget.cli import app, completion
from rlhf_budget.scenario.keys import KEYS

if TYPE_CHECKING:
    from pathlib import Path

SCENARIO = """
budget: 1000
scenarios:
  cheap-labels: {costs: {label: 0.2}}
  old-policy: {budget: 3}
"""


def offered(line: str, cwd: Path) -> list[str]:
    """Ask as zsh does, in a process of its own."""
    words = {"_RLHF_BUDGET_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    answer = subprocess.run(
        [sys.executable, "-m", "rlhf_budget"],
        env=os.environ | words,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return re.findall(r'"([^"]+)"', answer.stdout)


def test_a_shell_is_offered_keys_words_and_names(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SCENARIO, encoding="utf-8")
    assert offered("rlhf-budget plan s.yaml --set costs.lab", tmp_path) == ["costs.label="]
    assert offered("rlhf-budget sweep s.yaml --over budg", tmp_path) == ["budget="]
    names = offered("rlhf-budget plan s.yaml --set budget=5 --scenario ", tmp_path)
    assert names == ["cheap-labels", "old-policy"]
    assert offered("rlhf-budget check s.yaml --scenario o", tmp_path) == ["old-policy"]
    assert offered("rlhf-budget explain limits.ep", tmp_path)[0] == "limits.epochs"


def test_keys_and_their_words() -> None:
    assert completion.keys("") == [f"{key}=" for key in KEYS]
    assert completion.keys("bound.concentration=") == [
        f"bound.concentration={word}" for word in KEYS["bound.concentration"].words
    ]
    assert completion.keys("no.such=") == []
    swept = completion.swept_keys("")
    assert "budget=" in swept
    assert "bound.concentration=" in swept
    assert not {"costs=", "name=", "bound.sgd.hessian_eigenvalues="} & set(swept)


@pytest.mark.parametrize("text", ["a: [", "- 1", "scenarios: 3", "\x00"])
def test_a_bad_file_offers_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    command: Any = typer.main.get_command(app.app)
    context = command.make_context("x", ["plan"], resilient_parsing=True)
    context.params = {"files": (str(path), "-", str(tmp_path / "none.yaml"))}
    assert completion.scenario_names(context, "") == []


COMMANDS = [(name,) for name in app.COMMANDS] + [
    ("calibrate", name)
    for name in ("agreement", "costs", "coverage", "progress", "reward-model", "rollouts")
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_each_command_has_an_example_that_parses(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run([*command, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    found = re.search(r"For example: (rlhf-budget .*?) (?:Arguments|Options):", text)
    assert found, text
    arguments = shlex.split(found[1])[1:]
    assert tuple(arguments[: len(command)]) == command
    group: Any = typer.main.get_command(app.app)
    with group.make_context("rlhf-budget", arguments) as context:
        _, inner, rest = group.resolve_command(context, arguments)
        while hasattr(inner, "commands"):
            _, inner, rest = inner.resolve_command(context, rest)
        inner.make_context("x", rest, parent=context)
