"""What a plan is made of: one frozen dataclass per part of the answer.

Field names are those of the JSON output. Nothing is computed here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlhf_budget.bound.terms import Allocation, Bound
    from rlhf_budget.optimum.money import Cost
    from rlhf_budget.optimum.results import Certificate, NearOptimal, Status, Target
    from rlhf_budget.scenario.models import Scenario


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning: what is doubtful and what to do about it."""

    code: str
    """Stable name, such as ``vacuous-bound``."""
    message: str
    """What it means and what to do next."""


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """The textbook number of rollouts per prompt."""

    rollouts_per_prompt: float | None
    """K*, not rounded; None where no rule applies."""
    rule: str
    """The rule, or why none applies."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """The best plan under another concentration inequality."""

    concentration: str
    """Name as in ``bound.concentration``."""
    total: float
    """Its best bound, reward units."""
    allocation: Allocation
    """Its best allocation."""
    cost: Cost | None
    """Its cost, where the plan looks for the least budget."""


@dataclass(frozen=True, slots=True)
class Marginal:
    """What a little more money does."""

    bound_per_currency: float
    """Slope of the best bound in the budget, reward units per currency unit; never positive."""


@dataclass(frozen=True, slots=True)
class Elasticity:
    """How much the best bound moves with one constant."""

    constant: str
    """Key path in the scenario."""
    elasticity: float
    """``d ln(total)/d ln(constant)`` at the re-optimised plan."""


@dataclass(frozen=True, slots=True)
class AssumedConstant:
    """A constant that the scenario gives as a range or as unknown."""

    constant: str
    """Key path in the scenario."""
    kind: str
    """``range`` or ``unknown``."""
    value: float
    """What the plan used."""
    low: float
    """Low end."""
    high: float
    """High end."""
    source: str | None
    """Where the range comes from, as the scenario says."""
    allocation_at_low: Allocation | None
    """The best allocation with the low end; None where that is infeasible."""
    allocation_at_high: Allocation | None
    """The best allocation with the high end; None where that is infeasible."""


@dataclass(frozen=True, slots=True)
class CurrentPlan:
    """The allocation that the scenario asks to be compared."""

    allocation: Allocation
    """What is done now."""
    bound: Bound
    """The bound there."""
    cost: Cost
    """What it costs."""
    excess: float
    """Its bound less the plan's, reward units."""
    excess_relative: float
    """The same as a fraction of the plan's bound."""
    violations: tuple[str, ...]
    """Key paths of the limits, or ``budget``, that it breaks."""


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """The certified best allocation of a scenario and what a person needs to act on it."""

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
    alternatives: tuple[Alternative, ...]
    """Other concentrations that the constants allow."""
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
    warnings: tuple[Notice, ...]
    """What is doubtful, each with what to do."""

    def to_dict(self) -> dict[str, Any]:
        """Return RESULT of the JSON interface (without its header), plus ``warnings``."""
        return {
            "status": self.status,
            "scenario": self.scenario.name,
            "currency": self.scenario.currency,
            "inputs": self.scenario.inputs(),
            "allocation": self.allocation.to_dict(),
            "bound": self.bound.to_dict(),
            "cost": self.cost.to_dict(),
            "certificate": asdict(self.certificate),
            "closed_form": asdict(self.closed_form),
            "alternatives": [_alternative_dict(other) for other in self.alternatives],
            "binding": list(self.binding),
            "marginal": None if self.marginal is None else asdict(self.marginal),
            "near_optimal": None if self.near_optimal is None else _listed(self.near_optimal),
            "sensitivity": [asdict(entry) for entry in self.sensitivity],
            "assumed": [_assumed_dict(entry) for entry in self.assumed],
            "current": None if self.current is None else _current_dict(self.current),
            "target": None if self.target is None else asdict(self.target),
            "warnings": [asdict(notice) for notice in self.warnings],
        }

    def __repr__(self) -> str:
        a, τ = self.allocation, self.allocation.clip_threshold
        clip = "" if τ is None else f", clip_threshold={τ:.4g}"
        return (
            f"Plan({self.scenario.name!r}: prompts={a.prompts}, "
            f"rollouts_per_prompt={a.rollouts_per_prompt}, labels={a.labels}{clip}, "
            f"bound={self.bound.total:.4g}, cost={self.cost.total:.6g} "
            f"{self.scenario.currency}, {self.status})"
        )

    def _repr_html_(self) -> str:
        from rlhf_budget.report import plan_html  # noqa: PLC0415 - only notebooks need it

        return plan_html(self)


def _alternative_dict(other: Alternative) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "concentration": other.concentration,
        "total": other.total,
        "allocation": other.allocation.to_dict(),
    }
    return entry if other.cost is None else {**entry, "cost": other.cost.to_dict()}


def _listed(near: NearOptimal) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(near).items()
    }


def _assumed_dict(entry: AssumedConstant) -> dict[str, Any]:
    ends = {
        name: None if (end := getattr(entry, name)) is None else end.to_dict()
        for name in ("allocation_at_low", "allocation_at_high")
    }
    return {**asdict(entry), **ends}


def _current_dict(current: CurrentPlan) -> dict[str, Any]:
    return {
        "allocation": current.allocation.to_dict(),
        "bound": current.bound.to_dict(),
        "cost": current.cost.to_dict(),
        "excess": current.excess,
        "excess_relative": current.excess_relative,
        "violations": list(current.violations),
    }
