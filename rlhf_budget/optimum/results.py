"""What the search proves: certificates, targets reached, ranges around an optimum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rlhf_budget.scenario.records import Record
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from rlhf_budget.scenario import units

Status = Literal["optimal", "not_proved"]


@dataclass(frozen=True)
class Certificate(Record):
    """Proof that no feasible allocation is better by more than the gap."""

    lower_bound: units.Reward
    """No feasible allocation has a smaller bound."""
    relative_gap: units.Gap
    """``(total − lower_bound)/total``."""
    proved: bool
    """True where the gap is within the tolerance."""
    evaluations: units.Count
    """Points and boxes at which the bound was evaluated."""


@dataclass(frozen=True)
class NearOptimal(Record):
    """How far each decision can move while the bound stays near its best."""

    within: units.Gap
    """Relative excess that counts as near."""
    prompts: tuple[units.Prompts, units.Prompts]
    """Least and most prompts of such a plan."""
    rollouts_per_prompt: tuple[units.RolloutsPerPrompt, units.RolloutsPerPrompt]
    """Least and most rollouts per prompt."""
    labels: tuple[units.Labels, units.Labels]
    """Least and most labels."""
    least_cost: units.Money
    """Cost of the cheapest such plan."""
    approximate: bool
    """True where the search stopped early: the ranges hold every such plan, and may be too wide."""


@dataclass(frozen=True)
class Target(Record):
    """The least budget that reaches a target bound."""

    bound: units.Reward
    """The bound asked for."""
    least_cost: units.Money
    """Cost of the plan found."""
    least_cost_lower_bound: units.Money
    """No plan that reaches the target costs less."""
    relative_gap: units.Gap
    """``(least_cost − least_cost_lower_bound)/least_cost``."""
