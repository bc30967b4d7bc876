"""The whole plan: every key of the JSON interface, targets, round trips, many at once."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from conftest import scenario_mapping
from test_optimum import CASES

from rlhf_budget import (
    InfeasibleError,
    Plan,
    ScenarioError,
    UnreachableTargetError,
    load_scenario,
    plan,
    plan_many,
)
from rlhf_budget.optimum.certified import Optimum

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOCATION = {"prompts", "rollouts_per_prompt", "labels", "clip_threshold", "rollouts"}
BOUND = {
    "total",
    "sampling",
    "reward_shift",
    "kl_clipping",
    "irreducible",
    "vacuous",
    "coverage",
    "reward_error",
    "clipped_share",
    "policy_complexity",
}
COST = {"total", "prompts", "rollouts", "labels", "fixed", "budget", "unspent"}
ASSUMED = {"constant", "kind", "value", "low", "high", "source"}
KEYS: dict[str, set[str] | None] = {
    "status": None,
    "scenario": None,
    "currency": None,
    "inputs": {"budget", "objective", "bound", "costs", "reward_model", "log_ratio", "limits"},
    "allocation": ALLOCATION,
    "bound": BOUND,
    "cost": COST,
    "certificate": {"lower_bound", "relative_gap", "proved", "evaluations"},
    "closed_form": {"rollouts_per_prompt", "rule"},
    "guarantees": {"concentration", "total", "sampling", "planning_rule"},
    "guarantee": None,
    "sources": None,
    "guesses": None,
    "guess_count": None,
    "groups": {
        "mean",
        "correlation",
        "informative_share",
        "rollouts_per_informative_group",
        "least",
    },
    "schedule": {"group_size", "epochs"},
    "alternatives": {"concentration", "total", "allocation"},
    "binding": None,
    "marginal": {"bound_per_currency"},
    "near_optimal": {
        *("within", "prompts", "rollouts_per_prompt", "labels", "least_cost", "approximate")
    },
    "sensitivity": {"constant", "elasticity"},
    "assumed": ASSUMED | {"allocation_at_low", "allocation_at_high"},
    "current": {"allocation", "bound", "cost", "excess", "excess_relative", "violations"},
    "target": {"bound", "least_cost", "least_cost_lower_bound", "relative_gap"},
    "robust": None,
    "information": None,
    "progress": {"prompts", "rollouts_per_prompt", "labels", "cost"},
    "to_come": {"prompts", "rollouts_per_prompt", "rollouts", "labels", "cost"},
    "warnings": {"code", "message"},
}
RICH: dict[str, Any] = {
    "current": {"prompts": 100, "rollouts_per_prompt": 4},
    "bound": {"prompt_variance": 0.02, "rollout_variance": 0.05},
    "log_ratio": {"family": "gaussian", "kl": {"low": 9.0, "high": 16.0}},
}


def planned(target: float | None = None, **changes: Any) -> Plan:
    return plan(load_scenario(scenario_mapping(**changes)), target_bound=target)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for entry in value.values():
            yield from leaves(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from leaves(entry)
    else:
        yield value


@pytest.mark.parametrize("target", [None, 0.43])
def test_every_key_of_the_interface_is_there_and_no_other(target: float | None) -> None:
    result = planned(target, **RICH).to_dict()
    assert set(result) == set(KEYS)
    for key, names in KEYS.items():
        value = result[key]
        if names is None or value is None:
            continue
        for entry in value if isinstance(value, list) else [value]:
            extra = {"cost"} if key == "alternatives" and target else set()
            assert set(entry) == names | extra, key
    for key in ("alternatives", "sensitivity", "assumed", "warnings"):
        assert result[key], key
    assert result["current"]["allocation"].keys() == ALLOCATION
    assert result["current"]["bound"].keys() == BOUND
    assert result["current"]["cost"].keys() == COST
    assert result["assumed"][0]["allocation_at_low"].keys() == ALLOCATION
    assert (result["target"] is None) == (target is None)
    assert (result["near_optimal"] is None) == (target is not None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scenario"]["name"])
def test_json_has_plain_finite_numbers_and_inputs_round_trip(case: dict[str, Any]) -> None:
    result = plan(load_scenario(case["scenario"])).to_dict()
    text = json.dumps(result, allow_nan=False)
    assert json.loads(text) == result, "only plain JSON types"
    for leaf in leaves(result):
        assert type(leaf) in {str, int, float, bool, type(None)}
    again = load_scenario(json.loads(text)["inputs"])
    assert again.inputs() == result["inputs"]
    assert None not in list(leaves(result["inputs"]))
    replanned = plan(again)
    assert replanned.bound.total == result["bound"]["total"]
    assert replanned.allocation.to_dict() == result["allocation"]


def test_a_target_plan_speaks_of_cost() -> None:
    found = planned(0.43, **RICH)
    target = found.target
    assert target is not None
    assert target.bound == 0.43
    assert found.bound.total <= 0.43
    assert target.least_cost == found.cost.total
    assert target.least_cost_lower_bound <= target.least_cost
    gap = (target.least_cost - target.least_cost_lower_bound) / target.least_cost
    assert target.relative_gap == pytest.approx(gap, abs=1e-15)
    assert found.certificate.proved
    assert (found.certificate.lower_bound, found.certificate.relative_gap) == (found.bound.total, 0)
    assert (found.cost.budget, found.cost.unspent, found.near_optimal) == (None, None, None)
    for other in found.alternatives:
        assert other.cost is not None
        assert other.total <= 0.43


def test_a_target_needs_no_budget_and_ignores_one() -> None:
    free, poor = planned(0.43, budget=None), planned(0.43, budget=1.0)
    assert free.allocation == poor.allocation
    assert free.cost == poor.cost
    assert "budget" not in free.to_dict()["inputs"]
    json.dumps(free.to_dict(), allow_nan=False)


@pytest.mark.parametrize("case", CASES[::4], ids=lambda case: case["scenario"]["name"])
def test_the_bound_of_a_plan_can_be_asked_for(case: dict[str, Any]) -> None:
    scenario = load_scenario(case["scenario"])
    forward = plan(scenario)
    back = plan(scenario, target_bound=forward.bound.total)
    assert back.bound.total <= forward.bound.total
    assert back.cost.total <= forward.cost.total * (1 + 1e-12)


@pytest.mark.parametrize("target", [math.nan, math.inf, -math.inf])
def test_a_target_must_be_finite(target: float) -> None:
    with pytest.raises(ScenarioError, match="target_bound"):
        planned(target)


@pytest.mark.parametrize("target", [-1.0, 0.0, 2 * math.sqrt(0.02)])
def test_an_unreachable_target_is_said(target: float) -> None:
    with pytest.raises(UnreachableTargetError) as failure:
        planned(target)
    assert failure.value.infimum == pytest.approx(2 * math.sqrt(0.02))


@pytest.mark.parametrize("target", [1e3, 1e300])
def test_any_target_that_is_easy_takes_the_least_plan(target: float) -> None:
    found = planned(target)
    a = found.allocation
    assert (a.prompts, a.rollouts_per_prompt, a.labels) == (1, 1, 0)
    assert found.cost.total == 5.02


def test_a_target_that_only_free_things_reach() -> None:
    found = planned(0.5, costs={"prompt": 0.0, "rollout": 0.0, "label": 0.0})
    assert found.cost.total == 0.0
    assert found.target is not None
    assert found.target.relative_gap == 0.0
    json.dumps(found.to_dict(), allow_nan=False)


def test_without_a_budget_nothing_can_be_planned() -> None:
    with pytest.raises(ScenarioError) as failure:
        planned(budget=None)
    assert [problem.key for problem in failure.value.problems] == ["budget"]


def test_many_plans_are_those_one_by_one_and_errors_stay_in_place() -> None:
    scenarios = [
        load_scenario(scenario_mapping(**changes))
        for changes in (
            {"budget": 3000.0},
            {"budget": 1.0},
            {"budget": None},
            {"reward_model": "verifiable"},
            {"bound": {"concentration": "prompt_mean"}},
            {"log_ratio": {"family": "lomax", "shape": 1.5, "scale": 2.0}},
            {"objective": {"kl_coefficient": 0.0}},
        )
    ]
    found = plan_many(scenarios)
    assert len(found) == len(scenarios)
    assert isinstance(found[1], InfeasibleError)
    assert isinstance(found[2], ScenarioError)
    for at in (0, 3, 4, 5, 6):
        one, alone = found[at], plan(scenarios[at])
        assert isinstance(one, Optimum)
        assert one.allocation == alone.allocation
        assert one.bound == alone.bound
        assert one.cost == alone.cost
    assert plan_many([]) == ()


def test_infeasible_is_raised_before_any_search() -> None:
    with pytest.raises(InfeasibleError) as failure:
        planned(budget=5.01)
    assert failure.value.least_budget == 5.02
    assert failure.value.shortfall == pytest.approx(0.01)
    assert planned(budget=failure.value.least_budget).cost.total == 5.02


def test_the_tolerance_decides_only_what_counts_as_proved() -> None:
    scenario = load_scenario(scenario_mapping())
    strict, loose = plan(scenario, tolerance=0.0), plan(scenario, tolerance=0.5)
    assert strict.allocation == loose.allocation
    assert loose.certificate.proved
    assert strict.certificate.proved == (strict.certificate.relative_gap <= 0)
    assert strict.status == ("optimal" if strict.certificate.proved else "not_proved")


def test_gaps_are_what_they_are_said_to_be() -> None:
    found = planned()
    certificate, total = found.certificate, found.bound.total
    assert certificate.relative_gap == (total - certificate.lower_bound) / total
    assert 0 <= certificate.relative_gap <= 1e-6
    assert found.cost.unspent is not None
    assert found.cost.total + found.cost.unspent == pytest.approx(50000.0)
    parts = found.cost.prompts + found.cost.rollouts + found.cost.labels + found.cost.fixed
    assert parts == pytest.approx(found.cost.total, rel=1e-12)
    assert found.bound.irreducible < total
    assert found.marginal is not None
    assert found.marginal.bound_per_currency < 0
    near = found.near_optimal
    assert near is not None
    assert near.least_cost < found.cost.total
    for decision in ("prompts", "rollouts_per_prompt", "labels"):
        low, high = getattr(near, decision)
        assert low <= getattr(found.allocation, decision) <= high


def test_results_are_immutable_values() -> None:
    first, second = planned(**RICH), planned(**RICH)
    assert first.allocation == second.allocation
    assert first.to_dict() == second.to_dict()
    with pytest.raises(AttributeError):
        first.status = "not_proved"  # type: ignore[misc]


def test_the_repr_is_one_short_line() -> None:
    for found in (planned(**RICH), planned(0.43), planned(objective={"kl_coefficient": 0.0})):
        text = repr(found)
        assert len(text) <= 160
        assert "\n" not in text
        assert "prompts=" in text
        assert "optimal" in text
    long = repr(planned(log_ratio={"family": "empirical", "samples": [1.0, 2.0] * 5000}))
    assert len(long) <= 160


@pytest.mark.parametrize("budget", [1e-3, 1e300])
def test_extreme_budgets_give_a_whole_plan(budget: float) -> None:
    costs = {"prompt": 1e-5, "rollout": 1e-6, "label": 1e-4}
    found = planned(budget=budget, costs=costs)
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.cost.total <= budget


def test_a_lomax_tail_with_hardly_a_mean_is_planned() -> None:
    law = {"family": "lomax", "shape": 1.0000001, "scale": 1e-6}
    json.dumps(planned(log_ratio=law).to_dict(), allow_nan=False)


def test_how_near_is_near_may_be_asked_for() -> None:
    scenario = load_scenario(scenario_mapping())
    found = plan(scenario, within=0.05).near_optimal
    assert found is not None
    assert found.within == 0.05
    narrow = plan(scenario).near_optimal
    assert narrow is not None
    assert found.prompts[0] < narrow.prompts[0] <= narrow.prompts[1] < found.prompts[1]
    for no_share in (-0.01, 1.01, math.nan, math.inf):
        with pytest.raises(ScenarioError, match="a share from 0 to 1"):
            plan(scenario, within=no_share)
    assert plan(scenario, within=1.0).near_optimal is not None
