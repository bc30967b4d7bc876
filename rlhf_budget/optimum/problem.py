"""Scenarios as monotone problems over (rollouts per prompt, prompts).

Within a budget, prompts and rollouts lower the sampling error while the labels that are left
shrink: ``F = G(n, K) + ρ(m(n, K))``. For a target ε the cost is ``spend(n, K)`` and what
``ρ⁻¹(ε − G(n, K))`` labels cost.
Both are a decreasing plus an increasing function of n and of K (docs/theory.md, certified optimum).
Rows are the K of a case in ascending order; x is n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np

from rlhf_budget.bound import terms as formulas
from rlhf_budget.bound.penalty import PenaltyTable, penalty_table
from rlhf_budget.optimum.arrays import ROUNDING, Arrays, arrays_of
from rlhf_budget.optimum.search import Boxes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget.optimum.case import Case

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class MonotoneSum:
    """What both problems share: G by chord tables, spending by floats."""

    cases: tuple[Case, ...]
    arrays: Arrays
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

    def shape(self, group: Integers, row: Integers, x: Integers) -> tuple[Floats, Floats]:
        """``S₀`` and ``S₁`` of groups at points."""
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
        s0, s1 = self.shape(group, row, x)
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
        if all(case.bound.tail is None for case in self.cases):
            return self
        ends = np.full((2, len(self.cases)), math.inf)
        _, least = self.shape(boxes.group, boxes.row_high, boxes.high)
        _, most = self.shape(boxes.group, boxes.row_low, boxes.low)
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
        if case.bound.tail is None:
            return None
        clip = case.scenario.limits.clip_threshold
        most_clip = math.inf if clip.max is None else clip.max
        return penalty_table(case.bound.tail, clip.min or 0.0, most_clip, least, most, table)

    def boxes(self) -> Boxes:
        """Every (K, n) within the limits, cut at the edge of the prompt pool.

        Cut too between rows where the share of groups that teach falls (a larger K of smaller
        groups): the sampling part must decrease in the row within a box.
        """
        pieces: list[tuple[int, int, int, int, int]] = []
        for group, case in enumerate(self.cases):
            low, high = case.prompts
            if low == 0:
                # Nothing more is generated in a run under way: then K, which is of no matter, is
                # the least allowed.
                pieces += [(group, 0, 0, 0, 0)]
                low = 1
            edge = min(max(case.prices.existing, low - 1), high)
            falls = np.flatnonzero(np.diff(case.shares) < 0) + 1
            for first, after in pairwise((0, *falls, len(case.shares))):
                rows = first, after - 1
                pieces += [(group, *rows, low, edge)] if edge >= low else []
                pieces += [(group, *rows, edge + 1, high)] if edge < high else []
        return Boxes(*np.array(pieces, dtype=np.int64).T)


def shared_parts(
    cases: Sequence[Case],
) -> tuple[tuple[Case, ...], Arrays, Integers, tuple[PenaltyTable | None, ...]]:
    """The fields of :class:`MonotoneSum`; groups of the same tail and clip limits share a table."""
    numbers: dict[tuple[object, ...], int] = {}
    which = []
    for case in cases:
        clip = case.bound.limits.clip_threshold
        which.append(numbers.setdefault((case.bound.tail, clip.min, clip.max), len(numbers)))
    return tuple(cases), arrays_of(cases), np.array(which), (None,) * len(numbers)
