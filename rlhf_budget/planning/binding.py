"""Limits that cost something: those at which a decision stands and without which it would move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_budget.planning.questions import Question

if TYPE_CHECKING:
    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.optimum.certified import Optimum
    from rlhf_budget.planning.questions import Plans
    from rlhf_budget.scenario.models import Scenario
    from rlhf_budget.scenario.sections.limits import Limits, RolloutLimits

MOST_ROLLOUTS = 1024
"""K never exceeds this."""
SMALLEST_GAIN = 1e-6
"""Relative gain below which a limit costs nothing."""


def binding(optimum: Optimum) -> Question[tuple[str, ...]]:
    """Ask for the key paths of limits at which a decision stands and that cost something."""
    relaxed = _relaxations(optimum)

    def answer(plans: Plans) -> tuple[str, ...]:
        # The share of the bound, or of the money for a target, that each limit costs.
        now = optimum.bound.total if optimum.target is None else optimum.target.least_cost
        gains = {}
        for key, plan in zip(relaxed, plans, strict=True):
            if plan is not None:
                then = plan.bound.total if optimum.target is None else plan.cost.total
                gains[key] = 1.0 - then / now if now > 0 or optimum.target is None else 0.0
        # Only what costs more than rounding; of a fixed decision's two ends, the one that matters.
        best: dict[str, str] = {}
        for key, gain in gains.items():
            decision = key.rpartition(".")[0]
            if gain > gains.get(best.get(decision, ""), SMALLEST_GAIN):
                best[decision] = key
        costly = tuple(key for key in gains if best.get(key.rpartition(".")[0]) == key)
        prompt = optimum.scenario.costs.prompt
        pool_ends = prompt.acquisition > 0 and optimum.allocation.prompts == prompt.existing
        return (*costly, *(("costs.prompt.existing",) if pool_ends else ()))

    return Question(optimum, tuple(relaxed.values()), answer)


def _relaxations(optimum: Optimum) -> dict[str, Scenario]:
    """The scenario without each limit at which a decision stands, by key path."""
    scenario, a = optimum.scenario, optimum.allocation
    limits = scenario.limits
    changes: dict[str, dict[str, Any]] = {}
    for name, value, least in (
        ("prompts", a.prompts, 1),
        ("labels", a.labels, 0),
        ("clip_threshold", a.clip_threshold, 0.0),
    ):
        span = getattr(limits, name)
        if value is not None and span.max is not None and value == span.max:
            changes[f"limits.{name}.max"] = {name: span.model_copy(update={"max": None})}
        if value is not None and value == span.min and span.min > least:
            changes[f"limits.{name}.min"] = {name: span.model_copy(update={"min": least})}
    K, least = a.rollouts_per_prompt, 1 if scenario.groups is None else 2
    changes |= _rollout_relaxations("rollouts_per_prompt", limits.rollouts_per_prompt, K, least)
    if limits.group_size is not None:
        size = limits.group_sizes[K]
        changes |= _rollout_relaxations("group_size", limits.group_size, size, least)
        if limits.epochs is not None and limits.epochs.max == K // size:
            unlimited = limits.epochs.model_copy(update={"max": None})
            changes["limits.epochs.max"] = {"epochs": unlimited}
    return {
        key: scenario.model_copy(update={"limits": limits.model_copy(update=change)})
        for key, change in changes.items()
    }


def _rollout_relaxations(
    name: str, allowed: RolloutLimits, value: int, least: int
) -> dict[str, dict[str, Any]]:
    if allowed.choices is not None:
        free = {"choices": None, "min": least, "max": MOST_ROLLOUTS}
        return {f"limits.{name}.choices": {name: allowed.model_copy(update=free)}}
    changes = {}
    if allowed.max == value:
        changes["max"] = allowed.model_copy(update={"max": MOST_ROLLOUTS})
    if allowed.min == value and value > least:
        changes["min"] = allowed.model_copy(update={"min": least})
    return {f"limits.{name}.{end}": {name: relaxed} for end, relaxed in changes.items()}


def violations(limits: Limits, a: Allocation) -> tuple[str, ...]:
    """Key paths of the limits that an allocation breaks."""
    K = limits.rollouts_per_prompt
    outside: list[str] = []
    spans: list[tuple[str, float | None, float | None, float | None]] = [
        ("prompts", a.prompts, limits.prompts.min, limits.prompts.max),
        ("labels", a.labels, limits.labels.min, limits.labels.max),
        ("clip_threshold", a.clip_threshold, limits.clip_threshold.min, limits.clip_threshold.max),
    ]
    if K.choices is None:
        spans.insert(1, ("rollouts_per_prompt", a.rollouts_per_prompt, K.min, K.max))
    elif a.rollouts_per_prompt not in K.choices:
        outside.append("limits.rollouts_per_prompt.choices")
    if not outside and a.rollouts_per_prompt not in limits.group_sizes:
        inside = (K.min or 1) <= a.rollouts_per_prompt <= (K.max or MOST_ROLLOUTS)
        outside += ["limits.group_size"] if inside else []
    for name, value, least, most in spans:
        if value is not None and least is not None and value < least:
            outside.append(f"limits.{name}.min")
        if value is not None and most is not None and value > most:
            outside.append(f"limits.{name}.max")
    return tuple(outside)
