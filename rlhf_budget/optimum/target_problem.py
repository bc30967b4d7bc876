"""The least cost of a bound not above a target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.bound import terms as formulas
from rlhf_budget.optimum.arrays import ROUNDING, labels_needed
from rlhf_budget.optimum.problem import MonotoneSum, shared_parts
from rlhf_budget.optimum.search import WORST, Candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget.optimum.case import Case

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class TargetProblem(MonotoneSum):
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
        m = case.fewest_labels(x, K, float(self.targets[group]), case.labels)
        if m is None:
            return WORST
        units = case.prices.spend(x, K) + case.prices.label * m
        return Candidate(case.prices.to_currency(units), (units, x, K, m))


def target_problem(cases: Sequence[Case], targets: Sequence[float]) -> TargetProblem:
    """Cases of one label kind, each with its own target."""
    return TargetProblem(*shared_parts(cases), np.array(targets, dtype=np.float64))
