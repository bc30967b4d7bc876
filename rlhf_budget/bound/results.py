"""What is decided, the bound there, and what formulas say beside it."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from rlhf_budget.scenario.records import NOT_IN_JSON, Record
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from rlhf_budget.scenario import units

CAP = 10**12
"""Prompts and labels never exceed this."""


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


@dataclass(frozen=True)
class ClosedForm(Record):
    """The textbook number of rollouts per prompt."""

    rollouts_per_prompt: units.RealRollouts | None
    """K*, not rounded; None where no rule applies."""
    rule: str
    """The rule, or why none applies."""


@dataclass(frozen=True)
class Guarantee(Record):
    """The bound of the plan's own allocation under one inequality, without silent groups."""

    concentration: str
    """Name as in ``bound.concentration``."""
    total: units.BoundTerm
    """The bound: it holds with the scenario's probability."""
    sampling: units.BoundTerm
    """Its sampling term."""
    planning_rule: bool
    """True for the inequality that the plan was made with."""


@dataclass(frozen=True)
class LeastGeneration(Record):
    """The group size with the fewest rollouts per informative group."""

    rollouts_per_prompt: units.RolloutsPerPrompt
    """Its rollouts."""
    rollouts_per_informative_group: units.RealRollouts
    """Rollouts to generate for each group whose rewards are not all equal."""


@dataclass(frozen=True)
class GroupSize(Record):
    """A group size that the limits allow, beside the plan's."""

    group_size: units.RolloutsPerPrompt
    """Rollouts drawn of a prompt at a time."""
    informative_share: units.Share
    """Share of its groups whose rewards are not all equal."""


@dataclass(frozen=True)
class GroupShare(Record):
    """How many groups teach a trainer that compares the rewards of a group."""

    mean: units.Share
    """Mean reward, as the scenario gives it."""
    correlation: units.Share
    """Intraclass correlation, as the scenario gives it."""
    informative_share: units.Share
    """Share of the plan's groups whose rewards are not all equal."""
    rollouts_per_informative_group: units.RealRollouts
    """Rollouts to generate for each such group."""
    least: LeastGeneration
    """Where that number is least."""
    neighbours: tuple[GroupSize, ...]
    """The allowed group sizes next below and next above, where there are any."""
