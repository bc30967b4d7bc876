"""The command line: exit code, standard output and standard error of every command."""

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

import rlhf_budget
from rlhf_budget import __version__
from rlhf_budget.cli import app, errors
from rlhf_budget.cli.calibrate import calibrate_app
from rlhf_budget.cli.init import Preset
from rlhf_budget.cli.schema import Subject
from rlhf_budget.planning import planner
from rlhf_budget.report.schema import output_schema

if TYPE_CHECKING:
    from collections.abc import Callable

ERR = {"code", "message", "least_budget", "shortfall", "limits", "problems"}


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Return a function that runs a command in a directory with ``scenario.yaml`` in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(scenario_mapping()))

    def invoke(*arguments: str) -> Outcome:
        code = app.run(arguments)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return invoke


Run = "Callable[..., Outcome]"

# --- plan ----------------------------------------------------------------------------------------


def test_plan_prints_a_table_and_nothing_else(run: Run) -> None:
    code, out, err = run("plan", "scenario.yaml")
    assert (code, err) == (0, "")
    assert out.startswith("base\n")
    assert "Proved: nothing else is better." in out
    assert "\x1b" not in out
    _, explained, _ = run("plan", "scenario.yaml", "--explain")
    assert "Proved: no allocation within the budget and the limits is better" in explained


def test_the_share_that_counts_as_near_is_set_everywhere(run: Run) -> None:
    table = run("plan", "scenario.yaml", "--within", "5%").out
    assert "within 5 %" in table
    assert "within 1 %" not in table
    explained = run("plan", "scenario.yaml", "--within", ".05", "--explain").out
    assert "Within 5 %: how far each decision can move" in explained
    assert "within 1 %" not in explained
    as_json = ("--within", "5%", "--format", "json")
    results = [
        json.loads(run("plan", "scenario.yaml", *as_json).out),
        json.loads(run("compare", "scenario.yaml", *as_json).out)["columns"][0]["result"],
        json.loads(run("check", "scenario.yaml", *as_json).out)["result"],
    ]
    assert [result["near_optimal"]["within"] for result in results] == [0.05] * 3
    narrower = json.loads(run("plan", "scenario.yaml", "-f", "json").out)["near_optimal"]
    assert narrower["within"] == 0.01
    assert narrower["least_cost"] > results[0]["near_optimal"]["least_cost"]
    for other in (("--target-bound", "0.5"), ("--robust", "mean")):
        code, _, err = run("plan", "scenario.yaml", "--within", "5%", *other)
        assert (code, "--within goes with a budget alone" in err) == (2, True)
    code, _, err = run("plan", "scenario.yaml", "--within", "5")
    assert code == errors.USAGE
    assert "'5' is ambiguous: write 5%" in err


def test_plan_prints_json_that_matches_the_schema(run: Run) -> None:
    code, out, err = run("plan", "scenario.yaml", "--format", "json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    jsonschema.validate(data, output_schema("plan"))
    assert data["command"] == "plan"
    assert data["tool"] == {"name": "rlhf-budget", "version": __version__}
    assert data["certificate"]["proved"] is True


def test_plan_prints_csv_and_markdown(run: Run) -> None:
    code, out, err = run("plan", "scenario.yaml", "-f", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (code, err, row["scenario"], row["currency"]) == (0, "", "base", "USD")
    code, out, err = run("plan", "scenario.yaml", "-f", "markdown")
    assert (code, err) == (0, "")
    assert out.startswith("## base\n")


def test_settings_and_the_target_reach_the_plan(run: Run) -> None:
    _, out, _ = run(
        "plan", "scenario.yaml", "--set", "costs.label=0.2", "--set", "name=other", "-f", "json"
    )
    data = json.loads(out)
    assert (data["inputs"]["costs"]["label"], data["scenario"]) == (0.2, "other")
    code, out, _ = run("plan", "scenario.yaml", "--target-bound", "0.5", "-f", "json")
    data = json.loads(out)
    jsonschema.validate(data, output_schema("plan"))
    assert code == 0
    assert data["target"]["bound"] == 0.5
    assert data["cost"]["budget"] is None


def test_a_scenario_comes_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.TextIOWrapper(io.BytesIO(yaml.safe_dump(scenario_mapping()).encode()))
    monkeypatch.setattr(sys, "stdin", written)
    assert run("plan", "-").code == 0


@pytest.mark.parametrize(
    ("name", "start"), [("p.json", "{"), ("p.md", "## "), ("p.csv", "status,"), ("p.txt", "base\n")]
)
def test_output_follows_the_suffix(run: Run, tmp_path: Path, name: str, start: str) -> None:
    assert run("plan", "scenario.yaml", "--output", name) == (0, "", f"Wrote {name}.\n")
    assert (tmp_path / name).read_text().startswith(start)
    assert run("plan", "scenario.yaml", "--output", name, "--quiet") == (0, "", "")
    assert run("--quiet", "plan", "scenario.yaml", "-o", name) == (0, "", "")


@pytest.mark.parametrize(
    "arguments",
    [
        "plan scenario.yaml -o scenario.yaml",
        "plan scenario.yaml -o link.yaml",
        "plan link.yaml -o ./scenario.yaml",
        "plan scenario.yaml --proof scenario.yaml",
        "plan scenario.yaml --plot link.yaml",
        "plan scenario.yaml --against link.yaml -o link.yaml",
        "plan scenario.yaml -o new.json --proof new.json",
        "sweep scenario.yaml --over budget=1e4:1e5 -o scenario.yaml",
        "sweep scenario.yaml --over budget=1e4:1e5 --plot new.svg -o ./new.svg",
        "check scenario.yaml -o scenario.yaml",
        "compare now=scenario.yaml -o scenario.yaml",
        "export scenario.yaml --trainer trl-grpo -o scenario.yaml",
        "calibrate rollouts link.yaml -o scenario.yaml",
        "calibrate rollouts s*.yaml -o scenario.yaml",
        "calibrate costs log.csv --into scenario.yaml -o scenario.yaml",
        "calibrate costs . -o log.csv",
    ],
)
def test_no_output_replaces_what_is_read_or_another_output(
    run: Run, tmp_path: Path, arguments: str
) -> None:
    (tmp_path / "link.yaml").symlink_to("scenario.yaml")
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    outcome = run(*arguments.split())
    assert outcome.code == errors.USAGE
    assert Path(arguments.rsplit(maxsplit=1)[-1]).name in outcome.err
    assert "is named by" in outcome.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_names_that_are_no_files_may_be_written_to(run: Run, tmp_path: Path) -> None:
    for _ in range(2):  # the second time the file is there
        assert run("plan", "scenario.yaml", "-f", "json", "-o", "json").code == 0
    assert json.loads((tmp_path / "json").read_text())["command"] == "plan"
    long = f"sources={{budget: {'long ' * 100}}}"
    assert run("plan", "scenario.yaml", "--set", long, "-o", "new.json").code == 0
    twice = ("--proof", os.devnull, "-o", os.devnull)
    assert run("plan", "scenario.yaml", *twice).code == 0


def test_an_explicit_format_wins_over_the_suffix(run: Run, tmp_path: Path) -> None:
    run("plan", "scenario.yaml", "-o", "plan.txt", "-f", "json")
    assert json.loads((tmp_path / "plan.txt").read_text())["command"] == "plan"


# --- errors --------------------------------------------------------------------------------------

CASES = {
    "no file": (["plan", "missing.yaml"], 4, "file-access"),
    "unwritable": (["plan", "scenario.yaml", "-o", "no/such/dir.json"], 4, "file-access"),
    "wrong scenario": (["plan", "scenario.yaml", "--set", "costs.label=-1"], 2, "invalid"),
    "no such scenario": (["plan", "scenario.yaml", "--scenario", "none"], 2, "invalid"),
    "no argument": (["plan"], 2, "usage"),
    "unknown option": (["plan", "scenario.yaml", "--nope"], 2, "usage"),
    "bad tolerance": (["plan", "scenario.yaml", "--tolerance", "nan"], 2, "usage"),
    "bad target": (["plan", "scenario.yaml", "--target-bound", "0"], 2, "usage"),
    "infeasible": (["plan", "scenario.yaml", "--set", "limits.prompts=30000"], 3, "infeasible"),
    "unreachable": (["plan", "scenario.yaml", "--target-bound", "0.01"], 3, "unreachable"),
}


@pytest.mark.parametrize("case", CASES)
def test_errors_go_to_standard_error_with_their_code(run: Run, case: str) -> None:
    arguments, code, _ = CASES[case]
    found = run(*arguments)
    assert (found.code, found.out) == (code, "")
    assert found.err.startswith("error: ")
    assert "Traceback" not in found.err


@pytest.mark.parametrize("case", CASES)
def test_errors_are_one_object_with_format_json(run: Run, case: str) -> None:
    arguments, code, name = CASES[case]
    found = run(*arguments, "--format", "json")
    assert (found.code, found.out) == (code, "")
    error = json.loads(found.err)
    assert set(error) >= ERR
    assert error["code"] == name


def test_every_problem_of_a_file_is_told_with_its_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("budget: -5\ncosts: {promt: 1}\n")
    code, out, err = run("plan", "bad.yaml")
    assert (code, out) == (2, "")
    assert "  bad.yaml:1: budget\n      found -5; allowed: a number above 0\n" in err
    assert "bad.yaml:2: costs.promt" in err
    _, _, err = run("plan", "bad.yaml", "--format=json")
    problem = json.loads(err)["problems"][0]
    assert set(problem) == {"file", "line", "key", "found", "allowed"}


def test_an_infeasible_budget_says_what_would_do(run: Run) -> None:
    arguments = CASES["infeasible"][0]
    error = json.loads(run(*arguments, "-f", "json").err)
    assert error["least_budget"] == 150600.0
    assert error["shortfall"] == 100600.0
    assert error["limits"] == ["limits.prompts.min"]


def test_a_mistake_of_ours_has_a_code_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(planner, "plan", fail)
    code, out, err = run("plan", "scenario.yaml")
    assert (code, out) == (errors.INTERNAL, "")
    assert err.startswith("error: unexpected ZeroDivisionError: division by zero.")
    assert "Traceback" not in err
    assert "Traceback" in run("plan", "scenario.yaml", "--debug").err
    assert "Traceback" in run("--debug", "plan", "scenario.yaml").err
    assert json.loads(run("plan", "scenario.yaml", "-f", "json").err)["code"] == "internal"


def test_an_interruption_ends_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planner, "plan", interrupt)
    assert run("plan", "scenario.yaml").code == 130


# --- init, schema and the application ------------------------------------------------------------


def test_init_writes_a_scenario_that_plans(run: Run, tmp_path: Path) -> None:
    code, out, err = run("init", "new.yaml")
    assert (code, out) == (0, "")
    assert err == "Wrote new.yaml. Edit it, then: rlhf-budget plan new.yaml\n"
    assert run("plan", "new.yaml").code == 0
    (tmp_path / "scenario.yaml").unlink()
    assert run("init", "--quiet") == (0, "", "")
    assert (tmp_path / "scenario.yaml").exists()


def test_init_never_replaces_a_file_unless_told(run: Run, tmp_path: Path) -> None:
    before = (tmp_path / "scenario.yaml").read_text()
    code, out, err = run("init")
    assert (code, out) == (4, "")
    assert err == "error: scenario.yaml exists already; --force replaces it.\n"
    assert (tmp_path / "scenario.yaml").read_text() == before
    assert run("init", "--force").code == 0
    assert (tmp_path / "scenario.yaml").read_text() != before
    assert run("init", str(tmp_path)).code == 4


@pytest.mark.parametrize("preset", list(Preset))
def test_init_prints_every_preset(run: Run, preset: Preset, tmp_path: Path) -> None:
    code, out, err = run("init", "-", "--preset", preset.value)
    assert (code, err) == (0, "")
    (tmp_path / "preset.yaml").write_text(out)
    assert run("plan", "preset.yaml").code == 0


@pytest.mark.parametrize("subject", list(Subject))
def test_schema_prints_every_schema(run: Run, subject: Subject) -> None:
    code, out, err = run("schema", "--of", subject.value)
    assert (code, err) == (0, "")
    jsonschema.Draft202012Validator.check_schema(json.loads(out))


def test_schema_writes_a_file(run: Run, tmp_path: Path) -> None:
    assert run("schema", "--output", "s.json") == (0, "", "Wrote s.json.\n")
    assert "properties" in json.loads((tmp_path / "s.json").read_text())


def test_help_lists_every_command(run: Run) -> None:
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for name, entry in app.COMMANDS.items():
        assert name in out
        assert entry.help in out
    assert run() == (2, out, "")


@pytest.mark.parametrize("command", app.COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: rlhf-budget {command} ")


def test_no_summary_of_calibrations_commands_is_cut_at_80_columns(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, commands = run("calibrate", "-h").out.split("Commands:\n")
    assert len(commands.splitlines()) == len(calibrate_app.registered_commands)
    assert all(line.endswith(".") and "..." not in line for line in commands.splitlines())


def test_version_and_unknown_commands(run: Run) -> None:
    assert run("--version") == (0, f"rlhf-budget {__version__}\n", "")
    code, out, err = run("pla")
    assert (code, out) == (2, "")
    assert "No such command 'pla'" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("rlhf-budget init --preset ", {preset.value for preset in Preset}),
        ("rlhf-budget plan --format ", {"table", "json", "markdown", "csv"}),
        ("rlhf-budget schema --of ", {subject.value for subject in Subject}),
        ("rlhf-budget sch", {"schema"}),
    ],
)
def test_shells_complete(
    words: str,
    expected: set[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("_RLHF_BUDGET_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit):
        app.run([])
    assert set(capsys.readouterr().out.split()) == expected


# --- a process of its own ------------------------------------------------------------------------

PIPE = "import sys; from rlhf_budget.cli import main; sys.argv = ['rlhf-budget', {}]; main()"


def process(code: str, cwd: Path, **options: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(Path(rlhf_budget.__file__).parents[1])}
    return subprocess.Popen([sys.executable, "-c", code], cwd=cwd, env=environment, **options)


def test_a_closed_pipe_ends_quietly(run: Run, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = PIPE.format("'plan', 'scenario.yaml'")
    with process(code, tmp_path, stdout=writer, stderr=subprocess.PIPE) as started:
        os.close(writer)
        _, err = started.communicate(timeout=60)
    assert (started.returncode, err) == (0, b"")


def test_a_plan_in_a_pipe_imports_nothing_heavy(run: Run, tmp_path: Path) -> None:
    code = (
        "import sys; from rlhf_budget.cli.app import run; run(['plan', 'scenario.yaml']);"
        "print('MODULES', *sys.modules)"
    )
    with process(code, tmp_path, stdout=subprocess.PIPE) as started:
        out, _ = started.communicate(timeout=60)
    modules = set(out.decode().split("MODULES", 1)[1].split())
    assert "rlhf_budget.planning.planner" in modules
    for heavy in ("scipy", "rich.console", "rich.markdown", "pygments", "duckdb", "pandas"):
        assert heavy not in modules
    for other in ("calibrate", "simulate", "init", "schema"):
        assert f"rlhf_budget.cli.{other}" not in modules
