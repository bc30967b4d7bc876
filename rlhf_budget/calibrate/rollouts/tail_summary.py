"""The log-ratio's tail: survival and excess of the logs, with intervals, and the families' fits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlhf_budget.calibrate.moments import Moments, linearise, wilson_interval
from rlhf_budget.scenario.records import Record

if TYPE_CHECKING:
    from rlhf_budget.calibrate.logs.histogram import LogHistogram
    from rlhf_budget.calibrate.rollouts.tail_fits import TailFit
    from rlhf_budget.scenario import units

_SHARES = (0.5, 0.9, 0.99, 0.999)
_MEASURED_SHARES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class TailQuantile(Record):
    """A quantile of ``|l|``."""

    share: units.Share
    """Share of rollouts below it."""
    value: units.Nats
    """The quantile."""


@dataclass(frozen=True)
class TailSummary(Record):
    """Distribution of ``|l|`` over the rollouts used."""

    json_names: ClassVar = (
        "histogram.samples",
        "mean_absolute=histogram.mean",
        "max=histogram.largest",
        "quantiles",
        "fits",
    )

    histogram: LogHistogram
    """Counts and sums of ``|l|`` in logarithmic bins."""
    fits: tuple[TailFit, ...]
    """Families, best first."""
    design_effects: tuple[tuple[float, float], ...]
    """Pairs (share of rollouts above, variance over that of independent rollouts)."""
    level: float
    """Level of the intervals."""

    def survival(self, t: float) -> float:
        """Return the share of rollouts with ``|l| > t`` (t in nats)."""
        return self.histogram.survival(t)

    def excess(self, t: float) -> float:
        """Return the mean of ``(|l| − t)₊`` in nats (t in nats)."""
        return self.histogram.excess(t)

    def survival_interval(self, t: float) -> tuple[float, float]:
        """Return the interval of the survival at t, rollouts of one prompt being alike.

        Wilson's interval with the sample size divided by the design effect (Korn and Graubard
        1998), which is measured at three quantiles and interpolated between them.
        """
        share = self.survival(t)
        effect = 1.0
        points = sorted((math.log(s), effect) for s, effect in self.design_effects if s > 0)
        if points:
            places, effects = zip(*points, strict=True)
            effect = float(np.interp(math.log(share), places, effects)) if share > 0 else effects[0]
        return wilson_interval(share, self.histogram.samples / effect, self.level)

    @property
    def quantiles(self) -> tuple[TailQuantile, ...]:
        """Quantiles beyond which a rollout or more was seen."""
        return tuple(
            TailQuantile(share, self.histogram.quantile(share))
            for share in _SHARES
            if self.histogram.samples * (1 - share) >= 1
        )


def thresholds(histogram: LogHistogram) -> tuple[float, float, float]:
    """Return the quantiles of ``|l|`` at which dependence within prompts is measured, nats."""
    first, second, third = (histogram.quantile(share) for share in _MEASURED_SHARES)
    return first, second, third


def design_effects(moments: Moments, above: tuple[int, ...]) -> tuple[tuple[float, float], ...]:
    """Return pairs (share, design effect) of shares of rows, from sums over prompts.

    The first sum is the number of rows; ``above`` are positions of the counts.
    """
    values, covariance = linearise(moments, lambda sums: sums[list(above)] / sums[0])
    rows = moments.sums[0]
    return tuple(
        (float(value), effect_of(float(variance), float(value * (1 - value)), rows))
        for value, variance in zip(values, np.diag(covariance), strict=True)
    )


def effect_of(variance: float, row_variance: float, rows: float) -> float:
    """Return the design effect of a mean, at least 1."""
    return max(1.0, variance * rows / row_variance) if row_variance > 0 else 1.0
