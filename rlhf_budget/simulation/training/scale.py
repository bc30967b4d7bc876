"""Grid and scale: the scenario's money shrunk to what a world can train, and ways to spend it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rlhf_budget.bound.terms import rollout_choices
from rlhf_budget.optimum.case import prepare

if TYPE_CHECKING:
    from rlhf_budget.scenario.models import Scenario

    Decisions = tuple[int, int, int]

TYPICAL_ROLLOUTS = 2000
"""Rollouts that half of a world's money is meant to buy, where labels are bought too."""
TYPICAL_LABELS = 200
"""Labels that the other half is meant to buy; prices decide which of the two gives way."""
ROLLOUT_LIMITS = (500, 6000)
"""Least and most rollouts that half of a world's money buys."""
MOST_PROMPTS, MOST_LABELS = 32_768, 4096
"""What a world holds at most, where prices or limits would allow more."""
USUAL_GROUP = 4
GROUP_SIZES = (1, 2, 4, 8, 16, 32, 64)
"""K of the grid, where the limits allow them."""
MOST_GROUPS = 6
LABEL_TWENTIETHS = (1, 3, 6, 10, 14, 17)
"""Shares of the money for labels in the grid, in twentieths."""


def world_scale(scenario: Scenario) -> float:
    """Return what money, pools and limits are multiplied by in a world.

    Half of the money buys rollouts in groups of four (or the nearest K that the limits allow), the
    other half labels. The scale is such that the product of the two counts is that of
    ``TYPICAL_ROLLOUTS`` and ``TYPICAL_LABELS``, and the rollouts are within ``ROLLOUT_LIMITS``.
    Where no labels are bought, all the money buys twice the typical rollouts.

    Parameters
    ----------
    scenario
        With a budget.
    """
    prompts, K, labels = halves(scenario)
    rollouts = max(1, prompts) * K
    if not labels:
        return 2 * TYPICAL_ROLLOUTS / rollouts
    wanted = math.sqrt(TYPICAL_ROLLOUTS * TYPICAL_LABELS / (rollouts * labels))
    least, most = ROLLOUT_LIMITS
    return min(max(wanted, least / rollouts), most / rollouts)


def halves(scenario: Scenario) -> Decisions:
    """Return the prompts that half of the money buys, the usual K, the labels of the other half.

    All the money goes to prompts where no labels can be bought. K is four, or the nearest that the
    limits allow.
    """
    case = prepare(scenario)
    prices = case.prices
    K = min(case.allowed, key=lambda each: abs(math.log(each / USUAL_GROUP)))
    free = (prices.budget or 0) - prices.fixed
    if case.constants.label_kind == "none":
        return max(1, prices.prompts_affordable(K, 0, case.prompts[1])), K, 0
    half = prices._replace(budget=prices.fixed + free // 2)
    least, most = case.labels
    labels = free // 2 // prices.label if prices.label else most
    return max(1, half.prompts_affordable(K, 0, case.prompts[1])), K, max(least, min(most, labels))


def scaled(scenario: Scenario, scale: float) -> dict[str, Any]:
    """Return the keys of a scenario that a world changes: money, pools and limits on counts.

    Prices, K, the clip threshold and every constant stay. Counts stay within what a world holds
    (``MOST_PROMPTS``, ``MOST_LABELS``), which matters where something is free.
    """
    values: dict[str, Any] = {"budget": (scenario.budget or 0.0) * scale}
    if scenario.costs.fixed:
        values["costs.fixed"] = scenario.costs.fixed * scale
    if scenario.costs.prompt.existing:
        values["costs.prompt.existing"] = round(scenario.costs.prompt.existing * scale)
    for name, fewest, cap in (("prompts", 1, MOST_PROMPTS), ("labels", 0, MOST_LABELS)):
        limits = getattr(scenario.limits, name)
        least = min(max(round(limits.min * scale), fewest), cap)
        most = cap if limits.max is None else min(round(limits.max * scale), cap)
        values[f"limits.{name}"] = {"min": least, "max": max(most, least)}
    if scenario.reward_model != "verifiable" and scenario.reward_model.existing_labels:
        existing = round(scenario.reward_model.existing_labels * scale)
        values["reward_model.existing_labels"] = min(existing, MOST_LABELS)
    if scenario.current is not None:
        prompts, labels = scenario.current.prompts * scale, scenario.current.labels * scale
        values["current.prompts"] = min(max(1, round(prompts)), MOST_PROMPTS)
        values["current.labels"] = min(round(labels), MOST_LABELS)
    return values


def grid(scenario: Scenario) -> tuple[Decisions, ...]:
    """Spend all the money in many ways: K of ``GROUP_SIZES`` × shares for labels."""
    case = prepare(scenario)
    allowed = rollout_choices(scenario.limits)
    sizes = [K for K in GROUP_SIZES if K in case.allowed] or list(case.allowed)
    if scenario.limits.rollouts_per_prompt.choices is not None:
        sizes = list(allowed)
    prices, (least, most) = case.prices, case.labels
    counts = [least]
    if case.constants.label_kind != "none":
        free = (prices.budget or 0) - prices.fixed
        counts = [
            max(least, min(most, free * share // 20 // prices.label if prices.label else most))
            for share in LABEL_TWENTIETHS
        ]
    cells = (
        (prices.prompts_affordable(K, m, case.prompts[1]), K, m)
        for m in counts
        for K in sizes[:MOST_GROUPS]
    )
    return tuple(dict.fromkeys(cell for cell in cells if cell[0] >= case.prompts[0]))
