"""What both studies say of their worlds, named as in the JSON output."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rlhf_budget.simulation.statistics import Estimate, clopper_pearson, listed

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class WorldConstant:
    """A constant of the bound: what the scenario says and what the worlds have."""

    constant: str
    """Which one."""
    scenario: float | None
    """The scenario's value; None where it gives none."""
    worlds: Estimate
    """The worlds' own, at the plan's allocation."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "constant": self.constant,
            "scenario": self.scenario,
            "worlds": self.worlds.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Worlds:
    """How much was tried."""

    requested: int
    """Worlds asked for."""
    completed: int
    """Worlds tried; fewer after an interruption."""
    replicates: int
    """Estimates in each."""


@dataclass(frozen=True, slots=True)
class Wins:
    """Worlds in which the plan ships strictly better than a rival."""

    worlds: int
    """Worlds won by the plan."""
    of: int
    """Worlds; ties are not wins."""
    share: float
    """``worlds/of``."""
    interval: tuple[float, float]
    """Clopper–Pearson, 95 %."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "interval": listed(self.interval)}


def count_wins(won: Iterable[bool]) -> Wins:
    """Count worlds won, at least one world."""
    each = list(won)
    wins, of = sum(each), len(each)
    return Wins(wins, of, wins / of, clopper_pearson(wins, of))
