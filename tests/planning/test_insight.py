"""Closed forms, alternatives, assumed constants and the current allocation beside a plan."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from conftest import scenario_mapping

from rlhf_budget import Plan, evaluate, load_scenario
from rlhf_budget.bound.closed_form import closed_form
from rlhf_budget.bound.guarantees import guarantees
from rlhf_budget.errors import RlhfBudgetError
from rlhf_budget.optimum.certified import TOLERANCE, least_cost, optimise
from rlhf_budget.planning.insight import alternatives, assumed, current
from rlhf_budget.planning.planner import plan
from rlhf_budget.planning.questions import Question, answers

if TYPE_CHECKING:
    from rlhf_budget.bound.results import ClosedForm


def optimum(**changes: Any) -> Any:
    return optimise(load_scenario(scenario_mapping(**changes)))


def textbook(found: Any) -> ClosedForm:
    return closed_form(found.scenario, found.allocation)


def every_alternative(found: Any) -> Question[Any]:
    return alternatives(found, guarantees(found.scenario, found.allocation))


def answered(question: Question[Any]) -> Any:
    return answers([question], TOLERANCE)[0]


# --- closed forms --------------------------------------------------------------------------------

NO_KL = {"kl_coefficient": 0.0}


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 1.74, 1.75, 5.0, 27.0, 250.0, 1000.0])
def test_hoeffdings_rule_and_its_integer_neighbours(ratio: float) -> None:
    costs = {"prompt": ratio, "rollout": 1.0, "label": 1.0}
    found = optimum(costs=costs, reward_model="verifiable", objective=NO_KL, budget=1e9, limits={})
    rule = textbook(found).rollouts_per_prompt
    assert rule == pytest.approx(max(1.0, ratio ** (2 / 3)), rel=1e-12)
    assert rule is not None
    neighbours = (math.floor(rule), math.ceil(rule))
    best = min(neighbours, key=lambda k: (ratio + k) * (1 + k**-0.5) ** 2)
    assert found.allocation.rollouts_per_prompt == best


def test_neighbours_are_compared_never_rounded() -> None:
    costs = {"prompt": 1.75, "rollout": 1.0, "label": 1.0}
    found = optimum(costs=costs, reward_model="verifiable", objective=NO_KL, budget=1e9, limits={})
    assert textbook(found).rollouts_per_prompt == pytest.approx(1.4522, abs=1e-4)
    assert found.allocation.rollouts_per_prompt == 2


def two_levels(prompt: float, rollout: float, between: float, within: float) -> Any:
    bound = {
        "concentration": "bernstein",
        "prompt_variance": between,
        "rollout_variance": within,
    }
    costs = {"prompt": prompt, "rollout": rollout, "label": 1.0}
    return optimum(
        bound=bound,
        costs=costs,
        reward_model="verifiable",
        objective=NO_KL,
        budget=1e9 * max(prompt, rollout),
        limits={},
    )


PUBLISHED = [
    # odr 1.7.3, vignette: icc 0.2, mean cluster cost 27.5 and mean unit cost 1
    (27.5, 1.0, 0.2, 10.48809, 5e-6),
    # PracTools 1.7.5, clusOpt2: C1, C2, delta
    (130.0, 1.0, 0.04874621, 50.4, 0.05),
    (180.0, 1.0, 0.06565537, 50.6, 0.05),
    (5.0, 1.0, 0.002080169, 49.0, 0.5),
    (350.0, 1.0, 0.1263582, 49.2, 0.05),
    # Optimal.sample, article and its dual: cluster cost f, unit cost v, rho 0.05 (from a numerical
    # optimiser, whose last digits are its tolerance)
    (500.0, 150.0, 0.05, 7.9582249, 2e-6),
    (18000.0, 2200.0, 0.05, 12.4681418, 2e-6),
    (500.0, 100.0, 0.05, 9.746796, 2e-6),
    (18000.0, 2150.0, 0.05, 12.612286, 2e-6),
]


@pytest.mark.parametrize(("prompt", "rollout", "icc", "printed", "precision"), PUBLISHED)
def test_the_two_level_rule_is_what_survey_software_prints(
    prompt: float, rollout: float, icc: float, printed: float, precision: float
) -> None:
    total = 0.04
    found = two_levels(prompt, rollout, icc * total, (1 - icc) * total)
    rule = textbook(found).rollouts_per_prompt
    assert rule == pytest.approx(printed, abs=precision)


@pytest.mark.parametrize(("prompt", "rollout", "icc", "printed", "precision"), PUBLISHED)
def test_the_numerical_k_is_the_better_integer_neighbour(
    prompt: float, rollout: float, icc: float, printed: float, precision: float
) -> None:
    """With so many prompts that Bernstein's second term, free of K, plays no part."""
    between, within = 0.04 * icc, 0.04 * (1 - icc)
    found = two_levels(prompt, rollout, between, within)

    def variance(k: int) -> float:
        return (between + within / k) * (prompt + k * rollout)

    best = min((math.floor(printed), math.ceil(printed)), key=variance)
    chosen = found.allocation.rollouts_per_prompt
    assert chosen == best or variance(chosen) <= variance(best) * (1 + 1e-4)


def test_prompt_means_need_one_rollout() -> None:
    found = optimum(bound={"concentration": "prompt_mean"})
    assert textbook(found).rollouts_per_prompt == 1.0
    assert found.allocation.rollouts_per_prompt == 1


OWNED = {"acquisition": 5.0, "existing": 100, "prefill": 0.01}
BERNSTEIN = {"concentration": "bernstein", "prompt_variance": 0.0, "rollout_variance": 0.1}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"costs": {"prompt": 5.0, "rollout": 0.0, "label": 1.5}}, "free"),
        ({"costs": {"prompt": OWNED, "rollout": 0.02, "label": 1.5}}, "pool"),
        ({"limits": {"prompts": {"max": 3000}}}, "limit on prompts"),
        ({"limits": {"prompts": {"min": 9000}}}, "least number"),
        ({"bound": {"policy": "pac_bayes", "posterior_kl": 3.0}}, "sample size"),
        ({"bound": BERNSTEIN}, "without variance between"),
        ({"costs": {"prompt": 1e-9, "rollout": 1e-9, "label": 1.0}, "budget": 1e9}, "limit"),
        ({"costs": {"prompt": 1e160, "rollout": 1e-160, "label": 1.0}, "budget": 1e170}, "free"),
    ],
)
def test_where_no_rule_applies_the_reason_is_said(changes: dict[str, Any], word: str) -> None:
    form = textbook(optimum(**changes))
    assert form.rollouts_per_prompt is None
    assert word in form.rule


# --- alternatives --------------------------------------------------------------------------------

VARIANCES = {"prompt_variance": 0.02, "rollout_variance": 0.05}


@pytest.mark.parametrize(
    ("bound", "names"),
    [
        ({}, ["prompt_mean"]),
        (VARIANCES, ["prompt_mean", "bernstein"]),
        ({"concentration": "bernstein", **VARIANCES}, ["hoeffding", "prompt_mean"]),
        ({"concentration": "prompt_mean", **VARIANCES}, ["hoeffding", "bernstein"]),
        ({"policy": "pac_bayes", "posterior_kl": 2.0, **VARIANCES}, ["prompt_mean"]),
        ({"policy": "finite_class", "candidates": 9, **VARIANCES}, ["prompt_mean", "bernstein"]),
        ({"prompt_variance": 0.02}, ["prompt_mean"]),
    ],
)
def test_alternatives_are_those_that_the_constants_allow(
    bound: dict[str, Any], names: list[str]
) -> None:
    found = answered(every_alternative(optimum(bound=bound)))
    assert [other.concentration for other in found] == names
    for other in found:
        changed = bound | {"concentration": other.concentration}
        again = optimum(bound=changed)
        assert (other.total, other.allocation) == (again.bound.total, again.allocation)
        assert other.cost is None


def test_alternatives_of_a_target_are_for_the_same_target() -> None:
    scenario = load_scenario(scenario_mapping(bound=VARIANCES))
    for other in answered(every_alternative(least_cost(scenario, 0.42))):
        assert other.total <= 0.42
        assert other.cost is not None
        changed = scenario.with_values({"bound.concentration": other.concentration})
        assert least_cost(changed, 0.42).cost == other.cost


# --- assumed constants ---------------------------------------------------------------------------


def test_a_range_is_planned_at_its_middle_and_both_ends() -> None:
    curve = {"floor": 0.02, "scale": 8.0, "exponent": 0.8}
    model = {"coverage": {"low": 1.5, "high": 24.0}, "error": curve}
    sources = {"reward_model.coverage": "guess"}
    found = optimum(reward_model=model, sources=sources)
    (entry,) = answered(assumed(found))
    assert (entry.constant, entry.kind) == ("reward_model.coverage", "range")
    assert (entry.value, entry.low, entry.high) == (pytest.approx(6.0), 1.5, 24.0)
    assert entry.source == "guess"
    for end, allocation in ((1.5, entry.allocation_at_low), (24.0, entry.allocation_at_high)):
        assert allocation == optimum(reward_model=model | {"coverage": end}).allocation


def test_an_unknown_coverage_ranges_to_what_the_divergence_allows() -> None:
    curve = {"floor": 0.02, "scale": 8.0, "exponent": 0.8}
    found = optimum(reward_model={"coverage": "unknown", "error": curve})
    (entry,) = answered(assumed(found))
    assert (entry.kind, entry.low) == ("unknown", 1.0)
    assert entry.high == pytest.approx(math.exp(6.0))
    assert entry.value == pytest.approx(math.exp(3.0))


def test_an_unknown_error_is_three_ranges() -> None:
    found = optimum(reward_model={"coverage": 2.0, "error": "unknown"})
    entries = answered(assumed(found))
    assert {entry.constant.rpartition(".")[2] for entry in entries} == {
        "floor",
        "scale",
        "exponent",
    }
    for entry in entries:
        assert entry.low < entry.value < entry.high
        assert entry.allocation_at_low is not None
        assert entry.allocation_at_high is not None


def test_an_end_that_is_infeasible_has_no_allocation() -> None:
    costs = {"prompt": 5.0, "rollout": 0.02, "label": 1.5, "fixed": {"low": 10.0, "high": 60000.0}}
    (entry,) = answered(assumed(optimum(costs=costs)))
    assert entry.allocation_at_low is not None
    assert entry.allocation_at_high is None


def test_every_kind_of_constant_may_be_a_range() -> None:
    ends = {"low": 0.01, "high": 0.09}
    found = optimum(
        objective={"kl_coefficient": ends, "failure_probability": ends},
        bound={
            "concentration": "bernstein",
            "prompt_variance": ends,
            "rollout_variance": "unknown",
        },
        costs={"prompt": {"low": 1.0, "high": 9.0}, "rollout": ends, "label": 1.5},
        log_ratio={"family": "gaussian", "kl": "unknown"},
    )
    entries = {entry.constant: entry for entry in answered(assumed(found))}
    assert len(entries) == 7
    for name, entry in entries.items():
        assert entry.allocation_at_low is not None, name
        assert entry.allocation_at_high is not None, name


# --- the current allocation ----------------------------------------------------------------------


def planned(**changes: Any) -> Plan:
    return plan(load_scenario(scenario_mapping(**changes)))


def test_what_is_done_now_is_evaluated_as_it_is() -> None:
    done = {"prompts": 3000, "rollouts_per_prompt": 8, "labels": 9000, "clip_threshold": 10.0}
    found = optimum(current=done)
    now = current(found)
    assert now is not None
    assert now.bound == evaluate(found.scenario, now.allocation)
    assert now.allocation.clip_threshold == 10.0
    assert now.cost.total == 3000 * 5.0 + 24000 * 0.02 + 9000 * 1.5
    assert now.excess == now.bound.total - found.bound.total > 0
    assert now.excess_relative == now.excess / found.bound.total
    assert now.violations == ()


def test_a_missing_threshold_is_the_best_one() -> None:
    now = current(optimum(current={"prompts": 3000, "rollouts_per_prompt": 8}))
    assert now is not None
    assert now.allocation.labels == 0
    best = evaluate(load_scenario(scenario_mapping()), now.allocation)
    for step in range(100):
        other = now.allocation.__class__(3000, 8, 0, 0.4 * step)
        assert evaluate(load_scenario(scenario_mapping()), other).total >= best.total * (1 - 1e-13)


def test_without_a_kl_coefficient_a_threshold_means_nothing() -> None:
    done = {"prompts": 30, "rollouts_per_prompt": 8, "clip_threshold": 10.0}
    now = current(optimum(current=done, objective=NO_KL))
    assert now is not None
    assert now.allocation.clip_threshold is None


def test_what_breaks_budget_or_limits_is_evaluated_and_said() -> None:
    limits = {"prompts": {"max": 5000}, "rollouts_per_prompt": {"choices": [4, 16]}}
    done = {"prompts": 20000, "rollouts_per_prompt": 8, "labels": 10}
    now = current(optimum(current=done, limits=limits))
    assert now is not None
    assert now.violations == (
        "budget",
        "limits.rollouts_per_prompt.choices",
        "limits.prompts.max",
    )
    assert now.cost.unspent is not None
    assert now.cost.unspent < 0


def test_no_current_allocation_no_comparison() -> None:
    assert current(optimum()) is None


def test_the_plans_own_allocation_has_no_excess() -> None:
    a = planned().allocation
    done = {
        "prompts": a.prompts,
        "rollouts_per_prompt": a.rollouts_per_prompt,
        "labels": a.labels,
        "clip_threshold": a.clip_threshold,
    }
    now = planned(current=done).current
    assert now is not None
    assert now.excess == 0.0
    assert now.violations == ()


def test_what_cannot_be_planned_raises_only_our_errors() -> None:
    with pytest.raises(RlhfBudgetError):
        optimum(budget=1.0)
