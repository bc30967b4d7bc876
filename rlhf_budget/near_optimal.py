"""How far each decision can move while the bound stays within one per cent of its best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.bound import take
from rlhf_budget.decisions import (
    BudgetProblem,
    Case,
    budget_problem,
    fewest_labels,
    labels_needed,
    prepare,
)
from rlhf_budget.optimum import least_cost
from rlhf_budget.results import NearOptimal
from rlhf_budget.solver import Boxes, refine, split, within_reach

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.optimum import Optimum

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
    boxes = within_reach(
        problem, split(within_reach(problem, problem.boxes()), row_parts=10, parts=14)
    )
    while boxes.group.size:
        problem = problem.focused(boxes)
        boxes = hull.narrow(problem, boxes)
        boxes = within_reach(problem, refine(boxes))
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

    def include(self, n: int, K: int) -> None:
        """Widen the hull by (n, K) with the fewest and the most labels, if it is near-optimal."""
        case = self._case
        most = case.prices.labels_affordable(n, K, case.labels[1])
        if most < case.labels[0]:
            return
        G = case.sampling(n, K)[0]
        if G + case.shift(most) > self._threshold:
            return
        fewest = fewest_labels(case, self._threshold - G)
        low = most if fewest is None else min(fewest, most)
        self._least = np.minimum(self._least, [self._row_of[K], n, low])
        self._most = np.maximum(self._most, [self._row_of[K], n, most])

    def narrow(self, problem: BudgetProblem, boxes: Boxes) -> Boxes:
        """Keep the boxes that may hold near-optimal points beyond the hull; widen it on the way."""
        group = boxes.group
        lower = problem.fall(group, boxes.row_high, boxes.high)
        lower = lower + problem.rise(group, boxes.row_low, boxes.low)
        boxes = self._beyond(problem, boxes.select(lower <= self._threshold))
        for row, x in ((boxes.row_low, boxes.high), (boxes.row_low, boxes.low)):
            self._widen(problem, boxes.group, row, x)
        unit = (boxes.row_low == boxes.row_high) & (boxes.low == boxes.high)
        for row, x in zip(boxes.row_low[unit], boxes.low[unit], strict=True):
            self.include(int(x), self._case.rollouts[int(row)])
        return self._beyond(problem, boxes.select(~unit))

    def _beyond(self, problem: BudgetProblem, boxes: Boxes) -> Boxes:
        fewest = self._labels_needed(problem, boxes.group, boxes.row_high, boxes.high, "lower")
        most = problem.labels_left(boxes.group, boxes.row_low, boxes.low)
        beyond = (boxes.row_low < self._least[0]) | (boxes.row_high > self._most[0])
        beyond |= (boxes.low < self._least[1]) | (boxes.high > self._most[1])
        beyond |= (fewest < self._least[2]) | (most > self._most[2])
        return boxes.select(beyond)

    def _widen(self, problem: BudgetProblem, group: Integers, row: Integers, x: Integers) -> None:
        """Include the points that are surely near-optimal and stand furthest out."""
        if not group.size:
            return
        value = problem.sampling(group, row, x, "upper") + problem.rise(group, row, x)
        near = np.flatnonzero(value <= self._threshold)
        if not near.size:
            return
        needed = self._labels_needed(problem, group[near], row[near], x[near], "upper")
        left = problem.labels_left(group[near], row[near], x[near])
        columns = (row[near].astype(float), x[near].astype(float))
        furthest = {int(at) for c in (*columns, needed) if c.min() < np.inf for at in [c.argmin()]}
        furthest |= {int(c.argmax()) for c in (*columns, left)}
        for at in furthest:
            self.include(int(x[near][at]), self._case.rollouts[int(row[near][at])])

    def _labels_needed(
        self, problem: BudgetProblem, group: Integers, row: Integers, x: Integers, side: str
    ) -> Floats:
        """Labels that (n, K) needs to be near-optimal; ``lower`` never overstates them."""
        arrays = problem.arrays
        room = self._threshold - problem.sampling(group, row, x, side)
        constants = take(arrays.constants, slice(None))
        return labels_needed(constants, room, arrays.least_labels, arrays.most_labels)
