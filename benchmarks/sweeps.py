"""A sweep of 400 points against 400 single solves, in one run.

Usage: python benchmarks/sweeps.py [--points 400] [--require 0.25]

The sweep is everything that ``rlhf-budget sweep`` computes (plans with certificates, marginal
value, binding limits, warnings); a single solve is the certified optimum alone, of a scenario that
is built already. Processor time of this process, the least of three runs of each, in turns. The
numbers of both are compared, not just timed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rlhf_budget import load_scenario
from rlhf_budget.optimum.certified import optimise
from rlhf_budget.studies.sweeps import spaced, sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    Result = TypeVar("Result")

EXAMPLES = Path(__file__).parents[1] / "examples" / "configs"
CASES = (
    ("helpful-assistant", "budget", 1e3, 1e6),
    ("helpful-assistant", "costs.label", 0.01, 10.0),
    ("helpful-assistant", "log_ratio.kl", 1.0, 50.0),
    ("stiennon-tldr-6.7b", "budget", 1e4, 1e6),
)
"""Scenario, key and range; the first decides ``--require``."""

RUNS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument("--require", type=float, help="fail where the first ratio is above this")
    settings = parser.parse_args()
    print(f"{'scenario':20s} {'over':14s} {'sweep, s':>9s} {'singles, s':>10s} {'ratio':>6s}")
    ratios = [measured(*case, settings.points) for case in CASES]
    return int(settings.require is not None and ratios[0] > settings.require)


def measured(name: str, key: str, low: float, high: float, points: int) -> float:
    scenario = load_scenario(EXAMPLES / f"{name}.yaml")
    over = spaced(key, low, high, points=points)
    variants = [scenario.with_values({key: value}) for value in over.values]
    optimise(scenario)
    swept = single = float("inf")
    for _ in range(RUNS):
        took, found = timed(lambda: sweep(scenario, over))
        swept = min(swept, took)
        took, optima = timed(lambda: [optimise(variant) for variant in variants])
        single = min(single, took)
    for (value, point), optimum in zip(found.planned, optima, strict=True):
        same = point.optimum.allocation == optimum.allocation
        if not (same and point.optimum.bound == optimum.bound):
            raise SystemExit(f"{name}, {key} = {value}: the sweep differs from the single solve")
    ratio = swept / single
    print(f"{name:20s} {key:14s} {swept:9.2f} {single:10.2f} {ratio:6.3f}")
    return ratio


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


if __name__ == "__main__":
    sys.exit(main())
