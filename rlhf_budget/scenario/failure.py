"""Exceptions as data: ERR of the JSON interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rlhf_budget.scenario.records import LEFT_OUT_IF_NONE, Record

if TYPE_CHECKING:
    from rlhf_budget.errors import Problem
    from rlhf_budget.scenario import units


@dataclass(frozen=True, slots=True)
class Failure(Record):
    """Why there is no plan."""

    code: str
    """Stable name, such as ``infeasible`` or ``invalid``."""
    message: str
    """What is wrong, in a sentence."""
    least_budget: units.Money | None
    """The least budget that is feasible."""
    shortfall: units.Money | None
    """How much the budget lacks."""
    limits: tuple[str, ...]
    """Key paths of the limits responsible."""
    problems: tuple[Problem, ...]
    """Everything wrong with the scenario."""
    infimum: units.Reward | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    """No budget brings the bound below this; absent unless a target is out of reach."""


def failure(error: BaseException) -> Failure:
    """Return what an exception of this package says."""
    return Failure(
        code=getattr(error, "code", "internal"),
        message=str(error),
        least_budget=getattr(error, "least_budget", None),
        shortfall=getattr(error, "shortfall", None),
        limits=getattr(error, "limits", ()),
        problems=getattr(error, "problems", ()),
        infimum=getattr(error, "infimum", None),
    )
