"""Scenarios as monotone problems over (rollouts per prompt, prompts).

Within a budget, prompts and rollouts lower the sampling error while the labels that are left
shrink: ``F = G(n, K) + ρ(m(n, K))``. For a target ε the cost is ``spend(n, K)`` and what
``ρ⁻¹(ε − G(n, K))`` labels cost.
Both are a decreasing plus an increasing function of n and of K (docs/theory.md, certified optimum).
Rows are the allowed K in ascending order; x is n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from rlhf_budget.bound import terms as formulas
from rlhf_budget.bound.groups import informative_share, shares_of
from rlhf_budget.bound.penalty import PenaltyTable, penalty_table
from rlhf_budget.optimum.money import Prices, prices_of
from rlhf_budget.optimum.search import WORST, Boxes, Candidate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from rlhf_budget.bound.tails import Tail
    from rlhf_budget.bound.terms import Constants, Number
    from rlhf_budget.scenario.models import Limits, Scenario

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

CAP = 10**12
"""Prompts and labels never exceed this."""
ROUNDING = 2e-15
"""Relative slack that keeps float label counts from falling below the exact ones."""


class Case(NamedTuple):
    """One scenario, prepared for the search."""

    scenario: Scenario
    """What is planned."""
    constants: Constants
    """Its symbols, floats."""
    tail: Tail | None
    """Law of ``|ℓ|``; None where β = 0."""
    prices: Prices
    """Exact money."""
    rollouts: tuple[int, ...]
    """K of each row, ascending."""
    shares: tuple[float, ...]
    """Share of groups that teach, of each row; 1 where rewards are not 0 or 1."""
    prompts: tuple[int, int]
    """Least and most n."""
    labels: tuple[int, int]
    """Least and most m."""

    def useful_labels(self, labels: int) -> int:
        """The least count with the same ``ρ`` as ``labels``: money is not wasted on a plateau.

        Decided by where ``L`` is capped at R² or ``scale`` is 0, never by float equality.
        """
        c = self.constants
        if c.label_kind == "none":
            return self.labels[0]
        existing = float(c.existing_labels)
        first = 0 if existing > 0 else 1
        coverage_from = 0 if c.label_kind == "behaviour" or c.coverage == 1.0 else first
        perfect = c.error_floor == 0 and c.error_scale == 0
        if c.label_kind == "current" and existing > 0 and c.coverage != 1.0 and not perfect:
            return labels
        if float(formulas.reward_error(c, float(labels))) >= np.square(c.reward_range):
            least = coverage_from
        elif c.error_scale == 0:
            least = first
        else:
            return labels
        return min(labels, max(self.labels[0], least))

    def sampling(self, prompts: float, rollouts_per_prompt: float) -> tuple[float, float | None]:
        """``G(n, K)``, at fractional n and K too, and the τ that attains it."""
        c = self.constants
        share = informative_share(self.scenario, round(rollouts_per_prompt))
        s0, s1 = formulas.sampling_shape(c, float(prompts), float(rollouts_per_prompt), share)
        value = float(s0) + float(c.reward_range) * float(s1)
        if self.tail is None:
            return value, None
        τ = formulas.best_clip_threshold(self.tail, float(s1), self.scenario.limits)
        return value + float(c.kl_coefficient) * formulas.kl_penalty(self.tail, float(s1), τ), τ

    def shift(self, labels: int) -> float:
        """``ρ(m)``."""
        return float(formulas.reward_shift(self.constants, float(labels)))

    def parts(self, prompts: int, rollouts_per_prompt: int) -> tuple[float, float]:
        """``S`` and ``β·E(|ℓ| − τ)₊`` at the best τ: the two parts of ``G(n, K)``."""
        here = formulas.Allocation(prompts, rollouts_per_prompt, 0, None)
        return formulas.sampling_and_clipping(self.scenario, self.constants, here)[:2]


def prepare(scenario: Scenario, *, with_budget: bool = True, dominated: bool = False) -> Case:
    """Prepare a scenario; ``dominated`` keeps values of K that cannot be best."""
    limits = scenario.limits
    constants = formulas.constants_of(scenario)
    prices = prices_of(scenario, with_budget=with_budget)
    rollouts = formulas.rollout_choices(limits)
    if not dominated and scenario.groups is None:
        rollouts = _undominated(constants, prices, rollouts)
    buys = constants.label_kind != "none"
    return Case(
        scenario=scenario,
        constants=constants,
        tail=formulas.scenario_tail(scenario),
        prices=prices,
        rollouts=rollouts,
        shares=shares_of(scenario, rollouts),
        prompts=(limits.prompts.min or 1, min(limits.prompts.max or CAP, CAP)),
        labels=_label_limits(limits) if buys else (0, 0),
    )


def _label_limits(limits: Limits) -> tuple[int, int]:
    most = CAP if limits.labels.max is None else min(limits.labels.max, CAP)
    return limits.labels.min or 0, most


def _undominated(
    constants: Constants, prices: Prices, rollouts: tuple[int, ...]
) -> tuple[int, ...]:
    """Values of K that can be best: the least where K teaches nothing, the most where free."""
    c = constants
    if c.concentration == "prompt_mean" or (
        c.concentration == "bernstein" and c.rollout_variance == 0
    ):
        return rollouts[:1]
    return rollouts[-1:] if prices.rollout == 0 else rollouts


class _Arrays(NamedTuple):
    """Float views of the cases, each of shape (groups,) but the table of K."""

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


def _arrays(cases: Sequence[Case]) -> _Arrays:
    rows = max(len(case.rollouts) for case in cases)

    def table(columns: Iterable[tuple[float, ...]]) -> Floats:
        """Rows of one length: the last is repeated."""
        return np.array([column + column[-1:] * (rows - len(column)) for column in columns], float)

    money = {
        name: np.array([case.prices.to_currency(getattr(case.prices, name)) for case in cases])
        for name in ("fixed", "acquisition", "prefill", "rollout", "label")
    }
    budgets = [case.prices.budget for case in cases]
    return _Arrays(
        constants=formulas.stack([case.constants for case in cases]),
        rollouts=table(case.rollouts for case in cases),
        shares=table(case.shares for case in cases),
        budget=np.array(
            [
                math.inf if budget is None else case.prices.to_currency(budget)
                for budget, case in zip(budgets, cases, strict=True)
            ]
        ),
        existing=np.array([float(case.prices.existing) for case in cases]),
        least_labels=np.array([float(case.labels[0]) for case in cases]),
        most_labels=np.array([float(case.labels[1]) for case in cases]),
        most_prompts=np.array([float(case.prompts[1]) for case in cases]),
        **money,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """What both problems share: G by chord tables, spending by floats."""

    cases: tuple[Case, ...]
    arrays: _Arrays
    table_of: Integers
    """Which table serves each group, shape (groups,)."""
    tables: tuple[PenaltyTable | None, ...]

    def _pick(self, group: Integers) -> Integers | slice:
        """Index of per-group constants; one group broadcasts."""
        return slice(None) if len(self.cases) == 1 else group

    def _of_row(self, table: Floats, group: Integers, row: Integers) -> Floats:
        return table[0][row] if len(self.cases) == 1 else table[group, row]

    def _rollouts(self, group: Integers, row: Integers) -> Floats:
        return self._of_row(self.arrays.rollouts, group, row)

    def _shape(self, group: Integers, row: Integers, x: Integers) -> tuple[Floats, Floats]:
        constants = formulas.take(self.arrays.constants, self._pick(group))
        n = x.astype(np.float64)
        share = self._of_row(self.arrays.shares, group, row)
        s0, s1 = formulas.sampling_shape(constants, n, self._rollouts(group, row), share)
        return np.asarray(s0, dtype=np.float64), np.asarray(s1, dtype=np.float64)

    def _penalty(self, group: Integers, s1: Floats, side: str) -> Floats:
        """``H(s)`` from below or above, by each group's table."""
        if len(self.tables) == 1:
            table = self.tables[0]
            return np.zeros_like(s1) if table is None else getattr(table, side)(s1)
        result = np.zeros_like(s1)
        which = self.table_of[group]
        order = np.argsort(which, kind="stable")
        edges = np.searchsorted(which[order], np.arange(len(self.tables) + 1))
        for table, first, last in zip(self.tables, edges[:-1], edges[1:], strict=True):
            if table is not None and first < last:
                mine = order[first:last]
                result[mine] = getattr(table, side)(s1[mine])
        return result

    def sampling(self, group: Integers, row: Integers, x: Integers, side: str) -> Floats:
        """``G(n, K)`` from below (``lower``) or above (``upper``)."""
        s0, s1 = self._shape(group, row, x)
        constants, pick = self.arrays.constants, self._pick(group)
        R = formulas.taken(constants.reward_range, pick)
        β = formulas.taken(constants.kl_coefficient, pick)
        value: Floats = s0 + R * s1 + β * self._penalty(group, s1, side)
        return value

    def spend(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """Cost of all but labels, currency."""
        a, pick = self.arrays, self._pick(group)
        n = x.astype(np.float64)
        bought = np.maximum(0.0, n - a.existing[pick])
        each = a.prefill[pick] + a.rollout[pick] * self._rollouts(group, row)
        total: Floats = a.fixed[pick] + a.acquisition[pick] * bought + each * n
        return total

    def labels_left(
        self, group: Integers, row: Integers, x: Integers, rounding: float = ROUNDING
    ) -> Floats:
        """``m(n, K)``: labels that the rest buys; never below the exact count.

        With ``rounding = -ROUNDING`` never above it.
        """
        a, pick = self.arrays, self._pick(group)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            price = a.label[pick]
            left = a.budget[pick] - self.spend(group, row, x) + rounding * a.budget[pick]
            count = np.floor(left / price)
        count = np.where(price > 0, count, a.most_labels[pick])
        return np.minimum(np.maximum(count, a.least_labels[pick]), a.most_labels[pick])

    def reach(self, group: Integers, row: Integers) -> Integers:
        """A number not below the most prompts that fit beside the fewest labels."""
        a, pick = self.arrays, self._pick(group)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            left = a.budget[pick] * (1.0 + 4.0 * ROUNDING) - a.fixed[pick]
            left = left - a.label[pick] * a.least_labels[pick]
            each = a.prefill[pick] + a.rollout[pick] * self._rollouts(group, row)
            pool = a.existing[pick]
            beyond = pool + (left - each * pool) / (each + a.acquisition[pick])
            most = np.where(left >= each * pool, beyond, left / each)
        most = np.where(np.isnan(most), math.inf, most)
        most = np.minimum(np.floor(most * (1.0 + 4.0 * ROUNDING)), a.most_prompts[pick])
        reached: Integers = np.maximum(np.broadcast_to(most, row.shape), 0.0).astype(np.int64)
        return reached

    def focused(self, boxes: Boxes) -> Self:
        """Rebuild the chord tables whose live ranges of s have shrunk by a third."""
        if all(case.tail is None for case in self.cases):
            return self
        ends = np.full((2, len(self.cases)), math.inf)
        _, least = self._shape(boxes.group, boxes.row_high, boxes.high)
        _, most = self._shape(boxes.group, boxes.row_low, boxes.low)
        np.minimum.at(ends[0], boxes.group, least)
        np.minimum.at(ends[1], boxes.group, -most)
        tables = list(self.tables)
        for index in range(len(tables)):
            live = (self.table_of == index) & (ends[0] < math.inf)
            if live.any():
                tables[index] = self._focused_table(index, ends[0, live], -ends[1, live])
        if all(new is old for new, old in zip(tables, self.tables, strict=True)):
            return self
        return replace(self, tables=tuple(tables))

    def _focused_table(self, index: int, least: Floats, most: Floats) -> PenaltyTable | None:
        table = self.tables[index]
        if table is not None and 1.5 * float((most - least).sum()) > table.width:
            return table
        case = self.cases[int(np.flatnonzero(self.table_of == index)[0])]
        if case.tail is None:
            return None
        clip = case.scenario.limits.clip_threshold
        most_clip = math.inf if clip.max is None else clip.max
        return penalty_table(case.tail, clip.min or 0.0, most_clip, least, most, table)

    def boxes(self) -> Boxes:
        """Every (K, n) within the limits, cut at the edge of the prompt pool.

        Cut too between rows where the share of groups that teach falls (a larger K of smaller
        groups): the sampling part must decrease in the row within a box.
        """
        pieces: list[tuple[int, int, int, int, int]] = []
        for group, case in enumerate(self.cases):
            low, high = case.prompts
            edge = min(max(case.prices.existing, low - 1), high)
            falls = np.flatnonzero(np.diff(case.shares) < 0) + 1
            for first, after in pairwise((0, *falls, len(case.shares))):
                rows = first, after - 1
                pieces += [(group, *rows, low, edge)] if edge >= low else []
                pieces += [(group, *rows, edge + 1, high)] if edge < high else []
        return Boxes(*np.array(pieces, dtype=np.int64).T)


class BudgetProblem(_Problem):
    """Minimise the bound within the budget, what is left going to labels."""

    __slots__ = ()

    def fall(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """``G(n, K)`` from below."""
        return self.sampling(group, row, x, "lower")

    def rise(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """``ρ(m(n, K))``."""
        return self._shift_left(group, row, x)

    def rise_above(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """``ρ`` of labels that can surely be paid for."""
        return self._shift_left(group, row, x, -ROUNDING)

    def attainable(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """The bound at a point, with G from above."""
        return self.sampling(group, row, x, "upper") + self._shift_left(group, row, x)

    def _shift_left(
        self, group: Integers, row: Integers, x: Integers, rounding: float = ROUNDING
    ) -> Floats:
        constants = formulas.take(self.arrays.constants, self._pick(group))
        shift = formulas.reward_shift(constants, self.labels_left(group, row, x, rounding))
        return np.broadcast_to(np.asarray(shift, dtype=np.float64), x.shape)

    def exact(self, group: int, row: int, x: int) -> Candidate:
        """The bound at ``min(x, what fits)`` prompts, the rest in labels, the crumbs in prompts."""
        case = self.cases[group]
        (least_prompts, most_prompts), (least_labels, most_labels) = case.prompts, case.labels
        K = case.rollouts[row]
        n = min(x, case.prices.prompts_affordable(K, least_labels, most_prompts))
        if n < least_prompts:
            return WORST
        m = case.useful_labels(case.prices.labels_affordable(n, K, most_labels))
        n = case.prices.prompts_affordable(K, m, most_prompts)
        units = case.prices.spend(n, K) + case.prices.label * m
        return Candidate(case.sampling(n, K)[0] + case.shift(m), (units, n, K, m))


@dataclass(frozen=True, slots=True, eq=False)
class TargetProblem(_Problem):
    """Minimise the cost of a bound not above a target."""

    targets: Floats
    """The target bound of each group, reward units, shape (groups,)."""

    def fall(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """Cost of the labels that the target still needs, from below; infinite where none do."""
        return self._label_cost(group, row, x, "lower")

    def attainable(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """The cost at a point, with G from above; infinite where it may miss the target."""
        return self._label_cost(group, row, x, "upper") + self.spend(group, row, x)

    def _label_cost(self, group: Integers, row: Integers, x: Integers, side: str) -> Floats:
        a, pick = self.arrays, self._pick(group)
        rounding = 4.0 * ROUNDING if side == "lower" else 0.0
        room = self.targets[pick] * (1.0 + rounding) - self.sampling(group, row, x, side)
        needed = labels_needed(
            formulas.take(a.constants, pick), room, a.least_labels[pick], a.most_labels[pick]
        )
        price = np.broadcast_to(a.label[pick], needed.shape)
        return np.where(np.isinf(needed), math.inf, price * np.where(np.isinf(needed), 0.0, needed))

    def rise(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """What the prompts and rollouts cost, rounded down."""
        return self.spend(group, row, x) * (1.0 - ROUNDING)

    def rise_above(self, group: Integers, row: Integers, x: Integers) -> Floats:
        """The same: of boxes flat to within rounding, the last corner is as good as any."""
        return self.rise(group, row, x)

    def exact(self, group: int, row: int, x: int) -> Candidate:
        """The cost at exactly x prompts with the fewest labels that reach the target."""
        case, K = self.cases[group], self.cases[group].rollouts[row]
        m = fewest_labels(case, x, K, float(self.targets[group]))
        if m is None:
            return WORST
        units = case.prices.spend(x, K) + case.prices.label * m
        return Candidate(case.prices.to_currency(units), (units, x, K, m))


def fewest_labels(case: Case, prompts: int, rollouts_per_prompt: int, target: float) -> int | None:
    """The least m whose bound, to the last digit as it is reported, is at most ``target``."""
    sampling, clipping = case.parts(prompts, rollouts_per_prompt)

    def reached(labels: int) -> bool:
        return sampling + case.shift(labels) + clipping <= target

    low, high = case.labels
    if not reached(high):
        return None
    constants = formulas.stack([case.constants])
    limits = np.array([float(low)]), np.array([float(high)])
    room = target * (1.0 + 4.0 * ROUNDING) - sampling - clipping
    start = labels_needed(constants, np.array([room]), *limits)[0]
    low, step = (low if math.isinf(start) else int(start)), 1
    while not reached(min(low + step - 1, high)):
        low, step = low + step, 2 * step
    high = min(low + step - 1, high)
    while low < high:
        middle = (low + high) // 2
        if reached(middle):
            high = middle
        else:
            low = middle + 1
    return low


def labels_needed(constants: Constants, room: Floats, least: Floats, most: Floats) -> Floats:
    """The labels that bring ``ρ`` down to ``room``, from below; infinite where none do.

    Parameters
    ----------
    constants
        Symbols, arrays that broadcast against ``room``.
    room
        What the reward-shift term may be, reward units, shape (points,).
    least, most
        Limits on the labels.

    Returns
    -------
    ndarray of shape (points,)
        Never above the exact count, and within 1e-12 of it or one label.
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


def _tables(cases: Sequence[Case]) -> tuple[Integers, int]:
    """Number the distinct (tail, clip limits): groups that share them share a table."""
    numbers: dict[tuple[object, ...], int] = {}
    which = []
    for case in cases:
        clip = case.scenario.limits.clip_threshold
        key = (case.tail, clip.min, clip.max)
        which.append(numbers.setdefault(key, len(numbers)))
    return np.array(which), len(numbers)


def budget_problem(cases: Sequence[Case]) -> BudgetProblem:
    """Cases of one concentration and label kind, each within its own budget."""
    which, count = _tables(cases)
    return BudgetProblem(tuple(cases), _arrays(cases), which, (None,) * count)


def target_problem(cases: Sequence[Case], targets: Sequence[float]) -> TargetProblem:
    """Cases of one concentration and label kind, each with its own target."""
    which, count = _tables(cases)
    tables: tuple[PenaltyTable | None, ...] = (None,) * count
    return TargetProblem(
        tuple(cases), _arrays(cases), which, tables, np.array(targets, dtype=np.float64)
    )
