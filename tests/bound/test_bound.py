"""The terms of the bound against formulas written out by hand, and their limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conftest import scenario_mapping

from rlhf_budget import Allocation, evaluate, load_scenario
from rlhf_budget.bound.inequalities import ornstein_uhlenbeck_kl
from rlhf_budget.bound.terms import (
    best_clip_threshold,
    bound_of,
    constants_of,
    coverage,
    reward_error,
    rollout_choices,
    sampling_shape,
    scenario_tail,
    stack,
    take,
)
from rlhf_budget.scenario.sections.bound import Sgd

N, K, R, β, δ, τ = 700, 3, 1.0, 0.05, 0.05, 4.0
WIDTH = R + 2 * β * τ


def sampling(**bound: Any) -> float:
    scenario = load_scenario(scenario_mapping(bound=bound))
    return evaluate(scenario, Allocation(N, K, 100, τ)).sampling


def halves(Λ_prompts: float, Λ_rollouts: float) -> float:
    return math.sqrt(Λ_prompts / (2 * N)) + math.sqrt(Λ_rollouts / (2 * N * K))


def test_theorem_1() -> None:
    Λ = math.log(4 / δ)
    assert sampling() == pytest.approx(WIDTH * halves(Λ, Λ), rel=1e-14)


def test_a_finite_class_costs_its_logarithm() -> None:
    Λ = math.log(4 / δ) + math.log(20)
    found = sampling(policy="finite_class", candidates=20)
    assert found == pytest.approx(WIDTH * halves(Λ, Λ), rel=1e-14)
    assert sampling(policy="finite_class", candidates=1) == sampling()


def test_theorem_2_has_a_confidence_for_each_half() -> None:
    prompts = 7.5 + math.log(4 * math.sqrt(N) / δ)
    rollouts = 7.5 + math.log(4 * math.sqrt(N * K) / δ)
    found = sampling(policy="pac_bayes", posterior_kl=7.5)
    assert found == pytest.approx(WIDTH * halves(prompts, rollouts), rel=1e-14)


def test_prompt_means_spend_the_failure_probability_once() -> None:
    fixed = WIDTH * math.sqrt(math.log(2 / δ) / (2 * N))
    assert sampling(concentration="prompt_mean") == pytest.approx(fixed, rel=1e-14)
    Λ = 7.5 + math.log(2 * math.sqrt(N) / δ)
    found = sampling(concentration="prompt_mean", policy="pac_bayes", posterior_kl=7.5)
    assert found == pytest.approx(WIDTH * math.sqrt(Λ / (2 * N)), rel=1e-14)


def test_bernstein() -> None:
    Λ = math.log(2 / δ) + math.log(6)
    expected = math.sqrt(2 * (0.03 + 0.05 / K) * Λ / N) + WIDTH * Λ / (3 * N)
    found = sampling(
        concentration="bernstein",
        policy="finite_class",
        candidates=6,
        prompt_variance=0.03,
        rollout_variance=0.05,
    )
    assert found == pytest.approx(expected, rel=1e-14)


def test_prompt_means_are_always_below_theorem_1() -> None:
    for n, k in ((1, 1), (5, 64), (10**6, 1), (10**12, 1024)):
        at = Allocation(n, k, 0, 1.0)
        scenario = load_scenario(scenario_mapping())
        tighter = load_scenario(scenario_mapping(bound={"concentration": "prompt_mean"}))
        assert evaluate(tighter, at).sampling < evaluate(scenario, at).sampling


def test_the_divergence_of_sgd_is_that_of_two_gaussians() -> None:
    sgd = Sgd(1e-2, 32, (2.0, 0.5, 7.0), (0.3, 0.9, 0.1), prior_std=0.05, distance=0.2)
    variances = [
        1e-2 * noise / (2 * 32 * curvature)
        for curvature, noise in zip(sgd.hessian_eigenvalues, (0.3, 0.9, 0.1), strict=True)
    ]
    shift = (0.2, 0.0, 0.0)
    expected = sum(
        math.log(0.05 / math.sqrt(v)) + (v + mean**2) / (2 * 0.05**2) - 0.5
        for v, mean in zip(variances, shift, strict=True)
    )
    assert ornstein_uhlenbeck_kl(sgd) == pytest.approx(expected, rel=1e-12)
    prior = Sgd(2.0, 1, (1.0,), (0.25,), prior_std=0.5, distance=0.0)
    assert ornstein_uhlenbeck_kl(prior) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(
    "bound",
    [
        {"concentration": "hoeffding", "policy": "pac_bayes", "posterior_kl": 0.0},
        {"concentration": "prompt_mean", "policy": "pac_bayes", "posterior_kl": 0.0},
        {"concentration": "bernstein", "prompt_variance": 0.1, "rollout_variance": 0.2},
    ],
    ids=lambda bound: bound["concentration"],
)
def test_sampling_falls_in_prompts_and_never_rises_in_rollouts(bound: dict[str, Any]) -> None:
    objective = {"kl_coefficient": 0.05, "failure_probability": 1 - 1e-12}
    scenario = load_scenario(scenario_mapping(bound=bound, objective=objective))
    constants = constants_of(scenario)
    n = np.unique(np.concatenate((np.arange(1, 60), np.geomspace(60, 1e12, 200).round())))
    for k in (1.0, 2.0, 17.0):
        for part in (0, 1):
            values = np.broadcast_to(
                sampling_shape(constants, n, np.full_like(n, k))[part], n.shape
            )
            more = np.broadcast_to(
                sampling_shape(constants, n, np.full_like(n, k + 1))[part], n.shape
            )
            assert (np.diff(values) <= 0).all()
            assert (more <= values).all()


# --- reward shift --------------------------------------------------------------------------------


def shift_at(labels: int, **model: Any) -> tuple[float, float]:
    curve = {"floor": 0.02, "scale": 8.0, "exponent": 0.8}
    scenario = load_scenario(scenario_mapping(reward_model={"error": curve, **model}))
    constants = constants_of(scenario)
    found = evaluate(scenario, Allocation(N, K, labels, τ))
    assert found.reward_shift == pytest.approx(found.coverage * math.sqrt(found.reward_error))
    assert float(coverage(constants, labels)) == found.coverage
    assert float(reward_error(constants, labels)) == found.reward_error
    return found.coverage, found.reward_error


def test_the_error_curve_starts_at_the_range_and_stays_below_it() -> None:
    assert shift_at(0, coverage=2.0) == (2.0, 1.0)
    assert shift_at(1, coverage=2.0) == (2.0, 1.0)
    C, L = shift_at(900, coverage=2.0, existing_labels=100)
    assert C == 2.0
    assert pytest.approx(0.02 + 8 * 1000**-0.8, rel=1e-14) == L
    assert shift_at(0, coverage=2.0, existing_labels=1000)[1] == pytest.approx(L, rel=1e-14)


@pytest.mark.parametrize("labels", [1, 5, 1000, 10**12])
def test_fresh_labels_mend_coverage(labels: int) -> None:
    share = labels / (labels + 50)
    C, _ = shift_at(labels, coverage=3.0, existing_labels=50, label_policy="current")
    assert pytest.approx(3 / math.sqrt(1 + share * (9 - 1)), rel=1e-13) == C
    assert shift_at(labels, coverage=3.0, label_policy="current")[0] == pytest.approx(1, rel=1e-15)


def test_without_a_fresh_label_coverage_is_that_of_the_old_ones() -> None:
    assert shift_at(0, coverage=3.0, existing_labels=50, label_policy="current")[0] == 3.0
    assert shift_at(0, coverage=3.0, label_policy="current") == (3.0, 1.0)
    assert shift_at(0, label_policy="current") == (1.0, 1.0)


@pytest.mark.parametrize("C", [1e154, 1e160, 1e300])
def test_a_coverage_whose_square_overflows_is_mended_too(C: float) -> None:
    mended, _ = shift_at(1000, coverage=C, existing_labels=1000, label_policy="current")
    assert mended == pytest.approx(math.sqrt(2), rel=1e-12)
    assert shift_at(0, coverage=C, existing_labels=1000, label_policy="current")[0] == C


def test_chi_squared_is_another_way_to_say_coverage() -> None:
    assert shift_at(7, chi2=15.0)[0] == 4.0


def test_a_finished_reward_model_keeps_its_error() -> None:
    assert shift_at(0, coverage=2.0, error=0.04) == (2.0, 0.04)


# --- clipping ------------------------------------------------------------------------------------


def test_the_best_threshold_is_the_quantile_of_the_papers_rule() -> None:
    scenario = load_scenario(scenario_mapping(log_ratio={"family": "exponential", "mean": 3.0}))
    tail = scenario_tail(scenario)
    assert tail is not None
    for s1 in (1e-9, 1e-3, 0.2, 0.499999):
        found = best_clip_threshold(tail, s1, scenario.limits)
        assert found == pytest.approx(-3 * math.log(2 * s1), rel=1e-12)
    assert best_clip_threshold(tail, 0.5, scenario.limits) == 0.0
    assert best_clip_threshold(tail, 7.0, scenario.limits) == 0.0


def test_clipping_is_the_integral_of_the_tail() -> None:
    scenario = load_scenario(scenario_mapping())
    tail = scenario_tail(scenario)
    assert tail is not None
    grid = np.linspace(τ, 80.0, 200_001)
    integral = float(np.trapezoid(tail.survival(grid), grid))
    found = evaluate(scenario, Allocation(N, K, 100, τ))
    assert found.kl_clipping == pytest.approx(β * integral, rel=1e-8)
    assert found.clipped_share == float(tail.survival(τ))


def test_without_a_threshold_the_best_within_limits_is_taken() -> None:
    scenario = load_scenario(scenario_mapping(limits={"clip_threshold": {"min": 30, "max": 31}}))
    free = evaluate(scenario, Allocation(N, K, 100, None))
    assert free == evaluate(scenario, Allocation(N, K, 100, 30.0))


def test_without_a_kl_coefficient_nothing_is_clipped() -> None:
    scenario = load_scenario(scenario_mapping(objective={"kl_coefficient": 0}, log_ratio=None))
    found = evaluate(scenario, Allocation(N, K, 100, None))
    assert (found.kl_clipping, found.clipped_share) == (0.0, None)
    assert found.sampling == pytest.approx(halves(math.log(80), math.log(80)), rel=1e-14)


def test_the_total_is_the_sum_and_vacuous_from_the_range_on() -> None:
    scenario = load_scenario(scenario_mapping())
    found = evaluate(scenario, Allocation(N, K, 100, τ))
    assert found.total == found.sampling + found.reward_shift + found.kl_clipping
    assert found.vacuous == (found.total >= R)
    verifiable = scenario_mapping(
        reward_model="verifiable", objective={"kl_coefficient": 0, "failure_probability": 0.5}
    )
    few, many = (evaluate(load_scenario(verifiable), Allocation(n, 1, 0, None)) for n in (4, 5))
    assert few.vacuous == (few.total >= 1)
    assert (few.total > 1) != (many.total > 1)
    assert (few.vacuous, many.vacuous) == (True, False)


# --- the infimum ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2 * math.sqrt(0.02)),
        ({"reward_model": "verifiable"}, 0.0),
        ({"reward_model": {"coverage": 2.0, "error": 0.09}}, 0.6),
        (
            {
                "reward_model": {
                    "coverage": 3.0,
                    "existing_labels": 9,
                    "label_policy": "current",
                    "error": {"floor": 0.04, "scale": 1.0, "exponent": 1.0},
                }
            },
            0.2,
        ),
        ({"limits": {"labels": {"max": 1}}}, 2.0),
        (
            {
                "limits": {"clip_threshold": {"max": 3.0}},
                "log_ratio": {"family": "exponential", "mean": 2.0},
                "reward_model": "verifiable",
            },
            0.05 * 2 * math.exp(-1.5),
        ),
    ],
)
def test_the_infimum_over_all_budgets(changes: dict[str, Any], expected: float) -> None:
    assert bound_of(load_scenario(scenario_mapping(**changes))).infimum() == pytest.approx(
        expected, rel=1e-12
    )


def test_with_all_limits_the_infimum_is_attained_at_them() -> None:
    limits = {"prompts": {"max": 40}, "rollouts_per_prompt": {"max": 6}, "labels": {"max": 30}}
    scenario = load_scenario(scenario_mapping(limits=limits))
    at_limits = evaluate(scenario, Allocation(40, 6, 30, None))
    assert bound_of(scenario).infimum() == pytest.approx(at_limits.total, rel=1e-15)
    assert at_limits.irreducible == bound_of(scenario).infimum()


def test_choices_of_rollouts() -> None:
    def choices(limit: Any) -> tuple[int, ...]:
        mapping = scenario_mapping(limits={"rollouts_per_prompt": limit})
        return rollout_choices(load_scenario(mapping).limits)

    assert choices({"choices": [16, 4, 8]}) == (4, 8, 16)
    assert choices({"min": 3, "max": 5}) == (3, 4, 5)
    assert choices(7) == (7,)
    assert choices({}) == tuple(range(1, 257))
    assert choices({"max": 1024})[-1] == 1024


def test_stacked_constants_give_the_same_terms() -> None:
    scenarios = [
        load_scenario(scenario_mapping(reward_model={"coverage": C, "error": curve}))
        for C, curve in (
            (2.0, {"floor": 0.02, "scale": 8.0, "exponent": 0.8}),
            (9.0, {"floor": 0.0, "scale": 1.0, "exponent": 0.3}),
        )
    ]
    singles = [constants_of(scenario) for scenario in scenarios]
    picked = take(stack(singles), np.array([1, 0, 1]))
    labels = np.array([0.0, 10.0, 1e6])
    expected = [float(reward_error(singles[i], m)) for i, m in zip((1, 0, 1), labels, strict=True)]
    assert reward_error(picked, labels) == pytest.approx(expected, rel=1e-14)
