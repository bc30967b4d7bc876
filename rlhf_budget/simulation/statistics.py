"""Intervals: exact ones for shares, Student's for means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.scenario.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.scenario import units

LEVEL = 0.95
"""Confidence of every interval, two-sided."""


@dataclass(frozen=True, slots=True)
class Estimate(Record):
    """A mean over worlds and how well it is known."""

    mean: units.OwnUnit
    """Mean over worlds."""
    interval: tuple[units.OwnUnit, units.OwnUnit] | None
    """95 % confidence interval; None with fewer than two worlds."""


def mean_interval(values: Sequence[float]) -> Estimate:
    """Mean of independent values with Student's 95 % interval.

    Parameters
    ----------
    values
        One per world, at least one.
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - start-up time

    sample = np.asarray(values, dtype=np.float64)
    mean = float(sample.mean())
    if sample.size < 2:
        return Estimate(mean, None)
    error = float(sample.std(ddof=1)) / sample.size**0.5
    half = float(stdtrit(sample.size - 1, 0.5 + LEVEL / 2)) * error
    return Estimate(mean, (mean - half, mean + half))


def clopper_pearson(successes: int, trials: int) -> tuple[float, float]:
    """Exact 95 % interval of a share (Clopper and Pearson 1934).

    Parameters
    ----------
    successes
        From 0 to ``trials``.
    trials
        At least 1.
    """
    from scipy.special import betaincinv  # noqa: PLC0415 - start-up time

    tail = (1.0 - LEVEL) / 2
    failures = trials - successes
    low = 0.0 if successes == 0 else float(betaincinv(successes, failures + 1, tail))
    high = 1.0 if failures == 0 else float(betaincinv(successes + 1, failures, 1.0 - tail))
    return low, high
