"""Float views of many cases, and how many labels a bound needs, whole arrays at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rlhf_budget.bound import terms as formulas

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from rlhf_budget.bound.terms import Constants, Number
    from rlhf_budget.optimum.case import Case

    Floats = NDArray[np.float64]

ROUNDING = 2e-15
"""Relative slack that keeps float label counts from falling below the exact ones."""


class Arrays(NamedTuple):
    """The cases of a problem as floats, shape (groups,); what a row has, shape (groups, rows)."""

    constants: Constants
    rollouts: Floats
    shares: Floats
    budget: Floats
    fixed: Floats
    acquisition: Floats
    existing: Floats
    prefill: Floats
    rollout: Floats
    label: Floats
    least_labels: Floats
    most_labels: Floats
    most_prompts: Floats


def arrays_of(cases: Sequence[Case]) -> Arrays:
    """Stack cases of one label kind; short lists of K repeat their last, which no box asks for."""
    rows = max(len(case.rollouts) for case in cases)

    def table(columns: Iterable[tuple[float, ...]]) -> Floats:
        return np.array([column + column[-1:] * (rows - len(column)) for column in columns], float)

    prices = [case.prices for case in cases]
    money = {
        name: np.array([price.to_currency(getattr(price, name)) for price in prices])
        for name in ("fixed", "acquisition", "prefill", "rollout", "label")
    }
    budgets = [math.inf if p.budget is None else p.to_currency(p.budget) for p in prices]
    return Arrays(
        constants=formulas.stack([case.constants for case in cases]),
        rollouts=table(case.rollouts for case in cases),
        shares=table(case.shares for case in cases),
        budget=np.array(budgets),
        existing=np.array([float(price.existing) for price in prices]),
        least_labels=np.array([float(case.labels[0]) for case in cases]),
        most_labels=np.array([float(case.labels[1]) for case in cases]),
        most_prompts=np.array([float(case.prompts[1]) for case in cases]),
        **money,
    )


def labels_needed(constants: Constants, room: Floats, least: Floats, most: Floats) -> Floats:
    """The labels that bring ``ρ`` down to ``room``, from below; infinite where none do.

    ``room`` is what the reward-shift term may be, reward units, shape (points,), against which the
    constants and the limits on the labels broadcast. The result, of that shape, is never above the
    exact count, and within 1e-12 of it or one label.
    """
    c = constants
    fresh = c.label_kind == "current"
    shift_at_least = formulas.reward_shift(c, least)
    exceeded, room = room < 0.0, np.clip(room, 0.0, shift_at_least)
    # Beyond 1e150, squares overflow; one fresh label already brings ρ far below.
    square = np.square(np.minimum(room, 1e150) if fresh else room / c.coverage)
    old = square * (1.0 - c.coverage**-2.0) * c.existing_labels if fresh else 0.0 * room
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        spare = square - c.error_floor
        spare = spare + 4.0 * ROUNDING * square + 1e-300
        count = _least_count(spare, c.error_scale, c.error_exponent, old)
        if fresh:
            above = square * (1.0 + 4.0 * ROUNDING) - np.square(c.reward_range)
            count = np.where(above > 0.0, np.fmin(count, old / above), count)
        count = np.ceil(count * (1.0 - 1e-12) - c.existing_labels - 1e-9)
    count = np.minimum(np.maximum(np.where(np.isnan(count), math.inf, count), least), most)
    # However steep or flat the curve is, the count that it gives may be one short.
    short = formulas.reward_shift(c, count) > room * (1.0 + 8.0 * ROUNDING)
    count = np.minimum(count + short, most)
    enough = shift_at_least <= room
    unreachable = exceeded | (formulas.reward_shift(c, most) > room)
    return np.where(unreachable, math.inf, np.where(enough, least, count))


def _least_count(spare: Floats, scale: Number, exponent: Number, old: Floats) -> Floats:
    """The least t with ``scale·t^−exponent + old/t ≤ spare``, from below.

    The left side less ``spare`` is convex and decreasing in ``ln t``, so Newton's method from the
    left stays on the left of the root (docs/theory.md, least cost for a target).
    """
    log = np.maximum(np.log(scale / spare) / exponent, np.log(old / spare))
    for _ in range(12):
        first, second = scale * np.exp(-exponent * log), old * np.exp(-log)
        step = (first + second - spare) / (exponent * first + second)
        step = np.where(step > 0.0, step, 0.0)
        log = log + step
        if not (step > 1e-14 * np.maximum(1.0, np.abs(log))).any():
            break
    return np.exp(log)
