"""One allocation for many draws of the constants: a risk of the vector of their bounds.

Every risk here is a mean of the worst share of the draws (of all: the mean; of one: the maximum),
after an offset of each draw. It increases in every draw's bound, so on a box the risk of the vector
whose falling part is taken at the last corner and whose rising part at the first is a lower bound,
for each τ; and it is convex in τ, so tangents bound its minimum over τ from below (docs/theory.md,
not knowing). The risk is never taken of each part alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rlhf_budget.bound import terms as formulas
from rlhf_budget.bound.tails.stacked import StackedTails
from rlhf_budget.optimum.arrays import ROUNDING
from rlhf_budget.optimum.budget_problem import BudgetProblem, budget_problem
from rlhf_budget.optimum.search import FULL_EFFORT, WORST, Candidate, Effort, minimise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.optimum.case import Case
    from rlhf_budget.optimum.money import Prices
    from rlhf_budget.optimum.search import Boxes

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

FOCUS_KNOTS, OUTER_KNOTS = 64, 16
"""Thresholds where the best ones lie, and over all that there can be."""
SAMPLED_BOXES = 128
"""Boxes that show where the best thresholds lie; the bounds hold wherever the knots are."""
LARGEST_BLOCK = 400_000
"""Entries (draws times boxes) of the arrays that are worked on at once."""
_STEPS = 200
"""Evaluations that one exact threshold may take; some ten suffice."""


class Risk(NamedTuple):
    """The mean of the worst ``share`` of the draws' bounds, each less its offset."""

    share: float
    """1: the mean; 1/S or less: the maximum."""
    offsets: Floats
    """Taken off each draw's bound, shape (S,)."""

    def weights(self, values: Floats) -> Floats:
        """Weights, summing to 1, with which the draws make up the risk: a subgradient.

        Parameters
        ----------
        values
            Bounds less offsets, shape (S, …).
        """
        draws = values.shape[0]
        worst = max(self.share * draws, 1.0)
        if worst >= draws:
            return np.full(values.shape, 1.0 / draws)
        last = draws - math.ceil(worst)
        threshold = np.partition(values, last, axis=0)[last]
        above, equal = values > threshold, values == threshold
        rest = 1.0 - above.sum(axis=0) / worst
        weights: Floats = above / worst + equal * (rest / equal.sum(axis=0))
        return weights

    def of(self, bounds: Floats) -> float:
        """The risk of one vector of bounds, shape (S,)."""
        values = bounds - self.offsets
        return math.fsum(self.weights(values) * values)


class Knots(NamedTuple):
    """Thresholds at which tangents are taken."""

    thresholds: Floats
    """Ascending, nats, shape (T,)."""
    clipping: Floats
    """``β_s·E_s(|ℓ| − τ)₊``, shape (S, T); for the mean, that of the mixture, shape (1, T)."""
    clipped: Floats
    """``β_s·P_s(|ℓ| > τ)``, shaped alike."""
    dense: tuple[float, float]
    """The range in which they are dense, nats."""


class Lines(NamedTuple):
    """Vectors of bounds as functions of τ: ``base + τ·slope + clipping(τ)``, shape (S, boxes)."""

    base: Floats
    """All that does not depend on τ, less the offsets."""
    slope: Floats
    """``2β_s·S₁``."""


class Outcome(NamedTuple):
    """The best shared allocation."""

    allocation: Allocation
    """Its four decisions."""
    value: float
    """Its risk."""
    lower_bound: float
    """No allocation has a smaller risk."""
    evaluations: int
    """Points and boxes at which the risk was evaluated."""


@dataclass(frozen=True, slots=True, eq=False)
class RobustProblem:
    """A risk of the draws as a monotone problem of one group."""

    draws: BudgetProblem
    """The draws, as its groups; all with the same rows."""
    risk: Risk
    must_afford: int
    """In how many draws the allocation has to fit the budget."""
    prices: tuple[tuple[Prices, int], ...]
    """Prices that differ, with the number of draws that have them."""
    betas: Floats
    """β of each draw, shape (S, 1)."""
    tails: StackedTails | None
    """None where β is 0 in all of them."""
    knots: Knots

    # --- what the search asks ---------------------------------------------------------------------

    def below(self, boxes: Boxes) -> tuple[Floats, NDArray[np.bool_]]:
        """Lower bounds of boxes, and where the labels are the same at both corners."""
        most = self._labels(boxes.row_low, boxes.low, ROUNDING)
        least = self._labels(boxes.row_low, boxes.high, -ROUNDING)
        lower = np.empty(boxes.group.size)
        for part in self._blocks(boxes.group.size):
            lines = self._lines(boxes.row_high[part], boxes.high[part], most[part])
            lower[part] = self._bracket(lines)[0]
        return lower, most == least

    def attainable(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """The risk at points, with τ at the best knot."""
        labels = self._labels(row, x, ROUNDING)
        upper = np.empty(group.size)
        for part in self._blocks(group.size):
            upper[part] = self._bracket(self._lines(row[part], x[part], labels[part]))[1]
        return upper

    def reach(self, group: Integers, row: Integers) -> Integers:  # noqa: ARG002 - there is one
        """A number not below the most prompts that fit in enough of the draws."""
        if len(self.prices) == 1:
            return self.draws.reach(np.zeros_like(row), row)
        every, rows = np.broadcast_arrays(self.every, row)
        reached = self.draws.reach(every, rows)
        return self._in_enough(reached).astype(np.int64)

    def exact(self, group: int, row: int, x: int) -> Candidate:  # noqa: ARG002 - there is one
        """The risk at ``min(x, what fits)`` prompts, the rest in labels, the crumbs in prompts."""
        case = self.draws.cases[0]
        (least_prompts, most_prompts), (least_labels, most_labels) = case.prompts, case.labels
        K = case.rollouts[row]
        n = min(x, self._prompts_affordable(K, least_labels, most_prompts))
        # No prompts to come, as a run under way may have, belong to the first row alone.
        if n < least_prompts or (n == 0 and row > 0):
            return WORST
        m = self._in_enough_prices(
            [price.labels_affordable(n, K, most_labels) for price, _ in self.prices]
        )
        m = max(each.useful_labels(m) for each in self.draws.cases)
        n = self._prompts_affordable(K, m, most_prompts)
        units = case.prices.spend(n, K) + case.prices.label * m
        return Candidate(self._best(row, n, m)[0], (units, n, K, m))

    def focused(self, boxes: Boxes) -> RobustProblem:
        """Move the dense knots to where the best thresholds of these boxes lie."""
        if self.tails is None or self.knots.thresholds.size == 1:
            return self
        some = boxes.select(np.arange(0, boxes.group.size, -(-boxes.group.size // SAMPLED_BOXES)))
        labels = self._labels(some.row_low, some.low, ROUNDING)
        low, high = np.inf, -np.inf
        for part in self._blocks(some.group.size):
            lines = self._lines(some.row_high[part], some.high[part], labels[part])
            _, _, left, right = self._bracket(lines)
            low, high = min(low, float(left.min())), max(high, float(right.max()))
        high = min(high, float(self.knots.thresholds[-1]))
        first, last = self.knots.dense
        if first <= low and high <= last and 1.5 * (high - low) > last - first:
            return self
        return replace(self, knots=self._knots_between(low, high))

    # --- the risk and its threshold ---------------------------------------------------------------

    def allocation(self, n: int, K: int, m: int) -> Allocation:
        """What n prompts, K rollouts of each and m labels to come make of the whole run.

        With the τ that is best for all the draws together.
        """
        case = self.draws.cases[0]
        τ = self._best(case.rollouts.index(K), n, m)[1]
        return replace(case.allocation(n, K, m), clip_threshold=τ)

    def _best(self, row: int, n: int, m: int) -> tuple[float, float | None]:
        """The risk at an allocation, at its best τ, which is returned too."""
        lines = self._lines(np.array([row]), np.array([n]), np.array([float(m)]), average=False)
        if self.tails is None:
            return self._risk_at(lines, 0.0)[0], None
        if len(self.draws.cases) == 1:
            case = self.draws.cases[0]
            K = case.rollouts[row]
            τ = case.bound.sampling_and_clipping(n, K)[2]
            value = case.bound.least(n, K) + case.bound.shift(m) - float(self.risk.offsets[0])
            return value, τ
        return self._refined(lines)

    def _refined(self, lines: Lines) -> tuple[float, float]:
        """Minimise over τ to the last digits: where tangents meet, else in the middle."""
        mean = self._averaged(lines) if self.risk.share >= 1.0 else lines
        _, _, left, right = self._bracket(mean)
        low, high = float(left[0]), float(right[0])
        if math.isinf(high):
            high = max(2.0 * low, 1.0)
            while self._risk_at(lines, high)[1] < 0.0:
                low, high = high, 2.0 * high
        (at_low, down), (at_high, up) = self._risk_at(lines, low), self._risk_at(lines, high)
        best = min((at_low, low), (at_high, high))
        for step in range(_STEPS):
            if down >= 0.0 or up <= 0.0 or high <= low:
                break
            meet = (at_low - down * low - at_high + up * high) / (up - down)
            least = at_low + down * (meet - low)
            if best[0] - least <= 1e-14 * abs(best[0] + self._size) or not low < meet < high:
                break
            # Where the slope is 0 if it is straight; at a kink, where tangents meet.
            level = (low * up - high * down) / (up - down)
            τ = (level, level, meet, 0.5 * (low + high))[step % 4]
            τ = τ if low < τ < high else meet
            value, slope = self._risk_at(lines, τ)
            best = min(best, (value, τ))
            if slope <= 0.0:
                low, at_low, down = τ, value, slope
            else:
                high, at_high, up = τ, value, slope
        return best

    @property
    def _size(self) -> float:
        """What the offsets took off at most: rounding is relative to the bounds themselves."""
        return float(np.abs(self.risk.offsets).max())

    def _risk_at(self, lines: Lines, τ: float) -> tuple[float, float]:
        """Value and slope in τ of the risk of one vector."""
        values, slopes = lines.base + τ * lines.slope, lines.slope
        if self.tails is not None:
            at = np.array([τ])
            values = values + self.betas * self.tails.excess(at)
            slopes = slopes - self.betas * self.tails.survival(at)
        weights = self.risk.weights(values)
        return math.fsum((weights * values).ravel()), float((weights * slopes).sum())

    def _bracket(self, lines: Lines) -> tuple[Floats, Floats, Floats, Floats]:
        """Bounds of the least risk over τ and the knots around its threshold, shape (boxes,).

        The risk is convex in τ: its slope changes its sign once, and where the tangents of the two
        knots around that meet is below it.
        """
        knots, last = self.knots, self.knots.thresholds.size - 1
        columns = np.arange(lines.base.shape[1])
        low, high = np.zeros(columns.size, dtype=np.int64), np.full(columns.size, last)
        while last > 0 and (high - low > 1).any():
            middle = (low + high) // 2
            falls = self._at_knots(lines, middle)[1] <= 0.0
            low, high = np.where(falls, middle, low), np.where(falls, high, middle)
        (at_low, down), (at_high, up) = self._at_knots(lines, low), self._at_knots(lines, high)
        left, right = knots.thresholds[low], knots.thresholds[high]
        with np.errstate(divide="ignore", invalid="ignore"):
            meet = (at_low - down * left - at_high + up * right) / (up - down)
            lower = at_low + down * (np.clip(meet, left, right) - left)
        upper = np.minimum(at_low, at_high)
        at_first, at_last = down >= 0.0, up <= 0.0
        lower = np.where(at_first, at_low, np.where(at_last, at_high, lower))
        right = np.where(at_first, left, right)
        left = np.where(at_last & ~at_first, right, left)
        beyond = at_last & ~at_first & (right < self._most_clip) & (high == last)
        if beyond.any():
            # Past the last knot nothing is known of the tails but that the excess is not negative.
            values = (lines.base + right * lines.slope)[:, beyond]
            lower[beyond] = (self._weights(values) * values).sum(axis=0)
            right = np.where(beyond, math.inf, right)
        return np.minimum(lower, upper), upper, left, right

    def _weights(self, values: Floats) -> Floats:
        """Weights of the draws; of what was averaged already, 1."""
        return np.ones_like(values) if values.shape[0] == 1 else self.risk.weights(values)

    def _at_knots(self, lines: Lines, index: Integers) -> tuple[Floats, Floats]:
        """Value and slope of the risk of each box's vector at its own knot."""
        knots = self.knots
        values = lines.base + knots.thresholds[index] * lines.slope + knots.clipping[:, index]
        weights = self._weights(values)
        slopes = lines.slope - knots.clipped[:, index]
        return (weights * values).sum(axis=0), (weights * slopes).sum(axis=0)

    @property
    def _most_clip(self) -> float:
        most = self.draws.cases[0].bound.limits.clip_threshold.max
        return math.inf if most is None else most

    def _knots_between(self, low: float, high: float) -> Knots:
        """Knots over all thresholds that there can be, dense between two of them."""
        first, last = float(self.knots.thresholds[0]), float(self.knots.thresholds[-1])
        dense = np.linspace(low, high, FOCUS_KNOTS)
        everywhere = np.concatenate(([first, last], dense, _outer(first, last)))
        return _knots(everywhere, self, (low, high))

    # --- the draws --------------------------------------------------------------------------------

    @property
    def every(self) -> Integers:
        """Index of each draw, shape (S, 1)."""
        return np.arange(len(self.draws.cases))[:, None]

    def _blocks(self, boxes: int) -> Iterator[slice]:
        size = max(1, LARGEST_BLOCK // len(self.draws.cases))
        return (slice(first, first + size) for first in range(0, boxes, size))

    def _lines(self, row: Integers, x: Integers, labels: Floats, *, average: bool = True) -> Lines:
        """Every draw's bound at points (K, n) and numbers of labels, as functions of τ."""
        every, constants = self.every, self.draws.arrays.constants
        s0, s1 = self.draws.shape(every, row, x)
        mine = formulas.take(constants, every)
        shift = formulas.reward_shift(mine, labels)
        base = s0 + mine.reward_range * s1 + shift - self.risk.offsets[:, None]
        shape = (len(self.draws.cases), x.size)
        slope = np.broadcast_to(2.0 * self.betas * s1, shape)
        lines = Lines(np.broadcast_to(base, shape), slope)
        return self._averaged(lines) if average and self.risk.share >= 1.0 else lines

    def _averaged(self, lines: Lines) -> Lines:
        """The mean is one scenario again, whose tail is the mixture."""
        return Lines(*(part.mean(axis=0, keepdims=True) for part in lines))

    def _labels(self, row: Integers, x: Integers, rounding: float) -> Floats:
        """Labels that the rest buys in enough of the draws, shape (boxes,)."""
        if len(self.prices) == 1:
            one = np.zeros(row.shape, dtype=np.int64)
            return np.asarray(self.draws.labels_left(one, row, x, rounding), dtype=np.float64)
        labels = np.empty(row.size)
        for part in self._blocks(row.size):
            counts = self.draws.labels_left(self.every, row[part], x[part], rounding)
            labels[part] = self._in_enough(counts)
        return labels

    def _in_enough(self, counts: Floats | Integers) -> Floats:
        """The largest count that at least ``must_afford`` of the draws allow."""
        at = counts.shape[0] - self.must_afford
        ordered: Floats = np.partition(counts, at, axis=0)[at].astype(np.float64)
        return ordered

    def _in_enough_prices(self, counts: list[int]) -> int:
        """The same of exact counts, one for each of the prices that differ."""
        left = self.must_afford
        for count, (_, draws) in sorted(
            zip(counts, self.prices, strict=True), key=lambda pair: -pair[0]
        ):
            left -= draws
            if left <= 0:
                return count
        return -1

    def _prompts_affordable(self, K: int, labels: int, most: int) -> int:
        return self._in_enough_prices(
            [price.prompts_affordable(K, labels, most) for price, _ in self.prices]
        )


def robust_problem(cases: Sequence[Case], risk: Risk, must_afford: int) -> RobustProblem:
    """Prepare one decision for draws of a scenario that differ in constants only."""
    rows = tuple(sorted({K for case in cases for K in case.rollouts}))
    if any(case.bound.shares for case in cases):
        rows = cases[0].allowed
    alike = [case._replace(rollouts=rows) for case in cases]
    draws = budget_problem(alike)
    prices: dict[Prices, int] = {}
    for case in cases:
        prices[case.prices] = prices.get(case.prices, 0) + 1
    found = [case.bound.tail for case in cases]
    some = next((tail for tail in found if tail is not None), None)
    tails = None if some is None else StackedTails([tail or some for tail in found])
    betas = np.array([[float(case.constants.kl_coefficient)] for case in cases])
    none = np.zeros((1, 1))
    nothing = Knots(none[0], none, none, (0.0, 0.0))
    problem = RobustProblem(draws, risk, must_afford, tuple(prices.items()), betas, tails, nothing)
    if tails is None:
        return problem
    clip = cases[0].bound.limits.clip_threshold
    first, most = clip.min or 0.0, math.inf if clip.max is None else clip.max
    boxes = draws.boxes()
    reach = np.maximum(problem.reach(boxes.group * 0, boxes.row_low), boxes.low)
    _, s1 = draws.shape(problem.every, boxes.row_high, reach)
    least = 2.0 * float(np.min(s1))
    furthest = max(float(tail.inverse_survival(least)) for tail in tails.distinct)
    last = min(max(furthest, first), most)
    last = last if math.isfinite(last) else max(1e6, first)
    everywhere = np.concatenate(([first, last], _outer(first, last)))
    return replace(problem, knots=_knots(everywhere, problem, (first, last)))


def _outer(first: float, last: float) -> Floats:
    if last <= first:
        return np.array([first])
    even = np.linspace(first, last, OUTER_KNOTS)
    return np.concatenate((even, np.geomspace(max(first, 1e-3 * last), last, OUTER_KNOTS)))


def _knots(thresholds: Floats, problem: RobustProblem, dense: tuple[float, float]) -> Knots:
    tails = problem.tails
    ordered = np.unique(thresholds)
    if tails is None:
        return problem.knots
    β = problem.betas
    clipping, clipped = β * tails.excess(ordered), β * tails.survival(ordered)
    if problem.risk.share >= 1.0:
        clipping, clipped = (part.mean(axis=0, keepdims=True) for part in (clipping, clipped))
    return Knots(ordered, clipping, clipped, dense)


def minimise_risk(
    problem: RobustProblem, *, tolerance: float, effort: Effort = FULL_EFFORT
) -> Outcome | None:
    """Find the shared allocation with the least risk; None where nothing is affordable.

    The search counts boxes; each takes as many evaluations as there are draws, so that it stops
    as soon as the gap is within the tolerance.
    """
    draws, boxes = len(problem.draws.cases), problem.draws.boxes()
    mine = boxes.select(boxes.group == 0)
    less = Effort(effort.cheap // draws, effort.most)
    with np.errstate(over="ignore", invalid="ignore"):
        search = minimise(problem, mine, 1, tolerance=tolerance, effort=less)[0]
    if not search.best.tie or not math.isfinite(search.best.value):
        return None
    _, n, K, m = search.best.tie
    return Outcome(
        problem.allocation(n, K, m), search.best.value, search.lower_bound, search.evaluations
    )
