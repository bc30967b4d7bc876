"""Plans beside an optimum: other inequalities, other constants, what is done now, textbooks."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from rlhf_budget.bound.groups import informative_shares, textbook_rollouts
from rlhf_budget.bound.inequalities import INEQUALITIES
from rlhf_budget.bound.terms import bound_of
from rlhf_budget.errors import RlhfBudgetError
from rlhf_budget.optimum.case import CAP
from rlhf_budget.planning.binding import violations
from rlhf_budget.planning.questions import Question
from rlhf_budget.planning.results import (
    Alternative,
    AssumedConstant,
    ClosedForm,
    CurrentPlan,
    GroupShare,
    GroupSize,
    Guarantee,
    LeastGeneration,
    Rest,
    Schedule,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rlhf_budget.optimum.certified import Optimum
    from rlhf_budget.planning.questions import Plans
    from rlhf_budget.scenario.models import Scenario


def guarantees(optimum: Optimum) -> tuple[Guarantee, ...]:
    """The bound of the plan's own allocation under every inequality, smallest first.

    Silent groups are part of the planning rule only: that they teach nothing takes nothing from
    what they tell of the objective (docs/theory.md, planning rule and guarantee).
    """
    scenario = optimum.scenario.model_copy(update={"groups": None})
    rule, found = scenario.bound.concentration, []
    for name, inequality in INEQUALITIES.items():
        if name == rule or inequality.allows(scenario.bound):
            settings = scenario.bound.model_copy(update={"concentration": name})
            judged = bound_of(scenario.model_copy(update={"bound": settings}))
            bound = judged.at(optimum.allocation)
            found.append(Guarantee(name, bound.total, bound.sampling, name == rule))
    return tuple(sorted(found, key=lambda entry: entry.total))


def group_share(optimum: Optimum) -> GroupShare | None:
    """Which share of the plan's groups teach, and where the least is generated for one that does.

    Among the group sizes that the limits allow (docs/theory.md, silent groups).
    """
    groups = optimum.scenario.groups
    if groups is None:
        return None
    sizes = optimum.scenario.limits.group_sizes
    shares = informative_shares(groups, max(sizes.values()))
    generated = {size: _over(size, float(shares[size])) for size in sizes.values()}
    least = min(generated, key=lambda size: (generated[size], size))
    size = sizes[optimum.allocation.rollouts_per_prompt]
    return GroupShare(
        groups.mean,
        groups.correlation,
        float(shares[size]),
        generated[size],
        LeastGeneration(least, generated[least]),
        tuple(GroupSize(near, float(shares[near])) for near in _beside(size, generated)),
    )


def _beside(size: int, sizes: Iterable[int]) -> list[int]:
    below, above = [s for s in sizes if s < size], [s for s in sizes if s > size]
    return ([max(below)] if below else []) + ([min(above)] if above else [])


def _over(size: int, share: float) -> float:
    # A share may be too small for its inverse: the largest float stands for "never".
    return min(size / share, sys.float_info.max) if share > 0 else sys.float_info.max


def schedule(optimum: Optimum) -> Schedule | None:
    """Group size and epochs of the plan, where the scenario limits them."""
    limits, K = optimum.scenario.limits, optimum.allocation.rollouts_per_prompt
    if limits.group_size is None:
        return None
    size = limits.group_sizes[K]
    return Schedule(size, K // size)


def alternatives(optimum: Optimum) -> Question[tuple[Alternative, ...]]:
    """Ask for the best plan under each other concentration that the constants allow."""
    settings = optimum.scenario.bound
    others = {
        name: settings.model_copy(update={"concentration": name})
        for name, inequality in INEQUALITIES.items()
        if name != settings.concentration and inequality.allows(settings)
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


def closed_form(optimum: Optimum) -> ClosedForm:
    """The textbook K* (docs/theory.md, closed forms), or why none applies."""
    scenario = optimum.scenario
    if scenario.bound.concentration == "prompt_mean" and scenario.groups is None:
        return ClosedForm(
            1.0, "1: under prompt_mean more rollouts of a prompt do not tighten the bound"
        )
    reason = _no_rule(optimum)
    if reason is not None:
        return ClosedForm(None, reason)
    prompt = scenario.costs.prompt.acquisition + scenario.costs.prompt.prefill
    ratio = prompt / scenario.costs.rollout
    if math.isinf(ratio):
        return ClosedForm(None, "rollouts are all but free, so the most per prompt is best")
    if scenario.groups is not None:
        K = textbook_rollouts(scenario.groups, ratio, scenario.limits.group_sizes)
        return ClosedForm(
            float(K),
            "the allowed K with the least (prompt cost / rollout cost + K)(1 + K^(-1/2))^2 "
            "/ share of informative groups^2",
        )
    if scenario.bound.concentration == "hoeffding":
        return ClosedForm(
            max(1.0, ratio ** (2.0 / 3.0)), "max(1, (prompt cost / rollout cost)^(2/3))"
        )
    between, within = scenario.bound.prompt_variance or 0.0, scenario.bound.rollout_variance or 0.0
    return ClosedForm(
        max(1.0, math.sqrt(ratio * within / between)),
        "max(1, sqrt(prompt cost / rollout cost * rollout variance / prompt variance)): "
        "the variance of the mean alone",
    )


def _no_rule(optimum: Optimum) -> str | None:
    scenario, costs = optimum.scenario, optimum.scenario.costs
    behind = scenario.progress
    checks: tuple[tuple[Callable[[], bool], str], ...] = (
        (
            lambda: behind is not None and behind.prompts > 0,
            "part of the run is behind, in groups of its own size",
        ),
        (
            lambda: scenario.groups is not None and scenario.bound.concentration != "hoeffding",
            "with groups there is a rule for hoeffding only",
        ),
        (lambda: costs.rollout == 0, "rollouts are free, so the most per prompt is best"),
        (
            lambda: costs.prompt.acquisition > 0 and costs.prompt.existing > 0,
            "prompts of the owned pool cost less than new ones, so no single price holds",
        ),
        (
            lambda: optimum.allocation.prompts in {scenario.limits.prompts.max, CAP},
            "the limit on prompts binds, and the best number then grows with the budget",
        ),
        (
            lambda: optimum.allocation.prompts == scenario.limits.prompts.min,
            "the least number of prompts binds",
        ),
        (
            lambda: scenario.bound.policy in {"pac_bayes", "sgd"},
            "the confidence of a PAC-Bayes policy depends on the sample size",
        ),
        (
            lambda: (
                scenario.bound.concentration == "bernstein" and not scenario.bound.prompt_variance
            ),
            "without variance between prompts the most per prompt is best",
        ),
    )
    return next((reason for applies, reason in checks if applies()), None)
