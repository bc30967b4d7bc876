"""Gates: what passes, what fails, and what cannot be evaluated."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from conftest import scenario_mapping
from hypothesis import given
from hypothesis import strategies as st
from report_helpers import make_plan

from rlhf_budget import FileAccessError, InfeasibleError, ScenarioError, load_scenario
from rlhf_budget import plan as make
from rlhf_budget.report.data import json_text, with_header
from rlhf_budget.report.gates_document import gate_words, gates_document
from rlhf_budget.report.github import annotation_lines
from rlhf_budget.report.markdown import markdown
from rlhf_budget.studies.gates import (
    INFORMATIVE,
    PROVED,
    Check,
    Gate,
    Rule,
    check,
    fraction,
    max_bound,
    max_cost,
    max_excess,
    max_increase,
    requirement,
)

if TYPE_CHECKING:
    from pathlib import Path

    from rlhf_budget.studies.gates import Operator

SCENARIO = load_scenario(
    scenario_mapping(
        current={"prompts": 2000, "rollouts_per_prompt": 8, "labels": 5000},
        checks={"bound.total": {"max": 0.9, "min": 0.1}},
    )
)


def checked(*rules: Rule, **settings: Any) -> Check:
    return check(SCENARIO, rules, **settings)


def by_source(found: Check) -> dict[str, Gate]:
    return {gate.rule.source: gate for gate in found.gates}


def test_proved_and_the_files_checks_are_always_gates() -> None:
    found = by_source(checked())
    assert list(found) == ["always", "checks.bound.total.min", "checks.bound.total.max"]
    assert found["always"].passed
    assert found["always"].margin is None
    assert checked().passed


def test_all_gates_are_evaluated() -> None:
    rules = (max_bound(0.01), max_cost(1.0), max_excess(0.0), requirement("allocation.labels>=1e9"))
    found = checked(*rules)
    assert len(found.gates) == 7
    assert len(found.failed) == 4
    assert found.to_dict()["summary"] == {"gates": 7, "passed": 3, "failed": 4}


def test_an_unproved_plan_fails_the_gate() -> None:
    assert not Gate(PROVED, value=False).passed
    assert Gate(INFORMATIVE, value=False).passed


OPERATORS = st.sampled_from(["<=", ">=", "=="])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(OPERATORS, NUMBERS, NUMBERS)
def test_the_margin_is_not_negative_exactly_when_passed(
    operator: Operator, limit: float, value: float
) -> None:
    gate = Gate(Rule("require", "--require", "bound.total", operator, limit), value)
    wanted = {"<=": value <= limit, ">=": value >= limit, "==": value == limit}[operator]
    assert gate.passed == wanted
    assert gate.margin is not None
    assert (gate.margin >= 0) == gate.passed


@pytest.mark.parametrize(
    ("text", "value"), [("5%", 0.05), ("0.05", 0.05), ("0", 0.0), ("120 %", 1.2), ("0%", 0.0)]
)
def test_fractions(text: str, value: float) -> None:
    assert fraction(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["5", "1", "-1%", "-0.1", "five", "%", "nan", "inf%", ""])
def test_what_is_no_fraction(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|not a share"):
        fraction(text)


def test_requirements() -> None:
    rule = requirement(" allocation.prompts >= 1000 ")
    assert (rule.key, rule.operator, rule.limit) == ("allocation.prompts", ">=", 1000.0)
    assert rule.source == "--require allocation.prompts>=1000"
    assert requirement("bound.vacuous==false").limit is False


@pytest.mark.parametrize(
    "text", ["allocation.prompts", "a>1", "a>=b", "a>=true", "a==nan", ">=3", "a=>3", "a>=1 2"]
)
def test_what_is_no_requirement(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        requirement(text)


def test_a_gate_that_cannot_be_evaluated_is_an_error() -> None:
    rules = ("target.bound>=1", "bound.totl<=1", "bound.vacuous<=1", "scenario==1", "binding==1")
    with pytest.raises(ScenarioError) as caught:
        checked(*map(requirement, rules))
    problems = [problem.found for problem in caught.value.problems]
    assert len(problems) == 5
    assert "null" in problems[0]
    assert "did you mean bound.total" in caught.value.problems[1].allowed


def test_no_current_no_excess() -> None:
    with pytest.raises(ScenarioError, match="the allocation to beat"):
        check(load_scenario(scenario_mapping()), [max_excess(0.05)])


def test_an_excess_for_more_money_than_the_budget_is_warned_of() -> None:
    def codes(labels: int, *rules: Rule, **changes: Any) -> set[str]:
        now = {"prompts": 2000, "rollouts_per_prompt": 8, "labels": labels}
        found = check(load_scenario(scenario_mapping(current=now, **changes)), rules)
        return {notice.code for notice in found.warnings if notice.code.startswith("current")}

    # 2,000 prompts and their rollouts cost 10,320, a label 1.5: 26,453 labels fit 50,000.
    assert codes(26453, max_excess(8.0)) == set()
    assert codes(26454, max_excess(8.0)) == {"current-beyond-budget"}
    assert codes(26454, checks={"current.excess_relative": {"max": 8.0}}) == {
        "current-beyond-budget"
    }
    assert codes(26454) == set()
    within = requirement("current.cost.unspent>=0")
    assert not check(
        load_scenario(
            scenario_mapping(current={"prompts": 2000, "rollouts_per_prompt": 8, "labels": 26454})
        ),
        [within],
    ).passed


def test_an_infeasible_scenario_is_no_failed_gate() -> None:
    with pytest.raises(InfeasibleError):
        check(load_scenario(scenario_mapping(budget=1.0)))


# --- against another version ---------------------------------------------------------------------


def saved(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "main.json"
    plan = make(load_scenario(scenario_mapping(**changes)))
    path.write_text(json_text(with_header("plan", plan.to_dict())))
    return str(path)


def test_against_a_saved_plan(tmp_path: Path) -> None:
    file = saved(tmp_path, budget=60000.0)
    loose = max_increase(file, 0.5, "USD", "bound.total")
    strict = max_increase(file, 0.0, "USD", "bound.total")
    assert by_source(checked(loose))["--against"].passed
    gate = by_source(checked(strict))["--against"]
    assert not gate.passed
    baseline = gate.to_dict()["baseline"]
    assert baseline["file"] == file
    assert baseline["scenario"] == "base"
    assert baseline["value"] == gate.rule.limit < gate.value
    cost = max_increase(file, 0.0, "USD", "cost.total")
    assert by_source(checked(cost))["--against"].passed


def test_the_output_of_check_serves_as_a_baseline_too(tmp_path: Path) -> None:
    path = tmp_path / "check.json"
    path.write_text(json_text(with_header("check", checked().to_dict())))
    rule = max_increase(str(path), 0.0, "USD", "bound.total")
    assert by_source(checked(rule))["--against"].margin == 0.0


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1, "command": "sweep"}']
)
def test_what_is_no_baseline(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ScenarioError, match="plan --format json"):
        max_increase(str(path), 0.0, "USD", "bound.total")


def test_a_missing_baseline_and_another_currency(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError):
        max_increase(str(tmp_path / "none.json"), 0.0, "USD", "bound.total")
    with pytest.raises(ScenarioError, match="a plan in USD"):
        max_increase(saved(tmp_path), 0.0, "EUR", "cost.total")


def test_a_plan_of_another_scenario_is_no_earlier_version(tmp_path: Path) -> None:
    def codes(file: str) -> dict[str, str]:
        rule = max_increase(file, 0.5, "USD", "bound.total")
        return {notice.code: notice.message for notice in checked(rule).warnings}

    assert "another-scenario" not in codes(saved(tmp_path, budget=60000.0))
    assert "called other, not base" in codes(saved(tmp_path, name="other"))["another-scenario"]
    told = codes(saved(tmp_path, objective={"kl_coefficient": 0.07}))["another-scenario"]
    assert "objective.kl_coefficient differs" in told
    wide = {"kl_coefficient": 0.05, "reward_range": 7.0}
    file = saved(tmp_path, objective=wide)
    with pytest.raises(ScenarioError, match="a plan for the reward range 7"):
        checked(max_increase(file, 0.5, "USD", "bound.total"))
    assert checked(max_increase(file, 0.5, "USD", "cost.total")).passed
    # That is known before anything is planned.
    poor = load_scenario(scenario_mapping(budget=1.0))
    with pytest.raises(ScenarioError, match="a plan for the reward range 7"):
        check(poor, [max_increase(file, 0.5, "USD", "bound.total")])


# --- what is shown -------------------------------------------------------------------------------


def made(*gates: Gate, warn_only: bool = False) -> Check:
    return Check(make_plan(), gates, warn_only)


FAILED = Gate(max_bound(0.3), 0.3865711389)


def test_the_verdict_names_what_failed() -> None:
    text = markdown(gates_document(made(Gate(PROVED, value=True), FAILED)))
    assert "1 of 2 gates failed: bound.total" in text
    assert "**FAILED**" in text
    assert "passed" in text
    assert "Only a warning" in markdown(gates_document(made(FAILED, warn_only=True)))


def test_values_that_differ_never_read_the_same() -> None:
    assert gate_words(Gate(max_bound(0.38657), 0.3865711389)) == (
        "bound.total: 0.3865711389 is not <= 0.38657"
    )


def test_annotations_are_one_escaped_line_each() -> None:
    lines = annotation_lines(made(Gate(PROVED, value=True), FAILED), "a,b:c.yaml").splitlines()
    assert lines[0] == "passed: certificate.proved is true, as asked"
    assert lines[1] == (
        "::error file=a%2Cb%3Ac.yaml,title=rlhf-budget%3A bound.total (--max-bound)::"
        "bound.total: 0.3866 is not <= 0.3000"
    )
    assert lines[2].startswith("::warning file=")
    assert "::warning" in annotation_lines(made(FAILED, warn_only=True), "-").splitlines()[0]


def test_json_is_whole() -> None:
    data = json.loads(json_text(with_header("check", checked(max_bound(0.9)).to_dict())))
    assert [gate["gate"] for gate in data["gates"]] == ["proved", "max_bound", "checks", "checks"]
    assert data["warnings"][0]["code"]
    assert "warnings" not in data["result"]
