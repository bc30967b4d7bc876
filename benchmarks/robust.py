"""What robust plans are worth on draws that they were not made for, and what else finds them.

python benchmarks/robust.py fresh                40 seeds, two examples with wide ranges
python benchmarks/robust.py solvers              SciPy's differential evolution on the same risk

"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import differential_evolution

from rlhf_budget import Allocation, Scenario, load_scenario
from rlhf_budget.bound import terms as formulas
from rlhf_budget.bound.tails.stacked import StackedTails
from rlhf_budget.optimum.certified import Optimum, optimise, optimise_cases
from rlhf_budget.planning.uncertainty import (
    Robustness,
    bounds_of,
    draw_cases,
    optimise_robustly,
    parse_risk,
    risk_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget.optimum.case import Case

CONFIGS = Path(__file__).parents[1] / "examples" / "configs"
WIDE = {
    "helpful-assistant": (
        "log_ratio.kl={low: 3, high: 18}",
        "reward_model.coverage={low: 1.2, high: 12}",
        "reward_model.error.exponent={low: 0.2, high: 0.6}",
    ),
    "instructgpt": (
        "log_ratio.kl={low: 2, high: 40}",
        "reward_model.coverage={low: 1, high: 10}",
        "reward_model.error.scale=unknown",
    ),
}
"""Example -> what a team that starts does not know of it."""
RISKS = ("mean", "cvar:0.9", "regret")
SEEDS, DRAWS, FRESH = 40, 64, 256


def wide(name: str) -> Scenario:
    return load_scenario(str(CONFIGS / f"{name}.yaml"), set_values=list(WIDE[name]))


class Won(NamedTuple):
    """One robust plan and the plan for the middle, both judged on fresh draws."""

    robust: float
    middle: float


def on_fresh_draws(scenario: Scenario, risk: str, seed: int, *, draws: int, fresh: int) -> Won:
    """Plan on one set of draws, judge on another by the same risk."""
    asked = Robustness(*parse_risk(risk), draws=draws, seed=seed)
    middle = optimise(scenario)
    found = optimise_robustly(middle, asked, tolerance=1e-6)
    cases = draw_cases(scenario, fresh, seed=1_000_000 + seed)
    best = np.zeros(fresh)
    if risk == "regret":
        alone = optimise_cases(cases)
        best = np.array([each.bound.total for each in alone if isinstance(each, Optimum)])
    measure = risk_of(asked, best)
    plans = found.allocation, middle.allocation
    return Won(*(measure.of(bounds_of(cases, each)) for each in plans))


def fresh(names: Sequence[str], risks: Sequence[str]) -> None:
    print("example             risk       wins      robust    middle    lower by")
    for name in names:
        for risk in risks:
            won = [
                on_fresh_draws(wide(name), risk, seed, draws=DRAWS, fresh=FRESH)
                for seed in range(SEEDS)
            ]
            wins = sum(each.robust < each.middle for each in won)
            robust, middle = np.mean(won, axis=0)
            print(
                f"{name:19} {risk:9} {wins:3}/{SEEDS}   {robust:8.5f}  {middle:8.5f}  "
                f"{1 - robust / middle:7.2%}",
                flush=True,
            )


class BlackBox:
    """The risk of (share of the money for prompts, K, τ), whole arrays of draws at a time."""

    def __init__(self, cases: Sequence[Case], asked: Robustness, best: NDArray[np.float64]) -> None:
        self.case, self.risk = cases[0], risk_of(asked, best)
        self.constants = formulas.stack([case.constants for case in cases])
        self.tails = StackedTails([case.bound.tail for case in cases if case.bound.tail])
        self.beta = np.asarray(self.constants.kl_coefficient)

    def allocation(self, x: Sequence[float]) -> Allocation:
        """All the money: prompts by their share of what fits, and labels for the rest."""
        prices, (_, most) = self.case.prices, self.case.prompts
        K = round(x[1])
        n = max(1, round(x[0] * prices.prompts_affordable(K, 0, most)))
        m = prices.labels_affordable(n, K, self.case.labels[1])
        return Allocation(n, K, max(m, 0), float(x[2]))

    def __call__(self, x: Sequence[float]) -> float:
        """The risk there."""
        a, c = self.allocation(x), self.constants
        τ = a.clip_threshold or 0.0
        s0, s1 = formulas.sampling_shape(c, float(a.prompts), float(a.rollouts_per_prompt))
        excess = self.tails.excess(np.array([τ]))[:, 0]
        values = s0 + (c.reward_range + 2.0 * self.beta * τ) * s1 + self.beta * excess
        return self.risk.of(values + formulas.reward_shift(c, float(a.labels)))


def solvers(names: Sequence[str], risks: Sequence[str]) -> None:
    print("example             risk       ours         evolution    above ours  seconds: both")
    for name in names:
        for risk in risks:
            scenario = wide(name)
            asked = Robustness(*parse_risk(risk))
            middle = optimise(scenario)
            start = time.perf_counter()
            found = optimise_robustly(middle, asked, tolerance=1e-6)
            ours = time.perf_counter() - start
            cases = draw_cases(scenario, asked.draws, asked.seed)
            best = np.zeros(len(cases))
            if risk == "regret":
                alone = optimise_cases(cases)
                best = np.array([each.bound.total for each in alone if isinstance(each, Optimum)])
            box = BlackBox(cases, asked, best)
            allowed = box.case.allowed
            start = time.perf_counter()
            other = differential_evolution(
                box,
                [(1e-4, 1.0), (allowed[0], allowed[-1]), (0.0, 500.0)],
                integrality=[False, True, False],
                rng=np.random.default_rng(2026),
                tol=1e-12,
                maxiter=1000,
            )
            seconds = time.perf_counter() - start
            # Judged by the same function that judges ours.
            value = risk_of(asked, best).of(bounds_of(cases, box.allocation(other.x)))
            print(
                f"{name:19} {risk:9}  {found.robust.value:.9f}  {value:.9f}  "
                f"{value - found.robust.value:9.1e}   {ours:.1f} {seconds:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["fresh", "solvers"])
    parser.add_argument("--examples", nargs="+", choices=[*WIDE], default=[*WIDE])
    parser.add_argument("--risks", nargs="+", choices=RISKS, default=RISKS)
    given = parser.parse_args()
    {"fresh": fresh, "solvers": solvers}[given.what](given.examples, given.risks)
