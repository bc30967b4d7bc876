"""Plans beside an optimum: under other inequalities, for other constants, what is done now."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from rlhf_budget.bound.inequalities import INEQUALITIES
from rlhf_budget.errors import RlhfBudgetError
from rlhf_budget.planning.binding import violations
from rlhf_budget.planning.questions import Question
from rlhf_budget.planning.results import (
    Alternative,
    AssumedConstant,
    CurrentPlan,
    Rest,
    Schedule,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.bound.results import Guarantee
    from rlhf_budget.optimum.certified import Optimum
    from rlhf_budget.planning.questions import Plans
    from rlhf_budget.scenario.models import Scenario


def schedule(optimum: Optimum) -> Schedule | None:
    """Group size and epochs of the plan, where the scenario limits them."""
    limits, K = optimum.scenario.limits, optimum.allocation.rollouts_per_prompt
    if limits.group_size is None:
        return None
    size = limits.group_sizes[K]
    return Schedule(size, K // size)


def alternatives(
    optimum: Optimum, guarantees: Sequence[Guarantee]
) -> Question[tuple[Alternative, ...]]:
    """Ask for the best plan under each other inequality that guarantees the plan something."""
    settings, known = optimum.scenario.bound, {entry.concentration for entry in guarantees}
    others = {
        name: settings.model_copy(update={"concentration": name})
        for name in INEQUALITIES
        if name != settings.concentration and name in known
    }

    def answer(plans: Plans) -> tuple[Alternative, ...]:
        aimed = optimum.target is not None
        return tuple(
            Alternative(name, plan.bound.total, plan.allocation, plan.cost if aimed else None)
            for name, plan in zip(others, plans, strict=True)
            if plan is not None
        )

    variants = (optimum.scenario.model_copy(update={"bound": other}) for other in others.values())
    return Question(optimum, tuple(variants), answer)


def assumed(optimum: Optimum) -> Question[tuple[AssumedConstant, ...]]:
    """Ask for the plans at both ends of every constant that is a range or unknown."""
    scenario = optimum.scenario
    variants: dict[tuple[str, float], Scenario] = {}
    for entry in scenario.assumed:
        for end in (entry.low, entry.high):
            # An end may be illegal beside the other constants; then there is no plan for it.
            with suppress(RlhfBudgetError):
                variants[entry.constant, end] = scenario.with_values(
                    {entry.constant: end}, check_ends=False
                )

    def answer(plans: Plans) -> tuple[AssumedConstant, ...]:
        found = {
            end: plan.allocation
            for end, plan in zip(variants, plans, strict=True)
            if plan is not None
        }
        return tuple(
            AssumedConstant(
                constant=entry.constant,
                kind=entry.kind,
                value=entry.value,
                low=entry.low,
                high=entry.high,
                source=entry.source,
                allocation_at_low=found.get((entry.constant, entry.low)),
                allocation_at_high=found.get((entry.constant, entry.high)),
            )
            for entry in scenario.assumed
        )

    return Question(optimum, tuple(variants.values()), answer)


def current(optimum: Optimum) -> CurrentPlan | None:
    """Evaluate the scenario's ``current`` beside the plan, even where it breaks a limit."""
    scenario, done = optimum.scenario, optimum.scenario.current
    if done is None:
        return None
    case, K = optimum.case, done.rollouts_per_prompt
    # In a run under way it is the old plan's total, of which the rest is still to buy.
    n, m = case.bound.to_come(done.prompts, done.labels)
    allocation = case.allocation(n, K, m)
    if allocation.clip_threshold is not None and done.clip_threshold is not None:
        allocation = replace(allocation, clip_threshold=done.clip_threshold)
    bound = case.bound.at(allocation)
    cost = case.prices.cost(n, K, m)
    excess = bound.total - optimum.bound.total
    over = cost.unspent is not None and cost.unspent < 0
    return CurrentPlan(
        allocation=allocation,
        bound=bound,
        cost=cost,
        excess=excess,
        excess_relative=excess / optimum.bound.total if optimum.bound.total > 0 else 0.0,
        violations=(*(("budget",) if over else ()), *violations(scenario.limits, allocation)),
    )


def rest_of_run(optimum: Optimum) -> Rest | None:
    """What is still to buy in a run under way; None before a run."""
    if optimum.scenario.progress is None:
        return None
    prices, (n, K, m) = optimum.case.prices, optimum.to_come
    cost = prices.spend(n, K) - prices.fixed + prices.label * m
    return Rest(n, K, n * K, m, prices.to_currency(cost))
