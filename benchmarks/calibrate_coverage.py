"""How often the intervals of ``calibrate rollouts`` cover, in more settings than the tests try.

    python benchmarks/calibrate_coverage.py --repetitions 2000

The constant ``_CAUTION`` in ``rlhf_budget/calibrate/variance.py`` was chosen with this table.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "calibrate"))

import test_recovery as recovery

from rlhf_budget.calibrate.rollouts import variance

MORE_SETTINGS = {
    "normal, 20 prompts": (recovery.equal(20, 8), recovery.normal(0.09, 0.25)),
    "binary, 30 prompts of 4": (recovery.equal(30, 4), recovery.binary(0.3, 0.3)),
    "skewed, 60 prompts": (recovery.equal(60, 8), recovery.skewed(0.5)),
    "skewed, 300 prompts": (recovery.equal(300, 8), recovery.skewed(0.5)),
    "normal, pairs": (recovery.equal(200, 2), recovery.normal(0.09, 0.25)),
}


def coverage(name: str, repetitions: int, seed: int) -> list[float]:
    """Return shares covered of prompt variance, rollout variance and correlation."""
    sizes_of, (draw, between, within) = {**recovery.SETTINGS, **MORE_SETTINGS}[name]
    rng = np.random.default_rng(seed)
    covered = np.zeros(3)
    for _ in range(repetitions):
        moments = recovery.reward_moments(*draw(rng, sizes_of(rng)))
        found = variance.components(moments, 0.95)
        pairs = (
            (found.between, between),
            (found.within, within),
            (found.correlation, between / (between + within)),
        )
        covered += [p is not None and p.interval[0] <= t <= p.interval[1] for p, t in pairs]
    return (covered / repetitions).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    error = math.sqrt(0.95 * 0.05 / arguments.repetitions)
    print(f"Share covered by 95 % intervals; sampling error about {error:.1%}.\n")
    print("| setting | prompt variance | rollout variance | correlation |")
    print("|---|---|---|---|")
    for name in {**recovery.SETTINGS, **MORE_SETTINGS}:
        shares = coverage(name, arguments.repetitions, arguments.seed)
        print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
