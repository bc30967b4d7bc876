"""The commands compare, check and sweep: exit code, standard output and standard error."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jsonschema
import pytest
import yaml
from conftest import scenario_mapping

from rlhf_budget.cli import app
from rlhf_budget.report.schema import output_schema

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
CURRENT = {"prompts": 2000, "rollouts_per_prompt": 8, "labels": 5000}
COMMANDS = {
    "compare": ("compare", "scenario.yaml"),
    "check": ("check", "scenario.yaml", "--max-bound", "0.9"),
    "sweep": ("sweep", "scenario.yaml", "--over", "budget=1,1e4,1e5"),
}


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    cheap = {"cheap": {"costs": {"label": 0.2}}}
    mapping = scenario_mapping(current=CURRENT, scenarios=cheap)
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(mapping))
    poor = scenario_mapping(budget=1.0)
    (tmp_path / "poor.yaml").write_text(yaml.safe_dump(poor))

    def invoke(*arguments: str) -> Outcome:
        code = app.run(arguments)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return invoke


Run = "Callable[..., Outcome]"


@pytest.mark.parametrize("command", COMMANDS)
def test_json_matches_its_schema(run: Run, command: str) -> None:
    code, out, err = run(*COMMANDS[command], "-f", "json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    schema = output_schema(command)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, schema)
    assert data["command"] == command
    code, out, err = run("schema", "--of", command)
    assert (code, err, json.loads(out)) == (0, "", schema)


@pytest.mark.parametrize("command", COMMANDS)
def test_tables_markdown_and_csv(run: Run, command: str) -> None:
    for format_ in ("table", "markdown", "csv"):
        code, out, err = run(*COMMANDS[command], "-f", format_)
        assert (code, err) == (0, ""), format_
        assert "\x1b" not in out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == {"compare": 2, "check": 1, "sweep": 3}[command]
    assert "bound.total" in rows[0]


def test_compare_prints_all_columns_where_one_is_infeasible(run: Run) -> None:
    code, out, err = run("compare", "scenario.yaml", "poor.yaml", "-f", "json")
    assert (code, err) == (3, "")
    assert [column["name"] for column in json.loads(out)["columns"]] == [
        "scenario", "cheap", "poor"
    ]  # fmt: skip
    code, out, _ = run("compare", "p=poor.yaml")
    assert code == 3
    assert out.startswith("p\nNo scenario is feasible.")


def test_compare_refuses_what_cannot_be_compared(run: Run) -> None:
    assert run("compare", "scenario.yaml", "scenario.yaml").code == 2
    code, out, err = run("compare", "scenario.yaml", "--baseline", "none", "-f", "json")
    assert (code, out) == (2, "")
    assert "one of scenario, cheap" in json.loads(err)["problems"][0]["allowed"]
    assert run("compare", "missing.yaml").code == 4


def test_a_failed_gate_is_1_and_a_wrong_scenario_2(run: Run) -> None:
    code, out, err = run("check", "scenario.yaml", "--max-bound", "0.1")
    assert (code, err) == (1, "")
    assert "1 of 2 gates failed: bound.total" in out
    assert run("check", "scenario.yaml", "--set", "budget=-1").code == 2
    assert run("check", "scenario.yaml", "--require", "target.bound>=1").code == 2
    assert run("check", "poor.yaml").code == 3
    assert run("check", "missing.yaml").code == 4


@pytest.mark.parametrize(
    "flags",
    [
        ("--max-excess", "5"),
        ("--require", "bound.total"),
        ("--max-increase", "2%"),
        ("--against", "x.json"),
        ("--max-bound", "nan"),
    ],
)
def test_usage_errors_of_check(run: Run, flags: tuple[str, ...]) -> None:
    code, out, err = run("check", "scenario.yaml", *flags)
    assert (code, out) == (2, "")
    assert "error" in err


def test_quiet_says_nothing_when_all_pass(run: Run) -> None:
    assert run("check", "scenario.yaml", "--quiet") == (0, "", "")
    assert "FAILED" in run("check", "scenario.yaml", "--quiet", "--max-cost", "1").out


def test_warn_only_exits_with_0(run: Run) -> None:
    code, out, _ = run("check", "scenario.yaml", "--max-cost", "1", "--warn-only", "-f", "json")
    data = json.loads(out)
    assert (code, data["passed"], data["warn_only"]) == (0, False, True)


def test_check_against_a_saved_plan(run: Run) -> None:
    assert run("plan", "scenario.yaml", "-o", "main.json").code == 0
    against = ("--against", "main.json", "--max-increase", "2%")
    assert run("check", "scenario.yaml", *against).code == 0
    code, out, _ = run("check", "scenario.yaml", "--set", "costs.label=9", *against, "-f", "github")
    assert code == 1
    assert "::error file=scenario.yaml,title=rlhf-budget%3A bound.total (--against)::" in out


def test_sweeps_that_cannot_be(run: Run) -> None:
    assert run("sweep", "scenario.yaml", "--over", "budget=5:1").code == 2
    assert run("sweep", "scenario.yaml", "--over", "bugdet=1:5").code == 2
    code, out, err = run("sweep", "scenario.yaml", "--over", "budget=1,2")
    assert (code, err) == (3, "")
    assert "No value can be planned" in out


def test_a_sweep_over_the_budget_needs_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "open.yaml").write_text(yaml.safe_dump(scenario_mapping(budget=None)))
    assert run("sweep", "open.yaml", "--over", "budget=1e4,1e5").code == 0
    assert run("sweep", "open.yaml", "--over", "costs.label=1,2").code == 2


def test_a_plot_is_written_beside_the_results(run: Run) -> None:
    code, out, err = run(*COMMANDS["sweep"], "-f", "csv", "--plot", "p.svg")
    assert (code, err) == (0, "Wrote p.svg.\n")
    assert out.startswith("scenario,key,value")
    assert Path("p.svg").read_text(encoding="utf-8").startswith("<svg")
    assert run(*COMMANDS["sweep"], "--plot", "p.gif").code == 4


def test_progress_goes_to_standard_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlhf_budget.cli import sweep
    from rlhf_budget.studies import sweeps

    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(sweep.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(sweeps, "BATCH", 2)
    code, out, err = run(*COMMANDS["sweep"], "-f", "json")
    assert (code, err) == (0, "2 of 3 values planned\n")
    json.loads(out)
    assert run(*COMMANDS["sweep"], "-f", "json", "--quiet").err == ""


def test_a_closed_pipe_ends_quietly(run: Run) -> None:
    run("schema")
    python = f"{sys.executable} -m rlhf_budget"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {python} compare scenario.yaml -f csv | head -1"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.stdout.startswith("name,file,")
    assert done.stderr == ""


def test_a_problem_without_a_place_leaves_no_blank_line(run: Run) -> None:
    code, _, err = run("compare", "scenario.yaml", "scenario.yaml")
    assert code == 2
    assert "" not in err.splitlines()


@pytest.mark.parametrize("options", ["", "-f csv", "-f json", "-f github"])
def test_a_gate_fails_whoever_stops_reading(run: Run, options: str) -> None:
    run("schema")
    python = f"{sys.executable} -m rlhf_budget"
    command = f"({python} check scenario.yaml --max-bound 1e-9 {options}; echo $? >&2) | true"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stderr == "1\n"


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_escape_codes(
    run: Run,
    command: str,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(*COMMANDS[command])
    assert code == 0
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_check_takes_many_files_and_all_scenarios(run: Run, tmp_path: Path) -> None:
    both = scenario_mapping(scenarios={"dear": {"costs": {"label": 9.0}}})
    poor = scenario_mapping(name="poor", budget=1.0)
    for name, mapping in (("both.yaml", both), ("poor.yaml", poor)):
        (tmp_path / name).write_text(yaml.safe_dump(mapping))
    code, out, _ = run("check", "both.yaml", "--all-scenarios", "--max-bound", "0.4")
    assert code == 1
    assert "dear" in out
    assert "with a budget of" in out
    lines = [line.strip() for line in out.splitlines()]
    assert any("bound.total <= 0.4000" in line for line in lines)
    assert not {"<=", "=="} & set(lines)
    assert out.index("bound.total <=") < out.index("certificate.proved")
    assert sum("certificate.proved" in line for line in lines) == 2
    code, out, _ = run("check", "both.yaml", "poor.yaml", "--format", "json")
    found = json.loads(out)
    jsonschema.validate(found, output_schema("check"))
    assert code == 3
    assert [entry["status"] for entry in found["checks"]] == ["optimal", "infeasible"]
    assert [entry["passed"] for entry in found["checks"]] == [True, False]
    assert (
        run("check", "both.yaml", "poor.yaml", "--against", "x.json", "--max-increase", "1%")[0]
        == 2
    )


def test_a_budget_that_would_pass_passes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(scenario_mapping()))
    code, out, _ = run("check", "a.yaml", "--max-bound", "0.37", "--format", "json")
    gate = next(g for g in json.loads(out)["gates"] if g["gate"] == "max_bound")
    assert (code, gate["passed"]) == (1, False)
    enough = f"budget={gate['least_budget']!r}"
    assert run("check", "a.yaml", "--max-bound", "0.37", "--set", enough)[0] == 0


def test_guesses_are_limited(run: Run, tmp_path: Path) -> None:
    guessed = scenario_mapping(sources={"costs.label": "guess", "budget": "told"})
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(guessed))
    assert run("check", "a.yaml", "--max-guesses", "1")[0] == 0
    assert run("check", "a.yaml", "--max-guesses", "0")[0] == 1


def test_a_failed_gate_says_what_would_pass(run: Run) -> None:
    _, out, _ = run("check", "scenario.yaml", "--max-bound", "1e-9")
    assert "would pass with no budget: the bound stays above" in " ".join(out.split())
    guess = ("--set", "sources={costs.label: guess}")
    _, out, _ = run("check", "scenario.yaml", *guess, "--max-guesses", "0")
    assert "fewer. Guesses: " in " ".join(out.split())
    assert "costs.label" in out


def test_files_of_one_name_are_told_apart(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "scenario.yaml").write_text((tmp_path / "scenario.yaml").read_text())
    _, out, _ = run("check", "scenario.yaml", "other/scenario.yaml", "-f", "json")
    names = [entry["name"] for entry in json.loads(out)["checks"]]
    assert names == ["scenario.yaml", "other/scenario.yaml"]
    code, out, err = run("check", "scenario.yaml", "scenario.yaml")
    assert (code, out) == (2, "")
    assert "'scenario.yaml' twice" in err


@pytest.mark.parametrize(
    ("arguments", "file", "allowed"),
    [
        (("report", "scenario.yaml", "-o"), "r.pdf", ".html"),
        (("export", "scenario.yaml", "--trainer", "verl", "-o"), "v.html", ".sh"),
        (("export", "scenario.yaml", "--trainer", "trl-grpo", "-o"), "v.yaml", ".py"),
        (("schema", "-o"), "s.md", ".json"),
        (("init",), "d.json", ".yaml"),
    ],
)
def test_a_suffix_of_something_else_is_refused(
    run: Run, arguments: tuple[str, ...], file: str, allowed: str
) -> None:
    code, out, err = run(*arguments, file)
    assert (code, out) == (2, "")
    assert allowed in err
    assert not Path(file).exists()


def test_a_plan_given_as_a_scenario_is_told_in_a_line(run: Run) -> None:
    assert run("plan", "scenario.yaml", "-o", "p.json").code == 0
    code, out, err = run("plan", "p.json")
    assert (code, out) == (2, "")
    assert "found the output of plan, not a scenario" in err
    assert len(err.splitlines()) <= 3


def test_an_unknown_suffix_is_refused(run: Run, tmp_path: Path) -> None:
    code, _, err = run("plan", "scenario.yaml", "-o", "page.html")
    assert code == 2
    assert "--format" in err
    assert not (tmp_path / "page.html").exists()
    assert run("plan", "scenario.yaml", "-o", "page.html", "-f", "markdown")[0] == 0


def test_compare_warns_of_other_budgets_and_ranges(run: Run, tmp_path: Path) -> None:
    objective = {"kl_coefficient": 0.05, "reward_range": 2.0}
    other = scenario_mapping(budget=90000.0, objective=objective)
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    out = " ".join(run("compare", "scenario.yaml", "other.yaml").out.split())
    assert "The reward ranges differ" in out
    assert "The budgets differ" in out
    assert "differ" not in run("compare", "scenario.yaml").out.partition("Money")[0]
