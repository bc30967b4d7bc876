"""Scenarios as monotone problems: floats bracket exact values, targets meet their own bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conftest import scenario_mapping
from hypothesis import given, settings
from hypothesis import strategies as st
from test_optimum import BOUNDS, CASES, FAMILIES, REWARD_MODELS, small_scenarios

from rlhf_budget import InfeasibleError, evaluate, load_scenario
from rlhf_budget.bound.results import Allocation
from rlhf_budget.optimum.arrays import ROUNDING
from rlhf_budget.optimum.budget_problem import budget_problem
from rlhf_budget.optimum.case import prepare
from rlhf_budget.optimum.certified import least_cost, optimise
from rlhf_budget.optimum.target_problem import target_problem


def points(case: Any, count: int = 400) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(0)
    most = min(case.prompts[1], 10**7)
    x = np.exp(random.uniform(math.log(case.prompts[0]), math.log(most), count)).astype(np.int64)
    row = random.integers(0, len(case.rollouts), count)
    return np.zeros(count, dtype=np.int64), row, np.maximum(x, case.prompts[0])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scenario"]["name"])
def test_float_sides_bracket_the_exact_values(case: dict[str, Any]) -> None:
    prepared = prepare(load_scenario(case["scenario"]))
    problem = budget_problem((prepared,))
    group, row, x = points(prepared)
    reach = problem.reach(group, row)
    fits = x <= reach
    group, row, x = group[fits], row[fits], x[fits]
    problem = problem.focused(problem.boxes())
    lower = problem.fall(group, row, x)
    upper = problem.sampling(group, row, x, "upper")
    most = problem.labels_left(group, row, x)
    surely = problem.labels_left(group, row, x, -ROUNDING)
    for at in range(x.size):
        n, K = int(x[at]), prepared.rollouts[int(row[at])]
        exact = prepared.bound.least(n, K)
        assert lower[at] <= exact * (1 + 1e-12)
        assert upper[at] >= exact * (1 - 1e-12)
        labels = prepared.prices.labels_affordable(n, K, prepared.labels[1])
        if labels >= prepared.labels[0]:
            assert surely[at] <= labels <= most[at]
            assert most[at] - surely[at] <= 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scenario"]["name"])
def test_reach_is_never_too_short_and_hardly_too_long(case: dict[str, Any]) -> None:
    prepared = prepare(load_scenario(case["scenario"])).with_every_rollout()
    problem = budget_problem((prepared,))
    rows = np.arange(len(prepared.rollouts))
    reach = problem.reach(np.zeros_like(rows), rows)
    for row, reached in zip(rows, reach, strict=True):
        K = prepared.rollouts[int(row)]
        exact = prepared.prices.prompts_affordable(K, prepared.labels[0], prepared.prompts[1])
        assert max(exact, 0) <= reached <= max(exact, 0) + 1
    assert (np.diff(reach) <= 0).all()


def test_boxes_break_at_the_edge_of_the_pool() -> None:
    prompt = {"acquisition": 5.0, "existing": 4000, "prefill": 0.01}
    costs = {"prompt": prompt, "rollout": 0.02, "label": 1.5}
    limits = {"prompts": {"min": 10, "max": 9000}, "rollouts_per_prompt": {"max": 4}}
    boxes = budget_problem(
        (prepare(load_scenario(scenario_mapping(costs=costs, limits=limits))),)
    ).boxes()
    assert boxes.low.tolist() == [10, 4001]
    assert boxes.high.tolist() == [4000, 9000]
    assert boxes.row_high.tolist() == [3, 3]


def useful(labels: int, **model: Any) -> int:
    limits = {"labels": {"min": model.pop("least", 0)}}
    scenario = load_scenario(scenario_mapping(reward_model=model, limits=limits))
    case = prepare(scenario)
    found = case.useful_labels(labels)
    assert case.bound.shift(found) == pytest.approx(case.bound.shift(labels), rel=1e-15)
    return found


def test_labels_on_plateaus() -> None:
    flat = {"floor": 0.02, "scale": 0.0, "exponent": 0.8}
    bad = {"floor": 0.02, "scale": 50.0, "exponent": 0.1}
    perfect = {"floor": 0.0, "scale": 0.0, "exponent": 1.0}
    fresh = {"label_policy": "current"}
    assert useful(99, coverage=2.0, error=flat) == 1
    assert useful(99, coverage=2.0, error=flat, existing_labels=7) == 0
    assert useful(99, coverage=2.0, error=flat, existing_labels=7, **fresh) == 99
    assert useful(99, coverage=2.0, error=perfect, existing_labels=7, **fresh) == 0
    assert useful(99, coverage=2.0, error=perfect, **fresh) == 1
    assert useful(99, coverage=2.0, error=bad) == 0
    assert useful(99, coverage=2.0, error=bad, **fresh) == 1
    assert useful(99, coverage=1.0, error=bad, **fresh) == 0
    assert useful(99, coverage=2.0, error=bad, least=5) == 5
    assert useful(0, coverage=2.0, error=flat) == 0


def test_a_plateau_at_the_range_is_seen_whatever_the_range() -> None:
    """``R ** 2`` and ``R * R`` differ in the last digit for one number in a thousand."""
    ranges = np.random.default_rng(0).uniform(0.1, 100.0, 20_000).tolist()
    odd = [R for R in ranges if R**2.0 > R * R]
    model = {"coverage": 2.0, "error": {"floor": 2e4, "scale": 1.0, "exponent": 1.0}}
    for R in (*odd[:5], 1.0, 3.7):
        objective = {"kl_coefficient": 0.05, "reward_range": R}
        case = prepare(load_scenario(scenario_mapping(objective=objective, reward_model=model)))
        assert case.useful_labels(12345) == 0


@given(
    model=st.sampled_from([m for m in REWARD_MODELS if isinstance(m, dict)]),
    slack=st.floats(0.0, 2.0),
    n=st.integers(1, 4000),
)
@settings(max_examples=60)
def test_the_fewest_labels_reach_and_one_less_does_not(
    model: dict[str, Any], slack: float, n: int
) -> None:
    scenario = load_scenario(scenario_mapping(reward_model=model))
    case = prepare(scenario)
    least = evaluate(scenario, Allocation(n, 2, case.labels[1], None)).total
    target = least * (1 + slack)
    m = case.fewest_labels(n, 2, target, case.labels)
    assert m is not None
    assert evaluate(scenario, Allocation(n, 2, m, None)).total <= target
    if m > case.labels[0]:
        assert evaluate(scenario, Allocation(n, 2, m - 1, None)).total > target
    assert case.fewest_labels(n, 2, math.nextafter(least, 0), case.labels) is None


@given(mapping=small_scenarios())
@settings(max_examples=50)
def test_a_plans_own_bound_is_a_target_that_its_money_reaches(mapping: dict[str, Any]) -> None:
    """At the caps of every decision not one digit is to spare."""
    scenario = load_scenario(mapping)
    try:
        optimum = optimise(scenario)
    except InfeasibleError:
        return
    found = least_cost(scenario, optimum.bound.total)
    assert found.bound.total <= optimum.bound.total
    assert found.cost.total <= optimum.cost.total
    rich = optimise(scenario.with_values({"budget": 1e9}))
    assert least_cost(scenario, rich.bound.total).bound.total <= rich.bound.total


@pytest.mark.parametrize("bound", BOUNDS[:3], ids=lambda bound: bound["concentration"])
def test_a_target_is_the_same_from_both_sides(bound: dict[str, Any]) -> None:
    for law in FAMILIES:
        scenario = load_scenario(scenario_mapping(bound=bound, log_ratio=law, budget=3000.0))
        target = optimise(scenario).bound.total * 1.01
        found = least_cost(scenario, target)
        assert found.target is not None
        cheaper = found.target.least_cost_lower_bound * (1 - 1e-6)
        assert optimise(scenario.with_values({"budget": cheaper})).bound.total > target


def test_the_cost_of_a_target_is_bracketed_by_the_floats() -> None:
    scenario = load_scenario(scenario_mapping())
    case = prepare(scenario).without_budget()
    problem = target_problem((case,), (0.42,))
    problem = problem.focused(problem.boxes())
    group, row, x = points(case, 300)
    lower = problem.fall(group, row, x) + problem.rise(group, row, x)
    finite = 0
    for at in range(x.size):
        exact = problem.exact(0, int(row[at]), int(x[at])).value
        assert lower[at] <= exact
        finite += math.isfinite(exact)
    assert 10 < finite < 300


@pytest.mark.parametrize("C", [1e160, 1e300])
@pytest.mark.parametrize("policy", ["behaviour", "current"])
def test_any_coverage_is_planned_for(C: float, policy: str) -> None:
    curve = {"floor": 0.02, "scale": 8.0, "exponent": 0.8}
    model = {"coverage": C, "existing_labels": 1000, "label_policy": policy, "error": curve}
    scenario = load_scenario(scenario_mapping(reward_model=model))
    found = optimise(scenario)
    assert found.certificate.proved
    assert least_cost(scenario, found.bound.total).cost.total <= 50000.0
    assert found.bound.vacuous == (policy == "behaviour")


@pytest.mark.parametrize("top", [5.5, 6.0, 28.9])
def test_a_largest_threshold_between_atoms_costs_no_evaluations(top: float) -> None:
    law = {"family": "empirical", "samples": [float(x) for x in range(30)]}
    limits = {"clip_threshold": {"max": top}, "rollouts_per_prompt": {"max": 64}}
    found = optimise(load_scenario(scenario_mapping(log_ratio=law, limits=limits, budget=5e7)))
    assert found.certificate.proved
    assert found.certificate.evaluations < 100_000
