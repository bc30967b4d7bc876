"""How far each constant that is not known moves the plan, one at a time."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rlhf_budget.bound.terms import evaluate
from rlhf_budget.errors import Problem, RlhfBudgetError, ScenarioError
from rlhf_budget.optimum.certified import Optimum, optimise_many
from rlhf_budget.optimum.search import BESIDE_EFFORT
from rlhf_budget.planning.advice import half_and_twice
from rlhf_budget.planning.draws import laws_of, scenarios_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.planning.results import Plan
    from rlhf_budget.scenario.models import Scenario

Kind = Literal["range", "guess"]

ENDS = (0.05, 0.95)
"""Shares of the law of a range below its ends."""


class End(NamedTuple):
    """One end of what a constant may be, all others as the plan takes them."""

    value: float
    """Value of the constant, in its own unit."""
    allocation: Allocation | None
    """What is best there; None where nothing is."""
    bound: float | None
    """The bound of that, reward units."""


class Swing(NamedTuple):
    """Both ends of one constant."""

    constant: str
    """Key path."""
    kind: Kind
    """A range or ``unknown`` at its 5 and 95 %, or half and twice a guess."""
    low: End
    """Lower end."""
    high: End
    """Upper end."""

    @property
    def width(self) -> float:
        """By how much the bound moves between the lowest and the highest, reward units."""
        bounds = [end.bound for end in (self.low, self.high) if end.bound is not None]
        return max(bounds) - min(bounds) if bounds else 0.0


class Swings(NamedTuple):
    """All constants that are not known, and the plan for the middle of every range."""

    allocation: Allocation
    """What is best at the middle."""
    bound: float
    """Its bound there, reward units."""
    constants: tuple[Swing, ...]
    """The constant that moves the bound most first."""


def swings(plan: Plan) -> Swings:
    """Plan anew at both ends of every constant that is not known, one at a time.

    Parameters
    ----------
    plan
        A plan within a budget; of a robust one, that for the middle is what stands in the middle.

    Returns
    -------
    Swings
        Ranges and ``unknown`` at 5 and 95 % of their laws, guesses at half and twice their value.

    Raises
    ------
    ScenarioError
        Where every constant is given as known.
    """
    ends = list(_ends(plan.scenario))
    if not ends:
        allowed = (
            "a constant as a range {low: …, high: …} or unknown, or one whose source says guess"
        )
        raise ScenarioError((Problem("", "every constant given as known", allowed),))
    legal = [there for *_, there in ends if there is not None]
    outcomes = iter(optimise_many(legal, effort=BESIDE_EFFORT))
    found: dict[tuple[str, Kind], list[End]] = {}
    for constant, kind, value, there in ends:
        outcome = None if there is None else next(outcomes)
        end = End(value, None, None)
        if isinstance(outcome, Optimum):
            end = End(value, outcome.allocation, outcome.bound.total)
        found.setdefault((constant, kind), []).append(end)
    constants = [Swing(*named, *both) for named, both in found.items()]
    middle = plan.robust.at_middle.allocation if plan.robust else plan.allocation
    return Swings(
        allocation=middle,
        bound=evaluate(plan.scenario, middle).total,
        constants=tuple(sorted(constants, key=lambda swing: -swing.width)),
    )


def _ends(
    scenario: Scenario,
) -> Iterator[tuple[str, Kind, float, Scenario | None]]:
    """Each constant with its kind, its value at an end, and the scenario there, if it is legal."""
    for law in laws_of(scenario):
        at = np.array(ENDS)
        for value, there in zip(
            law.at(at), scenarios_of(scenario, [law], at[:, None]), strict=True
        ):
            yield law.constant, "range", float(value), there
    for constant, value in half_and_twice(scenario):
        # Half of a guess may be no legal value: a coverage below 1.
        legal: Scenario | None = None
        with suppress(RlhfBudgetError):
            legal = scenario.with_values({constant: value})
        yield constant, "guess", value, legal
