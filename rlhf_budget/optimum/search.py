"""Monotone branch and bound over integer boxes.

Minimises ``fall(row, x) + rise(row, x)`` where *fall* decreases and *rise* increases in both
integer coordinates. On a box ``[r₁, r₂] × [a, b]`` the sum is at least ``fall(r₂, b) +
rise(r₁, a)``: no convexity, no derivative, and the search ends with a proof (docs/theory.md,
certified optimum). Many independent problems, called groups, are searched in the same arrays.
Nothing here knows what the functions mean.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

FINEST_GAP = 1e-13
"""Relative gap at which the search stops."""
EXACT_WORTH = 50
"""Evaluations in whole arrays that take as long as an exact one."""
SETTLED_AT_ONCE = 16
"""Points per group that one round evaluates exactly."""
_FIRST_PARTS, _ROW_PARTS = (10, 14), (3, 4)
"""Parts in (rows, x): of the whole at first, and of boxes of several rows."""
_FINE_PARTS, _COARSE_PARTS, _FEW_BOXES = 16, 6, 2000
"""Parts in x of single rows: many where boxes are few, since each round costs its overhead."""


class Effort(NamedTuple):
    """How many evaluations per group a search may make, an exact one counted as many."""

    cheap: int
    """Beyond these the search stops as soon as the gap is within the tolerance."""
    most: int
    """On average over the groups: beyond these it stops, proved or not."""


FULL_EFFORT = Effort(100_000, 500_000)
"""For the plan itself."""
BESIDE_EFFORT = Effort(30_000, 100_000)
"""For each of the plans beside it."""
QUICK_EFFORT = Effort(0, 100_000)
"""Where the tolerance is all that is asked."""


class Candidate(NamedTuple):
    """A point with its exact value; compared by value, then by ``tie``."""

    value: float
    """Exact objective; infinite where the point is infeasible."""
    tie: tuple[int, ...]
    """Breaks ties: the lexicographically smaller one wins. Carries the decision."""


WORST = Candidate(math.inf, ())


class Boxes(NamedTuple):
    """Integer boxes, one per entry; all arrays have shape (boxes,)."""

    group: Integers
    """Which problem."""
    row_low: Integers
    """First row."""
    row_high: Integers
    """Last row."""
    low: Integers
    """Least x."""
    high: Integers
    """Most x."""

    def select(self, mask: NDArray[np.bool_] | Integers) -> Boxes:
        """Return the boxes that a mask or index names."""
        return Boxes(*(field[mask] for field in self))


class Problem(Protocol):
    """What the search needs to know of any problem, beside the bounds of boxes."""

    def attainable(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """The sum at a point, or a little above it: what ``exact`` will surely attain."""

    def reach(self, group: Integers, row: Integers) -> Integers:
        """A number not below the largest feasible x of a row; decreases in the row."""

    def exact(self, group: int, row: int, x: int) -> Candidate:
        """A feasible candidate at or beside a point, with its exact value."""

    def focused(self, boxes: Boxes) -> Self:
        """Return the same problem, sharper on these boxes where that is worth it."""


@runtime_checkable
class JointProblem(Problem, Protocol):
    """A problem whose two monotone parts cannot be bounded each alone."""

    def below(self, boxes: Boxes) -> tuple[Floats, NDArray[np.bool_]]:
        """Lower bounds of boxes, and where the increasing part is flat in x."""


class MonotoneProblem(Problem, Protocol):
    """A sum of two monotone parts."""

    def fall(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """The decreasing part, or anything below it that decreases too."""

    def rise(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """The increasing part, or anything below it that increases too."""

    def rise_above(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """The increasing part, or anything above it: where it meets ``rise``, both are flat."""


class Search(NamedTuple):
    """Outcome of a search for one group."""

    best: Candidate
    """The best candidate; :data:`WORST` where nothing is feasible."""
    lower_bound: float
    """No feasible point has a smaller value."""
    evaluations: int
    """Boxes and points evaluated."""


def minimise(
    problem: MonotoneProblem | JointProblem,
    boxes: Boxes,
    groups: int,
    *,
    tolerance: float,
    effort: Effort = FULL_EFFORT,
    record: Callable[[Boxes], None] | None = None,
) -> tuple[Search, ...]:
    """Minimise every group's sum over its boxes, which together hold every feasible point.

    The tolerance is the relative gap that counts as proved once the search has become expensive,
    which ``effort`` says when it is. ``record`` is called in each round with the boxes that it
    closes. None of them holds a point better than the best by more than :data:`FINEST_GAP` (or than
    the gap, where the search stopped early); with what the rows cannot reach they cover the whole
    without overlap: a proof.
    """
    incumbents = _Incumbents(problem, groups)
    floor = np.full(groups, math.inf)
    boxes = first_boxes(problem, boxes)
    while boxes.group.size:
        problem = incumbents.problem = problem.focused(boxes)
        group, single = boxes.group, boxes.row_low == boxes.row_high
        lower, flat = _below(problem, boxes)
        promise = problem.attainable(group, boxes.row_low, boxes.high)
        incumbents.evaluations += 2 * np.bincount(group, minlength=groups)
        incumbents.improve(boxes, promise)
        settled = single & (flat | (boxes.low == boxes.high))
        whole, boxes = boxes, boxes._replace(low=np.where(settled, boxes.high, boxes.low))
        lower[settled] = incumbents.settle(boxes.select(settled), lower[settled])
        keep = lower < incumbents.value[group] * (1.0 - FINEST_GAP)
        least = np.where(keep, lower, math.inf)
        keep &= ~_spent(incumbents, group, least, tolerance, effort)[group]
        np.minimum.at(floor, group[~keep], lower[~keep])
        if record is not None:
            record(whole.select(~keep))
            # Of a settled box that waits, all but the last corner is done with.
            waits = keep & (whole.low < boxes.low)
            record(whole._replace(high=boxes.high - 1).select(waits))
        boxes = within_reach(problem, refine(boxes.select(keep)))
    return tuple(
        Search(candidate, min(candidate.value, float(low)), int(count))
        for candidate, low, count in zip(
            incumbents.best, floor, incumbents.evaluations, strict=True
        )
    )


def _below(
    problem: MonotoneProblem | JointProblem, boxes: Boxes
) -> tuple[Floats, NDArray[np.bool_]]:
    if isinstance(problem, JointProblem):
        return problem.below(boxes)
    group = boxes.group
    rise = problem.rise(group, boxes.row_low, boxes.low)
    corner_rise = problem.rise_above(group, boxes.row_low, boxes.high)
    return problem.fall(group, boxes.row_high, boxes.high) + rise, rise == corner_rise


class _Incumbents:
    """The best candidate of each group so far."""

    def __init__(self, problem: Problem, groups: int) -> None:
        self.problem = problem
        self.best = [WORST] * groups
        self.value = np.full(groups, math.inf)
        self.evaluations = np.zeros(groups, dtype=np.int64)
        self.exact = np.zeros(groups, dtype=np.int64)

    def improve(self, boxes: Boxes, promise: Floats) -> None:
        """Try the most promising corner of each group."""
        for index in _least_of_each(boxes.group, promise):
            if promise[index] < self.value[boxes.group[index]]:
                self._offer(boxes, int(index))

    def settle(self, boxes: Boxes, lower: Floats) -> Floats:
        """Evaluate boxes whose best point is their last corner; return sharper lower bounds.

        At most :data:`SETTLED_AT_ONCE` per group: the others wait for a sharper problem, which
        rules most of them out together.
        """
        sharper = lower.copy()
        hopeful = np.flatnonzero(lower < self.value[boxes.group] * (1.0 - FINEST_GAP))
        for index in hopeful[_least_few(boxes.group[hopeful], lower[hopeful], SETTLED_AT_ONCE)]:
            if lower[index] < self.value[boxes.group[index]] * (1.0 - FINEST_GAP):
                sharper[index] = self._offer(boxes, int(index))
        return sharper

    def _offer(self, boxes: Boxes, index: int) -> float:
        group = int(boxes.group[index])
        found = self.problem.exact(group, int(boxes.row_low[index]), int(boxes.high[index]))
        self.evaluations[group] += 1
        self.exact[group] += 1
        if found < self.best[group]:
            self.best[group], self.value[group] = found, found.value
        return found.value


def _spent(
    incumbents: _Incumbents, group: Integers, lower: Floats, tolerance: float, effort: Effort
) -> NDArray[np.bool_]:
    """Which groups need no further search: proved and no longer cheap, or far too expensive."""
    least = np.full(incumbents.value.size, math.inf)
    np.minimum.at(least, group, lower)
    proved = least >= incumbents.value * (1.0 - tolerance)
    work = incumbents.evaluations + EXACT_WORTH * incumbents.exact
    costly = work > effort.cheap
    far_too_many = work.sum() > effort.most * incumbents.value.size
    spent: NDArray[np.bool_] = (proved & costly) | bool(far_too_many)
    return spent


def refine(boxes: Boxes) -> Boxes:
    """Split boxes of several rows in both directions, single rows finely in x."""
    wide = boxes.row_low < boxes.row_high
    parts = _FINE_PARTS if boxes.group.size < _FEW_BOXES else _COARSE_PARTS
    return _join(split(boxes.select(wide), *_ROW_PARTS), split(boxes.select(~wide), 1, parts))


def first_boxes(problem: Problem, boxes: Boxes) -> Boxes:
    """Cut the whole into the boxes that a search starts from."""
    return within_reach(problem, split(within_reach(problem, boxes), *_FIRST_PARTS))


def split(boxes: Boxes, row_parts: int, parts: int) -> Boxes:
    """Split every box into about ``row_parts × parts``, geometrically where it is wide."""
    row_edges = _edges(boxes.row_low + 1, boxes.row_high + 1, row_parts) - 1
    x_edges = _edges(boxes.low, boxes.high, parts)
    children = np.empty((5, row_parts, parts, boxes.group.size), dtype=np.int64)
    children[0] = boxes.group
    children[1], children[2] = row_edges[:-1, None, :], row_edges[1:, None, :] - 1
    children[3], children[4] = x_edges[:-1], x_edges[1:] - 1
    filled = Boxes(*children.reshape(5, -1))
    return filled.select((filled.row_low <= filled.row_high) & (filled.low <= filled.high))


def _edges(low: Integers, high: Integers, parts: int) -> Integers:
    """Edges of ``parts`` integer intervals that cover ``[low, high]``, shape (parts + 1, boxes)."""
    if parts == 1:
        return np.stack((low, high + 1))
    share = np.arange(parts + 1)[:, None] / parts
    ratio = (high + 1.0) / np.maximum(low, 1.0)
    even = low + (high + 1.0 - low) * share
    wide = (ratio > 2.0) & (low > 0)
    edges = np.where(wide, low * ratio**share, even) if wide.any() else even
    edges = np.ceil(edges - 1e-9).astype(np.int64)
    edges[0], edges[-1] = low, high + 1
    return np.minimum(np.maximum(edges, low), high + 1)


def within_reach(problem: Problem, boxes: Boxes) -> Boxes:
    """Cut boxes at what their first row can reach; drop those beyond it."""
    high = np.minimum(boxes.high, problem.reach(boxes.group, boxes.row_low))
    return boxes._replace(high=high).select(boxes.low <= high)


def _join(first: Boxes, second: Boxes) -> Boxes:
    return Boxes(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))


def _least_few(group: Integers, values: Floats, count: int) -> Integers:
    """Indexes of the least values of each group, at most ``count`` of one, ascending in each."""
    order = np.lexsort((values, group))
    sizes = np.bincount(group)
    starts = np.concatenate(([0], np.cumsum(sizes)))[:-1]
    rank = np.arange(order.size) - starts[group[order]]
    return order[rank < count]


def _least_of_each(group: Integers, values: Floats) -> Integers:
    """Index of the least value within each group that occurs."""
    if group.size and group[0] == group[-1] and (group == group[0]).all():
        return np.array([int(np.argmin(values))])
    least = np.full(int(group.max(initial=-1)) + 1, math.inf)
    np.minimum.at(least, group, values)
    candidates = np.flatnonzero(values == least[group])
    _, first = np.unique(group[candidates], return_index=True)
    return candidates[first]
