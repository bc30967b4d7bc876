"""Variance between and within prompts, with intervals (docs/theory.md, section 6).

For groups ``i`` of ``K_i >= 2`` rewards with mean ``ȳ_i`` and variance ``v_i``

    σ_r² = mean v_i,        σ_p² = max(0, Var(ȳ_i) − mean(v_i/K_i)).

With equal ``K_i`` these are the one-way random-effects analysis of variance (Searle, Casella,
McCulloch 1992, section 3.6); with unequal ones they stay right when ``K_i`` depends on the prompt.

Intervals, none of which assumes normal rewards: a positive variance gets a scaled χ² interval
whose degrees of freedom, ``2·estimate²/SE²``, match the estimated standard error (Satterthwaite
1946); the difference ``σ_p²`` and the correlation combine such intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rlhf_budget.calibrate.moments import Moments, Sums, linearise

Interval = tuple[float, float]

_CAUTION = 20.0
"""Widens intervals of skewed rewards; chosen by benchmarks/calibrate_coverage.py."""

FEATURES = ("groups", "variance", "mean", "mean_squared", "variance_over_size")
"""Per group of two rows or more: 1, v, ȳ − c, (ȳ − c)², v/K; c is any constant."""


@dataclass(frozen=True, slots=True)
class Component:
    """One estimated quantity."""

    value: float
    """The estimate."""
    standard_error: float
    """Its standard error."""
    interval: Interval
    """Its interval."""


@dataclass(frozen=True, slots=True)
class Components:
    """Variance components of grouped values."""

    between: Component
    """σ_p², variance between groups, in the value's unit squared."""
    within: Component
    """σ_r², mean variance within a group, in the value's unit squared."""
    correlation: Component | None
    """σ_p²/(σ_p² + σ_r²); None where both are 0."""
    groups: int
    """Groups of two rows or more."""


def components(moments: Moments, level: float) -> Components:
    """Return both variances and the intraclass correlation, with intervals of a level in (0, 1).

    ``moments`` are sums over prompts of ``FEATURES``, in that order. Raises ValueError if fewer
    than two groups have two rows.
    """
    groups = moments.sums[0]
    if groups < 2:
        raise ValueError("variance components need two groups of two rows")
    values, covariance = linearise(moments, _parts)
    total, noise, within = (float(value) for value in values)
    errors = [math.sqrt(max(float(entry), 0.0)) for entry in np.diag(covariance)]
    total_interval = scaled_chi_square(total, errors[0], level)
    noise_interval = scaled_chi_square(noise, errors[1], level)
    scale = errors[0] * errors[1]
    dependence = covariance[0, 1] / scale if scale > 0 else 0.0
    low, high = _difference(
        (total, noise), total_interval, noise_interval, float(np.clip(dependence, -1, 1))
    )
    between_error = math.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0))
    return Components(
        between=Component(max(0.0, total - noise), between_error, (max(0.0, low), max(0.0, high))),
        within=Component(within, errors[2], scaled_chi_square(within, errors[2], level)),
        correlation=_correlation((total, noise, within), covariance, level),
        groups=round(groups),
    )


def _parts(sums: Sums) -> Sums:
    groups, variance, mean, mean_squared, variance_over_size = sums
    total = (mean_squared - mean * mean / groups) / (groups - 1)
    return np.array([total, variance_over_size / groups, variance / groups])


def scaled_chi_square(value: float, error: float, level: float) -> Interval:
    """Return the interval of a positive quantity whose estimate is about ``value·χ²_ν/ν``."""
    if value <= 0 or error <= 0:
        return (value, value)
    from scipy.special import chdtri

    # The standard error is itself estimated: ν = 2·value²/error² is lowered to ν²/(ν + 20), our
    # correction, chosen so that skewed rewards with few prompts are covered too
    # (benchmarks/calibrate_coverage.py).
    matched = 2 * (value / error) ** 2
    freedom = matched**2 / (matched + _CAUTION)
    tail = (1 - level) / 2
    high_quantile, low_quantile = (float(chdtri(freedom, above)) for above in (tail, 1 - tail))
    high = value * freedom / low_quantile if low_quantile > 0 else math.inf
    return (value * freedom / high_quantile, high)


def _difference(
    values: tuple[float, float], first: Interval, second: Interval, dependence: float
) -> Interval:
    """Interval of a difference from those of its terms (MOVER: Zou and Donner 2008)."""
    difference = values[0] - values[1]

    def distance(own: float, other: float) -> float:
        return math.sqrt(max(own**2 + other**2 - 2 * dependence * own * other, 0.0))

    low = difference - distance(values[0] - first[0], second[1] - values[1])
    high = difference + distance(first[1] - values[0], values[1] - second[0])
    return (low, high)


def _correlation(
    values: tuple[float, float, float],
    covariance: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    level: float,
) -> Component | None:
    """Interval on the scale of ``ln F``, F = Var(ȳ)/mean(v/K), on which it is nearly normal."""
    total, noise, within = values
    if total + within <= noise or within < 0 or total <= 0:
        return None
    if noise <= 0:
        return Component(1.0, 0.0, (1.0, 1.0))
    ratio, size = total / noise, within / noise
    whole = ratio - 1 + size
    value = max(0.0, ratio - 1) / (max(0.0, ratio - 1) + size)
    # Derivatives of (V − W)/(V − W + σ_r²) by V, W and σ_r².
    gradient = np.array([size, -size, 1 - ratio]) / (noise * whole**2)
    error = math.sqrt(max(float(gradient @ covariance @ gradient), 0.0))
    log_error = error * whole**2 / (size * ratio)
    from scipy.special import stdtrit

    matched = 2 * total**2 / covariance[0, 0] if covariance[0, 0] > 0 else math.inf
    widening = math.sqrt(1 + _CAUTION / matched)
    reach = float(stdtrit(max(matched, 1.0), (1 + level) / 2)) * log_error * widening

    def of_ratio(moved: float) -> float:
        return max(0.0, (moved - 1) / (moved - 1 + size))

    return Component(
        value, error, (of_ratio(ratio * math.exp(-reach)), of_ratio(ratio * math.exp(reach)))
    )
