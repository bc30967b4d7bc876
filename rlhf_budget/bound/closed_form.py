"""The textbook number of rollouts per prompt, where one applies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rlhf_budget.bound.groups import textbook_rollouts
from rlhf_budget.bound.results import CAP, ClosedForm

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.scenario.models import Scenario


def closed_form(scenario: Scenario, allocation: Allocation) -> ClosedForm:
    """The textbook K* (docs/theory.md, closed forms), or why none applies."""
    if scenario.bound.concentration == "prompt_mean" and scenario.groups is None:
        return ClosedForm(
            1.0, "1: under prompt_mean more rollouts of a prompt do not tighten the bound"
        )
    reason = _no_rule(scenario, allocation)
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


def _no_rule(scenario: Scenario, allocation: Allocation) -> str | None:
    costs, behind = scenario.costs, scenario.progress
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
            lambda: allocation.prompts in {scenario.limits.prompts.max, CAP},
            "the limit on prompts binds, and the best number then grows with the budget",
        ),
        (
            lambda: allocation.prompts == scenario.limits.prompts.min,
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
