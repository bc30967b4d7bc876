"""Write a proof: the boxes that a search closes, and a claim that the checker accepts."""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from rlhf_budget.bound.terms import rollout_choices
from rlhf_budget.errors import Problem, ProofError, ScenarioError
from rlhf_budget.optimum.budget_problem import budget_problem
from rlhf_budget.optimum.case import prepare
from rlhf_budget.optimum.proof.files import checker
from rlhf_budget.optimum.proof.reading import COLUMNS, HEADER, digest, group_sizes, read
from rlhf_budget.optimum.search import minimise

if TYPE_CHECKING:
    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.optimum.case import Case
    from rlhf_budget.optimum.proof.reading import Proof
    from rlhf_budget.optimum.search import Boxes
    from rlhf_budget.scenario.models import Scenario

LEAST_GAP = 5e-13
"""Relative gap of a claim: room for the search's own gap and for the rounding of its tails."""
DIGITS = 25
"""Of a claim."""


def prove(scenario: Scenario, allocation: Allocation, *, tolerance: float) -> bytes:
    """Prove that an allocation, as it was planned, is the best within a scenario's budget.

    The claim is what interval arithmetic confirms: the checker has accepted the JSON returned. A
    claim with a relative gap above the tolerance is not worth writing.

    Raises
    ------
    ScenarioError
        Where part of the run is behind.
    ProofError
        Where no claim within the tolerance is confirmed.
    MissingExtraError
        Without python-flint.
    """
    if scenario.progress is not None:
        allowed = (
            "no progress: the checker does not know how groups behind and to come are averaged. "
            "Without --proof the rest is certified by the search"
        )
        raise ScenarioError((Problem("progress", "a run under way", allowed),))
    check = checker()
    boxes, searched = closed_boxes(prepare(scenario), tolerance)
    values: dict[str, Any] = {
        **HEADER,
        "name": scenario.name,
        "scenario": scenario_text(scenario),
        "plan": {
            "prompts": allocation.prompts,
            "rollouts_per_prompt": allocation.rollouts_per_prompt,
            "labels": allocation.labels,
        },
        "claim": {"total": "0", "lower_bound": "0"},
        "boxes": dict(zip(COLUMNS, boxes, strict=True)),
    }
    if allocation.clip_threshold is not None:
        values["plan"]["clip_threshold"] = repr(allocation.clip_threshold)
    total = _rounded(_least_total(read(encoded(values)), check.BITS), ROUND_CEILING)
    gap = max(LEAST_GAP, 1.001 * float(1 - Fraction(searched) / Fraction(total)))
    reason = f"another may be better by a share of {gap:.3g}"
    while gap <= max(tolerance, LEAST_GAP):
        lower_bound = _rounded(Fraction(total) * (1 - Fraction(gap)), ROUND_FLOOR)
        values["claim"] = {"total": total, "lower_bound": lower_bound}
        data = encoded(values)
        try:
            check.verify(read(data))
        except ProofError as error:
            reason, gap = str(error), 10.0 * gap
        else:
            return data
    raise ProofError(f"the plan is not confirmed as the best: {reason}")


def _least_total(proof: Proof, bits: int) -> Fraction:
    """The least total that can be claimed for a plan: the upper end of its bound."""
    from flint import ctx  # noqa: PLC0415 - an extra

    from rlhf_budget.optimum.proof.balls import Bound  # noqa: PLC0415 - needs it

    n, K, m, τ = proof[2:6]
    with ctx.workprec(bits):
        size = group_sizes(proof.scenario["limits"]).get(K, K)
        end = Bound(proof.scenario).at(n, K, m, size, τ).upper().fmpq()
    return Fraction(int(end.p), int(end.q))


def closed_boxes(case: Case, tolerance: float) -> tuple[tuple[list[int], ...], float]:
    """Search, and return the boxes that it closes, and the lower bound that it found.

    The boxes are columns: least and most K, least and most n. What cannot be paid for is cut off,
    exactly. Where the search left out values of K that cannot be best, the boxes of the others hold
    them too: K lowers nothing there, or costs nothing. With silent groups it leaves out none.
    """
    closed: list[Boxes] = []
    if case.bound.shares:
        case = case.with_every_rollout()
    problem = budget_problem([case])
    (search,) = minimise(problem, problem.boxes(), 1, tolerance=tolerance, record=closed.append)
    _, first, last, low, high = (np.concatenate(column) for column in zip(*closed, strict=True))
    rollouts = np.array(case.rollouts)
    every = rollout_choices(case.scenario.limits)
    dominated = len(case.rollouts) < len(every)
    K_low = np.full_like(first, every[0]) if dominated else rollouts[first]
    K_high = np.full_like(last, every[-1]) if dominated else rollouts[last]
    reach = {
        K: case.prices.prompts_affordable(K, case.labels[0], case.prompts[1])
        for K in np.unique(K_low).tolist()
    }
    high = np.minimum(high, [reach[K] for K in K_low.tolist()])
    columns = np.stack((K_low, K_high, low, high))[:, low <= high]
    order = np.lexsort(columns[::-1])
    return tuple(columns[:, order].tolist()), search.lower_bound


def scenario_text(scenario: Scenario) -> dict[str, Any]:
    """Every constant of a scenario, numbers as the decimals that they exactly are.

    Prices derived from tokens and GPU hours are floats, taken at their exact binary value.
    """
    text: dict[str, Any] = _text(scenario.inputs())
    costs, derived = scenario.costs, scenario.costs.derived
    if "costs.prompt.prefill" in derived:
        text["costs"]["prompt"]["prefill"] = str(Decimal(costs.prompt.prefill))
    if "costs.rollout" in derived:
        text["costs"]["rollout"] = str(Decimal(costs.rollout))
    return text


def encoded(values: dict[str, Any]) -> bytes:
    """The bytes of a proof, with its digest."""
    return json.dumps({**values, "sha256": digest(values)}, separators=(",", ":")).encode()


def _text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_text(each) for each in value]
    return value if isinstance(value, str) else repr(value)


def _rounded(number: Fraction, rounding: str) -> str:
    context = Context(prec=DIGITS, rounding=rounding)
    return str(context.divide(Decimal(number.numerator), Decimal(number.denominator)))
