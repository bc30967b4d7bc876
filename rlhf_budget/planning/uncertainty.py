"""One plan for all that the ranges of a scenario allow (docs/theory.md, not knowing)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rlhf_budget.errors import InfeasibleError, Problem, ScenarioError
from rlhf_budget.optimum.case import prepare
from rlhf_budget.optimum.certified import Optimum, optimise_cases
from rlhf_budget.optimum.robust import Risk, minimise_risk, robust_problem
from rlhf_budget.optimum.search import BESIDE_EFFORT
from rlhf_budget.planning.draws import laws_of, scenarios_of, shares
from rlhf_budget.planning.insight import current
from rlhf_budget.planning.results import (
    AtMiddle,
    CostOverDraws,
    CurrentOverDraws,
    Distribution,
    FreshDraws,
    Robust,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.optimum.case import Case
    from rlhf_budget.optimum.money import Cost
    from rlhf_budget.planning.results import CurrentPlan
    from rlhf_budget.scenario.models import Scenario

    Floats = NDArray[np.float64]

SCRAMBLINGS = 4
"""Independent repetitions of the draws from which a standard error is taken."""
FEWEST_FRESH = 64
"""Fewer draws than these do not show what the worst of them are like."""
MOST_DRAWS = 2**14
DRAWS_ALLOWED = f"a power of two from {SCRAMBLINGS} to {MOST_DRAWS}"
_LEVELS = "mean, regret, or cvar:LEVEL with a level from 0 to below 1, such as cvar:0.9 or cvar:90%"


class Robustness(NamedTuple):
    """What a robust plan is asked for."""

    risk: Literal["mean", "cvar", "regret"] = "mean"
    """Of the draws' bounds: their mean, the mean of the worst, or the largest excess over what is
    best for each draw."""
    level: float | None = None
    """For ``cvar``: the share of draws that are better than the worst that count."""
    draws: int = 256
    """Number of draws, a power of two."""
    affordable: float = 0.95
    """Share of the draws in which the plan has to fit the budget."""
    seed: int = 0
    """Seed of the draws."""


def parse_risk(text: str) -> tuple[Literal["mean", "cvar", "regret"], float | None]:
    """Read ``mean``, ``regret`` or ``cvar:LEVEL``, a share or a percentage.

    Raises
    ------
    ValueError
        Where it is none of them.
    """
    if text == "mean":
        return "mean", None
    if text == "regret":
        return "regret", None
    name, _, level = text.partition(":")
    try:
        value = float(level[:-1]) / 100.0 if level.endswith("%") else float(level)
    except ValueError:
        value = math.nan
    if name != "cvar" or not 0.0 <= value < 1.0:
        raise ValueError(f"{text!r} is not {_LEVELS}")
    return "cvar", value


class RobustOptimum(NamedTuple):
    """A robust allocation and what is said of it."""

    allocation: Allocation
    """The shared decision."""
    evaluations: int
    """Points and boxes at which the risk was evaluated."""
    robust: Robust
    """What its risk is worth."""
    unspent: float
    """Money left in the dearest of the draws in which it has to fit the budget."""


def optimise_robustly(optimum: Optimum, asked: Robustness, *, tolerance: float) -> RobustOptimum:
    """Find the one allocation that is best for all the draws together.

    Parameters
    ----------
    optimum
        The plan at the middle of the ranges, for comparison.
    asked
        Which risk, over how many draws.
    tolerance
        Relative gap at which the risk counts as proved.

    Raises
    ------
    ScenarioError
        Where the number of draws is no power of two, a share is none, or a draw is not legal.
    InfeasibleError
        Where nothing fits the budget in enough of the draws.
    """
    if not draws_allowed(asked.draws):
        raise ScenarioError((Problem("draws", str(asked.draws), DRAWS_ALLOWED),))
    if not 0.0 <= asked.affordable <= 1.0:
        raise ScenarioError((Problem("affordable", str(asked.affordable), "a share, 0 to 1"),))
    scenario = optimum.scenario
    cases = draw_cases(scenario, asked.draws, asked.seed)
    offsets = _offsets(cases, asked)
    risk, needed = risk_of(asked, offsets), must_afford(asked, len(cases))
    # Offsets as large as the bounds leave a difference whose relative gap means nothing.
    size = float(offsets.max())
    problem = robust_problem(cases, risk._replace(offsets=offsets - size), needed)
    outcome = minimise_risk(problem, tolerance=tolerance)
    if outcome is None:
        raise unaffordable(cases, needed)
    bounds = bounds_of(cases, outcome.allocation)
    value = risk.of(bounds)
    lower = min(outcome.lower_bound - size, value)
    gap = (value - lower) / (value + size) if value + size > 0 else 0.0
    middle, distribution = bounds_of(cases, optimum.allocation), distribution_of(bounds)
    now, beside = current(optimum), None
    if now is not None:
        beside = _current(cases, now, asked, risk, value, size)
    bound = _bound_judged(asked, value, distribution)
    costs, middle_costs = costs_of(cases, outcome.allocation), costs_of(cases, optimum.allocation)
    middle_fits = fitting(middle_costs)
    robust = Robust(
        risk=asked.risk,
        level=asked.level,
        draws=asked.draws,
        seed=asked.seed,
        affordable=asked.affordable,
        affordable_share=fitting(costs) / len(cases),
        cost=_cost_over_draws(costs),
        value=value,
        lower_bound=lower,
        relative_gap=gap,
        proved=gap <= tolerance,
        at_middle=AtMiddle(
            allocation=optimum.allocation,
            value=risk.of(middle),
            distribution=distribution_of(middle),
            affordable_share=middle_fits / len(cases),
            cost=_cost_over_draws(middle_costs),
            affordable=middle_fits >= needed,
        ),
        current=beside,
        distribution=distribution,
        fresh_draws=_fresh(scenario, outcome.allocation, asked),
        bound=bound,
        vacuous=bound >= scenario.objective.reward_range,
    )
    unspent = costs[needed - 1].unspent
    left = math.inf if unspent is None else unspent
    return RobustOptimum(outcome.allocation, outcome.evaluations, robust, left)


def draw_cases(scenario: Scenario, draws: int, seed: int) -> list[Case]:
    """Prepare the scenario under each draw; under one, where all its constants are known."""
    laws = laws_of(scenario)
    if not laws:
        return [prepare(scenario)]
    return prepare_alike(scenarios_of(scenario, laws, shares(laws, draws, seed)))


def prepare_alike(scenarios: Sequence[Scenario]) -> list[Case]:
    """Prepare draws of one scenario, most of which cost the same."""
    first = prepare(scenarios[0])
    return [first, *(prepare(each, like=first) for each in scenarios[1:])]


def bounds_of(cases: Sequence[Case], allocation: Allocation) -> Floats:
    """The bound of one allocation under each draw, shape (S,)."""
    return np.array([case.bound.total(allocation) for case in cases])


def risk_of(asked: Robustness, offsets: Floats) -> Risk:
    """The mean of the worst share of the draws, less what is best for each where that is asked."""
    share = {"mean": 1.0, "cvar": 1.0 - (asked.level or 0.0), "regret": 0.0}[asked.risk]
    return Risk(share, offsets)


def must_afford(asked: Robustness, draws: int) -> int:
    """In how many draws the plan has to fit the budget: at least one."""
    return max(1, math.ceil(asked.affordable * draws - 1e-9))


def costs_of(cases: Sequence[Case], allocation: Allocation) -> list[Cost]:
    """What an allocation costs under each draw, the least first."""
    n, m = cases[0].bound.to_come(allocation.prompts, allocation.labels)
    costs = (case.prices.cost(n, allocation.rollouts_per_prompt, m) for case in cases)
    return sorted(costs, key=lambda cost: cost.total)


def fitting(costs: Sequence[Cost]) -> int:
    """How many of the costs fit the budget."""
    return sum(cost.unspent is None or cost.unspent >= 0.0 for cost in costs)


def _cost_over_draws(costs: Sequence[Cost]) -> CostOverDraws:
    low, high = np.quantile([cost.total for cost in costs], (0.05, 0.95))
    return CostOverDraws(p5=float(low), p95=float(high))


def distribution_of(bounds: Floats) -> Distribution:
    """Quantiles and mean of the draws' bounds."""
    low, median, high = np.quantile(bounds, (0.05, 0.5, 0.95))
    mean = math.fsum(bounds) / bounds.size
    return Distribution(p5=float(low), p50=float(median), p95=float(high), mean=mean)


def _current(
    cases: Sequence[Case],
    now: CurrentPlan,
    asked: Robustness,
    risk: Risk,
    least: float,
    size: float,
) -> CurrentOverDraws:
    """The bounds of what is done now beside the least risk, made of bounds of this size."""
    bounds, fits = bounds_of(cases, now.allocation), fitting(costs_of(cases, now.allocation))
    over = ("budget",) if fits < must_afford(asked, len(cases)) else ()
    value, distribution = risk.of(bounds), distribution_of(bounds)
    excess, whole = value - least, least + size
    return CurrentOverDraws(
        value=value,
        distribution=distribution,
        bound=_bound_judged(asked, value, distribution),
        excess=excess,
        excess_relative=excess / whole if whole > 0 else 0.0,
        affordable_share=fits / len(cases),
        violations=(*over, *(key for key in now.violations if key != "budget")),
    )


def _bound_judged(asked: Robustness, value: float, distribution: Distribution) -> float:
    """What gates on the bound judge: a regret is none."""
    return distribution.p95 if asked.risk == "regret" else value


def _offsets(cases: Sequence[Case], asked: Robustness) -> Floats:
    """For regret, the bound that is best for each draw alone; else nothing."""
    if asked.risk != "regret":
        return np.zeros(len(cases))
    found = optimise_cases(cases, effort=BESIDE_EFFORT)
    best = [each.bound.total for each in found if isinstance(each, Optimum)]
    if len(best) < len(cases):
        raise unaffordable(cases, len(cases))
    return np.array(best)


def _fresh(scenario: Scenario, allocation: Allocation, asked: Robustness) -> FreshDraws:
    """The same risk of an allocation on draws that it was not made for."""
    each = max(asked.draws, FEWEST_FRESH)
    values = []
    for number in range(SCRAMBLINGS):
        cases = draw_cases(scenario, each, fresh_seed(asked.seed, number))
        risk = risk_of(asked, _offsets(cases, asked))
        values.append(risk.of(bounds_of(cases, allocation)))
    mean, error = mean_and_error(values)
    return FreshDraws(value=mean, draws=each, standard_error=error)


def fresh_seed(seed: int, number: int) -> int:
    """A seed that no plan's own draws have, unless it is asked for by its number."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0])


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean of independent repetitions, with its standard error."""
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1) / len(values))


def draws_allowed(draws: int) -> bool:
    """Whether a Sobol sequence of this length is balanced, and not too long to plan for."""
    return SCRAMBLINGS <= draws <= MOST_DRAWS and draws.bit_count() == 1


def unaffordable(cases: Sequence[Case], needed: int) -> InfeasibleError:
    """Nothing fits in as many of the draws as needed: name the budget that would."""
    least = sorted(_least_budget(case) for case in cases)[needed - 1]
    scenario = cases[0].scenario
    budget = scenario.budget or 0.0
    share = needed / len(cases)
    return InfeasibleError(
        f"No allocation fits the budget of {budget:,.10g} {scenario.currency} in {share:.4g} of "
        f"the draws: that takes {least:,.10g} {scenario.currency}.",
        least_budget=least,
        shortfall=least - budget,
        limits=(),
    )


def _least_budget(case: Case) -> float:
    fewest = case.prices.spend(case.prompts[0], min(case.allowed))
    return case.prices.to_currency_above(fewest + case.prices.label * case.labels[0])
