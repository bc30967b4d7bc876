from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_budget.calibrate.logs import dialects, fields
from rlhf_budget.calibrate.logs.dialects import counts, one_a_prompt
from rlhf_budget.calibrate.logs.metrics import log, records
from rlhf_budget.calibrate.logs.metrics.records import plain_key
from rlhf_budget.cli.app import COMMANDS, run

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_command_is_in_the_readme() -> None:
    for command in COMMANDS:
        assert f"rlhf-budget {command}" in README, command


def test_every_command_of_the_readme_exists() -> None:
    used = re.findall(r"^rlhf-budget ([a-z-]+)", "\n".join(blocks(README, "sh")), re.MULTILINE)
    assert set(used) <= set(COMMANDS)


def test_the_journey_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command between ``init`` and ``calibrate``, on a trainer's own dump."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "grpo").symlink_to(
        ROOT / "tests" / "data" / "trainers" / "trl-grpo-k8-log-ratio"
    )
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    lines = "\n".join(blocks(README, "sh")[2:]).splitlines()
    commands = [line.partition(" #")[0].strip() for line in lines]
    # Trained worlds take a minute: tests/simulation runs them small.
    commands = [line for line in commands if line.startswith("rlhf-budget") and "simul" not in line]
    assert len(commands) >= 9
    for line in commands:
        assert run(shlex.split(line)[1:]) == 0, line + capsys.readouterr().err
    assert "rollout_variance" in (tmp_path / "scenario.yaml").read_text(encoding="utf-8")


def test_the_readme_is_at_most_two_screens() -> None:
    assert len(README.splitlines()) <= 90


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    command = blocks(README, "sh")[1].strip()
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        for link in links:
            if not link.startswith(("http:", "https:")):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_python_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    for code in blocks((ROOT / "docs" / "python.md").read_text(encoding="utf-8"), "python"):
        exec(code, names)  # the page is ours
    assert names["cheapest"].bound.total <= 0.25  # type: ignore[attr-defined]


def test_the_commands_of_the_handover_page_make_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "handover.md").read_text(encoding="utf-8")
    commands = blocks(page, "sh")[0].splitlines()
    assert len(commands) == 3
    for command in commands:
        assert run(shlex.split(command)[1:]) == 0, command
    assert "window.vegaEmbed" in (tmp_path / "report.html").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    exec((tmp_path / "grpo_options.py").read_text(encoding="utf-8"), names)  # written by us
    assert isinstance(names["options"], dict)


def test_the_picture_of_a_plan_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "plan_picture.py"))
    picture = (ROOT / "docs" / "plan.svg").read_text(encoding="utf-8")
    assert made["picture"]() == picture, "run python docs/plan_picture.py"


def test_the_changelog_keeps_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text or "## [0.1.0]" in text


def test_the_commands_of_the_page_on_not_knowing_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "uncertainty.md").read_text(encoding="utf-8")
    commands = [shlex.split(block.replace("\\\n", " ")) for block in blocks(page, "sh")]
    assert len(commands) >= 2
    for command in commands:
        assert command[0] == "rlhf-budget"
        assert run(command[1:]) == 0, capsys.readouterr().err


def test_the_commands_of_the_page_on_reward_models_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ROOT / "tests" / "data" / "reward_model"
    page = (ROOT / "docs" / "calibration-reward-model.md").read_text(encoding="utf-8")
    (line,) = blocks(page, "json")
    pair = json.loads(line)
    for labels in (500, 1000, 2000, 4000):
        margins = (labels**0.2 * (0.3 + position % 7) - 4 for position in range(60))
        rows = (pair | {"labels": labels, "score_chosen": m, "score_rejected": 0} for m in margins)
        text = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / f"scored-{labels}.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "annotators.csv").symlink_to(data / "annotators.csv")
    (tmp_path / "runs").symlink_to(data / "sizes")
    monkeypatch.chdir(tmp_path)
    printed = []
    for command in blocks(page, "sh")[0].splitlines():
        assert run(shlex.split(command)[1:]) == 0, capsys.readouterr().err
        printed.append(capsys.readouterr().out)
    agreement, curve, scored = printed
    assert "0.891058" in agreement
    assert "reward_model" in curve
    assert "4 files" in scored
    numbers = ("89.1 %", "87.7 to 90.4", "0.151", "0.133 to 0.171")
    assert all(number in page for number in numbers)


def test_the_tables_of_names_are_those_that_are_read() -> None:
    page = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    named = {row[0]: tuple(re.findall("`([^`]+)`", row[1])) for row in rows}
    for role, names in fields.GUESSES.items():
        assert named[role.replace("_", "-")] == names, role
    assert named["successes"] == counts._SUCCESSES
    assert named["of so many"] == counts._SIZES
    assert named["lists of rewards"] == one_a_prompt._REWARD_LISTS
    assert named["lists of rollouts"] == one_a_prompt._OBJECT_LISTS

    start = rows.index(["key", "per", "times"]) + 1
    keys = [row for row in rows[start:] if len(row) == 3 and row[1].startswith(PER)]
    read = {plain_key(name) for row in keys for name in re.findall("`([a-z0-9_/]+)`", row[0])}
    assert read == {key.key for key in dialects.KL_KEYS}
    assert {name for row in keys for name in re.findall("`([^`]+)`", row[2])} == set(
        dialects.LENGTH_KEYS
    )

    words = set(re.findall("`([^`\\n]+)`", page))
    assert words >= {name for names in log._QUANTITIES.values() for name in names}
    assert words >= set(records._STEPS)
    assert words >= set(dialects.TRAINERS)
    for dialect in dialects.FLAT:
        for signature in dialect.signatures:
            layout = dialects.layout_of(signature, dialect)
            roles = (layout.prompt, layout.tokens, *(reward for reward, _ in layout.rewards))
            assert words >= {field.name for field in roles if field is not None}, dialect.name


PER = ("token mean", "sequence sum", "mean of sequences", "the same")
"""How the units of a logged KL begin."""
