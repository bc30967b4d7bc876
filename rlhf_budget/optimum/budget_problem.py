"""The least bound within a budget, what prompts and rollouts leave going to labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.bound import terms as formulas
from rlhf_budget.optimum.arrays import ROUNDING
from rlhf_budget.optimum.problem import MonotoneSum, shared_parts
from rlhf_budget.optimum.search import WORST, Candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget.optimum.case import Case

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


class BudgetProblem(MonotoneSum):
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
        # No prompts to come, as a run under way may have, belong to the first row alone.
        if n < least_prompts or (n == 0 and row > 0):
            return WORST
        m = case.useful_labels(case.prices.labels_affordable(n, K, most_labels))
        n = case.prices.prompts_affordable(K, m, most_prompts)
        units = case.prices.spend(n, K) + case.prices.label * m
        return Candidate(case.bound.least(n, K) + case.bound.shift(m), (units, n, K, m))


def budget_problem(cases: Sequence[Case]) -> BudgetProblem:
    """Cases of one label kind, each within its own budget."""
    return BudgetProblem(*shared_parts(cases))
