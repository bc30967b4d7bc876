"""From a scenario to its certified optimum, within a budget or for a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.bound.terms import Allocation, Bound, best_rollouts, evaluate, infimum
from rlhf_budget.errors import InfeasibleError, RlhfBudgetError, UnreachableTargetError
from rlhf_budget.optimum.problems import CAP, Case, budget_problem, prepare, target_problem
from rlhf_budget.optimum.results import Certificate, Target
from rlhf_budget.optimum.search import minimise
from rlhf_budget.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.optimum.money import Cost
    from rlhf_budget.optimum.results import Status
    from rlhf_budget.optimum.search import Search
    from rlhf_budget.scenario.models import Scenario

TOLERANCE = 1e-6
"""Relative gap at which an answer counts as proved, unless the caller says otherwise."""


@dataclass(frozen=True)
class Optimum:
    """A certified best allocation."""

    scenario: Scenario
    """What was planned."""
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


def optimise(scenario: Scenario, *, tolerance: float = TOLERANCE) -> Optimum:
    """Find the allocation with the least bound within the budget and the limits.

    Raises
    ------
    InfeasibleError
        Where no allocation within the limits fits the budget.
    """
    outcome = optimise_many((scenario,), tolerance=tolerance)[0]
    if isinstance(outcome, RlhfBudgetError):
        raise outcome
    return outcome


def optimise_many(
    scenarios: Sequence[Scenario], *, tolerance: float = TOLERANCE
) -> tuple[Optimum | InfeasibleError, ...]:
    """Optimise many scenarios at once: the same answers as one by one, sooner.

    Returns
    -------
    tuple
        For each scenario, in order, its optimum, or the error that :func:`optimise` would raise.
    """
    outcomes: dict[int, Optimum | InfeasibleError] = {}
    alike: dict[tuple[str, str], list[tuple[int, Case]]] = {}
    for index, scenario in enumerate(scenarios):
        case = prepare(scenario)
        problem = infeasibility(case)
        if problem is not None:
            outcomes[index] = problem
        else:
            kind = (case.constants.concentration, case.constants.label_kind)
            alike.setdefault(kind, []).append((index, case))
    for entries in alike.values():
        cases = [case for _, case in entries]
        problem_ = budget_problem(cases)
        searches = minimise(problem_, problem_.boxes(), len(cases), tolerance=tolerance)
        for (index, case), search in zip(entries, searches, strict=True):
            outcomes[index] = _budget_optimum(case, search, tolerance)
    return tuple(outcomes[index] for index in range(len(scenarios)))


def _budget_optimum(case: Case, search: Search, tolerance: float) -> Optimum:
    allocation, bound, cost = _decision(case, search)
    lower = min(search.lower_bound, bound.total)
    gap = (bound.total - lower) / bound.total if bound.total > 0 else 0.0
    certificate = Certificate(lower, gap, gap <= tolerance, search.evaluations)
    status: Status = "optimal" if certificate.proved else "not_proved"
    return Optimum(case.scenario, status, allocation, bound, cost, certificate, None)


def _decision(case: Case, search: Search) -> tuple[Allocation, Bound, Cost]:
    _, n, K, m = search.best.tie
    allocation = Allocation(n, K, m, case.sampling(n, K)[1])
    return allocation, evaluate(case.scenario, allocation), case.prices.cost(n, K, m)


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


def least_cost(scenario: Scenario, target: float, *, tolerance: float = TOLERANCE) -> Optimum:
    """Find the cheapest allocation within the limits whose bound is at most ``target``.

    Parameters
    ----------
    scenario
        Its budget, if it has one, plays no part.
    target
        Bound to reach, reward units.
    tolerance
        Relative gap in cost that counts as proved.

    Raises
    ------
    UnreachableTargetError
        Where no budget reaches the target; known before any search.
    """
    case = prepare(scenario, with_budget=False)
    _check_reachable(case, target)
    problem = target_problem((case,), (target,))
    search = minimise(problem, problem.boxes(), 1, tolerance=tolerance)[0]
    allocation, bound, cost = _decision(case, search)
    lower = min(search.lower_bound, cost.total)
    gap = (cost.total - lower) / cost.total if cost.total > 0 else 0.0
    certificate = Certificate(bound.total, 0.0, gap <= tolerance, search.evaluations)
    status: Status = "optimal" if certificate.proved else "not_proved"
    reached = Target(target, cost.total, lower, gap)
    return Optimum(scenario, status, allocation, bound, cost, certificate, reached)


def _check_reachable(case: Case, target: float) -> None:
    shift = case.shift(case.labels[1])
    parts = [case.parts(case.prompts[1], K) for K in best_rollouts(case.scenario)]
    # Summed in the order of the bound itself, so that a target at the caps is reached to the digit.
    at_caps = min(sampling + shift + clipping for sampling, clipping in parts)
    least = infimum(case.scenario)
    if at_caps <= target:
        return
    limits = _limits_on_infimum(case.scenario)
    why = f"It is set by {', '.join(limits)}." if limits else "It is set by the caps of 10^12."
    if target > least:
        why = f"Only more than {CAP:,} prompts or labels could, which no plan may use."
    raise UnreachableTargetError(
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
