"""How far each decision can move while the bound stays within one per cent of its best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.bound.terms import take
from rlhf_budget.optimum.certified import least_cost
from rlhf_budget.optimum.problems import (
    ROUNDING,
    BudgetProblem,
    Case,
    budget_problem,
    fewest_labels,
    labels_needed,
    prepare,
)
from rlhf_budget.optimum.results import NearOptimal
from rlhf_budget.optimum.search import Boxes, first_boxes, refine, within_reach

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.optimum.certified import Optimum

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

WITHIN = 0.01
"""Relative excess that counts as near."""


def near_optimal(optimum: Optimum) -> NearOptimal:
    """Find the hull of each decision over all plans within :data:`WITHIN` of the best total.

    The same boxes as in the search for the optimum are split only where they could still widen
    the hull (docs/theory.md, near-optimal ranges), so the ends are exact integers.
    """
    threshold = optimum.bound.total * (1.0 + WITHIN)
    case = prepare(optimum.scenario, dominated=True)
    best = optimum.allocation
    hull = _Hull(case, threshold)
    hull.include(best.prompts, best.rollouts_per_prompt)
    problem = budget_problem((case,))
    boxes = first_boxes(problem, problem.boxes())
    while boxes.group.size:
        problem = problem.focused(boxes)
        boxes = within_reach(problem, refine(hull.narrow(problem, boxes)))
    cheapest = least_cost(optimum.scenario, threshold).cost.total
    return NearOptimal(
        within=WITHIN,
        prompts=hull.prompts,
        rollouts_per_prompt=hull.rollouts,
        labels=hull.labels,
        least_cost=min(cheapest, optimum.cost.total),
    )


class _Hull:
    """The hull found so far, widened by points that are surely near-optimal."""

    def __init__(self, case: Case, threshold: float) -> None:
        self._case = case
        self._threshold = threshold
        self._row_of = {K: row for row, K in enumerate(case.rollouts)}
        self._least = np.full(3, np.inf)
        self._most = np.full(3, -np.inf)

    @property
    def rollouts(self) -> tuple[int, int]:
        """Least and most K."""
        rollouts = self._case.rollouts
        return rollouts[int(self._least[0])], rollouts[int(self._most[0])]

    @property
    def prompts(self) -> tuple[int, int]:
        """Least and most n."""
        return int(self._least[1]), int(self._most[1])

    @property
    def labels(self) -> tuple[int, int]:
        """Least and most m."""
        return int(self._least[2]), int(self._most[2])

    def include(self, n: int, K: int, *, with_fewest: bool = True) -> None:
        """Widen the hull by (n, K) with the most and, if asked, the fewest labels, where near."""
        case = self._case
        most = case.prices.labels_affordable(n, K, case.labels[1])
        if most < case.labels[0]:
            return
        sampling, clipping = case.parts(n, K)
        if sampling + case.shift(most) + clipping > self._threshold:
            return
        fewest = fewest_labels(case, n, K, self._threshold) if with_fewest else most
        low = most if fewest is None else min(fewest, most)
        self._least = np.minimum(self._least, [self._row_of[K], n, low])
        self._most = np.maximum(self._most, [self._row_of[K], n, most])

    def narrow(self, problem: BudgetProblem, boxes: Boxes) -> Boxes:
        """Keep the boxes that may hold near-optimal points beyond the hull; widen it on the way."""
        lower = problem.sampling(boxes.group, boxes.row_high, boxes.high, "lower")
        near = lower + problem.rise(boxes.group, boxes.row_low, boxes.low) <= self._threshold
        boxes = boxes.select(near)
        fewest = self._labels_needed(problem, lower[near])
        most = problem.labels_left(boxes.group, boxes.row_low, boxes.low)
        least = _columns(boxes.row_low, boxes.low, fewest)
        furthest = _columns(boxes.row_high, boxes.high, most)
        for row, x in ((boxes.row_low, boxes.high), (boxes.row_low, boxes.low)):
            out = self._beyond(least, furthest)
            self._widen(problem, boxes.group[out], row[out], x[out])
        beyond = self._beyond(least, furthest)
        unit = (boxes.row_low == boxes.row_high) & (boxes.low == boxes.high)
        for at in np.flatnonzero(unit & beyond):
            self.include(int(boxes.low[at]), self._case.rollouts[int(boxes.row_low[at])])
        return boxes.select(~unit & self._beyond(least, furthest))

    def _beyond(self, least: Floats, most: Floats) -> NDArray[np.bool_]:
        """Which points or boxes reach beyond the hull; both of shape (3, points): K, n, m."""
        outside = (least < self._least[:, None]) | (most > self._most[:, None])
        return np.asarray(outside.any(axis=0), dtype=np.bool_)

    def _widen(self, problem: BudgetProblem, group: Integers, row: Integers, x: Integers) -> None:
        """Include the points that are surely near-optimal and stand furthest out."""
        upper = problem.sampling(group, row, x, "upper")
        near = upper + problem.rise(group, row, x) <= self._threshold
        if not near.any():
            return
        group, row, x, upper = group[near], row[near], x[near], upper[near]
        least = _columns(row, x, self._labels_needed(problem, upper))
        most = _columns(row, x, problem.labels_left(group, row, x))
        out = {(int(least[axis].argmin()), axis, -1) for axis in range(3)}
        out |= {(int(most[axis].argmax()), axis, 1) for axis in range(3)}
        for at, axis, side in sorted(out):
            below = side < 0 and least[axis, at] < self._least[axis]
            above = side > 0 and most[axis, at] > self._most[axis]
            if below or above:
                K = self._case.rollouts[int(row[at])]
                self.include(int(x[at]), K, with_fewest=axis == 2 and below)

    def _labels_needed(self, problem: BudgetProblem, sampling: Floats) -> Floats:
        """Labels that a sampling part needs to be near-optimal, from below."""
        arrays = problem.arrays
        constants = take(arrays.constants, slice(None))
        room = self._threshold * (1.0 + 4.0 * ROUNDING) - sampling
        return labels_needed(constants, room, arrays.least_labels, arrays.most_labels)


def _columns(row: Integers, x: Integers, labels: Floats) -> Floats:
    """Stack K (as a row), n and m as floats, shape (3, points)."""
    return np.stack((row, x, labels)).astype(np.float64)
