"""What a simulation found: one frozen dataclass per part, named as in the JSON output."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rlhf_budget.simulation.statistics import Estimate, listed

if TYPE_CHECKING:
    from rlhf_budget.bound.terms import Allocation
    from rlhf_budget.optimum.money import Cost
    from rlhf_budget.planning.results import Notice
    from rlhf_budget.simulation.evaluation.trials import PolicyKind
    from rlhf_budget.simulation.evaluation.world import WorldSpec
    from rlhf_budget.simulation.results import Wins, WorldConstant, Worlds


@dataclass(frozen=True, slots=True)
class InequalityCheck:
    """In how many worlds an inequality of docs/theory.md holds, computed exactly."""

    inequality: str
    """``coverage-above-kl`` or ``fresh-labels``."""
    held: int
    """Worlds in which it holds."""
    of: int
    """Worlds."""


@dataclass(frozen=True, slots=True)
class WorldSummary:
    """What the worlds are."""

    spec: WorldSpec
    """The family."""
    judged: PolicyKind
    """Where the bound is judged: named checkpoint, shipped one, or average over Q."""
    labels_on_current: bool
    """Whether new labels are on the current policy."""
    constants: tuple[WorldConstant, ...]
    """How like the scenario the worlds are."""
    inequalities: tuple[InequalityCheck, ...]
    """Checked exactly in each world."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        spec = self.spec
        return {
            "prompts": spec.prompts,
            "responses": spec.responses,
            "features": spec.features,
            "reward": "verifiable" if spec.verifiable else "graded",
            "reward_model": _reward_model(spec),
            "misspecification": 0.0 if spec.coverage_kind == "features" else spec.misspecification,
            "logit_scale": spec.logit_scale,
            "coverage_kind": spec.coverage_kind,
            "behaviour": spec.behaviour,
            "new_labels_on": "current" if self.labels_on_current else spec.behaviour,
            "prompt_offsets": "true",
            "checkpoints": len(spec.strengths),
            "strengths": list(spec.strengths),
            "named_checkpoint": spec.named,
            "judged": self.judged,
            "constants": [constant.to_dict() for constant in self.constants],
            "inequalities": [asdict(check) for check in self.inequalities],
        }


def _reward_model(spec: WorldSpec) -> str:
    if spec.verifiable:
        return "known"
    return "fitted" if spec.finished_error is None else "finished"


@dataclass(frozen=True, slots=True)
class WorstWorld:
    """Where the bound held least often."""

    world: int
    """Its number, from 0."""
    share: float
    """Share of its replicates within the bound."""


@dataclass(frozen=True, slots=True)
class Validity:
    """Whether the bound holds as often as it promises, at the plan's allocation."""

    promised: float
    """1 − δ."""
    trials: int
    """Worlds times replicates."""
    covered: int
    """Trials with the error within the bound."""
    share: float
    """``covered/trials``."""
    interval: tuple[float, float]
    """Clopper–Pearson, 95 %."""
    worst_world: WorstWorld
    """The first of the worlds with the least share."""
    holds: bool
    """True where the interval's upper end reaches what is promised."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "interval": listed(self.interval)}


@dataclass(frozen=True, slots=True)
class TermCheck:
    """One term of the bound beside what it bounds; means over worlds, reward units."""

    term: str
    """``sampling``, ``reward_shift`` or ``kl_clipping``."""
    bound: float
    """The term."""
    actual: Estimate
    """What it bounds."""
    ratio: float | None
    """``bound/actual``; None where the actual is 0."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "term": self.term,
            "bound": self.bound,
            "actual": self.actual.to_dict(),
            "ratio": self.ratio,
        }


@dataclass(frozen=True, slots=True)
class VersusPlan:
    """A rival less the plan, paired by world."""

    error_difference: Estimate
    """Below 0: the rival's error is smaller."""
    quality_difference: Estimate
    """Above 0: the rival ships better."""
    plan_wins: Wins
    """By quality."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "error_difference": self.error_difference.to_dict(),
            "quality_difference": self.quality_difference.to_dict(),
            "plan_wins": self.plan_wins.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class TriedAllocation:
    """An allocation and how it did."""

    name: str
    """``plan`` or a rival's name."""
    allocation: Allocation
    """The four decisions."""
    cost: Cost
    """What it costs."""
    bound_total: float
    """Mean bound over worlds, reward units."""
    error: Estimate
    """``|Ĵ − J*|``."""
    quality: Estimate
    """J* of the checkpoint with the best Ĵ."""
    versus_plan: VersusPlan | None
    """None for the plan itself."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "allocation": self.allocation.to_dict(),
            "cost": self.cost.to_dict(),
            "bound_total": self.bound_total,
            "error": self.error.to_dict(),
            "quality": self.quality.to_dict(),
            "versus_plan": None if self.versus_plan is None else self.versus_plan.to_dict(),
        }


@dataclass(frozen=True, slots=True, repr=False)
class Simulation:
    """A scenario's plan and its rivals, tried in worlds where the true error is known."""

    scenario: str
    """Its name."""
    currency: str
    """A label."""
    seed: int
    """Where all randomness comes from."""
    constants: str
    """Whose constants the bound uses: ``true`` (each world's) or ``scenario``."""
    world: WorldSummary
    """What the worlds are."""
    worlds: Worlds
    """How much was tried."""
    validity: Validity
    """Does the bound hold?"""
    looseness: Estimate | None
    """Bound over the (1 − δ)-quantile of the error; None where that quantile is 0."""
    terms: tuple[TermCheck, ...]
    """Each term beside what it bounds."""
    allocations: tuple[TriedAllocation, ...]
    """The plan first, then its rivals."""
    warnings: tuple[Notice, ...]
    """What is doubtful, each with what to do."""

    @property
    def interrupted(self) -> bool:
        """True where fewer worlds were tried than asked for."""
        return self.worlds.completed < self.worlds.requested

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, without its header, plus ``warnings``."""
        return {
            "study": "evaluation",
            "scenario": self.scenario,
            "currency": self.currency,
            "seed": self.seed,
            "constants": self.constants,
            "world": self.world.to_dict(),
            "worlds": asdict(self.worlds),
            "validity": self.validity.to_dict(),
            "looseness": None if self.looseness is None else self.looseness.to_dict(),
            "terms": [term.to_dict() for term in self.terms],
            "allocations": [tried.to_dict() for tried in self.allocations],
            "warnings": [asdict(notice) for notice in self.warnings],
        }

    def __repr__(self) -> str:
        verdict = "holds" if self.validity.holds else "is violated"
        loose = "" if self.looseness is None else f", {self.looseness.mean:.3g} times the error"
        return (
            f"Simulation({self.scenario!r}: the bound {verdict} in "
            f"{self.validity.covered} of {self.validity.trials} trials{loose}, "
            f"{self.worlds.completed} worlds)"
        )
