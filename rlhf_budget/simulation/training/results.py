"""What a training study found: one frozen dataclass per part, named as in the JSON output."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlhf_budget.bound.terms import Allocation
    from rlhf_budget.optimum.money import Cost
    from rlhf_budget.planning.results import Notice
    from rlhf_budget.simulation.results import Wins, WorldConstant, Worlds
    from rlhf_budget.simulation.statistics import Estimate
    from rlhf_budget.simulation.training.trainer import Recipe
    from rlhf_budget.simulation.training.world import TrainingSpec


@dataclass(frozen=True, slots=True)
class TrainingWorlds:
    """What the worlds are, and what they were made of the scenario."""

    spec: TrainingSpec
    """The family."""
    recipe: Recipe
    """How every policy is trained."""
    scale: float
    """What the scenario's money, pools and limits on counts are multiplied by."""
    budget: float
    """Money in a world, currency."""
    labels_on_current: bool
    """Whether new labels compare the pilot policy's responses."""
    constants: tuple[WorldConstant, ...]
    """The scenario's and those that the pilots measured."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        spec, recipe = self.spec, self.recipe
        return {
            "scale": self.scale,
            "budget": self.budget,
            "responses": spec.responses,
            "features": spec.features,
            "visible": spec.visible,
            "logit_scale": spec.logit_scale,
            "reward_model": self.reward_model,
            "new_labels_on": "current" if self.labels_on_current else "reference",
            "algorithm": "grpo" if recipe.normalise else "rloo",
            "learning_rates": list(recipe.learning_rates),
            "step": recipe.step,
            "step_unit": recipe.step_unit,
            "constants": [constant.to_dict() for constant in self.constants],
        }

    @property
    def reward_model(self) -> str:
        """``known``, ``finished`` or ``fitted``."""
        if self.spec.verifiable:
            return "known"
        return "fitted" if self.spec.finished_error is None else "finished"


@dataclass(frozen=True, slots=True)
class QualityVersusPlan:
    """A rival less the plan, paired by world."""

    quality_difference: Estimate
    """Above 0: the rival trains a better policy."""
    plan_wins: Wins
    """Worlds in which the plan's policy is strictly better."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "quality_difference": self.quality_difference.to_dict(),
            "plan_wins": self.plan_wins.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class TrainedAllocation:
    """How good the policies are that an allocation trains."""

    name: str
    """``plan``, a rival's, or ``best-of-grid``."""
    allocation: Allocation
    """That of the world in the middle by money for labels: pilots differ, and so do plans."""
    cost: Cost
    """Of that allocation."""
    learning_rate: float
    """The best of those tried."""
    quality: Estimate
    """J* on fresh prompts, reward units."""
    regret: Estimate
    """The grid's best less this, paired by world, reward units."""
    rank: int
    """1 + the cells of the grid that train better on average."""
    of: int
    """Cells of the grid and this allocation."""
    versus_plan: QualityVersusPlan | None
    """None for the plan itself."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "allocation": self.allocation.to_dict(),
            "cost": self.cost.to_dict(),
            "learning_rate": self.learning_rate,
            "quality": self.quality.to_dict(),
            "regret": self.regret.to_dict(),
            "rank": self.rank,
            "of": self.of,
            "versus_plan": None if self.versus_plan is None else self.versus_plan.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class ClippingCheck:
    """What training at a clip threshold costs."""

    threshold: str
    """``plan``, ``2x plan`` or ``4x plan``."""
    quality_difference: Estimate
    """Clipped less never clipped, the plan's allocation, paired by world, reward units."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "threshold": self.threshold,
            "quality_difference": self.quality_difference.to_dict(),
        }


@dataclass(frozen=True, slots=True, repr=False)
class TrainingStudy:
    """A scenario's plan and its rivals, each training policies with the same money."""

    scenario: str
    """Its name."""
    currency: str
    """A label."""
    seed: int
    """Where all randomness comes from."""
    world: TrainingWorlds
    """What the worlds are."""
    worlds: Worlds
    """How much was tried."""
    allocations: tuple[TrainedAllocation, ...]
    """The plan first, then its rivals, the grid's best last."""
    clipping: tuple[ClippingCheck, ...]
    """Empty where there is no penalty."""
    warnings: tuple[Notice, ...]
    """What is doubtful, each with what to do."""

    @property
    def interrupted(self) -> bool:
        """True where fewer worlds were tried than asked for."""
        return self.worlds.completed < self.worlds.requested

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, without its header, plus ``warnings``."""
        return {
            "study": "training",
            "scenario": self.scenario,
            "currency": self.currency,
            "seed": self.seed,
            "world": self.world.to_dict(),
            "worlds": asdict(self.worlds),
            "allocations": [trained.to_dict() for trained in self.allocations],
            "clipping": [check.to_dict() for check in self.clipping],
            "warnings": [asdict(notice) for notice in self.warnings],
        }

    def __repr__(self) -> str:
        plan = self.allocations[0]
        return (
            f"TrainingStudy({self.scenario!r}: the plan's regret is {plan.regret.mean:.3g}, rank "
            f"{plan.rank} of {plan.of}, {self.worlds.completed} worlds)"
        )
