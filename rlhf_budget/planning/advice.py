"""What to make of a plan: what it saves in money, and how it fares where guesses are wrong."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from rlhf_budget.bound.results import CAP, Allocation
from rlhf_budget.errors import RlhfBudgetError
from rlhf_budget.optimum.case import prepare
from rlhf_budget.optimum.certified import Optimum, least_cost, optimise_cases, optimise_many
from rlhf_budget.optimum.money import Prices, exact, prices_of
from rlhf_budget.optimum.search import QUICK_EFFORT
from rlhf_budget.scenario.leaves import guesses, positive_leaves
from rlhf_budget.scenario.records import Record
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rlhf_budget.optimum.case import Case
    from rlhf_budget.planning.results import Plan
    from rlhf_budget.scenario import units
    from rlhf_budget.scenario.models import Scenario

AS_GOOD = 5e-4
"""Relative differences of bounds below this are not worth acting on."""
PRECISION = 1e-4
"""Relative gap within which the best plan for a wrong guess is sought."""
WRONG_BY = 2.0
"""A guess without a range is tried at this factor below and above."""


@dataclass(frozen=True)
class Cheaper(Record):
    """The cheapest way to the bound that ``current`` has."""

    bound: units.BoundTerm
    """The bound of ``current``."""
    cost: units.Money
    """What the cheapest plan with that bound costs."""
    saving: units.Money
    """What ``current`` costs beyond that; negative where it breaks limits that made it cheap."""


@dataclass(frozen=True)
class BuyNothing(Record):
    """The best plan without new prompts and new labels."""

    bound: units.BoundTerm
    """Its bound."""
    cost: units.Money
    """What its rollouts cost."""


@dataclass(frozen=True)
class WrongGuess(Record):
    """How the plan fares where one guess is wrong: the plan is kept, the constant is another.

    Where prices are wrong, the money and the split between prompts and labels are kept.
    """

    constant: str
    """Key path."""
    value: units.OwnUnit
    """What it is instead."""
    plan_excess: units.Relative
    """The plan's bound above the best one can then do, as a fraction of that."""
    current_excess: units.Relative | None
    """The same of ``current``."""
    moves: bool
    """True where the best plan is then outside the near-optimal ranges of this one, or this one is
    not near-optimal: it may be the clip threshold that is wrong."""


@dataclass(frozen=True)
class Advice(Record):
    """What a person needs beside the plan to act on it."""

    cheaper: Cheaper | None
    """None without ``current``, or where it is as good as the plan."""
    buy_nothing: BuyNothing | None
    """None where nothing is owned already, with a target or in a run under way."""
    wrong_guesses: tuple[WrongGuess, ...]
    """Both ends of every range, and twice and half of every guess, the worst for the plan first."""
    measure_first: str | None
    """The constant whose knowledge would move the decision most; None where none moves it beyond
    the near-optimal ranges."""


def advise(plan: Plan) -> Advice:
    """Say what a plan is worth beside what is done now, and how sure its constants make it.

    Parameters
    ----------
    plan
        A plan within a budget or for a target.
    """
    within_budget = plan.target is None and plan.robust is None
    guesses = _wrong_guesses(plan) if within_budget else ()
    moving = [guess for guess in guesses if guess.moves and guess.plan_excess > AS_GOOD]
    return Advice(
        cheaper=_cheaper(plan),
        buy_nothing=_buy_nothing(plan),
        wrong_guesses=guesses,
        measure_first=moving[0].constant if moving else None,
    )


def _cheaper(plan: Plan) -> Cheaper | None:
    current = plan.current
    if plan.target is not None or current is None or current.excess_relative <= AS_GOOD:
        return None
    try:
        cost = least_cost(plan.scenario, current.bound.total).cost.total
    except RlhfBudgetError:
        return None
    return Cheaper(current.bound.total, cost, current.cost.total - cost)


def _buy_nothing(plan: Plan) -> BuyNothing | None:
    scenario, owned = plan.scenario, plan.scenario.costs.prompt.existing
    limits = scenario.limits
    least = limits.prompts.min
    if plan.target is not None or plan.progress is not None:
        return None
    if owned < least or scenario.costs.prompt.acquisition == 0:
        return None
    most = owned if limits.prompts.max is None else min(owned, limits.prompts.max)
    nothing = limits.model_copy(
        update={
            "prompts": limits.prompts.model_copy(update={"max": most}),
            "labels": limits.labels.model_copy(update={"max": limits.labels.min}),
        }
    )
    outcome = optimise_many((scenario.model_copy(update={"limits": nothing}),))[0]
    if not isinstance(outcome, Optimum):
        return None
    return BuyNothing(outcome.bound.total, outcome.cost.total)


# --- wrong guesses -------------------------------------------------------------------------------


def _wrong_guesses(plan: Plan) -> tuple[WrongGuess, ...]:
    # The plan knows the best at both ends of every range already.
    best: dict[tuple[str, float], Allocation | None] = {}
    for entry in plan.assumed:
        best[entry.constant, entry.low] = entry.allocation_at_low
        best[entry.constant, entry.high] = entry.allocation_at_high
    legal: dict[tuple[str, float], Scenario] = {}
    for end in (*best, *half_and_twice(plan.scenario)):
        # Twice or half of a guess may be no legal value: a coverage below 1.
        with suppress(RlhfBudgetError):
            legal[end] = plan.scenario.with_values(dict([end]), check_ends=False)
    tried = {end: prepare(there) for end, there in legal.items()}
    others = [end for end in tried if end not in best]
    outcomes = optimise_cases(
        [tried[end] for end in others], tolerance=PRECISION, effort=QUICK_EFFORT
    )
    for end, outcome in zip(others, outcomes, strict=True):
        best[end] = outcome.allocation if isinstance(outcome, Optimum) else None
    found = (
        _judged(plan, *end, case, allocation)
        for end, case in tried.items()
        if (allocation := best[end]) is not None
    )
    kept = [guess for guess in found if guess is not None]
    return tuple(sorted(kept, key=lambda guess: -guess.plan_excess))


def half_and_twice(scenario: Scenario) -> Iterator[tuple[str, float]]:
    """Half and twice of every guess that has no range, by key path."""
    ranges = {entry.constant for entry in scenario.assumed}
    guessed = guesses(scenario)
    for path, value in positive_leaves(scenario):
        named = any(path == key or path.startswith(f"{key}.") for key in guessed)
        if named and path not in ranges and path != "budget":
            whole = value.is_integer() and path.rpartition(".")[2] in {"candidates", "existing"}
            for end in (value / WRONG_BY, value * WRONG_BY):
                yield path, float(round(end)) if whole else end


def _judged(
    plan: Plan, constant: str, value: float, case: Case, best: Allocation
) -> WrongGuess | None:
    """None where the plan cannot be followed at all: the money does not buy one prompt."""
    there, bound, current = case.scenario, case.bound, plan.current
    followed = _followed(there, plan.allocation, plan.cost.total, constant)
    done = _followed(there, current.allocation, current.cost.total, constant) if current else None
    least = bound.at(best).total
    if followed is None or least <= 0:
        return None
    plan_total = bound.at(followed).total
    # The best is known within PRECISION: where the plan is better, it is the best.
    least = min(least, plan_total)
    excess = plan_total / least - 1.0
    return WrongGuess(
        constant,
        value,
        excess,
        None if done is None else bound.at(done).total / least - 1.0,
        plan.near_optimal is None or excess > plan.near_optimal.within or not is_near(plan, best),
    )


def _followed(
    there: Scenario, allocation: Allocation, money: float, constant: str
) -> Allocation | None:
    """The allocation as it would be followed: at other prices, the same split of the same money.

    Where the split meets the limit on prompts, the rest goes into labels.
    """
    if not constant.startswith("costs."):
        return allocation
    behind = there.progress
    past = (behind.prompts, behind.labels) if behind else (0, 0)
    # What is behind is paid: only the rest buys more, or less.
    allocation = replace(
        allocation,
        prompts=max(0, allocation.prompts - past[0]),
        labels=max(0, allocation.labels - past[1]),
    )
    prices = prices_of(there.model_copy(update={"budget": money}))
    units, K = int(exact(money) * prices.denominator), allocation.rollouts_per_prompt
    low, high = 0.0, 1.0
    while _spent(prices, allocation, high) <= units and high < 2.0**40:
        low, high = high, 2.0 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _spent(prices, allocation, middle) <= units else (low, middle)
    n, m = int(low * allocation.prompts), int(low * allocation.labels)
    limits = there.limits
    if limits.prompts.max is not None and n + past[0] > limits.prompts.max:
        n = max(limits.prompts.max - past[0], allocation.prompts)
        most = CAP if limits.labels.max is None else limits.labels.max
        m = prices.labels_affordable(n, K, most - past[1]) if m else 0
    n, m = n + past[0], m + past[1]
    return Allocation(n, K, m, allocation.clip_threshold) if n >= 1 and m >= past[1] else None


def _spent(prices: Prices, allocation: Allocation, scale: float) -> int:
    n, m = int(scale * allocation.prompts), int(scale * allocation.labels)
    return prices.spend(n, allocation.rollouts_per_prompt) + prices.label * m


def is_near(plan: Plan, other: Allocation) -> bool:
    """Whether each decision of another allocation is within the plan's near-optimal ranges."""
    near = plan.near_optimal
    return near is not None and all(
        low <= getattr(other, name) <= high
        for name in ("prompts", "rollouts_per_prompt", "labels")
        for low, high in [getattr(near, name)]
    )
