"""What a plan is made of: one frozen dataclass per part of the answer.

Field names are those of the JSON output. Nothing is computed here.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, Literal

from rlhf_budget.scenario.leaves import guesses
from rlhf_budget.scenario.records import LEFT_OUT_IF_NONE, NOT_IN_JSON, Record, Result
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from rlhf_budget.bound.results import (
        Allocation,
        Bound,
        ClosedForm,
        GroupShare,
        Guarantee,
    )
    from rlhf_budget.optimum.money import Cost
    from rlhf_budget.optimum.results import Certificate, NearOptimal, Status, Target
    from rlhf_budget.scenario import units
    from rlhf_budget.scenario.models import Scenario


@dataclass(frozen=True)
class Notice(Record):
    """A warning: what is doubtful and what to do about it."""

    code: str
    """Stable name, such as ``vacuous-bound``."""
    message: str
    """What it means and what to do next."""


@dataclass(frozen=True)
class Alternative(Record):
    """The best plan under another concentration inequality."""

    concentration: str
    """Name as in ``bound.concentration``."""
    total: units.Reward
    """Its best bound."""
    allocation: Allocation
    """Its best allocation."""
    cost: Cost | None = field(metadata=LEFT_OUT_IF_NONE)
    """Its cost, where the plan looks for the least budget."""


@dataclass(frozen=True)
class Schedule(Record):
    """How a trainer makes the rollouts per prompt, where ``limits.group_size`` is given."""

    group_size: units.RolloutsPerPrompt
    """Rollouts drawn of a prompt at a time."""
    epochs: units.Positive
    """Visits to each prompt."""


@dataclass(frozen=True)
class Behind(Record):
    """What is behind in a run under way, as the scenario gives it."""

    prompts: units.Prompts
    """Prompts used."""
    rollouts_per_prompt: units.RealRollouts
    """Rollouts of each of them."""
    labels: units.Labels
    """Labels bought."""
    cost: units.Money
    """Money spent."""


@dataclass(frozen=True)
class Rest(Record):
    """What is still to buy in a run under way."""

    prompts: units.Prompts
    """New prompts; 0 means: stop generating."""
    rollouts_per_prompt: units.RolloutsPerPrompt
    """Rollouts of each of them."""
    rollouts: units.Rollouts
    """Rollouts of all of them."""
    labels: units.Labels
    """New labels."""
    cost: units.Money
    """What they cost."""


@dataclass(frozen=True)
class Marginal(Record):
    """What a little more money does."""

    bound_per_currency: units.RewardPerMoney
    """Slope of the best bound in the budget; never positive."""


@dataclass(frozen=True)
class Elasticity(Record):
    """How much the best bound moves with one constant."""

    constant: str
    """Key path in the scenario."""
    elasticity: units.Number
    """``d ln(total)/d ln(constant)`` at the re-optimised plan."""


@dataclass(frozen=True)
class AssumedConstant(Record):
    """A constant that the scenario gives as a range or as unknown."""

    constant: str
    """Key path in the scenario."""
    kind: Literal["range", "unknown"]
    """How the scenario gives it."""
    value: units.OwnUnit
    """What the plan used."""
    low: units.OwnUnit
    """Low end."""
    high: units.OwnUnit
    """High end."""
    source: str | None
    """Where the range comes from, as the scenario says."""
    allocation_at_low: Allocation | None
    """The best allocation with the low end; None where that is infeasible."""
    allocation_at_high: Allocation | None
    """The best allocation with the high end; None where that is infeasible."""


@dataclass(frozen=True)
class CurrentPlan(Record):
    """The allocation that the scenario asks to be compared."""

    allocation: Allocation
    """What is done now."""
    bound: Bound
    """The bound there."""
    cost: Cost
    """What it costs."""
    excess: units.Reward
    """Its bound less the plan's."""
    excess_relative: units.Relative
    """The same as a fraction of the plan's bound."""
    violations: tuple[str, ...]
    """Key paths of the limits, or ``budget``, that it breaks."""


@dataclass(frozen=True)
class Distribution(Record):
    """How the bound of one allocation varies over the draws of the constants."""

    p5: units.BoundTerm
    """5 % of the draws give less."""
    p50: units.BoundTerm
    """Half of the draws give less."""
    p95: units.BoundTerm
    """95 % of the draws give less."""
    mean: units.BoundTerm
    """Mean over the draws."""


@dataclass(frozen=True)
class CostOverDraws(Record):
    """How the cost of one allocation varies over the draws of the prices."""

    p5: units.Money
    """5 % of the draws give less."""
    p95: units.Money
    """95 % of the draws give less."""


@dataclass(frozen=True)
class AtMiddle(Record):
    """The plan for the middle of every range, judged by the same risk on the same draws."""

    allocation: Allocation
    """What is best where every constant is at its middle."""
    value: units.Reward
    """Its risk."""
    distribution: Distribution
    """Its bound over the draws."""
    affordable_share: units.Share
    """Share of the draws in which it fits the budget."""
    cost: CostOverDraws
    """Its cost over the draws."""
    affordable: bool = field(metadata=NOT_IN_JSON)
    """Whether these are enough."""


@dataclass(frozen=True)
class CurrentOverDraws(Record):
    """The scenario's ``current``, judged by the same risk on the same draws."""

    value: units.Reward
    """Its risk."""
    distribution: Distribution
    """Its bound over the draws."""
    bound: units.BoundTerm
    """What stands beside the robust plan's ``bound``."""
    excess: units.Reward
    """Its risk less the robust plan's."""
    excess_relative: units.Relative
    """The same as a fraction of the bounds that the robust plan's risk is made of."""
    affordable_share: units.Share
    """Share of the draws in which it fits the budget."""
    violations: tuple[str, ...]
    """Key paths of the limits that it breaks; ``budget`` where it fits in too few of the draws."""


@dataclass(frozen=True)
class FreshDraws(Record):
    """The risk of the robust plan on draws that it was not made for."""

    value: units.Reward
    """Mean over independent sets of draws."""
    draws: units.Positive
    """Draws in each set."""
    standard_error: units.BoundTerm
    """Standard error of that, reward units."""


@dataclass(frozen=True)
class Robust(Record):
    """One allocation for all that the ranges allow."""

    risk: Literal["mean", "cvar", "regret"]
    """What is minimised over the draws' bounds: their mean, the mean of the worst, or the largest
    excess over what is best for each draw."""
    level: units.Share | None
    """Share of the draws that are better than the worst that count; None but for ``cvar``."""
    draws: units.Positive
    """Draws of the constants."""
    seed: units.Seed
    """Seed of the draws."""
    affordable: units.Share
    """Share of the draws in which the plan has to fit the budget."""
    affordable_share: units.Share
    """Share of the draws in which it does."""
    cost: CostOverDraws
    """The plan's cost over the draws."""
    value: units.Reward
    """Risk of the plan."""
    lower_bound: units.Reward
    """No allocation has a smaller risk on these draws."""
    relative_gap: units.Gap
    """``(value − lower_bound)`` as a fraction of the bounds that the risk is made of."""
    proved: bool
    """True where the gap is within the tolerance."""
    at_middle: AtMiddle
    """The plan that takes the middle of every range, beside it."""
    current: CurrentOverDraws | None
    """The scenario's ``current``, beside it."""
    distribution: Distribution
    """The plan's bound over the draws."""
    fresh_draws: FreshDraws
    """The plan judged on other draws."""
    bound: units.BoundTerm
    """What gates on the bound judge: the risk; for ``regret``, which is no bound, the bound that
    95 % of the draws do not exceed."""
    vacuous: bool
    """True where that is not below the reward range at its middle: it says nothing."""


@dataclass(frozen=True)
class WorthKnowing(Record):
    """What it would be worth to learn one constant exactly before anything is bought."""

    constant: str
    """Key path in the scenario."""
    worth_bound: units.Reward
    """By how much the mean bound would fall; of a price it includes what keeping the budget costs.
    Negative only by the error, or for a price."""
    standard_error: units.BoundTerm | None
    """Standard error of that, from independent sets of draws. None where it is not estimated: with
    one constant that is not known all sets are the same."""
    worth_money: units.Money | None
    """Money that brings the mean bound down as far: knowing it is worth at most that. None where no
    money does."""


@dataclass(frozen=True)
class Plan(Result):
    """The certified best allocation of a scenario and what a person needs to act on it."""

    json_names: ClassVar = (
        "status",
        "scenario=scenario.name",
        "scenario.currency",
        "scenario.inputs",
        "...",
        "guarantee",
        "scenario.sources",
        "guesses",
        "guess_count",
    )

    scenario: Scenario
    """What was planned."""
    status: Status
    """``optimal`` where the certificate proves it within the tolerance, else ``not_proved``."""
    allocation: Allocation
    """The recommendation."""
    bound: Bound
    """The bound there."""
    cost: Cost
    """What it costs."""
    certificate: Certificate
    """The proof."""
    closed_form: ClosedForm
    """The textbook K* beside the numerical one."""
    guarantees: tuple[Guarantee, ...]
    """The bound of this allocation under every inequality that the constants allow, smallest
    first. Each is one fixed number that holds with probability 1 − δ, so the smallest does too."""
    groups: GroupShare | None
    """What silent groups do; None where the scenario says nothing of them."""
    schedule: Schedule | None
    """Group size and epochs; None where the scenario gives no group size."""
    alternatives: tuple[Alternative, ...]
    """Other concentrations that the constants allow, each planned for itself."""
    binding: tuple[str, ...]
    """Key paths of limits at which a decision stands and that cost something."""
    marginal: Marginal | None
    """Value of more money."""
    near_optimal: NearOptimal | None
    """Ranges within 1 %; None with a target."""
    sensitivity: tuple[Elasticity, ...]
    """Elasticities, largest first."""
    assumed: tuple[AssumedConstant, ...]
    """Constants given as ranges or unknown."""
    current: CurrentPlan | None
    """The scenario's ``current`` beside the plan."""
    target: Target | None
    """Set where the plan looks for the least budget."""
    progress: Behind | None
    """What is behind in a run under way; allocation, current and near_optimal count it in."""
    to_come: Rest | None
    """What is still to buy then."""
    warnings: tuple[Notice, ...] = field(metadata=NOT_IN_JSON)
    """What is doubtful, each with what to do."""
    robust: Robust | None = None
    """Set where one plan was asked for, for all that the ranges allow."""
    information: tuple[WorthKnowing, ...] | None = None
    """Set where it was asked for: what each constant that is not known is worth knowing, the
    largest first."""

    @property
    def guesses(self) -> tuple[str, ...]:
        """Key paths of constants that are guesses by their sources, or stand for a range."""
        assumed = (entry.constant for entry in self.assumed)
        return tuple(dict.fromkeys((*guesses(self.scenario), *assumed)))

    @property
    def guess_count(self) -> units.Count:
        """How many these are."""
        return len(self.guesses)

    @property
    def guarantee(self) -> units.BoundTerm:
        """The smallest of the guarantees."""
        return self.guarantees[0].total

    def __repr__(self) -> str:
        a, τ = self.allocation, self.allocation.clip_threshold
        clip = "" if τ is None else f", clip_threshold={τ:.4g}"
        return (
            f"Plan({self.scenario.name!r}: prompts={a.prompts}, "
            f"rollouts_per_prompt={a.rollouts_per_prompt}, labels={a.labels}{clip}, "
            f"bound={self.bound.total:.4g}, cost={self.cost.total:.6g} "
            f"{self.scenario.currency}, {self.status})"
        )
