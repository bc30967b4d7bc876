"""The chord table brackets the clipping penalty for every tail and all limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rlhf_budget.bound.penalty import penalty_table
from rlhf_budget.bound.tails import (
    Empirical,
    Exponential,
    Gamma,
    Gaussian,
    HalfNormal,
    LogNormal,
    Lomax,
    Weibull,
)

TAILS: list[Any] = [
    Gaussian(12.0, math.sqrt(24.0)),
    Gaussian(0.0, 1.0),
    Exponential(3.0),
    HalfNormal(2.0),
    Gamma(0.4, 3.0),
    Weibull(0.5, 2.0),
    LogNormal(1.0, 1.2),
    Lomax(1.5, 4.0),
    Empirical([0.0, 0.0, 1.0, 1.0, 1.0, 2.5, 4.0, -9.0]),
    Empirical([float(x) for x in range(30)]),
]
LIMITS = [(0.0, math.inf), (0.0, 3.3), (2.2, math.inf), (1.1, 3.3), (2.0, 2.0)]
GRID = np.concatenate((np.linspace(0.0, 60.0, 1201), np.geomspace(60.0, 1e9, 400)))


def penalty(tail: Any, s: float, low: float, high: float) -> float:
    """``min_τ 2τs + E(|ℓ| − τ)₊`` by brute force, from above."""
    best = float(tail.inverse_survival(2 * s)) if 2 * s < 1 else 0.0
    grid = np.append(GRID, best)
    grid = np.clip(grid, low, high)
    return float((2 * grid * s + tail.excess(grid)).min())


@pytest.mark.parametrize("clip", LIMITS, ids=str)
@pytest.mark.parametrize("tail", TAILS, ids=lambda tail: tail.family)
@pytest.mark.parametrize("ends", [(1e-6, 1.5), (1e-3, 1e-2), (0.2, 0.7), (0.01, 0.01)], ids=str)
def test_it_brackets_the_penalty(
    tail: Any, clip: tuple[float, float], ends: tuple[float, float]
) -> None:
    table = penalty_table(tail, *clip, np.array(ends[:1]), np.array(ends[1:]))
    s = np.geomspace(*ends, 41)
    exact = np.array([penalty(tail, float(x), *clip) for x in s])
    lower, upper = table.lower(s), table.upper(s)
    assert (lower <= exact * (1 + 1e-12) + 1e-14).all()
    assert (upper >= exact * (1 - 1e-9) - 1e-12).all()
    if clip == (0.0, math.inf):
        assert ((upper - lower) <= 0.02 * exact).all()


@pytest.mark.parametrize("tail", TAILS, ids=lambda tail: tail.family)
def test_it_is_exact_at_its_ends(tail: Any) -> None:
    table = penalty_table(tail, 0.0, math.inf, np.array([0.003]), np.array([0.3]))
    for s in (0.003, 0.3):
        exact = penalty(tail, s, 0.0, math.inf)
        assert float(table.lower(np.array([s]))[0]) == pytest.approx(exact, rel=1e-12)
        assert float(table.upper(np.array([s]))[0]) == pytest.approx(exact, rel=1e-12)


def test_chords_of_few_atoms_are_exact() -> None:
    tail = TAILS[-1]
    table = penalty_table(tail, 0.0, math.inf, np.array([1e-3]), np.array([0.6]))
    s = np.linspace(1e-3, 0.6, 301)
    exact = [penalty(tail, float(x), 0.0, math.inf) for x in s]
    assert table.lower(s) == pytest.approx(exact, rel=1e-12)


def test_a_table_for_several_problems_holds_in_each_range() -> None:
    least, most = np.array([1e-5, 0.1, 0.01]), np.array([2e-5, 0.4, 0.011])
    table = penalty_table(TAILS[0], 0.0, math.inf, least, most)
    for low, high in zip(least, most, strict=True):
        for s in np.linspace(low, high, 9):
            exact = penalty(TAILS[0], float(s), 0.0, math.inf)
            assert float(table.lower(np.array([s]))[0]) <= exact * (1 + 1e-12)
            assert float(table.lower(np.array([s]))[0]) == pytest.approx(exact, rel=2e-3)
    between = np.geomspace(1e-5, 0.4, 60)
    exacts = np.array([penalty(TAILS[0], float(s), 0.0, math.inf) for s in between])
    assert (table.lower(between) <= exacts * (1 + 1e-12)).all()
