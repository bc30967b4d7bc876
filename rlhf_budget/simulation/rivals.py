"""What the same money buys by the rules of thumb that people follow now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rlhf_budget.bound.results import Allocation
from rlhf_budget.optimum.case import prepare
from rlhf_budget.planning.results import Notice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.optimum.case import Case
    from rlhf_budget.scenario.models import Scenario

    Decisions = tuple[int, int, int]

LABELS_FIRST_TENTHS = 9
"""Tenths of the free money that ``labels-first`` spends on labels."""


@dataclass(frozen=True, slots=True)
class Rival:
    """An allocation by a rule of thumb."""

    name: str
    """Such as ``k8``."""
    allocation: Allocation
    """Within the budget and the limits, but for ``current``."""


def find_rivals(scenario: Scenario, plan: Allocation) -> tuple[tuple[Rival, ...], tuple[str, ...]]:
    """Spend the scenario's budget by each rule of thumb, beside the allocation of its plan.

    ``prompts-first``: the least rollouts and labels, the rest on prompts. ``labels-first``: nine
    tenths of what the least prompts leave go to labels, the rest to prompts with the least
    rollouts. ``k8``, ``k16``: so many rollouts per prompt and the plan's labels. ``thirds``: a
    third of the money to labels, the rest half to prompts and half to rollouts as nearly as whole
    K allow. ``current``: what the scenario says. Where no labels can be bought, their share goes
    to prompts and rollouts.

    Returns
    -------
    tuple
        The rivals, each clipped at its own best threshold by the scenario's constants, and the
        names of those that budget and limits leave out.
    """
    case = prepare(scenario)
    least = case.allowed[0]
    free = (case.prices.budget or 0) - case.prices.spend(case.prompts[0], least)
    most_labels = _labels_for(case, LABELS_FIRST_TENTHS * free // 10)
    bought = {
        "prompts-first": _with_rollouts(case, least, case.labels[0]),
        "labels-first": _with_rollouts(case, least, most_labels),
        "k8": _with_rollouts(case, 8, plan.labels),
        "k16": _with_rollouts(case, 16, plan.labels),
        "thirds": _thirds(case),
    }
    found = [
        Rival(name, _clipped_at_best(case, decisions))
        for name, decisions in bought.items()
        if decisions is not None
    ]
    left_out = tuple(name for name, decisions in bought.items() if decisions is None)
    current = scenario.current
    if current is not None:
        labels = 0 if case.constants.label_kind == "none" else current.labels
        done = _clipped_at_best(case, (current.prompts, current.rollouts_per_prompt, labels))
        if done.clip_threshold is not None and current.clip_threshold is not None:
            done = replace(done, clip_threshold=current.clip_threshold)
        found.append(Rival("current", done))
    return tuple(found), left_out


def is_feasible(scenario: Scenario, allocation: Allocation) -> bool:
    """Whether an allocation keeps the budget and the limits of a scenario."""
    case = prepare(scenario)
    n, K, m = allocation.prompts, allocation.rollouts_per_prompt, allocation.labels
    affordable = case.prices.labels_affordable(n, K, m)
    clip, limits = allocation.clip_threshold, scenario.limits.clip_threshold
    return (
        affordable >= m
        and case.prompts[0] <= n <= case.prompts[1]
        and K in case.allowed
        and case.labels[0] <= m <= case.labels[1]
        and (clip is None or limits.min <= clip <= (clip if limits.max is None else limits.max))
    )


def left_out_notices(names: tuple[str, ...]) -> list[Notice]:
    """Warn of rules of thumb that budget and limits do not allow."""
    if not names:
        return []
    message = (
        f"Not tried, because budget and limits do not allow them: {', '.join(names)}. "
        "Widen limits.rollouts_per_prompt to compare with them."
    )
    return [Notice("rivals-left-out", message)]


def not_the_same_money(
    scenario: Scenario, allocations: Sequence[tuple[str, Allocation]]
) -> list[Notice]:
    """Warn of allocations that cost more than there is, or break a limit."""
    unfair = [name for name, allocation in allocations if not is_feasible(scenario, allocation)]
    if not unfair:
        return []
    message = (
        f"{', '.join(unfair)} breaks the budget or the limits of the scenario, so its comparison "
        "with the plan is not for the same money. Raise the budget to its cost to compare fairly."
    )
    return [Notice("current-not-feasible", message)]


def _clipped_at_best(case: Case, decisions: Decisions) -> Allocation:
    n, K, m = decisions
    return Allocation(n, K, m, case.bound.sampling_and_clipping(n, K)[2])


def _labels_for(case: Case, units: int) -> int:
    """Labels that so much money buys, within the limits."""
    least, most = case.labels
    affordable = max(0, units) // case.prices.label if case.prices.label else most
    return max(least, min(most, affordable))


def _with_rollouts(case: Case, K: int, m: int) -> Decisions | None:
    """All that is left goes to prompts; None where the limits do not allow it."""
    if K not in case.allowed:
        return None
    n = case.prices.prompts_affordable(K, m, case.prompts[1])
    return None if n < case.prompts[0] else (n, K, m)


def _thirds(case: Case) -> Decisions | None:
    prices = case.prices
    m = _labels_for(case, ((prices.budget or 0) - prices.fixed) // 3)
    options = [_with_rollouts(case, K, m) for K in case.allowed]

    def imbalance(decisions: Decisions) -> int:
        n, K, _ = decisions
        return abs(prices.rollout * n * K - (prices.spend(n, 0) - prices.fixed))

    return min((option for option in options if option), key=imbalance, default=None)
