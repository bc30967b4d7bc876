"""What a little more money, or a slightly different constant, does to the best bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.bound.terms import bound_of
from rlhf_budget.planning.results import Elasticity, Marginal
from rlhf_budget.scenario.leaves import positive_leaves, with_leaf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rlhf_budget.optimum.case import Case
    from rlhf_budget.optimum.certified import Optimum

STEP = 1e-6
"""Relative step of the finite differences."""
LEAST_DIVISOR = 1e-200
"""A slope by a constant below this may overflow, and the step below it may be none at all."""


def marginal(optimum: Optimum) -> Marginal:
    """Right-hand slope of the best bound in the budget.

    The best of one more label, one more prompt or, where the prompts are at their limit, more
    rollouts per prompt (taken as continuous), each per unit of money (docs/theory.md, marginal
    value).
    """
    return Marginal(min(0.0, *_slopes(optimum.case, *optimum.to_come)))


def _slopes(case: Case, n: int, K: int, m: int) -> list[float]:
    """Change of the bound per currency of each decision that can still grow."""
    costs = case.scenario.costs
    slopes = [0.0]
    if case.constants.label_kind != "none" and m < case.labels[1] and costs.label:
        step = max(1.0, m * STEP) if m == 0 else m * STEP
        gain = (case.bound.shift(m + step) - case.bound.shift(m)) / step
        slopes.append(gain / costs.label)
    each = costs.prompt.prefill + costs.rollout * K
    if n < case.prompts[1]:
        price = each + (costs.prompt.acquisition if n >= case.prices.existing else 0.0)
        slopes += [_prompt_slope(case, n, K) / price] if price > 0 else []
    elif case.rollouts[-1] > K and costs.rollout > 0 and n > 0:
        step = K * STEP
        gain = (case.bound.least(n, K + step) - case.bound.least(n, K - step)) / (2.0 * step)
        slopes.append(gain / (costs.rollout * n))
    return slopes


def _prompt_slope(case: Case, n: float, K: float) -> float:
    least = case.bound.least
    if n == 0:
        step = float(case.constants.past_prompts) * STEP
        return (least(step, K) - least(0, K)) / step
    step = n * STEP
    return (least(n + step, K) - least(n - step, K)) / (2.0 * step)


# --- sensitivity ---------------------------------------------------------------------------------


def sensitivity(optimum: Optimum, slope: float) -> tuple[Elasticity, ...]:
    """Elasticities of the best bound by the envelope theorem, largest first.

    At the optimum the decisions' own change has no first-order effect, so ``dV/dθ`` is the bound's
    partial derivative at the fixed allocation plus the value of the money that the change of θ
    takes or gives, by the ``slope`` of the best bound per currency (docs/theory.md, sensitivity).
    """
    entries = [
        Elasticity(path, _elasticity(optimum, slope, path, value))
        for path, value in positive_leaves(optimum.scenario)
    ]
    return tuple(sorted(entries, key=lambda entry: -abs(entry.elasticity)))


def _elasticity(optimum: Optimum, slope: float, path: str, value: float) -> float:
    if path == "budget":
        return slope * value / optimum.bound.total
    if path.startswith("costs."):
        return _cost_derivative(optimum, slope, path) * value / optimum.bound.total
    # A Lomax law has no mean at a shape of 1.
    lomax = getattr(optimum.scenario.log_ratio, "family", None) == "lomax"
    step = (value - 1.0 if lomax and path == "log_ratio.shape" else value) * STEP
    ends = [
        bound_of(with_leaf(optimum.scenario, path, value + side)).total(optimum.allocation)
        for side in (step, -step)
    ]
    if value < LEAST_DIVISOR:
        return (ends[0] - ends[1]) / optimum.bound.total / (2.0 * STEP)
    return (ends[0] - ends[1]) / (2.0 * step) * value / optimum.bound.total


def _cost_derivative(optimum: Optimum, slope: float, path: str) -> float:
    """Money taken by one more unit of a price, times what money is worth."""
    case, (n, K, m), owned = optimum.case, optimum.to_come, optimum.case.prices.existing
    prompt, rollout = case.scenario.costs.prompt, case.scenario.costs.rollout
    behind = case.scenario.progress
    # What was spent in a run under way has paid for the fixed costs first.
    due = behind is None or case.scenario.costs.fixed > behind.cost
    taken: Mapping[str, float] = {
        "costs.fixed": 1.0 if due else 0.0,
        "costs.prompt.acquisition": max(0, n - owned),
        "costs.prompt.prefill": n,
        "costs.rollout": n * K,
        "costs.label": m,
        "costs.prompt.existing": -prompt.acquisition if n > owned else 0.0,
    }
    if path == "costs.prompt.existing" and n == owned and prompt.acquisition > 0:
        gain = _prompt_slope(case, n, K) - slope * (prompt.prefill + rollout * K)
        return min(0.0, gain) if n < case.prompts[1] else 0.0
    return -slope * taken.get(path, 0.0)
