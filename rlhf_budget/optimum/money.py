"""Exact money: prices as integers over one common denominator.

A bare float floor division buys one label too many or too few now and then; exact rationals never
do, and what is reported never exceeds the budget (docs/theory.md, exact money).
"""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from rlhf_budget.scenario.records import Record
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from rlhf_budget.scenario import units
    from rlhf_budget.scenario.models import Scenario


@dataclass(frozen=True)
class Cost(Record):
    """What an allocation costs, in the scenario's currency."""

    total: units.Money
    """Everything together."""
    prompts: units.Money
    """Acquisition and prefill of the prompts."""
    rollouts: units.Money
    """All rollouts."""
    labels: units.Money
    """The labels to buy."""
    fixed: units.Money
    """What is paid whatever is bought."""
    budget: units.Money | None
    """Money there is; None where the plan looks for the least budget."""
    unspent: units.Money | None
    """Budget less total; None without a budget. Negative for an allocation beyond the budget."""


class Prices(NamedTuple):
    """A scenario's prices and budget, each an integer number of ``1/denominator`` currency."""

    denominator: int
    """Units in one currency."""
    budget: int | None
    """None: no budget is set."""
    fixed: int
    """Paid whatever is bought."""
    acquisition: int
    """Per prompt beyond the owned pool."""
    existing: int
    """Prompts owned and not yet used (a count, not money)."""
    prefill: int
    """Per prompt, owned or not."""
    rollout: int
    """Per rollout."""
    label: int
    """Per label."""

    def spend(self, prompts: int, rollouts_per_prompt: int) -> int:
        """Cost of everything but labels, in units."""
        bought = max(0, prompts - self.existing)
        return (
            self.fixed
            + self.acquisition * bought
            + (self.prefill + self.rollout * rollouts_per_prompt) * prompts
        )

    def labels_affordable(self, prompts: int, rollouts_per_prompt: int, most: int) -> int:
        """Most labels that the rest of the budget buys, at most ``most``; negative: none fit."""
        if self.budget is None:
            return most
        left = self.budget - self.spend(prompts, rollouts_per_prompt)
        if left < 0:
            return -1
        return most if self.label == 0 else min(most, left // self.label)

    def prompts_affordable(self, rollouts_per_prompt: int, labels: int, most: int) -> int:
        """Most prompts that fit beside ``labels`` labels, at most ``most``; negative: none fit."""
        if self.budget is None:
            return most
        left = self.budget - self.fixed - self.label * labels
        if left < 0:
            return -1
        each = self.prefill + self.rollout * rollouts_per_prompt
        owned = min(most, self.existing, left // each if each else most)
        if owned < min(self.existing, most):
            return owned
        beyond = each + self.acquisition
        left -= each * owned
        return most if beyond == 0 else min(most, owned + left // beyond)

    def cost(self, prompts: int, rollouts_per_prompt: int, labels: int) -> Cost:
        """Cost of an allocation, each part the float nearest to its exact value."""
        bought = max(0, prompts - self.existing)
        parts = (
            self.acquisition * bought + self.prefill * prompts,
            self.rollout * rollouts_per_prompt * prompts,
            self.label * labels,
            self.fixed,
        )
        total = sum(parts)
        unspent = None if self.budget is None else self.to_currency(self.budget - total)
        budget = None if self.budget is None else self.to_currency(self.budget)
        prompts_, rollouts_, labels_, fixed_ = (self.to_currency(part) for part in parts)
        return Cost(self.to_currency(total), prompts_, rollouts_, labels_, fixed_, budget, unspent)

    def to_currency(self, units: int) -> float:
        """The float nearest to ``units``, at most the largest float there is."""
        try:
            return float(Fraction(units, self.denominator))
        except OverflowError:
            return sys.float_info.max if units > 0 else -sys.float_info.max

    def to_currency_above(self, units: int) -> float:
        """The least float that is written as at least ``units``: a budget that surely suffices."""
        amount = self.to_currency(units)
        if exact(amount) < Fraction(units, self.denominator):
            return math.nextafter(amount, math.inf)
        return amount


def exact(value: float) -> Fraction:
    """The decimal number that was written: ``0.1`` is a tenth, not its binary neighbour."""
    return Fraction(repr(float(value)))


def prices_of(scenario: Scenario, *, with_budget: bool = True) -> Prices:
    """Turn a scenario's costs into exact prices.

    Written numbers are taken as the decimals they are; prices derived from tokens and GPU hours
    are floats, taken at their exact binary value.
    """
    costs, behind = scenario.costs, scenario.progress
    derived = costs.derived
    prefill_of = Fraction if "costs.prompt.prefill" in derived else exact
    rollout_of = Fraction if "costs.rollout" in derived else exact
    budget = exact(scenario.budget) if with_budget and scenario.budget is not None else None
    amounts = [
        # What was spent is paid whatever is bought now, and has covered the fixed costs first.
        max(exact(costs.fixed), exact(behind.cost if behind else 0.0)),
        exact(costs.prompt.acquisition),
        prefill_of(costs.prompt.prefill),
        rollout_of(costs.rollout),
        exact(costs.label or 0.0),
    ]
    everything = [*amounts, budget] if budget is not None else amounts
    denominator = math.lcm(*(amount.denominator for amount in everything))
    fixed, acquisition, prefill, rollout, label = (int(a * denominator) for a in amounts)
    return Prices(
        denominator=denominator,
        budget=None if budget is None else int(budget * denominator),
        fixed=fixed,
        acquisition=acquisition,
        existing=max(0, int(costs.prompt.existing) - (behind.prompts if behind else 0)),
        prefill=prefill,
        rollout=rollout,
        label=label,
    )
