"""Robust plans side by side, over a range and behind gates: the same draws, the same numbers."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
from conftest import scenario_mapping
from scipy.optimize import minimize_scalar

from rlhf_budget import (
    Allocation,
    Robustness,
    ScenarioError,
    check,
    compare,
    evaluate,
    load_scenario,
    plan,
    plan_robustly,
    sweep,
)
from rlhf_budget.cli.app import run
from rlhf_budget.planning.draws import laws_of, scenarios_of, shares
from rlhf_budget.planning.uncertainty import parse_risk
from rlhf_budget.report.charts import sweep_chart
from rlhf_budget.report.comparison_document import comparison_document
from rlhf_budget.report.data import json_text, with_header
from rlhf_budget.report.gates_document import gates_document
from rlhf_budget.report.markdown import markdown
from rlhf_budget.report.schema import output_schema
from rlhf_budget.report.sweep_document import sweep_document
from rlhf_budget.studies.attribution import GROUPS, shapley
from rlhf_budget.studies.gates import (
    INFORMATIVE,
    Rule,
    max_bound,
    max_excess,
    max_increase,
    requirement,
)
from rlhf_budget.studies.sweeps import listed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rlhf_budget import Scenario

RISKS = ("mean", "cvar:0.8", "regret")
CURRENT = {"prompts": 2000, "rollouts_per_prompt": 8, "labels": 5000}
WIDE = {
    "log_ratio": {"family": "gaussian", "kl": {"low": 3, "high": 18}},
    "reward_model": {
        "coverage": {"low": 1.2, "high": 12},
        "error": {"floor": 0.02, "scale": 8.0, "exponent": 0.8},
    },
    "current": CURRENT,
}


def asked(text: str = "cvar:0.8", **changes: Any) -> Robustness:
    return Robustness(*parse_risk(text), **({"draws": 8} | changes))


def wide(**changes: Any) -> Scenario:
    return load_scenario(scenario_mapping(**(WIDE | changes)))


def small(**changes: Any) -> Scenario:
    """So small that all plans can be listed."""
    return load_scenario(
        {
            "budget": 25,
            "objective": {"kl_coefficient": 0.2},
            "costs": {"prompt": 1, "rollout": 0.5, "label": 2},
            "reward_model": {
                "coverage": {"low": 1.5, "high": 6},
                "error": {"scale": 1.0, "exponent": 0.5},
                "label_policy": "current",
                "existing_labels": 3,
            },
            "log_ratio": {"family": "gaussian", "kl": {"low": 0.5, "high": 8}},
            "limits": {"rollouts_per_prompt": {"max": 3}},
        }
        | changes
    )


# --- two ways to the same numbers ----------------------------------------------------------------


def drawn(scenario: Scenario, asked: Robustness) -> tuple[Scenario, ...]:
    laws = laws_of(scenario)
    return scenarios_of(scenario, laws, shares(laws, asked.draws, asked.seed))


def risk_of(bounds: Sequence[float], asked: Robustness) -> float:
    """Of the bounds (less what is best for each draw): the mean, of the worst, or the largest."""
    values = np.sort(bounds)[::-1]
    if asked.risk == "regret":
        return float(values[0])
    worst = values.size * (1.0 - (asked.level or 0.0))
    weights = np.clip(worst - np.arange(values.size), 0.0, 1.0)
    return float(weights @ values / worst)


def brute_force(scenario: Scenario, asked: Robustness) -> float:
    """The least risk over every number of prompts and rollouts, and all thresholds."""
    scenarios = drawn(scenario, asked)
    best_each = [plan(each).bound.total if asked.risk == "regret" else 0.0 for each in scenarios]
    budget, costs, best = scenario.budget or 0.0, scenario.costs, math.inf
    for K in (1, 2, 3):
        each = costs.prompt.acquisition + K * costs.rollout
        for n in range(1, int(budget / each) + 1):
            m = int((budget - n * each) / (costs.label or 1.0))

            def at(τ: float, n: int = n, K: int = K, m: int = m) -> float:
                a = Allocation(n, K, m, τ)
                bounds = [
                    evaluate(one, a).total - own
                    for one, own in zip(scenarios, best_each, strict=True)
                ]
                return risk_of(bounds, asked)

            grid = np.linspace(0.0, 12.0, 7)
            index = int(np.argmin([at(float(τ)) for τ in grid]))
            around = grid[max(index - 1, 0)], grid[min(index + 1, 6)]
            found = minimize_scalar(at, bounds=around, method="bounded", options={"xatol": 1e-8})
            best = min(best, float(found.fun))
    return best


def test_columns_and_their_attribution_equal_brute_force() -> None:
    request = asked()
    other = {
        "costs": {"prompt": 1, "rollout": 0.5, "label": 1},
        # The same middle, a wider range: only robust plans see the difference.
        "log_ratio": {"family": "gaussian", "kl": {"low": 0.25, "high": 16}},
    }
    found = compare({"base": small(), "other": small(**other)}, robust=request)
    expected = {
        frozenset(names): brute_force(small(**{name: other[name] for name in names}), request)
        for names in ((), ("costs",), ("log_ratio",), ("costs", "log_ratio"))
    }
    values = [column.plan.robust.value for column in found.columns if column.plan]  # type: ignore[union-attr]
    ends = [expected[frozenset()], expected[frozenset(other)]]
    assert values == pytest.approx(ends, rel=1e-6)
    (difference,) = found.differences
    split = difference.attribution
    assert (split.metric, split.method) == ("robust.value", "shapley")
    parts = {part.group: part for part in split.groups}
    assert parts["log_ratio"].changed == ("log_ratio.kl",)
    for name, share in shapley(list(other), expected).items():
        assert parts[name].contribution == pytest.approx(share, abs=2e-6)  # type: ignore[index]
    assert abs(sum(part.contribution for part in split.groups) - split.total) < 1e-12
    assert found.best[0].key == "robust.value"


@pytest.mark.parametrize("risk", RISKS)
def test_points_equal_brute_force_and_the_plan_of_their_value(risk: str) -> None:
    request = asked(risk)
    found = sweep(small(), listed("budget", [15.0, 25.0]), robust=request)
    for value, point in found.planned:
        scenario = small(budget=value)
        assert point.robust is not None
        expected = brute_force(scenario, request)
        assert point.robust.value == pytest.approx(expected, rel=1e-6, abs=1e-7)
        single = plan_robustly(scenario, request).to_dict()
        entry = next(p for p in found.points if p.value == value).to_dict()
        for part in ("allocation", "bound", "cost", "certificate", "robust", "marginal", "binding"):
            assert entry[part] == single[part]
        assert entry["warnings"] == [notice["code"] for notice in single["warnings"]]


# --- degenerate ranges ---------------------------------------------------------------------------


def degenerate() -> Scenario:
    return load_scenario(
        scenario_mapping(
            log_ratio={"family": "gaussian", "kl": {"low": 12, "high": 12}},
            current=CURRENT,
            checks={"current.excess_relative": {"max": 0.05}},
        )
    )


@pytest.mark.parametrize("risk", RISKS)
def test_degenerate_ranges_give_the_plain_numbers(risk: str) -> None:
    request, scenario = asked(risk), degenerate()
    cheap = scenario.with_values({"costs.label": 0.2, "budget": 40000})
    columns = {"base": scenario, "cheap": cheap}
    plain, robust = compare(columns), compare(columns, robust=request)
    parts = ("allocation", "bound", "cost")
    for before, after in zip(plain.columns, robust.columns, strict=True):
        assert before.plan is not None
        assert after.plan is not None
        assert [getattr(before.plan, p) for p in parts] == [getattr(after.plan, p) for p in parts]
    if risk != "regret":
        assert robust.differences[0].attribution.groups == plain.differences[0].attribution.groups
    over = listed("budget", [1.0, 20000.0, 50000.0])
    for one, two in zip(
        sweep(scenario, over).points, sweep(scenario, over, robust=request).points, strict=True
    ):
        assert one.status == two.status
        if one.planned and two.planned:
            optima = one.planned.optimum, two.planned.optimum
            assert [getattr(optima[0], p) for p in parts] == [getattr(optima[1], p) for p in parts]
            assert two.planned.robust is not None
            assert two.planned.robust.bound == optima[0].bound.total
    rules = (max_bound(0.3), max_excess(0.1), INFORMATIVE)
    gates = check(scenario, rules).gates, check(scenario, rules, robust=request).gates
    assert [gate.value for gate in gates[0]] == [gate.value for gate in gates[1]]
    assert [gate.passed for gate in gates[0]] == [gate.passed for gate in gates[1]]


# --- shared draws --------------------------------------------------------------------------------


def test_columns_and_points_share_the_draws_of_what_none_knows() -> None:
    request = asked(draws=16)
    known = wide(
        reward_model={"coverage": 4, "error": {"floor": 0.02, "scale": 8, "exponent": 0.8}}
    )
    kls = [[each.log_ratio.kl for each in drawn(one, request)] for one in (wide(), known)]  # type: ignore[union-attr]
    assert kls[0] == kls[1]
    assert len(set(kls[0])) == 16
    found = sweep(wide(), listed("reward_model.coverage", [4.0]), robust=request)
    alone = plan_robustly(known, request)
    assert found.planned[0][1].robust == alone.robust
    columns = compare({"wide": wide(), "known": known}, robust=request).columns
    assert columns[1].plan is not None
    assert columns[1].plan.robust == alone.robust


def test_a_scenario_beside_itself_differs_in_nothing() -> None:
    (difference,) = compare({"a": wide(), "b": wide(name="other")}, robust=asked()).differences
    assert all(value.absolute in {0, None} for value in difference.values)
    assert difference.attribution.total == 0.0


# --- gates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("risk", RISKS)
def test_gates_judge_the_plan_over_the_draws(risk: str) -> None:
    request = asked(risk, draws=16)
    found = check(wide(), robust=request)
    robust = found.plan.robust
    assert robust is not None
    assert robust.current is not None
    expected = robust.distribution.p95 if risk == "regret" else robust.value
    assert robust.bound == expected > found.plan.bound.total
    for limit, passes in ((expected, True), (math.nextafter(expected, 0.0), False)):
        by_flag = check(wide(), [max_bound(limit)], robust=request)
        by_file = check(wide(checks={"bound.total": {"max": limit}}), robust=request)
        for verdict in (by_flag, by_file):
            gate = verdict.gates[1]
            assert (gate.rule.key, gate.passed) == ("robust.bound", passes)
            assert gate.least_budget is None
    # The plan for the middle would pass: its bound there is lower than that of the worst draws.
    assert check(wide(), [max_bound(math.nextafter(expected, 0.0))]).passed
    # A gate that names its key is taken at its word.
    literal = check(wide(), [requirement(f"bound.total<={expected}")], robust=request)
    assert literal.gates[1].rule.key == "bound.total"
    bounds = [
        evaluate(each, found.plan.current.allocation).total  # type: ignore[union-attr]
        for each in drawn(wide(), request)
    ]
    if risk != "regret":
        assert robust.current.value == pytest.approx(risk_of(bounds, request), rel=1e-12)
        assert robust.current.excess == robust.current.value - robust.value
    excess = check(wide(), [max_excess(0.0)], robust=request).gates[1]
    assert (excess.value, excess.passed) == (robust.current.excess_relative, False)


def test_a_bound_that_says_nothing_over_the_draws_is_not_informative() -> None:
    request = asked("cvar:0.8", draws=16)
    scenario = wide(
        objective={"kl_coefficient": 0.05, "reward_range": 0.7, "failure_probability": 0.05}
    )
    plain, robust = check(scenario, [INFORMATIVE]), check(scenario, [INFORMATIVE], robust=request)
    assert plain.passed
    assert [gate.rule.key for gate in robust.failed] == ["robust.vacuous"]


def test_only_plans_of_the_same_risk_are_a_baseline(tmp_path: Path) -> None:
    file = tmp_path / "main.json"

    def saved(robust: Robustness | None) -> str:
        found = plan(wide()) if robust is None else plan_robustly(wide(), robust)
        file.write_text(json_text(with_header("plan", found.to_dict())), encoding="utf-8")
        return str(file)

    def rule(robust: Robustness | None) -> Rule:
        return max_increase(str(file), 0.02, "USD", "bound.total", robust)

    saved(asked())
    assert check(wide(), [rule(asked())], robust=asked()).passed
    assert not check(wide(budget=30000.0), [rule(asked())], robust=asked()).passed
    for other in (None, asked("mean"), asked("cvar:0.5")):
        with pytest.raises(ScenarioError, match=r"made with --robust cvar:0\.8"):
            rule(other)
    saved(None)
    with pytest.raises(ScenarioError, match="made without --robust"):
        rule(asked())


# --- what is shown -------------------------------------------------------------------------------


def test_documents_name_the_risk() -> None:
    request, risk = asked(), "mean bound of the worst 20 %"
    cheap = wide(costs={"prompt": 5.0, "rollout": 0.02, "label": 0.2})
    compared = compare({"base": wide(), "cheap": cheap}, robust=request)
    over = listed("budget", [20000.0, 50000.0, 90000.0])
    swept = sweep(wide(), over, robust=request)
    texts = (
        markdown(comparison_document(compared)),
        markdown(sweep_document(swept)),
        markdown(gates_document(check(wide(), robust=request))),
    )
    for text in texts:
        assert risk in text
        assert "at the middle" in text
        assert "limits that bind" not in text
    assert "Where the difference of the mean bound of the worst 20 % comes from" in texts[0]
    assert f"is the lowest {risk}: cheap" in texts[0]
    assert f"The {risk} goes from" in texts[1]
    chart = json.dumps(sweep_chart(swept).to_dict())
    assert risk in chart
    assert "What a little more money does" not in chart


@pytest.mark.parametrize("command", ["compare", "sweep", "check"])
def test_json_and_csv_hold_what_the_schema_says(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wide.json"
    file.write_text(json.dumps(scenario_mapping(**WIDE)), encoding="utf-8")
    options = {
        "compare": [],
        "sweep": ["--over", "budget=1,20000,50000"],
        "check": ["--max-bound", "9", "--max-excess", "90%"],
    }[command]
    line = [command, str(file), *options, "--robust", "cvar:0.9", "--draws", "8", "--seed", "2"]
    outputs = []
    for _ in range(2):
        assert run([*line, "--format", "json"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    found = json.loads(outputs[0])
    jsonschema.Draft202012Validator(output_schema(command)).validate(found)
    robust = {
        "compare": lambda: found["columns"][0]["result"]["robust"],
        "sweep": lambda: found["points"][-1]["robust"],
        "check": lambda: found["result"]["robust"],
    }[command]()
    assert (robust["risk"], robust["level"], robust["draws"], robust["seed"]) == ("cvar", 0.9, 8, 2)
    assert run([*line, "--format", "csv"]) == 0
    assert "robust.distribution.p95" in capsys.readouterr().out.partition("\n")[0]


def test_the_gate_is_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wide.json"
    file.write_text(json.dumps(scenario_mapping(**WIDE)), encoding="utf-8")
    bound = plan_robustly(wide(), asked("mean")).robust
    assert bound is not None
    line = ["check", str(file), "--robust", "mean", "--draws", "8", "--max-bound"]
    assert run([*line, repr(bound.value)]) == 0
    assert run([*line, repr(math.nextafter(bound.value, 0.0))]) == 1
    assert "robust.bound" in capsys.readouterr().out
    assert run([*line, "1", "--proof", "p.json"]) == 2
    assert run(["check", str(file), "--robust", "worst"]) == 2
    assert run(["compare", str(file), "--robust", "mean", "--draws", "9"]) == 2
    assert "power of two" in capsys.readouterr().err


def test_all_groups_are_there_in_their_order() -> None:
    cheap = wide(costs={"prompt": 5.0, "rollout": 0.02, "label": 0.2})
    (difference,) = compare({"base": wide(), "cheap": cheap}, robust=asked()).differences
    assert tuple(part.group for part in difference.attribution.groups) == GROUPS


def test_a_check_says_that_few_draws_can_afford_what_is_done_now() -> None:
    now = {"prompts": 40000, "rollouts_per_prompt": 8, "labels": 25000}
    costs = {"prompt": 0.05, "rollout": 0.01, "label": {"low": 0.5, "high": 4}}
    scenario = wide(budget=50000.0, costs=costs, current=now)
    found = check(scenario, robust=asked("mean"))
    assert found.plan.robust is not None
    assert found.plan.robust.current is not None
    assert found.plan.robust.current.violations == ("budget",)
    assert "What is done now fits the budget in" in markdown(gates_document(found))
