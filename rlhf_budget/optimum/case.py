"""One scenario, prepared once: everything that a search, or what surrounds its optimum, asks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rlhf_budget.bound import terms as formulas
from rlhf_budget.bound.results import CAP, Allocation
from rlhf_budget.bound.terms import BoundFunction, bound_of, rollout_choices
from rlhf_budget.optimum.arrays import ROUNDING, labels_needed
from rlhf_budget.optimum.money import Prices, prices_of

if TYPE_CHECKING:
    from rlhf_budget.bound.terms import Constants
    from rlhf_budget.scenario.models import Scenario


class Case(NamedTuple):
    """One scenario, prepared for the search."""

    scenario: Scenario
    """What is planned."""
    bound: BoundFunction
    """Its bound, ready to be evaluated."""
    prices: Prices
    """Exact money."""
    allowed: tuple[int, ...]
    """Every K that the limits allow, ascending."""
    rollouts: tuple[int, ...]
    """K of each row of the search, ascending: those that can be best."""
    prompts: tuple[int, int]
    """Least and most n, of those still to buy."""
    labels: tuple[int, int]
    """Least and most m, of those still to buy."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of groups that teach, of each row."""
        shares = self.bound.shares
        return tuple(shares[K] for K in self.rollouts) if shares else (1.0,) * len(self.rollouts)

    @property
    def constants(self) -> Constants:
        """theory.md's symbols, floats."""
        return self.bound.constants

    def allocation(self, n: int, K: int, m: int) -> Allocation:
        """What n prompts, K rollouts of each and m labels to come make of the whole run."""
        K = K if n > 0 else self.allowed[0]
        τ = self.bound.sampling_and_clipping(n, K)[2]
        behind = self.scenario.progress
        if behind is None:
            return Allocation(n, K, m, τ)
        # Groups behind have another size.
        more = round(behind.prompts * (behind.rollouts_per_prompt - K))
        return Allocation(n + behind.prompts, K, m + behind.labels, τ, more)

    def without_budget(self) -> Case:
        """The same with all the money there is, for a target."""
        return self._replace(prices=self.prices._replace(budget=None))

    def with_every_rollout(self) -> Case:
        """The same with a row for every K allowed, dominated or not."""
        return self._replace(rollouts=self.allowed)

    def useful_labels(self, labels: int) -> int:
        """The least count with the same ``ρ`` as ``labels``: money is not wasted on a plateau.

        Decided by where ``L`` is capped at R² or ``scale`` is 0, never by float equality.
        """
        c = self.constants
        if c.label_kind == "none":
            return self.labels[0]
        existing = float(c.existing_labels)
        first = 0 if existing > 0 else 1
        coverage_from = 0 if c.label_kind == "behaviour" or c.coverage == 1.0 else first
        perfect = c.error_floor == 0 and c.error_scale == 0
        if c.label_kind == "current" and existing > 0 and c.coverage != 1.0 and not perfect:
            return labels
        if float(formulas.reward_error(c, float(labels))) >= np.square(c.reward_range):
            least = coverage_from
        elif c.error_scale == 0:
            least = first
        else:
            return labels
        return min(labels, max(self.labels[0], least))

    def fewest_labels(
        self, prompts: int, rollouts_per_prompt: int, target: float, labels: tuple[int, int]
    ) -> int | None:
        """The least m whose bound, to the last digit as it is reported, is at most ``target``.

        Sought in ``labels``, least and most; None where even the most do not reach it.
        """
        sampling, clipping, _ = self.bound.sampling_and_clipping(prompts, rollouts_per_prompt)

        def reached(labels: int) -> bool:
            return sampling + self.bound.shift(labels) + clipping <= target

        low, high = labels
        if not reached(high):
            return None
        room = np.array([target * (1.0 + 4.0 * ROUNDING) - sampling - clipping])
        start = labels_needed(self.constants, room, np.array([float(low)]), np.array([float(high)]))
        low, step = (low if math.isinf(start[0]) else int(start[0])), 1
        # The start is within rounding of the answer: galloping from it is a step or two.
        while not reached(min(low + step - 1, high)):
            low, step = low + step, 2 * step
        high = min(low + step - 1, high)
        while low < high:
            middle = (low + high) // 2
            if reached(middle):
                high = middle
            else:
                low = middle + 1
        return low


def prepare(scenario: Scenario, *, like: Case | None = None) -> Case:
    """Prepare a scenario: its bound, its exact prices and what its limits allow still to buy.

    Prices are those of ``like`` where it costs the same.
    """
    limits, bound = scenario.limits, bound_of(scenario)
    if like is not None and _costs_the_same(scenario, like.scenario):
        prices = like.prices
    else:
        prices = prices_of(scenario)
    allowed = rollout_choices(limits)
    buys = bound.constants.label_kind != "none"
    most_labels = CAP if limits.labels.max is None else min(limits.labels.max, CAP)
    fewest = bound.to_come(limits.prompts.min or 1, limits.labels.min or 0)
    most = bound.to_come(min(limits.prompts.max or CAP, CAP), most_labels)
    return Case(
        scenario=scenario,
        bound=bound,
        prices=prices,
        allowed=allowed,
        rollouts=_undominated(bound, prices, allowed),
        prompts=(fewest[0], most[0]),
        labels=(fewest[1], most[1]) if buys else (0, 0),
    )


def _costs_the_same(one: Scenario, other: Scenario) -> bool:
    """Whether two scenarios surely have the same prices: copies share what they do not change."""
    paid = ("costs", "budget", "progress")
    return all(getattr(one, name) is getattr(other, name) for name in paid)


def _undominated(bound: BoundFunction, prices: Prices, allowed: tuple[int, ...]) -> tuple[int, ...]:
    """Values of K that can be best: the least where K teaches nothing, the most where free.

    With silent groups, the least of each share of groups that teach; none is ruled out by price.
    """
    c, shares = bound.constants, bound.shares
    if not c.shape.rollouts and not (c.shape.deviation and c.rollout_variance):
        if not shares:
            return allowed[:1]
        return tuple(sorted({shares[K]: K for K in reversed(allowed)}.values()))
    if shares:
        return allowed
    return allowed[-1:] if prices.rollout == 0 else allowed
