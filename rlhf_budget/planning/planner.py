"""From a scenario to a plan: a certified optimum with what a person needs to act on it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from rlhf_budget.bound.closed_form import closed_form
from rlhf_budget.bound.groups import group_share
from rlhf_budget.bound.guarantees import guarantees
from rlhf_budget.bound.results import Allocation
from rlhf_budget.errors import (
    InfeasibleError,
    Problem,
    ProofError,
    RlhfBudgetError,
    ScenarioError,
)
from rlhf_budget.optimum.case import prepare
from rlhf_budget.optimum.certified import TOLERANCE, Optimum, least_cost, optimise, optimise_many
from rlhf_budget.optimum.near_optimal import WITHIN, near_optimal
from rlhf_budget.optimum.results import Certificate
from rlhf_budget.planning.binding import binding
from rlhf_budget.planning.insight import (
    alternatives,
    assumed,
    current,
    rest_of_run,
    schedule,
)
from rlhf_budget.planning.marginal import marginal, sensitivity
from rlhf_budget.planning.notices import notices, worth_of_prices
from rlhf_budget.planning.questions import answers, plan_variants
from rlhf_budget.planning.results import Behind, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rlhf_budget.planning.results import Notice, Robust
    from rlhf_budget.planning.uncertainty import Robustness
    from rlhf_budget.scenario.models import Scenario


def plan(
    scenario: Scenario,
    *,
    tolerance: float = TOLERANCE,
    target_bound: float | None = None,
    within: float = WITHIN,
) -> Plan:
    """Find the best allocation of a scenario's budget, with a proof.

    Parameters
    ----------
    scenario
        Constants, prices, limits and budget.
    tolerance
        Relative gap at which the answer counts as proved.
    target_bound
        Instead of spending the budget, find the least money that brings the bound down to this
        (reward units).
    within
        How far above its best the bound may be in the near-optimal ranges, as a fraction to 1.

    Returns
    -------
    Plan
        The allocation, its bound and cost, the certificate, and what surrounds them.

    Raises
    ------
    ScenarioError
        Where the scenario has no budget and no target is given, or ``within`` is no share.
    InfeasibleError
        Where nothing within the limits fits the budget.
    UnreachableTargetError
        Where no budget reaches the target.

    Examples
    --------
    >>> from rlhf_budget import load_scenario, plan
    >>> plan(load_scenario("scenario.yaml")).allocation.prompts  # doctest: +SKIP
    748600
    """
    if not 0 <= within <= 1:
        allowed = "a share from 0 to 1 (100 %, twice the best bound), such as 0.05"
        raise ScenarioError((Problem("within", f"{within:g}", allowed),))
    if target_bound is not None:
        _require_finite(target_bound)
        optimum = least_cost(scenario, target_bound, tolerance=tolerance)
    elif scenario.budget is None:
        raise _missing_budget()
    else:
        optimum = optimise(scenario, tolerance=tolerance)
    return _surround(optimum, tolerance, within)


def plan_many(
    scenarios: Sequence[Scenario], *, tolerance: float = TOLERANCE
) -> tuple[Optimum | RlhfBudgetError, ...]:
    """Optimise many scenarios at once: the same numbers as :func:`plan` one by one, much sooner.

    Returns
    -------
    tuple
        For each scenario, in order, its certified optimum, or the error that :func:`plan` raises.
    """
    funded = [scenario for scenario in scenarios if scenario.budget is not None]
    outcomes = iter(optimise_many(funded, tolerance=tolerance))
    return tuple(
        _missing_budget() if scenario.budget is None else next(outcomes) for scenario in scenarios
    )


def plan_of_proof(scenario: Scenario, file: str, *, tolerance: float = TOLERANCE) -> Plan:
    """Take the plan of a proof that still holds for a scenario: nothing is searched.

    What another search would tell of its surroundings is left empty.

    Raises
    ------
    ProofError
        Where the proof fails, or is of another scenario.
    FileAccessError
        Where it cannot be read.
    MissingExtraError
        Without python-flint.
    """
    from rlhf_budget.optimum.proof.certificate import scenario_text  # noqa: PLC0415 - seldom used
    from rlhf_budget.optimum.proof.files import differing_keys, verified  # noqa: PLC0415
    from rlhf_budget.optimum.proof.reading import exact_scenario  # noqa: PLC0415

    proof = verified(file, tolerance=tolerance)
    different = differing_keys(exact_scenario(scenario_text(scenario)), proof.scenario)
    if different:
        raise ProofError(f"{file} is the proof of another scenario: {', '.join(different)} differ")
    τ = None if proof.clip_threshold is None else float(proof.clip_threshold)
    allocation = Allocation(proof.prompts, proof.rollouts_per_prompt, proof.labels, τ)
    case, gap = prepare(scenario), proof.relative_gap
    optimum = Optimum(
        case=case,
        status="optimal",
        allocation=allocation,
        bound=case.bound.at(allocation),
        cost=case.prices.cost(*proof[2:5]),
        certificate=Certificate(float(proof.lower_bound), gap, gap <= tolerance, len(proof.boxes)),
        target=None,
    )
    return _evaluated(optimum)


def plan_robustly(scenario: Scenario, asked: Robustness, *, tolerance: float = TOLERANCE) -> Plan:
    """Find the one allocation that is best, by a risk, for all that the scenario's ranges allow.

    What another search would tell of its surroundings is left empty, as it would be that of the
    plan for the middle of every range.

    Parameters
    ----------
    scenario
        Constants, of which some are ranges or unknown, prices, limits and budget.
    asked
        Which risk, over how many draws.
    tolerance
        Relative gap at which the answer counts as proved.

    Returns
    -------
    Plan
        The robust allocation; ``bound`` and ``cost`` are those at the middle of every range, the
        certificate is that of the risk.

    Raises
    ------
    ScenarioError
        Where the scenario has no budget, or a number of draws is no power of two.
    InfeasibleError
        Where nothing within the limits fits the budget in enough of the draws.
    """
    found = next(optimise_each_robustly((scenario,), asked, tolerance=tolerance))
    if isinstance(found, RlhfBudgetError):
        raise found
    ends = answers((assumed(found.middle),), tolerance)[0]
    whole = _evaluated(found.optimum)
    return replace(whole, robust=found.robust, assumed=ends, warnings=found.warnings)


class RobustlyPlanned(NamedTuple):
    """A robust plan without its surroundings."""

    optimum: Optimum
    """The robust allocation; bound and cost at the middle of every range."""
    robust: Robust
    """What its risk is worth."""
    middle: Optimum
    """The plan for the middle of every range."""
    warnings: tuple[Notice, ...]
    """What is doubtful."""


def optimise_each_robustly(
    scenarios: Sequence[Scenario], asked: Robustness, *, tolerance: float = TOLERANCE
) -> Iterator[RobustlyPlanned | RlhfBudgetError]:
    """Find the robust allocation of one scenario after another, on shared draws.

    A constant that several scenarios do not know has the same quantiles in all of them, so that
    their differences are not those of the draws.

    Yields
    ------
    RobustlyPlanned or RlhfBudgetError
        For each scenario, in order, the numbers of :func:`plan_robustly`, or the error that it
        raises.
    """
    for middle in plan_many(scenarios, tolerance=tolerance):
        if isinstance(middle, RlhfBudgetError):
            yield middle
            continue
        try:
            yield _robustly(middle, asked, tolerance)
        except (InfeasibleError, ScenarioError) as error:
            yield error


def _robustly(middle: Optimum, asked: Robustness, tolerance: float) -> RobustlyPlanned:
    from rlhf_budget.planning.uncertainty import optimise_robustly  # noqa: PLC0415 - seldom used

    found = optimise_robustly(middle, asked, tolerance=tolerance)
    a, robust, case = found.allocation, found.robust, middle.case
    optimum = replace(
        middle,
        status="optimal" if robust.proved else "not_proved",
        allocation=a,
        bound=case.bound.at(a),
        certificate=Certificate(
            robust.lower_bound, robust.relative_gap, robust.proved, found.evaluations
        ),
    )
    optimum = replace(optimum, cost=case.prices.cost(*optimum.to_come))
    # What is left at the middle of every range is held back for dear draws. Nothing was assumed to
    # be at its middle.
    dear = replace(optimum, cost=replace(optimum.cost, unspent=found.unspent))
    warnings = tuple(each for each in notices(dear) if each.code != "assumed-constants")
    return RobustlyPlanned(optimum, robust, middle, warnings)


def with_information(
    plan: Plan,
    *,
    affordable: float = 0.95,
    seed: int = 0,
    on_share: Callable[[float], None] | None = None,
) -> Plan:
    """Add to a plan within a budget what each constant that is not known is worth knowing.

    Parameters
    ----------
    plan
        Of the scenario whose ranges are asked about.
    affordable
        Share of the draws in which plans have to fit the budget.
    seed
        Seed of the draws.
    on_share
        Called now and then with the share of the work that is done.
    """
    from rlhf_budget.planning.information import worth_knowing  # noqa: PLC0415 - seldom used
    from rlhf_budget.planning.uncertainty import Robustness  # noqa: PLC0415

    asked = Robustness(affordable=affordable, seed=seed)
    found = worth_knowing(plan.scenario, asked, on_share=on_share)
    told = (*plan.warnings, *worth_of_prices(found))
    return replace(plan, information=found, warnings=told)


def _require_finite(target_bound: float) -> None:
    if not math.isfinite(target_bound):
        wrong = Problem("target_bound", str(target_bound), "a finite number of reward units")
        raise ScenarioError((wrong,))


def _missing_budget() -> ScenarioError:
    missing = Problem("budget", "nothing", "a positive amount of money, or a target bound")
    return ScenarioError((missing,))


def _surround(optimum: Optimum, tolerance: float, within: float) -> Plan:
    evaluated = _evaluated(optimum)
    asked = (
        alternatives(optimum, evaluated.guarantees),
        binding(optimum),
        assumed(optimum),
    )
    others, relaxed, ends = plan_variants(asked, tolerance)
    near = near_optimal(optimum, within) if optimum.target is None else None
    slope = marginal(optimum)
    return replace(
        evaluated,
        alternatives=asked[0].answer(others),
        binding=asked[1].answer(relaxed),
        marginal=slope,
        near_optimal=near,
        sensitivity=sensitivity(optimum, slope.bound_per_currency),
        assumed=asked[2].answer(ends),
    )


def _evaluated(optimum: Optimum) -> Plan:
    """A plan with all that needs no further search."""
    scenario, allocation, behind = optimum.scenario, optimum.allocation, optimum.scenario.progress
    return Plan(
        scenario=scenario,
        status=optimum.status,
        allocation=allocation,
        bound=optimum.bound,
        cost=optimum.cost,
        certificate=optimum.certificate,
        closed_form=closed_form(scenario, allocation),
        guarantees=guarantees(scenario, allocation),
        groups=group_share(scenario, allocation),
        schedule=schedule(optimum),
        alternatives=(),
        binding=(),
        marginal=None,
        near_optimal=None,
        sensitivity=(),
        assumed=(),
        current=current(optimum),
        target=optimum.target,
        progress=None if behind is None else Behind(**vars(behind)),
        to_come=rest_of_run(optimum),
        warnings=notices(optimum),
    )
