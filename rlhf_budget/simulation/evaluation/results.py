"""What a simulation found: one frozen dataclass per part, named as in the JSON output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from rlhf_budget.scenario.records import NOT_IN_JSON, Record, Result

if TYPE_CHECKING:
    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.optimum.money import Cost
    from rlhf_budget.planning.results import Notice
    from rlhf_budget.scenario import units
    from rlhf_budget.simulation.evaluation.trials import PolicyKind
    from rlhf_budget.simulation.evaluation.world import Behaviour, WorldSpec
    from rlhf_budget.simulation.results import Wins, WorldConstant, Worlds
    from rlhf_budget.simulation.statistics import Estimate


TermName = Literal["sampling", "reward_shift", "kl_clipping"]


@dataclass(frozen=True, slots=True)
class InequalityCheck(Record):
    """In how many worlds an inequality of docs/theory.md holds, computed exactly."""

    inequality: Literal["coverage-above-kl", "fresh-labels"]
    """Which one."""
    held: units.Count
    """Worlds in which it holds."""
    of: units.Positive
    """Worlds."""


@dataclass(frozen=True, slots=True)
class WorldSummary(Record):
    """What the worlds are."""

    json_names: ClassVar = (
        "spec.prompts",
        "spec.responses",
        "spec.features",
        "reward",
        "reward_model",
        "misspecification",
        "spec.logit_scale",
        "spec.coverage_kind",
        "spec.behaviour",
        "new_labels_on",
        "prompt_offsets",
        "checkpoints",
        "spec.strengths",
        "named_checkpoint=spec.named",
        "...",
    )

    spec: WorldSpec
    """The family."""
    judged: PolicyKind
    """Where the bound is judged: named checkpoint, shipped one, or average over Q."""
    new_labels_on: Behaviour
    """Who writes the new labels' responses."""
    constants: tuple[WorldConstant, ...]
    """How like the scenario the worlds are."""
    inequalities: tuple[InequalityCheck, ...]
    """Checked exactly in each world."""

    @property
    def reward(self) -> Literal["verifiable", "graded"]:
        """Whether the reward is 0 or R and known, or anything between."""
        return "verifiable" if self.spec.verifiable else "graded"

    @property
    def reward_model(self) -> Literal["known", "fitted", "finished"]:
        """Whether labels train the reward model, it is finished, or the reward is known."""
        if self.spec.verifiable:
            return "known"
        return "fitted" if self.spec.finished_error is None else "finished"

    @property
    def misspecification(self) -> units.Ratio:
        """Part of the reward outside the features, relative to the part within."""
        return 0.0 if self.spec.coverage_kind == "features" else self.spec.misspecification

    @property
    def prompt_offsets(self) -> Literal["true"]:
        """Preferences do not identify them: set to their true values."""
        return "true"

    @property
    def checkpoints(self) -> units.Positive:
        """Candidates on the path."""
        return len(self.spec.strengths)


@dataclass(frozen=True, slots=True)
class WorstWorld(Record):
    """Where the bound held least often."""

    world: units.Count
    """Its number, from 0."""
    share: units.Share
    """Share of its replicates within the bound."""


@dataclass(frozen=True, slots=True)
class Validity(Record):
    """Whether the bound holds as often as it promises, at the plan's allocation."""

    promised: units.Share
    """1 − δ."""
    trials: units.Positive
    """Worlds times replicates."""
    covered: units.Count
    """Trials with the error within the bound."""
    share: units.Share
    """``covered/trials``."""
    interval: tuple[units.Share, units.Share]
    """Clopper–Pearson, 95 %."""
    worst_world: WorstWorld
    """The first of the worlds with the least share."""
    holds: bool
    """True where the interval's upper end reaches what is promised."""


@dataclass(frozen=True, slots=True)
class TermCheck(Record):
    """One term of the bound beside what it bounds; means over worlds."""

    term: TermName
    """Which one."""
    bound: units.BoundTerm
    """The term."""
    actual: Estimate
    """What it bounds, reward units."""
    ratio: units.Ratio | None
    """``bound/actual``; None where the actual is 0."""


@dataclass(frozen=True, slots=True)
class VersusPlan(Record):
    """A rival less the plan, paired by world."""

    error_difference: Estimate
    """Below 0: the rival's error is smaller (reward units)."""
    quality_difference: Estimate
    """Above 0: the rival ships better (reward units)."""
    plan_wins: Wins
    """By quality."""


@dataclass(frozen=True, slots=True)
class TriedAllocation(Record):
    """An allocation and how it did."""

    name: str
    """``plan`` or a rival's: ``prompts-first``, ``labels-first``, ``k8``, ``k16``, ``thirds`` or
    ``current``."""
    allocation: Allocation
    """The four decisions."""
    cost: Cost
    """What it costs."""
    bound_total: units.BoundTerm
    """Mean bound over worlds."""
    error: Estimate
    """``|Ĵ − J*|``, reward units."""
    quality: Estimate
    """J* of the checkpoint with the best Ĵ, reward units."""
    versus_plan: VersusPlan | None
    """The allocation less the plan; None for the plan itself."""


@dataclass(frozen=True, slots=True, repr=False)
class Simulation(Result):
    """A scenario's plan and its rivals, tried in worlds where the true error is known."""

    json_names: ClassVar = ("study", "...")

    scenario: str
    """Its name."""
    currency: str
    """A label."""
    seed: units.Seed
    """Where all randomness comes from."""
    constants: Literal["true", "scenario"]
    """Whose constants the bound uses: ``true`` is each world's."""
    world: WorldSummary
    """What the worlds are."""
    worlds: Worlds
    """How much was tried."""
    validity: Validity
    """Does the bound hold?"""
    looseness: Estimate | None
    """Bound over the (1 − δ)-quantile of the error, a ratio; None where that quantile is 0."""
    terms: Annotated[tuple[TermCheck, ...], units.Length(3, 3)]
    """Each term beside what it bounds."""
    allocations: tuple[TriedAllocation, ...]
    """The plan first, then its rivals."""
    warnings: tuple[Notice, ...] = field(metadata=NOT_IN_JSON)
    """What is doubtful, each with what to do."""

    @property
    def study(self) -> Literal["evaluation"]:
        """Which study this is."""
        return "evaluation"

    @property
    def interrupted(self) -> bool:
        """True where fewer worlds were tried than asked for."""
        return self.worlds.completed < self.worlds.requested

    def __repr__(self) -> str:
        verdict = "holds" if self.validity.holds else "is violated"
        loose = "" if self.looseness is None else f", {self.looseness.mean:.3g} times the error"
        return (
            f"Simulation({self.scenario!r}: the bound {verdict} in "
            f"{self.validity.covered} of {self.validity.trials} trials{loose}, "
            f"{self.worlds.completed} worlds)"
        )
