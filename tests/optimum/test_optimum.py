from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from conftest import scenario_mapping
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_budget import (
    Allocation,
    InfeasibleError,
    ScenarioError,
    UnreachableTargetError,
    evaluate,
    load_scenario,
)
from rlhf_budget.bound.terms import rollout_choices
from rlhf_budget.optimum.certified import least_cost, optimise, optimise_many

CASES = json.loads((Path(__file__).parents[1] / "reference" / "cases.json").read_text())
TERMS = ("total", "sampling", "reward_shift", "kl_clipping")


def close(value: float, expected: float) -> bool:
    return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scenario"]["name"])
def test_reference_optimum(case: dict[str, Any]) -> None:
    expected = case["optimum"]
    found = optimise(load_scenario(case["scenario"]))
    assert found.bound.total <= expected["total"] * (1 + 1e-9)
    assert found.certificate.lower_bound <= expected["total"]
    assert found.certificate.proved
    assert found.status == "optimal"
    for term in (*TERMS, "coverage", "reward_error"):
        assert close(getattr(found.bound, term), expected[term]), term
    assert close(found.bound.policy_complexity, case["complexity"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scenario"]["name"])
def test_reference_probe(case: dict[str, Any]) -> None:
    found = evaluate(load_scenario(case["scenario"]), Allocation(**case["probe"]["plan"]))
    for term in TERMS:
        assert close(getattr(found, term), case["probe"][term]), term


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    scenarios = [load_scenario(case["scenario"]) for case in CASES]
    for scenario, together in zip(scenarios, optimise_many(scenarios), strict=True):
        alone = optimise(scenario)
        assert alone.allocation == together.allocation
        assert alone.bound == together.bound
        assert close(alone.certificate.lower_bound, together.certificate.lower_bound)


# --- against brute force -------------------------------------------------------------------------

FAMILIES: list[dict[str, Any]] = [
    {"family": "gaussian", "kl": 3.0},
    {"family": "exponential", "mean": 2.0},
    {"family": "half_normal", "scale": 2.0},
    {"family": "gamma", "shape": 0.7, "scale": 3.0},
    {"family": "weibull", "shape": 0.6, "scale": 2.0},
    {"family": "lognormal", "mu": 0.5, "sigma": 1.0},
    {"family": "lomax", "shape": 2.2, "scale": 3.0},
    {"family": "empirical", "samples": [0.0, 0.0, -1.0, 2.0, 2.0, 5.5, -7.0, 9.0]},
]
BOUNDS: list[dict[str, Any]] = [
    {"concentration": "hoeffding", "policy": "fixed"},
    {"concentration": "prompt_mean", "policy": "finite_class", "candidates": 5},
    {
        "concentration": "bernstein",
        "policy": "fixed",
        "prompt_variance": 0.02,
        "rollout_variance": 0.2,
    },
    {
        "concentration": "bernstein",
        "policy": "finite_class",
        "candidates": 3,
        "prompt_variance": 0.05,
        "rollout_variance": 0.0,
    },
    {"concentration": "hoeffding", "policy": "pac_bayes", "posterior_kl": 1.5},
    {"concentration": "prompt_mean", "policy": "pac_bayes", "posterior_kl": 0.3},
]
REWARD_MODELS: list[Any] = [
    {"coverage": 1.5, "error": {"floor": 0.02, "scale": 2.0, "exponent": 0.7}},
    {"coverage": 1.2, "error": {"floor": 0.0, "scale": 0.0, "exponent": 1.0}},
    {
        "coverage": 3.0,
        "existing_labels": 4,
        "label_policy": "current",
        "error": {"floor": 0.01, "scale": 1.0, "exponent": 0.5},
    },
    {"label_policy": "current", "error": {"floor": 0.01, "scale": 40.0, "exponent": 1.0}},
    {"coverage": 2.0, "error": 0.03},
    "verifiable",
]
PRICES = st.sampled_from([0.0, 0.1, 0.25, 0.3, 1.0, 2.5])


@st.composite
def small_scenarios(draw: st.DrawFn) -> dict[str, Any]:
    β = draw(st.sampled_from([0.0, 0.01, 0.3]))
    rollouts = draw(
        st.sampled_from([{"min": 1, "max": 5}, {"min": 2, "max": 3}, {"choices": [1, 4, 6]}])
    )
    groups = draw(st.sampled_from([None, None, {"mean": 0.3, "correlation": 0.4}]))
    schedule = draw(
        st.sampled_from([{}, {"group_size": {"choices": [2, 3]}, "epochs": {"max": 3}}])
    )
    clip = draw(st.sampled_from([{}, {"max": 1.5}, {"min": 4.0}, {"min": 1.0, "max": 6.0}]))
    prompt: Any = draw(
        st.one_of(
            PRICES,
            st.builds(
                lambda a, e, p: {"acquisition": a, "existing": e, "prefill": p},
                PRICES,
                st.integers(0, 9),
                PRICES,
            ),
        )
    )
    return scenario_mapping(
        budget=draw(st.sampled_from([4.0, 7.7, 12.0, 20.3])),
        objective={
            "kl_coefficient": β,
            "reward_range": draw(st.sampled_from([1.0, 3.0])),
            "failure_probability": draw(st.sampled_from([0.05, 0.5])),
        },
        bound=draw(st.sampled_from(BOUNDS)),
        costs={
            "prompt": prompt,
            "rollout": draw(PRICES),
            "label": draw(PRICES),
            "fixed": draw(st.sampled_from([0.0, 0.7])),
        },
        reward_model=draw(st.sampled_from(REWARD_MODELS)),
        log_ratio=draw(st.sampled_from(FAMILIES)),
        groups=groups,
        limits={
            "prompts": {"min": draw(st.sampled_from([1, 2])), "max": 14},
            "rollouts_per_prompt": {"max": 9} if schedule else rollouts,
            **schedule,
            "labels": {"max": draw(st.sampled_from([9, 25]))},
            "clip_threshold": clip,
        },
    )


def exact_cost(mapping: dict[str, Any], n: int, K: int, m: int) -> Fraction:
    costs = mapping["costs"]
    prompt = costs["prompt"]
    if not isinstance(prompt, dict):
        prompt = {"acquisition": prompt, "existing": 0, "prefill": 0}
    price = {key: Fraction(str(value)) for key, value in prompt.items()}
    return (
        Fraction(str(costs["fixed"]))
        + price["acquisition"] * max(0, n - prompt["existing"])
        + price["prefill"] * n
        + Fraction(str(costs["rollout"])) * n * K
        + Fraction(str(costs["label"])) * m
    )


def enumerated(mapping: dict[str, Any]) -> list[tuple[float, Fraction, int, int, int]]:
    """Every feasible allocation with its best clipping: (total, cost, n, K, m)."""
    scenario = load_scenario(mapping)
    limits, budget = scenario.limits, Fraction(str(mapping["budget"]))
    model = mapping["reward_model"]
    buys = model != "verifiable" and isinstance(model["error"], dict)
    labels = range((limits.labels.max or 0) + 1) if buys else range(1)
    found = []
    for n in range(limits.prompts.min, (limits.prompts.max or 0) + 1):
        for K in rollout_choices(limits):
            for m in labels:
                cost = exact_cost(mapping, n, K, m)
                if cost <= budget:
                    total = evaluate(scenario, Allocation(n, K, m, None)).total
                    found.append((total, cost, n, K, m))
    return found


@given(small_scenarios())
@settings(max_examples=120)
def test_nothing_feasible_beats_the_certified_optimum(mapping: dict[str, Any]) -> None:
    everything = enumerated(mapping)
    scenario = load_scenario(mapping)
    if not everything:
        with pytest.raises(InfeasibleError) as failure:
            optimise(scenario)
        enough = optimise(scenario.with_values({"budget": failure.value.least_budget}))
        assert enough.cost.total <= failure.value.least_budget
        return
    found = optimise(scenario)
    best = min(everything)[0]
    assert found.bound.total <= best * (1 + 1e-12)
    assert found.certificate.lower_bound <= best * (1 + 1e-13)
    a = found.allocation
    cost = exact_cost(mapping, a.prompts, a.rollouts_per_prompt, a.labels)
    assert cost <= Fraction(str(mapping["budget"]))
    assert found.cost.total == float(cost)
    assert a.rollouts_per_prompt in rollout_choices(scenario.limits)
    cheapest = min(cost for total, cost, *_ in everything if total <= best * (1 + 1e-13))
    assert cost == cheapest or found.bound.total < best


@given(small_scenarios(), st.floats(1.001, 3.0))
@settings(max_examples=40)
def test_no_feasible_allocation_reaches_a_target_for_less(
    mapping: dict[str, Any], slack: float
) -> None:
    everything = enumerated(mapping)
    if not everything:
        return
    target = min(everything)[0] * slack
    least = min(cost for total, cost, *_ in everything if total <= target)
    found = least_cost(load_scenario(mapping), target)
    assert found.bound.total <= target
    assert found.cost.total <= float(least) * (1 + 1e-12)
    assert found.target is not None
    assert found.target.least_cost_lower_bound <= float(least) * (1 + 1e-12)


# --- the best clip threshold ---------------------------------------------------------------------


@pytest.mark.parametrize("log_ratio", FAMILIES, ids=lambda law: law["family"])
def test_no_clip_threshold_beats_the_recommended_one(log_ratio: dict[str, Any]) -> None:
    scenario = load_scenario(scenario_mapping(log_ratio=log_ratio, budget=2000.0))
    found = optimise(scenario)
    a = found.allocation
    for step in range(400):
        other = Allocation(a.prompts, a.rollouts_per_prompt, a.labels, 0.1 * step)
        assert evaluate(scenario, other).total >= found.bound.total * (1 - 1e-13)


# --- metamorphic ---------------------------------------------------------------------------------


def test_money_in_another_unit_changes_nothing() -> None:
    cents = scenario_mapping(
        budget=5000000.0, costs={"prompt": 500.0, "rollout": 2.0, "label": 150.0}
    )
    found, same = (optimise(load_scenario(m)) for m in (scenario_mapping(), cents))
    assert found.allocation == same.allocation
    assert close(same.cost.total, 100 * found.cost.total)


def test_rewards_in_another_unit_scale_the_bound() -> None:
    tenfold = scenario_mapping(
        objective={"kl_coefficient": 0.5, "reward_range": 10.0, "failure_probability": 0.05},
        reward_model={"coverage": 2.0, "error": {"floor": 2.0, "scale": 800.0, "exponent": 0.8}},
    )
    found, same = (optimise(load_scenario(m)) for m in (scenario_mapping(), tenfold))
    assert found.allocation == same.allocation
    assert close(same.bound.total, 10 * found.bound.total)


def test_more_money_is_never_worse() -> None:
    budgets = [6.0, 10.0, 55.5, 300.0, 1e4, 1e5, 3e6, 1e9, 1e14]
    totals = [
        optimise(load_scenario(scenario_mapping(budget=budget))).bound.total for budget in budgets
    ]
    assert totals == sorted(totals, reverse=True)


@pytest.mark.parametrize(
    "limits",
    [
        {"prompts": {"max": 3000}},
        {"prompts": {"min": 9000}},
        {"rollouts_per_prompt": 3},
        {"rollouts_per_prompt": {"choices": [1, 128]}},
        {"labels": {"max": 5000}},
        {"labels": 20000},
        {"clip_threshold": {"max": 9.0}},
        {"clip_threshold": 40.0},
    ],
)
def test_a_tighter_limit_is_never_better(limits: dict[str, Any]) -> None:
    free = optimise(load_scenario(scenario_mapping(limits={"rollouts_per_prompt": {"max": 128}})))
    tight = optimise(load_scenario(scenario_mapping(limits=limits)))
    assert tight.bound.total >= free.bound.total * (1 - 1e-12)


def test_verifiable_is_the_limit_of_a_perfect_reward_model() -> None:
    verifiable = optimise(load_scenario(scenario_mapping(reward_model="verifiable")))
    nearly = optimise(
        load_scenario(scenario_mapping(reward_model={"coverage": 1.0, "error": 1e-24}))
    )
    assert verifiable.allocation == nearly.allocation
    assert nearly.bound.total == pytest.approx(verifiable.bound.total, rel=1e-9)
    assert (verifiable.bound.coverage, verifiable.bound.reward_error) == (1.0, 0.0)
    assert verifiable.allocation.labels == 0


# --- edges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1e-3, 0.01, 6.0, 1e12, 1e20, 1e100, 1e300])
def test_any_budget_is_answered(budget: float) -> None:
    costs = {"prompt": 1e-4, "rollout": 1e-4, "label": 1e-4}
    found = optimise(load_scenario(scenario_mapping(budget=budget, costs=costs)))
    assert found.cost.total <= budget
    assert found.certificate.proved
    assert math.isfinite(found.bound.total)


@pytest.mark.parametrize("free", ["prompt", "rollout", "label", "all"])
def test_zero_prices_are_answered(free: str) -> None:
    costs = {"prompt": 5.0, "rollout": 0.02, "label": 1.5}
    costs = dict.fromkeys(costs, 0.0) if free == "all" else costs | {free: 0.0}
    found = optimise(load_scenario(scenario_mapping(costs=costs)))
    assert found.cost.total <= 50000.0
    assert found.certificate.proved


@pytest.mark.parametrize("δ", [1e-300, 1e-9, 0.999999999])
def test_any_failure_probability_is_answered(δ: float) -> None:
    objective = {"kl_coefficient": 0.05, "failure_probability": δ}
    found = optimise(load_scenario(scenario_mapping(objective=objective)))
    assert found.certificate.proved
    assert math.isfinite(found.bound.total)


def test_labels_on_a_plateau_are_not_bought() -> None:
    model = {"coverage": 2.0, "error": {"floor": 1.5, "scale": 8.0, "exponent": 0.8}}
    found = optimise(load_scenario(scenario_mapping(reward_model=model)))
    assert found.allocation.labels == 0
    flat = {"coverage": 2.0, "error": {"floor": 0.02, "scale": 0.0, "exponent": 0.8}}
    assert optimise(load_scenario(scenario_mapping(reward_model=flat))).allocation.labels == 1


def test_infeasible_names_the_limits_and_the_least_budget() -> None:
    limits = {"prompts": {"min": 2000}, "labels": {"min": 100000}}
    with pytest.raises(InfeasibleError) as failure:
        optimise(load_scenario(scenario_mapping(limits=limits)))
    assert failure.value.least_budget == 2000 * 5.02 + 150000
    assert failure.value.shortfall == 110040
    assert failure.value.limits == ("limits.prompts.min", "limits.labels.min")


# --- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scenario"]["name"])
def test_target_round_trip(case: dict[str, Any]) -> None:
    scenario = load_scenario(case["scenario"])
    target = case["optimum"]["total"] * 1.02
    found = least_cost(scenario, target)
    assert found.bound.total <= target
    assert found.certificate.proved
    enough = scenario.with_values({"budget": found.cost.total})
    assert optimise(enough).bound.total <= target * (1 + 1e-12)
    less = scenario.with_values({"budget": found.cost.total * 0.998})
    assert optimise(less).bound.total > target


def test_an_unreachable_target_is_said_with_the_infimum() -> None:
    with pytest.raises(UnreachableTargetError) as failure:
        least_cost(load_scenario(scenario_mapping()), 2.0 * math.sqrt(0.02))
    assert failure.value.infimum == pytest.approx(2.0 * math.sqrt(0.02))
    assert "reward_model.error.floor" in failure.value.limits


def test_the_infimum_is_approached_but_not_passed() -> None:
    scenario = load_scenario(scenario_mapping(budget=1e15))
    found = optimise(scenario)
    assert found.bound.irreducible == pytest.approx(2.0 * math.sqrt(0.02))
    assert found.bound.irreducible < found.bound.total < found.bound.irreducible * 1.01
    capped = scenario_mapping(limits={"prompts": {"max": 1000}, "labels": {"max": 500}})
    most = optimise(load_scenario({**capped, "budget": 1e9}))
    assert most.bound.total == pytest.approx(most.bound.irreducible, rel=1e-12)


@pytest.mark.parametrize("written", [1e150, 1e300, [0, 1e200], [-1e308, 1e308]])
def test_rewards_too_large_to_square_are_refused(written: Any) -> None:
    objective = {"kl_coefficient": 0.05, "reward_range": written}
    with pytest.raises(ScenarioError) as failure:
        load_scenario(scenario_mapping(objective=objective))
    assert failure.value.problems[0].key == "objective.reward_range"
