"""How far each decision can move while the bound stays within a share of its best."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rlhf_budget.bound.terms import reward_shift
from rlhf_budget.optimum.arrays import ROUNDING, labels_needed
from rlhf_budget.optimum.budget_problem import BudgetProblem, budget_problem
from rlhf_budget.optimum.certified import TOLERANCE
from rlhf_budget.optimum.results import NearOptimal
from rlhf_budget.optimum.search import FINEST_GAP, Boxes, first_boxes, refine, within_reach

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.optimum.case import Case
    from rlhf_budget.optimum.certified import Optimum

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

WITHIN = 0.01
"""Relative excess that counts as near, unless another is asked for."""
MOST_EVALUATIONS = 100_000
"""Boxes after which all that may be near-optimal counts as being so."""
CHEAP_EVALUATIONS = 20_000
"""Boxes after which ends are sought only as far as :data:`DECIDED` decides them, and the least cost
to within the tolerance of any other plan."""
DECIDED = 1e-9
"""Relative difference from the threshold that does not count then."""
FRONT = 600
"""Boxes that one round splits: those that reach furthest."""
SETTLED_AT_ONCE = 2
"""Points of each side that one round evaluates exactly."""


def near_optimal(optimum: Optimum, within: float = WITHIN) -> NearOptimal:
    """Find the hull of each decision, and the least cost, over all plans near the best total.

    ``within`` is the relative excess that counts as near.

    Boxes as in the search for the optimum are split only where they could still widen the hull,
    those that reach furthest first (docs/theory.md, near-optimal ranges). The ends are exact
    integers, unless the evaluations run out: then the hull is widened by all that the boxes left
    could hold, and marked so.
    """
    case = optimum.case.with_every_rollout()
    hull = _Hull(case, optimum.bound.total * (1.0 + within))
    hull.include(*optimum.to_come[:2])
    problem = budget_problem((case,))
    boxes, waiting = first_boxes(problem, problem.boxes()), _Reaching.none()
    evaluations = 0
    while boxes.group.size and evaluations < MOST_EVALUATIONS:
        evaluations += boxes.group.size
        if evaluations > CHEAP_EVALUATIONS:
            hull.loosen()
        problem = problem.focused(boxes)
        front, waiting = hull.parted(waiting.joined(hull.widened(problem, boxes)))
        boxes = within_reach(problem, refine(front.boxes))
    approximate = bool(boxes.group.size)
    if approximate:
        hull.engulf(front.joined(waiting))
    if hull.cheapest is not None:
        hull.include(*hull.cheapest)
    (first, last), prompts, labels = (hull.range(axis) for axis in range(3))
    behind = optimum.scenario.progress
    if behind is not None:
        prompts = prompts[0] + behind.prompts, prompts[1] + behind.prompts
        labels = labels[0] + behind.labels, labels[1] + behind.labels
    return NearOptimal(
        within=within,
        prompts=prompts,
        rollouts_per_prompt=(case.rollouts[first], case.rollouts[last]),
        labels=labels,
        least_cost=min(hull.least_cost, optimum.cost.total),
        approximate=approximate,
    )


class _Reaching(NamedTuple):
    """Boxes, or points, with what their near-optimal plans cannot exceed."""

    boxes: Boxes
    least: Floats
    """Least row of K, n, m and cost, shape (4, boxes)."""
    most: Floats
    """Most of each; of the cost nobody asks for the most."""

    @classmethod
    def none(cls) -> _Reaching:
        """No boxes."""
        empty = np.empty((4, 0))
        return cls(Boxes(*(np.empty(0, dtype=np.int64) for _ in Boxes._fields)), empty, empty)

    def select(self, mask: NDArray[np.bool_] | Integers) -> _Reaching:
        """Return the boxes that a mask or index names."""
        return _Reaching(self.boxes.select(mask), self.least[:, mask], self.most[:, mask])

    def joined(self, other: _Reaching) -> _Reaching:
        """Both together."""
        if not self.boxes.group.size:
            return other
        boxes = Boxes(*map(np.concatenate, zip(self.boxes, other.boxes, strict=True)))
        least = np.concatenate((self.least, other.least), axis=1)
        return _Reaching(boxes, least, np.concatenate((self.most, other.most), axis=1))


class _Hull:
    """The hull found so far, widened by points that are surely near-optimal."""

    def __init__(self, case: Case, threshold: float) -> None:
        self._case = case
        self._threshold = threshold
        self._row_of = {K: row for row, K in enumerate(case.rollouts)}
        self._least = np.full(4, np.inf)
        self._most = np.full(4, -np.inf)
        self.least_cost = math.inf
        """Of the points evaluated exactly, currency."""
        self._reachable = threshold
        self._cost_gap = FINEST_GAP
        self.cheapest: tuple[int, int] | None = None
        """n and K of the cheapest of the points that are surely near-optimal."""

    def range(self, axis: int) -> tuple[int, int]:
        """Least and most row (axis 0), n (1) or m (2)."""
        return int(self._least[axis]), int(self._most[axis])

    def include(self, n: int, K: int) -> None:
        """Widen the hull by (n, K) with the most and the fewest labels that are near-optimal."""
        case, prices = self._case, self._case.prices
        most = prices.labels_affordable(n, K, case.labels[1])
        if most < case.labels[0]:
            return
        fewest = case.fewest_labels(n, K, self._threshold, (case.labels[0], most))
        if fewest is None:
            return
        paid = prices.to_currency(prices.spend(n, K) + prices.label * fewest)
        self.least_cost = min(self.least_cost, paid)
        row = self._row_of[K]
        self._widen(_columns(row, n, fewest, paid), _columns(row, n, most, paid))

    def _widen(self, least: Floats, most: Floats) -> None:
        self._least = np.minimum(self._least, least.min(axis=-1, initial=np.inf))
        self._most = np.maximum(self._most, most.max(axis=-1, initial=-np.inf))

    def loosen(self) -> None:
        """From now on pass over what only the last digits of the threshold could decide."""
        self._reachable, self._cost_gap = self._threshold * (1.0 - DECIDED), TOLERANCE

    def engulf(self, reaching: _Reaching) -> None:
        """Widen the hull by everything that boxes could hold."""
        self._widen(reaching.least, reaching.most)

    def parted(self, reaching: _Reaching) -> tuple[_Reaching, _Reaching]:
        """Part the boxes that reach furthest beyond the hull from the others that do, too."""
        sides = self._sides(reaching)
        out = np.asarray((sides > 0.0).any(axis=0), dtype=np.bool_)
        if out.sum() <= FRONT:
            return reaching.select(out), _Reaching.none()
        each = FRONT // len(sides)
        front = np.zeros_like(out)
        front[np.argpartition(-sides, each, axis=1)[:, :each]] = True
        return reaching.select(out & front), reaching.select(out & ~front)

    def _sides(self, reaching: _Reaching) -> Floats:
        """How far boxes reach beyond the hull on each of its sides, shape (7, boxes)."""
        below = self._least[:, None] - reaching.least
        below[3] -= self._cost_gap * self._least[3]
        return np.concatenate((below, reaching.most[:3] - self._most[:3, None]))

    def widened(self, problem: BudgetProblem, boxes: Boxes) -> _Reaching:
        """Widen the hull by points of the boxes; return those that may hold more beyond it."""
        size, a = boxes.group.size, problem.arrays
        # Both ends of the first row of each box; the second half bounds the box as well.
        group = np.zeros(2 * size, dtype=np.int64)
        row, x = np.tile(boxes.row_low, 2), np.concatenate((boxes.high, boxes.low))
        spent, left = problem.spend(group, row, x), problem.labels_left(group, row, x)
        self._widen_by_sure_points(problem, row, x, spent)
        lower = problem.sampling(boxes.group, boxes.row_high, boxes.high, "lower")
        near = lower + reward_shift(a.constants, left[size:]) <= self._reachable
        boxes, lower, spent, left = (
            boxes.select(near),
            lower[near],
            spent[size:][near],
            left[size:][near],
        )
        fewest = self._labels_needed(problem, lower, self._reachable)
        paid = spent * (1.0 - ROUNDING) + a.label * fewest
        found = _Reaching(
            boxes,
            _columns(boxes.row_low, boxes.low, fewest, paid),
            _columns(boxes.row_high, boxes.high, left, paid),
        )
        return self._settled(found)

    def _widen_by_sure_points(
        self, problem: BudgetProblem, row: Integers, x: Integers, spent: Floats
    ) -> None:
        """Widen the hull by points that are near-optimal whatever the rounding."""
        a, group = problem.arrays, np.zeros_like(row)
        upper = problem.sampling(group, row, x, "upper")
        left = problem.labels_left(group, row, x, -ROUNDING)
        room = self._threshold * (1.0 - FINEST_GAP) - upper
        fewest = np.minimum(self._labels_needed(problem, upper, self._threshold), left)
        short = reward_shift(a.constants, fewest) > room
        fewest = np.minimum(np.where(short, np.ceil(fewest * (1.0 + 2e-12)) + 1.0, fewest), left)
        paid = (spent + a.label * fewest) * (1.0 + 4.0 * ROUNDING)
        sure = (reward_shift(a.constants, fewest) <= room) & (paid <= a.budget)
        if not sure.any():
            return
        row, x, fewest, left, paid = row[sure], x[sure], fewest[sure], left[sure], paid[sure]
        cheapest = int(paid.argmin())
        if paid[cheapest] < self._least[3]:
            self.cheapest = int(x[cheapest]), self._case.rollouts[int(row[cheapest])]
        self._widen(_columns(row, x, fewest, paid), _columns(row, x, left, paid))

    def _settled(self, found: _Reaching) -> _Reaching:
        """Settle points that the tables could not decide exactly, the furthest of them first.

        The others wait: one that is near-optimal rules out many.
        """
        single = (found.boxes.row_low == found.boxes.row_high) & (
            found.boxes.low == found.boxes.high
        )
        if not single.any():
            return found
        sides = np.where(single, self._sides(found), -np.inf)
        order = np.argsort(-sides, axis=1)[:, :SETTLED_AT_ONCE]
        tried = np.zeros(single.size, dtype=bool)
        tried[order[np.take_along_axis(sides, order, axis=1) > 0.0]] = True
        for at in np.flatnonzero(tried):
            row, n = int(found.boxes.row_low[at]), int(found.boxes.low[at])
            self.include(n, self._case.rollouts[row])
        return found.select(np.flatnonzero(~tried))

    @staticmethod
    def _labels_needed(problem: BudgetProblem, sampling: Floats, threshold: float) -> Floats:
        """Labels that bring a sampling part to a threshold, from below."""
        a = problem.arrays
        room = threshold * (1.0 + 4.0 * ROUNDING) - sampling
        return labels_needed(a.constants, room, a.least_labels, a.most_labels)


def _columns(row: Any, x: Any, labels: Any, paid: Any) -> Floats:
    """Stack K (as a row), n, m and the cost as floats, shape (4, points) or (4, 1)."""
    return np.array((row, x, labels, paid), dtype=np.float64).reshape(4, -1)
