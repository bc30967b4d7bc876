"""What keys, limits and inequalities are called in plain English."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_budget.report.numbers import integer, money, plain
from rlhf_budget.scenario.leaves import guesses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.planning.results import Plan
    from rlhf_budget.scenario.models import Scenario

INEQUALITIES = {
    "hoeffding": "hoeffding (Theorem 1)",
    "prompt_mean": "prompt_mean (counts prompts only)",
    "bernstein": "bernstein (uses the two variances)",
}
"""Name in the scenario -> name with what it rests on."""

UNMEASURED = "nothing does: --robust"
"""Said of a constant that no log holds; one plans for all of its range."""
MEASURES = {
    "reward_model.error": "calibrate reward-model",
    "reward_model.coverage": "calibrate coverage",
    "bound.prompt_variance": "calibrate rollouts",
    "bound.rollout_variance": "calibrate rollouts",
    "bound.posterior_kl": UNMEASURED,
    "log_ratio": "calibrate rollouts",
    "groups": "calibrate rollouts",
    "costs.prompt": "calibrate costs",
    "costs.rollout": "calibrate costs",
    "costs.label": "the vendor's quote",
}
"""Constant -> what measures it."""

_DECISIONS = {
    "prompts": "prompts",
    "rollouts_per_prompt": "rollouts per prompt",
    "group_size": "group sizes",
    "epochs": "epochs",
    "labels": "labels",
    "clip_threshold": "clip threshold",
}


def measured_by(constant: str) -> str | None:
    """Return the command, or the person, that measures a constant; None where there is none."""
    return next((how for key, how in MEASURES.items() if constant.startswith(key)), None)


def is_measurable(constant: str) -> bool:
    """Whether anything measures a constant, so that one may be told to measure it first."""
    return measured_by(constant) != UNMEASURED


def amount(value: float, currency: str) -> str:
    """Write money with its currency."""
    return f"{money(value)} {currency}"


def count(number: float, one: str, many: str | None = None) -> str:
    """Write a count and what is counted."""
    return f"{integer(number)} {one if number == 1 else many or one + 's'}"


def listing(items: Sequence[str]) -> str:
    """Join items as a sentence does."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def limit_words(key: str, scenario: Scenario) -> str:
    """Say which limit a key path is, with its value and the key itself."""
    if key == "costs.prompt.existing":
        owned = integer(scenario.costs.prompt.existing)
        return f"the {owned} prompts already owned ({key}; more must be acquired)"
    _, name, end = key.split(".")
    if end == "choices":
        return f"the choices of {_DECISIONS[name]} ({key})"
    value = plain(getattr(getattr(scenario.limits, name), end))
    few, many = ("lowest", "highest") if name == "clip_threshold" else ("fewest", "most")
    return f"the {few if end == 'min' else many} {_DECISIONS[name]} allowed ({value}; {key})"


def confidence(scenario: Scenario) -> str:
    """Write the probability with which the bound holds, such as ``95 %``."""
    return f"{100.0 * (1.0 - scenario.objective.failure_probability):.6g} %"


def buys_labels(scenario: Scenario) -> bool:
    """Whether labels are a decision: the reward model is neither programmatic nor finished."""
    model = scenario.reward_model
    return model != "verifiable" and not isinstance(model.error, (int, float))


def least_rollouts(scenario: Scenario) -> int:
    """The fewest rollouts per prompt that the limits allow."""
    allowed = scenario.limits.rollouts_per_prompt
    return min(allowed.choices) if allowed.choices else allowed.min or 1


def purchase(allocation: Allocation, scenario: Scenario) -> str:
    """Say what an allocation buys."""
    K = allocation.rollouts_per_prompt
    bought = [count(allocation.prompts, "prompt"), f"{count(K, 'rollout')} of each"]
    if buys_labels(scenario):
        bought.append(count(allocation.labels, "label"))
    return listing(bought)


def leaf(inputs: dict[str, Any], path: str) -> float | None:
    """Look a number up in resolved inputs by its key path."""
    value: Any = inputs
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, (int, float)) else None


def mark(plan: Plan, key: str) -> str:
    """Say ``assumed`` or ``guess`` where a constant is not known; empty where it is."""

    def covers(other: str) -> bool:
        return key == other or key.startswith(f"{other}.")

    if any(covers(entry.constant) for entry in plan.assumed):
        return "assumed"
    return "guess" if any(covers(other) for other in guesses(plan.scenario)) else ""
