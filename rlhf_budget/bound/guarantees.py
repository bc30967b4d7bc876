"""The bound of one allocation under every inequality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.bound.inequalities import INEQUALITIES
from rlhf_budget.bound.results import Guarantee
from rlhf_budget.bound.terms import bound_of

if TYPE_CHECKING:
    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.scenario.models import Scenario


def guarantees(scenario: Scenario, allocation: Allocation) -> tuple[Guarantee, ...]:
    """The bound of the plan's own allocation under every inequality, smallest first.

    Silent groups are part of the planning rule only: that they teach nothing takes nothing from
    what they tell of the objective (docs/theory.md, planning rule and guarantee).
    """
    judged = scenario.model_copy(update={"groups": None})
    rule, found = scenario.bound.concentration, []
    for name, inequality in INEQUALITIES.items():
        if name == rule or inequality.allows(scenario.bound):
            settings = scenario.bound.model_copy(update={"concentration": name})
            bound = bound_of(judged.model_copy(update={"bound": settings})).at(allocation)
            found.append(Guarantee(name, bound.total, bound.sampling, name == rule))
    return tuple(sorted(found, key=lambda entry: entry.total))
