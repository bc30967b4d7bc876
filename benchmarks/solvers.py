"""Compare the planner's solver with what one would use instead, in one run.

    python benchmarks/solvers.py                     all cases, 60 s for SCIP on each
    python benchmarks/solvers.py --seconds 20 --cases written-prompts lomax-tail

Needs the extra ``bench``. SLSQP and differential evolution get the same bound as a black box; SCIP
gets it as an algebraic model, the tail's excess as the maximum of its tangents (a relaxation whose
error is far below the gaps shown).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import NonlinearConstraint, differential_evolution, minimize

from rlhf_budget import Allocation, Scenario, evaluate, load_scenario, plan
from rlhf_budget.bound.terms import constants_of, scenario_tail
from rlhf_budget.optimum.certified import optimise

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = Path(__file__).parents[1] / "tests" / "reference" / "cases.json"
DEFAULT = ("written-prompts", "exponential-tail", "lomax-tail", "fresh-labels", "bernstein")
MOST = 1e7


class Answer(NamedTuple):
    """What a solver found."""

    total: float
    gap: float | None
    seconds: float


def planner(scenario: Scenario) -> Answer:
    runs = []
    for _ in range(25):
        start = time.perf_counter()
        found = optimise(scenario)
        runs.append(time.perf_counter() - start)
    return Answer(found.bound.total, found.certificate.relative_gap, statistics.median(runs))


def whole_plan(scenario: Scenario) -> Answer:
    runs = []
    for _ in range(15):
        start = time.perf_counter()
        found = plan(scenario)
        runs.append(time.perf_counter() - start)
    return Answer(found.bound.total, found.certificate.relative_gap, statistics.median(runs))


def black_box(scenario: Scenario) -> Callable[[np.ndarray], float]:
    def value(x: np.ndarray) -> float:
        n, K, m = np.exp(x[0]), x[1], np.expm1(x[2])
        allocation = Allocation(float(n), float(K), float(m), None)  # type: ignore[arg-type]
        return evaluate(scenario, allocation).total

    return value


def spend(scenario: Scenario, x: np.ndarray) -> float:
    prompt = scenario.costs.prompt
    n, K, m = np.exp(x[0]), x[1], np.expm1(x[2])
    bought = max(0.0, n - prompt.existing) * prompt.acquisition
    label = scenario.costs.label or 0.0
    rollouts = n * K * scenario.costs.rollout
    return float(bought + prompt.prefill * n + rollouts + m * label + scenario.costs.fixed)


def bounds(scenario: Scenario) -> list[tuple[float, float]]:
    K = scenario.limits.rollouts_per_prompt
    most = scenario.limits.prompts.max or MOST
    return [
        (0.0, math.log(most)),
        (float(K.min or 1), float(K.max or 64)),
        (0.0, math.log1p(scenario.limits.labels.max or MOST)),
    ]


def rounded_down(scenario: Scenario, x: np.ndarray) -> float:
    """Make a point whole and affordable, as a careful user would; value of the best rounding."""
    best = math.inf
    for K in {math.floor(x[1]), math.ceil(x[1])}:
        n, m = math.floor(math.exp(x[0])), math.floor(math.expm1(x[2]))
        while spend(scenario, np.array([math.log(max(n, 1)), K, math.log1p(m)])) > (
            scenario.budget or math.inf
        ):
            n, m = math.floor(n * 0.999), math.floor(m * 0.999)
        best = min(best, evaluate(scenario, Allocation(max(n, 1), max(K, 1), m, None)).total)
    return best


def slsqp(scenario: Scenario) -> Answer:
    start = time.perf_counter()
    budget = scenario.budget or 0.0
    limit = {"type": "ineq", "fun": lambda x: 1.0 - spend(scenario, x) / budget}
    middle = np.array([math.log(max(2.0, budget / 20)), 2.0, math.log(max(2.0, budget / 20))])
    middle = np.clip(middle, *np.array(bounds(scenario)).T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = minimize(
            black_box(scenario),
            middle,
            method="SLSQP",
            bounds=bounds(scenario),
            constraints=[limit],
            options={"maxiter": 500, "ftol": 1e-12},
        )
    return Answer(rounded_down(scenario, found.x), None, time.perf_counter() - start)


def evolution(scenario: Scenario) -> Answer:
    start = time.perf_counter()
    budget = scenario.budget or 0.0
    limit = NonlinearConstraint(lambda x: spend(scenario, x) / budget, 0.0, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = differential_evolution(
            black_box(scenario),
            bounds(scenario),
            constraints=(limit,),
            seed=0,
            tol=1e-9,
            maxiter=300,
            integrality=[False, True, False],
        )
    return Answer(rounded_down(scenario, found.x), None, time.perf_counter() - start)


def scip(scenario: Scenario, seconds: float) -> Answer | None:
    try:
        from pyscipopt import Model, quicksum  # noqa: F401, PLC0415 - the extra may be missing
    except ImportError:
        return None
    model_ = scenario.reward_model
    if model_ == "verifiable" or isinstance(model_.error, (int, float)):
        return None
    c, tail = constants_of(scenario), scenario_tail(scenario)
    if scenario.bound.concentration != "hoeffding" or c.label_kind != "behaviour" or tail is None:
        return None
    start = time.perf_counter()
    model = Model()
    model.hideOutput()
    model.setParam("limits/time", seconds)
    model.setParam("limits/gap", 1e-6)
    K_limits, prompt = scenario.limits.rollouts_per_prompt, scenario.costs.prompt
    n = model.addVar("n", "I", 1, MOST)
    K = model.addVar("K", "I", K_limits.min or 1, K_limits.max or 64)
    m = model.addVar("m", "I", 1, MOST)
    τ = model.addVar("tau", "C", 0, float(tail.inverse_survival(1e-9)))
    e = model.addVar("excess", "C", 0, float(tail.excess(0.0)))
    total = model.addVar("total", "C", 0, 1e3)
    each = prompt.acquisition + prompt.prefill
    model.addCons(
        each * n + scenario.costs.rollout * n * K + (scenario.costs.label or 0.0) * m
        <= scenario.budget
    )
    knots = tail.inverse_survival(np.geomspace(1e-9, 0.999, 400))
    for t, survival, excess in zip(knots, tail.survival(knots), tail.excess(knots), strict=True):
        model.addCons(e >= float(excess) - float(survival) * (τ - float(t)))
    β, R, root = float(c.kl_coefficient), float(c.reward_range), math.sqrt(float(c.confidence) / 2)
    S1 = root * n**-0.5 * (1 + K**-0.5)
    L = float(c.error_floor) + float(c.error_scale) * m ** -float(c.error_exponent)
    model.addCons(total >= (R + 2 * β * τ) * S1 + float(c.coverage) * L**0.5 + β * e)
    model.setObjective(total, "minimize")
    model.optimize()
    taken = time.perf_counter() - start
    if model.getNSols() == 0:
        return Answer(math.inf, None, taken)
    return Answer(model.getObjVal(), model.getGap(), taken)


def table(cases: list[str], seconds: float) -> str:
    scenarios = {
        case["scenario"]["name"]: load_scenario(case["scenario"])
        for case in json.loads(CASES.read_text())
    }
    lines = [
        "| case | solver | bound | above the best | proved gap | time | times the planner's |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in cases:
        scenario = scenarios[name]
        answers = {
            "rlhf-budget": planner(scenario),
            "rlhf-budget, whole plan": whole_plan(scenario),
            "SciPy SLSQP, rounded": slsqp(scenario),
            "SciPy differential evolution, rounded": evolution(scenario),
            "SCIP": scip(scenario, seconds),
        }
        best = answers["rlhf-budget"]
        assert best is not None
        for solver, answer in answers.items():
            if answer is None:
                lines.append(f"| {name} | {solver} | no algebraic model here | | | | |")
                continue
            gap = "none" if answer.gap is None else f"{answer.gap:.1e}"
            lines.append(
                f"| {name} | {solver} | {answer.total:.9f} | {answer.total / best.total - 1:+.1e} "
                f"| {gap} | {1e3 * answer.seconds:,.1f} ms | {answer.seconds / best.seconds:,.0f} |"
            )
    return "\n".join(lines)


def all_cases() -> str:
    """Median over all reference cases of the median time of one optimum."""
    medians = [
        planner(load_scenario(case["scenario"])).seconds for case in json.loads(CASES.read_text())
    ]
    return (
        f"All {len(medians)} reference cases: median {1e3 * statistics.median(medians):.1f} ms, "
        f"slowest {1e3 * max(medians):.1f} ms for one certified optimum."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", default=list(DEFAULT))
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    print(all_cases())
    print()
    print(table(arguments.cases, arguments.seconds))
