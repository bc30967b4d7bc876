"""What the search proves: certificates, targets reached, ranges around an optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["optimal", "not_proved"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """Proof that no feasible allocation is better by more than the gap."""

    lower_bound: float
    """No feasible allocation has a smaller bound (reward units)."""
    relative_gap: float
    """``(total − lower_bound)/total``."""
    proved: bool
    """True where the gap is within the tolerance."""
    evaluations: int
    """Points and boxes at which the bound was evaluated."""


@dataclass(frozen=True, slots=True)
class NearOptimal:
    """How far each decision can move while the bound stays near its best."""

    within: float
    """Relative excess that counts as near, a fraction."""
    prompts: tuple[int, int]
    """Least and most prompts of such a plan."""
    rollouts_per_prompt: tuple[int, int]
    """Least and most rollouts per prompt."""
    labels: tuple[int, int]
    """Least and most labels."""
    least_cost: float
    """Cost of the cheapest such plan, currency."""


@dataclass(frozen=True, slots=True)
class Target:
    """The least budget that reaches a target bound."""

    bound: float
    """The bound asked for, reward units."""
    least_cost: float
    """Cost of the plan found, currency."""
    least_cost_lower_bound: float
    """No plan that reaches the target costs less."""
    relative_gap: float
    """``(least_cost − least_cost_lower_bound)/least_cost``."""
