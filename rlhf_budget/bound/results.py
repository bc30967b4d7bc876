"""What is decided, and the bound there."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from rlhf_budget.scenario.records import NOT_IN_JSON, Record
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from rlhf_budget.scenario import units


@dataclass(frozen=True)
class Allocation(Record):
    """The four decisions."""

    json_names: ClassVar = ("...", "rollouts")

    prompts: units.Prompts
    """Distinct prompts n."""
    rollouts_per_prompt: units.RolloutsPerPrompt
    """Completions K of each prompt."""
    labels: units.Labels
    """Preference comparisons m to buy."""
    clip_threshold: units.Nats | None
    """Threshold τ on the log-ratio of whole responses; None where β = 0."""

    extra_rollouts: units.Rollouts = field(default=0, metadata=NOT_IN_JSON)
    """What earlier groups of another size make more, or less, than ``n·K``."""

    @property
    def rollouts(self) -> units.Rollouts:
        """Rollouts in all, ``n·K`` where all groups are equal."""
        return self.prompts * self.rollouts_per_prompt + self.extra_rollouts


@dataclass(frozen=True)
class Bound(Record):
    """The bound on the error of the estimated objective at one allocation, with its terms."""

    total: units.BoundTerm
    """Sum of the three terms."""
    sampling: units.BoundTerm
    """``S(n, K, τ)``: error from finitely many prompts and rollouts."""
    reward_shift: units.BoundTerm
    """``C·√L(m)``: error of the reward model on the current policy."""
    kl_clipping: units.BoundTerm
    """``β·E(|ℓ| − τ)₊``: bias from clipping the log-ratio."""
    irreducible: units.BoundTerm
    """Infimum of the total over all budgets within the limits."""
    vacuous: bool
    """True where the total is not below the reward range R."""
    coverage: units.Coverage
    """``C`` after the labels."""
    reward_error: units.SquaredReward
    """``L(m)``: mean squared error of the reward model."""
    clipped_share: units.Share | None
    """``P(|ℓ| > τ)``: responses beyond the clip threshold; None where β = 0."""
    policy_complexity: units.Nats
    """``ln M`` or ``KL(Q‖P)``, else 0."""
