"""``plan --proof``, ``verify`` and ``check --proof``: exit code, output, error."""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml
from conftest import scenario_mapping

from rlhf_budget import load_scenario, plan
from rlhf_budget.cli import app
from rlhf_budget.optimum import proof as room
from rlhf_budget.optimum.proof.certificate import prove
from rlhf_budget.optimum.proof.reading import read
from rlhf_budget.planning import planner
from rlhf_budget.report.proof_words import proof_line

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "proof.md"
CURRENT = {"prompts": 900, "rollouts_per_prompt": 2, "labels": 50}


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
    written = scenario_mapping(budget=5000, current=CURRENT, checks={"bound.total": {"max": 9}})
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(written))

    def invoke(*arguments: str) -> Outcome:
        code = app.run(arguments)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return invoke


Run = "Callable[..., Outcome]"


@pytest.mark.parametrize("name", ["proof.json", "proof.json.gz"])
def test_a_plan_writes_a_proof_that_verifies(run: Run, name: str) -> None:
    planned = run("plan", "scenario.yaml", "--proof", name, "-f", "json")
    assert planned.code == 0
    assert planned.err == f"Wrote {name}, checked by interval arithmetic.\n"
    assert Path(name).read_bytes().startswith(b"\x1f\x8b" if name.endswith("gz") else b"{")
    code, out, err = run("verify", name)
    assert (code, err) == (0, "")
    allocation = json.loads(planned.out)["allocation"]
    assert out.startswith(f"{name}: proved: base: {allocation['prompts']:,} prompts")
    assert out.count("\n") == 1
    assert run("verify", "--quiet", name) == (0, "", "")


def test_the_same_plan_gives_the_same_bytes(run: Run) -> None:
    run("plan", "scenario.yaml", "--proof", "one.json.gz")
    run("plan", "scenario.yaml", "--proof", "two.json.gz")
    assert Path("one.json.gz").read_bytes() == Path("two.json.gz").read_bytes()


def test_of_several_proofs_each_gets_a_line_and_one_failure_counts(run: Run) -> None:
    run("plan", "scenario.yaml", "--proof", "good.json")
    forged = json.loads(Path("good.json").read_text(encoding="utf-8"))
    forged["plan"]["labels"] -= 1
    Path("bad.json").write_text(json.dumps(forged), encoding="utf-8")
    code, out, err = run("verify", "bad.json", "good.json")
    assert (code, err) == (1, "")
    first, second = out.splitlines()
    assert first.startswith("bad.json: NOT PROVED: ")
    assert "sha256" in first
    assert second.startswith("good.json: proved: ")
    assert run("verify", "-q", "bad.json", "good.json").out == f"{first}\n"


def test_a_gap_beyond_the_tolerance_is_no_proof(run: Run) -> None:
    run("plan", "scenario.yaml", "--proof", "p.json")
    code, out, _ = run("verify", "p.json", "--tolerance", "1e-14")
    assert code == 1
    assert "NOT PROVED: it leaves a relative gap of 5e-13" in out


def test_a_missing_proof_is_a_file_error(run: Run) -> None:
    code, out, err = run("verify", "nowhere.json")
    assert (code, out) == (4, "")
    assert "nowhere.json could not be read" in err


def test_a_target_has_no_proof_yet(run: Run) -> None:
    code, _, err = run("plan", "scenario.yaml", "--target-bound", "0.5", "--proof", "p.json")
    assert code == 2
    assert "not with --target-bound" in err
    assert not Path("p.json").exists()


def test_a_proof_that_cannot_be_written_is_a_file_error(run: Run) -> None:
    code, out, err = run("plan", "scenario.yaml", "--proof", "nowhere/p.json")
    assert (code, out) == (4, "")
    assert "nowhere/p.json could not be written" in err


def test_a_check_of_a_proof_does_not_search(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = plan(load_scenario("scenario.yaml")).to_dict()
    run("plan", "scenario.yaml", "--proof", "p.json")

    def search(*_: object, **__: object) -> None:
        raise AssertionError("nothing is searched")

    for module in (planner, sys.modules["rlhf_budget.optimum.certified"]):
        for name in ("optimise", "optimise_many", "near_optimal", "minimise"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, search)
    code, out, err = run(
        "check", "scenario.yaml", "--proof", "p.json", "--max-excess", "900%", "-f", "json"
    )
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [gate["source"] for gate in found["gates"]] == [
        "--proof p.json", "--max-excess", "checks.bound.total.max",
    ]  # fmt: skip
    for key in ("allocation", "bound", "cost", "current", "closed_form", "inputs"):
        assert found["result"][key] == expected[key]
    assert found["result"]["certificate"]["relative_gap"] == pytest.approx(5e-13, rel=1e-3)


def test_a_check_of_a_proof_of_another_scenario_fails(run: Run) -> None:
    run("plan", "scenario.yaml", "--proof", "p.json")
    changes = ("--set", "costs.label=1.4999999999999998", "--set", "limits.labels.max=1e11")
    code, out, err = run("check", "scenario.yaml", *changes, "--proof", "p.json")
    assert (code, out) == (1, "")
    assert "another scenario: costs.label, limits.labels.max differ" in err
    code, out, err = run("check", "scenario.yaml", *changes, "--proof", "p.json", "--warn-only")
    assert (code, out) == (0, "")
    assert "only a warning" in err


def test_a_gate_can_fail_beside_a_proof_that_holds(run: Run) -> None:
    run("plan", "scenario.yaml", "--proof", "p.json")
    code, out, _ = run("check", "scenario.yaml", "--proof", "p.json", "--max-bound", "0.001")
    assert code == 1
    assert "FAILED" in out


def test_a_check_of_a_damaged_proof_fails(run: Run) -> None:
    run("plan", "scenario.yaml", "--proof", "p.json")
    data = bytearray(gzip.compress(Path("p.json").read_bytes()))
    Path("p.json").write_bytes(data[:-9])
    code, _, err = run("check", "scenario.yaml", "--proof", "p.json")
    assert code == 1
    assert "the file is cut" in err


@pytest.mark.parametrize("command", ["plan", "verify", "check"])
def test_without_python_flint_the_extra_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    run("plan", "scenario.yaml", "--proof", "p.json")
    monkeypatch.delitem(sys.modules, "rlhf_budget.optimum.proof.checker")
    monkeypatch.delattr(room, "checker")
    monkeypatch.setitem(sys.modules, "flint", None)
    arguments = ["p.json"] if command == "verify" else ["scenario.yaml", "--proof", "p.json"]
    code, out, err = run(command, *arguments)
    assert (code, out) == (2, "")
    assert "pip install 'rlhf-budget[proof]'" in err


def test_the_page_shows_what_is_printed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    written = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert written is not None
    scenario = load_scenario({"name": "shop", **yaml.safe_load(written[1])})
    proof = read(prove(scenario, plan(scenario).allocation, tolerance=1e-6))
    assert f"shop.proof.json: proved: {proof_line(proof)}" in " ".join(page.split())
