"""From a scenario to its certified optimum, within a budget or for a target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.bound.results import CAP
from rlhf_budget.errors import (
    InfeasibleError,
    Problem,
    RlhfBudgetError,
    ScenarioError,
    UnreachableTargetError,
)
from rlhf_budget.optimum.budget_problem import budget_problem
from rlhf_budget.optimum.case import Case, prepare
from rlhf_budget.optimum.results import Certificate, Target
from rlhf_budget.optimum.search import FULL_EFFORT, minimise
from rlhf_budget.optimum.target_problem import target_problem
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rlhf_budget.bound.results import Allocation, Bound
    from rlhf_budget.optimum.money import Cost
    from rlhf_budget.optimum.results import Status
    from rlhf_budget.optimum.search import Effort, Search
    from rlhf_budget.scenario.models import Scenario

TOLERANCE = 1e-6
"""Relative gap at which an answer counts as proved, unless the caller says otherwise."""


@dataclass(frozen=True)
class Optimum:
    """A certified best allocation."""

    case: Case
    """What was planned, as it was prepared."""
    status: Status
    """``optimal`` where proved within the tolerance, else ``not_proved``."""
    allocation: Allocation
    """The best allocation found."""
    bound: Bound
    """The bound there."""
    cost: Cost
    """What it costs."""
    certificate: Certificate
    """The proof."""
    target: Target | None
    """Set where the cost was minimised for a target bound."""

    @property
    def to_come(self) -> tuple[int, int, int]:
        """n, K and m that are still to buy: all, but in a run under way."""
        a = self.allocation
        n, m = self.case.bound.to_come(a.prompts, a.labels)
        return n, a.rollouts_per_prompt, m

    @property
    def scenario(self) -> Scenario:
        """What was planned, as it was given."""
        return self.case.scenario


def optimise(scenario: Scenario, *, tolerance: float = TOLERANCE) -> Optimum:
    """Find the allocation with the least bound within the budget and the limits.

    Raises
    ------
    InfeasibleError
        Where no allocation within the limits fits the budget.
    """
    return _or_raise(optimise_many((scenario,), tolerance=tolerance)[0])


def optimise_many(
    scenarios: Sequence[Scenario], *, tolerance: float = TOLERANCE, effort: Effort = FULL_EFFORT
) -> tuple[Optimum | RlhfBudgetError, ...]:
    """Optimise many scenarios at once: the same answers as one by one, sooner.

    Returns
    -------
    tuple
        For each scenario, in order, its optimum, or the error that :func:`optimise` would raise.
    """
    cases = [prepare(scenario) for scenario in scenarios]
    return optimise_cases(cases, tolerance=tolerance, effort=effort)


def optimise_cases(
    cases: Sequence[Case], *, tolerance: float = TOLERANCE, effort: Effort = FULL_EFFORT
) -> tuple[Optimum | RlhfBudgetError, ...]:
    """:func:`optimise_many` of scenarios that are prepared already; errors in their places."""

    def solve(cases: Sequence[Case], _: Sequence[int]) -> list[Optimum | RlhfBudgetError]:
        problem = budget_problem(cases)
        searches = minimise(
            problem, problem.boxes(), len(cases), tolerance=tolerance, effort=effort
        )
        return [
            _optimum(case, search, tolerance) for case, search in zip(cases, searches, strict=True)
        ]

    return _solved([infeasibility(case) or case for case in cases], solve)


def least_cost(scenario: Scenario, target: float, *, tolerance: float = TOLERANCE) -> Optimum:
    """Find the cheapest allocation within the limits whose bound is at most ``target``.

    A budget, if the scenario has one, plays no part; the tolerance is a relative gap in cost.

    Raises
    ------
    UnreachableTargetError
        Where no budget reaches the target; known before any search.
    """
    return _or_raise(least_cost_many((prepare(scenario),), (target,), tolerance=tolerance)[0])


def least_cost_many(
    cases: Sequence[Case],
    targets: Sequence[float],
    *,
    tolerance: float = TOLERANCE,
    effort: Effort = FULL_EFFORT,
) -> tuple[Optimum | RlhfBudgetError, ...]:
    """:func:`least_cost` of many cases, each for its target, at once; errors in their places."""

    def solve(alike: Sequence[Case], indexes: Sequence[int]) -> list[Optimum | RlhfBudgetError]:
        problem = target_problem(alike, [targets[index] for index in indexes])
        searches = minimise(
            problem, problem.boxes(), len(alike), tolerance=tolerance, effort=effort
        )
        return [
            _optimum(cases[index], search, tolerance, targets[index])
            for index, search in zip(indexes, searches, strict=True)
        ]

    reachable = [
        _unreachable(case, target) or case.without_budget()
        for case, target in zip(cases, targets, strict=True)
    ]
    return _solved(reachable, solve)


def _or_raise(outcome: Optimum | RlhfBudgetError) -> Optimum:
    if isinstance(outcome, RlhfBudgetError):
        raise outcome
    return outcome


def _solved(
    entries: Sequence[Case | RlhfBudgetError],
    solve: Callable[[Sequence[Case], Sequence[int]], list[Optimum | RlhfBudgetError]],
) -> tuple[Optimum | RlhfBudgetError, ...]:
    """Solve the cases among the entries, those of one label kind in one search."""
    outcomes: dict[int, Optimum | RlhfBudgetError] = {}
    alike: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        if isinstance(entry, RlhfBudgetError):
            outcomes[index] = entry
        else:
            alike.setdefault(entry.constants.label_kind, []).append(index)
    for indexes in alike.values():
        cases = [entry for index in indexes if isinstance(entry := entries[index], Case)]
        # Constants beyond reason overflow; infinite bounds are refused when all is done.
        with np.errstate(over="ignore", invalid="ignore"):
            outcomes |= zip(indexes, solve(cases, indexes), strict=True)
    return tuple(outcomes[index] for index in range(len(entries)))


def _optimum(
    case: Case, search: Search, tolerance: float, target: float | None = None
) -> Optimum | RlhfBudgetError:
    if not search.best.tie:
        return _beyond_floats()
    _, n, K, m = search.best.tie
    allocation = case.allocation(n, K, m)
    paid_by = case if target is None else case.without_budget()
    bound, cost = case.bound.at(allocation), paid_by.prices.cost(n, K, m)
    if not math.isfinite(bound.total):
        return _beyond_floats()
    value = bound.total if target is None else cost.total
    lower = min(search.lower_bound, value)
    gap = (value - lower) / value if value > 0 else 0.0
    proved = gap <= tolerance
    reached = None if target is None else Target(target, value, lower, gap)
    # With a target it is the cost that is proved; the bound is what it is.
    certificate = (
        Certificate(lower, gap, proved, search.evaluations)
        if target is None
        else Certificate(bound.total, 0.0, proved, search.evaluations)
    )
    status: Status = "optimal" if proved else "not_proved"
    return Optimum(case, status, allocation, bound, cost, certificate, reached)


def _beyond_floats() -> ScenarioError:
    found = "a bound beyond the largest number that floats hold"
    allowed = "smaller constants: kl_coefficient, log_ratio, coverage or clip_threshold.min"
    return ScenarioError((Problem("objective", found, allowed),))


def infeasibility(case: Case) -> InfeasibleError | None:
    """Say whether nothing fits the budget, with the least budget and the limits responsible."""
    prices, limits = case.prices, case.scenario.limits
    n, m = case.prompts[0], case.labels[0]
    K = min(limits.group_sizes)
    least = prices.spend(n, K) + prices.label * m
    if prices.budget is None or least <= prices.budget:
        return None
    rollouts_limit = "choices" if limits.rollouts_per_prompt.choices else "min"
    cheaper = {
        "limits.prompts.min": prices.spend(1, K) + prices.label * m,
        f"limits.rollouts_per_prompt.{rollouts_limit}": prices.spend(n, 1) + prices.label * m,
        "limits.labels.min": prices.spend(n, K),
        "costs.fixed": least - prices.fixed,
    }
    responsible = tuple(key for key, cost in cheaper.items() if cost < least)
    least_budget = prices.to_currency_above(least)
    shortfall = prices.to_currency_above(least - prices.budget)
    currency = case.scenario.currency
    because = f" The least is set by {', '.join(responsible)}." if responsible else ""
    return InfeasibleError(
        f"No allocation fits the budget of {prices.to_currency(prices.budget):,.10g} {currency}: "
        f"the least that the limits allow (prompts: {n:,}, rollouts of each: {K:,}, "
        f"labels: {m:,}) costs {least_budget:,.10g} {currency}, which is {shortfall:,.10g} "
        f"more.{because}",
        least_budget=least_budget,
        shortfall=shortfall,
        limits=responsible,
    )


def _unreachable(case: Case, target: float) -> UnreachableTargetError | None:
    """Say whether no budget reaches the target, with the infimum and what sets it."""
    bound, n = case.bound, case.prompts[1]
    shift = bound.shift(case.labels[1])
    parts = [bound.sampling_and_clipping(n, K)[:2] for K in bound.best_rollouts()]
    # Summed in the order of the bound itself, so that a target at the caps is reached to the digit.
    at_caps = min(sampling + shift + clipping for sampling, clipping in parts)
    if at_caps <= target:
        return None
    least, limits = case.bound.infimum(), _limits_on_infimum(case.scenario)
    why = f"It is set by {', '.join(limits)}." if limits else "It is set by the caps of 10^12."
    if target > least:
        why = f"Only more than {CAP:,} prompts or labels could, which no plan may use."
    return UnreachableTargetError(
        f"No budget brings the bound to {target:.6g}: its infimum over all budgets is "
        f"{least:.6g}. {why} The nearest that can be had is just above {max(least, at_caps):.6g}.",
        infimum=least,
        limits=limits,
    )


def _limits_on_infimum(scenario: Scenario) -> tuple[str, ...]:
    """What keeps the infimum up: maxima that are set, and the reward model's own floor."""
    limits, model = scenario.limits, scenario.reward_model
    keys = []
    if limits.prompts.max is not None:
        keys += ["limits.prompts.max"]
    if limits.clip_threshold.max is not None and scenario.objective.kl_coefficient > 0:
        keys += ["limits.clip_threshold.max"]
    if model != "verifiable":
        finished = isinstance(model.error, (int, float))
        if not finished and limits.labels.max is not None:
            keys += ["limits.labels.max"]
        floor = model.error if isinstance(model.error, (int, float)) else model.error.floor
        if floor > 0:
            keys += ["reward_model.error" if finished else "reward_model.error.floor"]
            keys += ["reward_model.coverage"] if (model.coverage or 1.0) > 1.0 else []
    return tuple(keys)
