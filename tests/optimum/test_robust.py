"""The robust optimum against brute force over all plans and thresholds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from rlhf_budget import Scenario
from rlhf_budget.optimum.case import prepare
from rlhf_budget.optimum.robust import Risk, minimise_risk, robust_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rlhf_budget.optimum.case import Case

SHARES = {"mean": 1.0, "cvar": 0.4, "regret": 0.0}


@st.composite
def draws(draw: st.DrawFn) -> list[Case]:
    """A few draws of a scenario so small that all its plans can be listed."""
    family = draw(st.sampled_from(["gaussian", "exponential", "empirical", "none"]))
    buys = draw(st.booleans())
    written = {
        "budget": draw(st.integers(20, 60)),
        "objective": {"kl_coefficient": 0.0 if family == "none" else 0.2},
        "bound": {
            "concentration": draw(st.sampled_from(["hoeffding", "prompt_mean", "bernstein"])),
            "prompt_variance": 0.1,
            "rollout_variance": 0.1,
        },
        "costs": {"prompt": {"acquisition": 1, "existing": draw(st.integers(0, 9))}, "rollout": 0.5}
        | ({"label": draw(st.integers(1, 3))} if buys else {}),
        "reward_model": {
            "error": {"scale": 1.0, "exponent": 0.5},
            "existing_labels": draw(st.integers(0, 5)),
            "label_policy": draw(st.sampled_from(["behaviour", "current"])),
            "coverage": 2.0,
        }
        if buys
        else "verifiable",
        "limits": {
            "rollouts_per_prompt": {"max": 4},
            "clip_threshold": draw(st.sampled_from([{}, {"min": 1, "max": 2}])),
        },
    }
    if draw(st.booleans()):
        written["progress"] = {
            "prompts": draw(st.integers(0, 6)),
            "rollouts_per_prompt": draw(st.sampled_from([1, 2, 5.5, 16])),
            "labels": draw(st.integers(0, 4)) if buys else 0,
            "cost": draw(st.sampled_from([0.0, 0.5, 3.9])),
        }
    count = draw(st.integers(1, 5))
    found = []
    for _ in range(count):
        changed = {
            "costs.rollout": draw(st.floats(0.25, 1.0)),
            "bound.prompt_variance": draw(st.floats(0.01, 0.25)),
        }
        if buys:
            changed["reward_model.coverage"] = draw(st.floats(1.0, 8.0))
            changed["reward_model.error.exponent"] = draw(st.floats(0.2, 1.0))
        tail = {
            "gaussian": {"kl": draw(st.floats(0.5, 10.0))},
            "exponential": {"mean": draw(st.floats(0.5, 10.0))},
            "empirical": {"samples": draw(st.lists(st.floats(0.1, 9.0), min_size=2, max_size=5))},
            "none": {},
        }[family]
        law = {"log_ratio": {"family": family, **tail}} if tail else {}
        found.append(prepare(Scenario(**written, **law).with_values(changed)))
    return found


def allocations(cases: list[Case], must_afford: int) -> Iterator[tuple[int, int, int]]:
    """Every (n, K) with the most labels that enough of the draws can pay for."""
    for K in cases[0].allowed:
        for n in range(cases[0].prompts[0], 241):
            if n == 0 and cases[0].allowed[0] != K:
                continue
            counts = sorted(
                (case.prices.labels_affordable(n, K, case.labels[1]) for case in cases),
                reverse=True,
            )
            if counts[must_afford - 1] >= 0:
                yield n, K, counts[must_afford - 1]


def risk(values: NDArray[np.float64], share: float) -> float:
    """``min_t t + Σ(F_s − t)₊/(share·S)``, its minimum sought among the values themselves."""
    worst = max(share * values.size, 1.0)
    return min(t + np.maximum(values - t, 0.0).sum() / worst for t in values)


def brute_force(
    cases: list[Case], must_afford: int, share: float, offsets: NDArray[np.float64]
) -> float:
    clip = cases[0].bound.limits.clip_threshold
    least, most = clip.min or 0.0, clip.max if clip.max is not None else 60.0
    best = math.inf
    for n, K, m in allocations(cases, must_afford):

        def at(τ: float, n: int = n, K: int = K, m: int = m) -> float:
            bounds = [
                sum(case.bound.sampling_and_clipping(n, K, τ)[:2]) + case.bound.shift(m)
                for case in cases
            ]
            return risk(np.array(bounds) - offsets, share)

        if cases[0].bound.tail is None:
            best = min(best, at(0.0))
            continue
        grid = np.linspace(least, most, 13)
        values = [at(float(τ)) for τ in grid]
        index = int(np.argmin(values))
        if values[index] > best * 1.5:
            continue
        around = grid[max(index - 1, 0)], grid[min(index + 1, 12)]
        found = minimize_scalar(at, bounds=around, method="bounded", options={"xatol": 1e-9})
        best = min(best, values[index], float(found.fun))
    return best


@pytest.mark.parametrize("name", SHARES)
@given(cases=draws(), afford=st.sampled_from([0.5, 1.0]))
@settings(max_examples=12, deadline=None)
def test_equals_brute_force(name: str, cases: list[Case], afford: float) -> None:
    offsets = np.linspace(0.0, 0.3, len(cases)) if name == "regret" else np.zeros(len(cases))
    must = max(1, math.ceil(afford * len(cases)))
    outcome = minimise_risk(
        robust_problem(cases, Risk(SHARES[name], offsets), must), tolerance=1e-9
    )
    expected = brute_force(cases, must, SHARES[name], offsets)
    if outcome is None:
        assert math.isinf(expected)
        return
    assert outcome.value == pytest.approx(expected, rel=1e-7)
    bounds = np.array([case.bound.total(outcome.allocation) for case in cases])
    assert risk(bounds - offsets, SHARES[name]) == pytest.approx(outcome.value, rel=1e-12)
    assert outcome.lower_bound <= expected * (1 + 1e-12)
    assert outcome.lower_bound >= outcome.value - 1e-9 * abs(outcome.value)


def test_the_risk_is_never_split() -> None:
    """One draw is worst in its sampling, the other in its reward shift."""
    written = {
        "budget": 60,
        "objective": {"kl_coefficient": 0.0},
        "costs": {"prompt": 1, "rollout": 0.5, "label": 2},
        "reward_model": {"coverage": 2.0, "error": {"scale": 1.0, "exponent": 0.5}},
        "limits": {"rollouts_per_prompt": {"max": 4}},
    }
    cases = [
        prepare(Scenario(**written).with_values(changed))
        for changed in (
            {"reward_model.coverage": 6.0, "objective.failure_probability": 0.5},
            {"reward_model.coverage": 1.0, "objective.failure_probability": 1e-9},
        )
    ]
    worst = Risk(0.0, np.zeros(2))
    outcome = minimise_risk(robust_problem(cases, worst, 2), tolerance=1e-9)
    expected = brute_force(cases, 2, 0.0, worst.offsets)
    assert outcome is not None
    assert outcome.value == pytest.approx(expected, rel=1e-12)
    assert outcome.lower_bound <= expected * (1 + 1e-12)
