"""What a training study found: one frozen dataclass per part, named as in the JSON output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from rlhf_budget.scenario.records import NOT_IN_JSON, Record, Result

if TYPE_CHECKING:
    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.optimum.money import Cost
    from rlhf_budget.planning.results import Notice
    from rlhf_budget.scenario import units
    from rlhf_budget.simulation.results import Wins, WorldConstant, Worlds
    from rlhf_budget.simulation.statistics import Estimate
    from rlhf_budget.simulation.training.trainer import Recipe
    from rlhf_budget.simulation.training.world import TrainingSpec

Threshold = Literal["plan", "2x plan", "4x plan"]


@dataclass(frozen=True, slots=True)
class TrainingWorlds(Record):
    """What the worlds are, and what they were made of the scenario."""

    json_names: ClassVar = (
        "scale",
        "budget",
        "spec.responses",
        "spec.features",
        "spec.visible",
        "spec.logit_scale",
        "reward_model",
        "new_labels_on",
        "algorithm",
        "recipe.learning_rates",
        "recipe.step",
        "recipe.step_unit",
        "...",
    )

    spec: TrainingSpec
    """The family."""
    recipe: Recipe
    """How every policy is trained."""
    scale: units.Ratio
    """What the scenario's money, pools and limits on counts are multiplied by."""
    budget: units.Money
    """Money in a world."""
    new_labels_on: Literal["reference", "current"]
    """Whose responses new labels compare: the reference policy's, or the pilot policy's."""
    constants: tuple[WorldConstant, ...]
    """The scenario's and those that the pilots measured."""

    @property
    def reward_model(self) -> Literal["known", "finished", "fitted"]:
        """Whether labels train the reward model, it is finished, or the reward is known."""
        if self.spec.verifiable:
            return "known"
        return "fitted" if self.spec.finished_error is None else "finished"

    @property
    def algorithm(self) -> Literal["grpo", "rloo"]:
        """How rollouts become gradients."""
        return "grpo" if self.recipe.normalise else "rloo"


@dataclass(frozen=True, slots=True)
class QualityVersusPlan(Record):
    """A rival less the plan, paired by world."""

    quality_difference: Estimate
    """Above 0: the rival trains a better policy (reward units)."""
    plan_wins: Wins
    """Worlds in which the plan's policy is strictly better."""


@dataclass(frozen=True, slots=True)
class TrainedAllocation(Record):
    """How good the policies are that an allocation trains."""

    name: str
    """``plan``, ``plan-`` and another planning rule, ``prompts-first``, ``labels-first``, ``k8``,
    ``k16``, ``thirds``, ``current`` or ``best-of-grid``."""
    allocation: Allocation
    """That of the world in the middle by labels: pilots differ, and so do plans."""
    cost: Cost
    """What that allocation costs."""
    learning_rate: units.Number
    """The best of those tried."""
    quality: Estimate
    """J* on fresh prompts, reward units."""
    regret: Estimate
    """The grid's best less this, paired by world, reward units."""
    rank: units.Positive
    """1 + the cells of the grid that train better on average."""
    of: units.Positive
    """Cells of the grid and this allocation."""
    versus_plan: QualityVersusPlan | None
    """The allocation less the plan; None for the plan itself."""


@dataclass(frozen=True, slots=True)
class ClippingCheck(Record):
    """What training at a clip threshold costs."""

    threshold: Threshold
    """The plan's own, or a multiple of it."""
    quality_difference: Estimate
    """Clipped less never clipped, the plan's allocation, paired by world, reward units."""


@dataclass(frozen=True, slots=True, repr=False)
class TrainingStudy(Result):
    """A scenario's plan and its rivals, each training policies with the same money."""

    json_names: ClassVar = ("study", "...")

    scenario: str
    """Its name."""
    currency: str
    """A label."""
    seed: units.Seed
    """Where all randomness comes from."""
    world: TrainingWorlds
    """What the worlds are."""
    worlds: Worlds
    """How much was tried."""
    allocations: tuple[TrainedAllocation, ...]
    """The plan first, then its rivals, the grid's best last."""
    clipping: tuple[ClippingCheck, ...]
    """Empty where there is no penalty."""
    warnings: tuple[Notice, ...] = field(metadata=NOT_IN_JSON)
    """What is doubtful, each with what to do."""

    @property
    def study(self) -> Literal["training"]:
        """Which study this is."""
        return "training"

    @property
    def interrupted(self) -> bool:
        """True where fewer worlds were tried than asked for."""
        return self.worlds.completed < self.worlds.requested

    def __repr__(self) -> str:
        plan = self.allocations[0]
        return (
            f"TrainingStudy({self.scenario!r}: the plan's regret is {plan.regret.mean:.3g}, rank "
            f"{plan.rank} of {plan.of}, {self.worlds.completed} worlds)"
        )
