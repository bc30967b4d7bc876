"""What both studies say of their worlds, named as in the JSON output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlhf_budget.bound.terms import evaluate, scenario_tail
from rlhf_budget.scenario.records import Record
from rlhf_budget.simulation.statistics import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.scenario import units
    from rlhf_budget.scenario.models import Scenario
    from rlhf_budget.simulation.statistics import Estimate


@dataclass(frozen=True, slots=True)
class WorldConstant(Record):
    """A constant of the bound: what the scenario says and what the worlds have."""

    constant: str
    """Which one."""
    scenario: units.OwnUnit | None
    """The scenario's value; None where it gives none."""
    worlds: Estimate
    """The worlds' own, or what their pilots measured, at the plan's allocation."""


@dataclass(frozen=True, slots=True)
class Worlds(Record):
    """How much was tried."""

    requested: units.Positive
    """Worlds asked for."""
    completed: units.Positive
    """Worlds tried; fewer after an interruption."""
    replicates: units.Positive
    """Estimates, or trainings of an allocation, in each."""


@dataclass(frozen=True, slots=True)
class Wins(Record):
    """Worlds in which the plan ships strictly better than a rival."""

    worlds: units.Count
    """Worlds won by the plan."""
    of: units.Positive
    """Worlds; ties are not wins."""
    share: units.Share
    """``worlds/of``."""
    interval: tuple[units.Share, units.Share]
    """Clopper–Pearson, 95 %."""


def constants_at(scenario: Scenario, allocation: Allocation) -> dict[str, float | None]:
    """Return the bound's constants by a scenario, None where it gives none."""
    bound, tail = evaluate(scenario, allocation), scenario_tail(scenario)
    return {
        "mean_log_ratio": None if tail is None else float(tail.excess(0.0)),
        "coverage": bound.coverage,
        "reward_error": bound.reward_error,
        "prompt_variance": scenario.bound.prompt_variance,
        "rollout_variance": scenario.bound.rollout_variance,
    }


def count_wins(won: Iterable[bool]) -> Wins:
    """Count worlds won, at least one world."""
    each = list(won)
    wins, of = sum(each), len(each)
    return Wins(wins, of, wins / of, clopper_pearson(wins, of))
