"""What each constant is worth knowing before anything is bought (docs/theory.md, not knowing)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.optimum.robust import Risk, minimise_risk, robust_problem
from rlhf_budget.optimum.search import BESIDE_EFFORT
from rlhf_budget.planning.draws import laws_of, scenarios_of, shares
from rlhf_budget.planning.results import WorthKnowing
from rlhf_budget.planning.uncertainty import (
    SCRAMBLINGS,
    fresh_seed,
    mean_and_error,
    must_afford,
    prepare_alike,
    unaffordable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rlhf_budget.optimum.case import Case
    from rlhf_budget.planning.draws import Law
    from rlhf_budget.planning.uncertainty import Robustness
    from rlhf_budget.scenario.models import Scenario

STRATA = 16
"""Equally likely values of a constant that stand for having learnt it."""
WITHIN = 64
"""Draws of all the other constants at each of them."""
LEAST_MONEY, MOST_MONEY = 1e-4, 1e3
"""The worth in money is sought between these multiples of the budget."""
MONEY_DIGITS = 0.02
"""Relative width at which the search for the worth in money stops."""
TOLERANCE = 1e-6
"""Relative gap of the optima whose differences are taken."""


def worth_knowing(
    scenario: Scenario, asked: Robustness, *, on_share: Callable[[float], None] | None = None
) -> tuple[WorthKnowing, ...]:
    """What it would be worth to learn each constant exactly, the largest first.

    ``min_x E F − E_{ω_i} min_x E(F | ω_i)``: by how much the mean bound falls where the plan may
    depend on the constant. Both sides use the same draws, so that what they share cancels.

    Parameters
    ----------
    scenario
        With constants that are ranges or unknown, and a budget.
    asked
        Its seed, and its share of draws in which the plan has to fit the budget, are used.
    on_share
        Called with the share of the work that is done, after each constant and set of draws.

    Raises
    ------
    ScenarioError
        Where a draw is not legal.
    InfeasibleError
        Where nothing fits the budget in enough of the draws.
    """
    laws = laws_of(scenario)
    seeds = [fresh_seed(asked.seed, SCRAMBLINGS + number) for number in range(SCRAMBLINGS)]
    found = []
    for index, law in enumerate(laws):
        worths = []
        for seed in seeds:
            worths.append(worth_once(scenario, laws, index, seed, asked))
            if on_share is not None:
                on_share((index + len(worths) / len(seeds)) / (len(laws) + 1))
        worth, error = mean_and_error(worths)
        # The strata fix the constant asked about; where it is the only one, no set differs.
        found.append((law.constant, worth, error if len(laws) > 1 else None))
    money = _Money(scenario, laws, seeds[0], asked)
    entries = [
        WorthKnowing(constant, worth, error, money.worth(worth)) for constant, worth, error in found
    ]
    return tuple(sorted(entries, key=lambda entry: -entry.worth_bound))


def worth_once(
    scenario: Scenario, laws: Sequence[Law], index: int, seed: int, asked: Robustness
) -> float:
    """The worth of knowing one constant, by one set of draws of the others."""
    others = shares(laws, WITHIN, seed)
    strata = []
    for number in range(STRATA):
        at = others.copy()
        at[:, index] = (number + 0.5) / STRATA
        strata.append(prepare_alike(scenarios_of(scenario, laws, at)))
    everything = [case for cases in strata for case in cases]
    known = math.fsum(_least_mean(cases, asked) for cases in strata) / STRATA
    return _least_mean(everything, asked) - known


def _least_mean(cases: Sequence[Case], asked: Robustness) -> float:
    """The least mean bound of one plan for all the draws."""
    needed = must_afford(asked, len(cases))
    problem = robust_problem(cases, Risk(1.0, np.zeros(len(cases))), needed)
    outcome = minimise_risk(problem, tolerance=TOLERANCE, effort=BESIDE_EFFORT)
    if outcome is None:
        raise unaffordable(cases, needed)
    return outcome.value


class _Money:
    """How much more money brings the mean bound down by as much."""

    def __init__(
        self, scenario: Scenario, laws: Sequence[Law], seed: int, asked: Robustness
    ) -> None:
        self.scenario, self.asked = scenario, asked
        self.budget = scenario.budget or 0.0
        self.drawn = scenarios_of(scenario, laws, shares(laws, WITHIN, seed)) if laws else ()
        self.known: dict[float, float] = {}

    def worth(self, bound: float) -> float | None:
        """Money that surely buys a fall of the mean bound, to two digits; None: no money does."""
        if bound <= 2.0 * TOLERANCE * self._least(0.0):
            return 0.0
        target = self._least(0.0) - bound
        low, high = 0.0, LEAST_MONEY
        while self._least(high) > target:
            low, high = high, 2.0 * high
            if high > MOST_MONEY:
                return None
        while high - low > MONEY_DIGITS * high and high > LEAST_MONEY:
            middle = 0.5 * (low + high)
            low, high = (low, middle) if self._least(middle) <= target else (middle, high)
        return high * self.budget

    def _least(self, more: float) -> float:
        """The least mean bound with more money, as a multiple of the budget; each sought once."""
        if more not in self.known:
            budget = (1.0 + more) * self.budget
            cases = prepare_alike(
                [each.model_copy(update={"budget": budget}) for each in self.drawn]
            )
            self.known[more] = _least_mean(cases, self.asked)
        return self.known[more]
