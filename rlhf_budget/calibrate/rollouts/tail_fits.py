"""Fits of every log-ratio family to the histogram, and the best of them.

Each family is fitted by maximum likelihood of the binned ``|l|``, with the parameters of
``rlhf_budget.bound.tails``; ``gaussian`` takes mean and standard deviation of the signed ``l``. The
best has the least Bayesian information criterion (Schwarz 1978), so that a second parameter must
earn its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rlhf_budget.bound import tails
from rlhf_budget.calibrate.logs.histogram import RESOLUTION, LogHistogram
from rlhf_budget.scenario.records import AS_MAPPING, NOT_IN_JSON, Record

if TYPE_CHECKING:
    from rlhf_budget.scenario import units

FloatArray = NDArray[np.float64]
Build = Callable[[FloatArray], tails.Tail]

_FINE_BINS = 10
"""Bins of the histogram that one bin of the fit joins (1 % wide)."""
_NEAR_ZERO = 1e-3
"""Share of the mean below which samples are one bin: exact zeros must not decide a fit."""
_IMPOSSIBLE = 1e-300
_FARTHEST = 20.0
"""Largest coordinate tried: a lomax that is exponential would run away."""


@dataclass(frozen=True, slots=True)
class TailFit(Record):
    """One family fitted to the log-ratios."""

    family: str
    """Name, as ``log_ratio.family`` spells it."""
    parameters: tuple[tuple[str, units.OwnUnit], ...] = field(metadata=AS_MAPPING)
    """Pairs (field, value) of the family, nats where it has a unit."""
    standard_errors: tuple[float, ...] = field(metadata=NOT_IN_JSON)
    """One per parameter, widened for prompts' dependence; nan where not found."""
    log_likelihood: units.Number
    """Log-likelihood of ``|l|``, as a density per nat."""
    ks_distance: units.Share
    """Largest distance between fitted and observed distribution at bin edges."""
    chosen: bool
    """Whether this is the best fit."""


@dataclass(frozen=True)
class _Bins:
    """Bins of a fit: edges in nats, and counts."""

    low: FloatArray
    high: FloatArray
    counts: FloatArray

    def log_likelihood(self, tail: tails.Tail) -> float:
        masses = tail.survival(self.low) - tail.survival(self.high)
        densities = np.maximum(masses, _IMPOSSIBLE) / (self.high - self.low)
        return float(self.counts @ np.log(densities))

    def distance(self, tail: tails.Tail) -> float:
        total = self.counts.sum()
        observed_above = (total - np.cumsum(self.counts)) / total
        before = np.append(1.0, observed_above[:-1])
        return float(
            max(
                np.abs(tail.survival(self.high) - observed_above).max(),
                np.abs(tail.survival(self.low) - before).max(),
            )
        )


@dataclass(frozen=True)
class _Family:
    """How a family is fitted: from unbounded coordinates to a tail, and where to start."""

    fields: tuple[str, ...]
    build: Build
    start: Callable[[float, float], tuple[float, ...]]
    """From mean and second moment of ``|l|`` to coordinates."""


def _relative_spread(mean: float, square: float) -> float:
    return max(square / mean**2 - 1, 1e-6)


_FAMILIES = {
    "exponential": _Family(
        ("mean",),
        lambda x: tails.Exponential(math.exp(x[0])),
        lambda mean, _: (math.log(mean),),
    ),
    "half_normal": _Family(
        ("scale",),
        lambda x: tails.HalfNormal(math.exp(x[0])),
        lambda _, square: (math.log(square) / 2,),
    ),
    "gamma": _Family(
        ("shape", "scale"),
        lambda x: tails.Gamma(math.exp(x[0]), math.exp(x[1])),
        lambda mean, square: (
            -math.log(_relative_spread(mean, square)),
            math.log(mean * _relative_spread(mean, square)),
        ),
    ),
    "weibull": _Family(
        ("shape", "scale"),
        lambda x: tails.Weibull(math.exp(x[0]), math.exp(x[1])),
        lambda mean, square: (-0.5 * math.log(_relative_spread(mean, square)), math.log(mean)),
    ),
    "lognormal": _Family(
        ("mu", "sigma"),
        lambda x: tails.LogNormal(float(x[0]), math.exp(x[1])),
        lambda mean, square: (
            math.log(mean) - math.log1p(_relative_spread(mean, square)) / 2,
            0.5 * math.log(math.log1p(_relative_spread(mean, square))),
        ),
    ),
    "lomax": _Family(
        ("shape", "scale"),
        lambda x: tails.Lomax(1 + math.exp(x[0]), math.exp(x[1])),
        lambda mean, _: (math.log(2.0), math.log(2 * mean)),
    ),
}


def fit_tails(
    histogram: LogHistogram, mean: float, deviation: float, design_effect: float
) -> tuple[TailFit, ...]:
    """Return the fits of all families to ``|l|``, best first; none where all of it is zero.

    ``mean`` and ``deviation`` are of the signed ``l``, in nats: ``gaussian`` takes them, and is
    absent where the mean is not positive. The design effect, the variance of the mean over that of
    independent rows, widens the standard errors.
    """
    if histogram.samples < 2 or histogram.mean <= 0:
        return ()
    bins = _coarse(histogram)
    fitted = [
        result
        for name in _FAMILIES
        if (result := _fit(name, histogram, bins, design_effect)) is not None
    ]
    if mean > 0 and deviation > 0:
        fitted.append(_gaussian(bins, mean, deviation, design_effect))
    samples = histogram.samples

    def criterion(fit: TailFit) -> float:
        return len(fit.parameters) * math.log(samples) - 2 * fit.log_likelihood

    fitted.sort(key=criterion)
    return tuple(replace(fit, chosen=rank == 0) for rank, fit in enumerate(fitted))


def _coarse(histogram: LogHistogram) -> _Bins:
    floor = math.floor(math.log(_NEAR_ZERO * histogram.mean) / RESOLUTION / _FINE_BINS)
    indices = np.maximum(np.asarray(histogram.bins) // _FINE_BINS, floor)
    unique, inverse = np.unique(indices, return_inverse=True)
    weights = np.asarray(histogram.counts, dtype=float)
    counts = np.asarray(np.bincount(inverse, weights=weights), dtype=float)
    low = np.where(unique == floor, 0.0, np.exp(unique * _FINE_BINS * RESOLUTION))
    high = np.exp((unique + 1) * _FINE_BINS * RESOLUTION)
    return _Bins(low, high, counts)


def _fit(name: str, histogram: LogHistogram, bins: _Bins, design_effect: float) -> TailFit | None:
    from scipy.optimize import minimize

    family = _FAMILIES[name]
    square = float((bins.counts @ ((bins.low + bins.high) / 2) ** 2) / bins.counts.sum())

    def loss(point: FloatArray) -> float:
        if np.abs(point).max() > _FARTHEST:
            return math.inf
        try:
            tail = family.build(point)
        except (ValueError, OverflowError):
            return math.inf
        return -bins.log_likelihood(tail)

    start = np.array(family.start(histogram.mean, square))
    found = minimize(
        loss, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-7, "maxiter": 2000}
    )
    if not math.isfinite(found.fun):
        return None
    tail = family.build(found.x)
    values = tuple((field, float(getattr(tail, field))) for field in family.fields)
    return TailFit(
        name,
        values,
        _standard_errors(loss, found.x, family, design_effect),
        -float(found.fun),
        bins.distance(tail),
        chosen=False,
    )


def _standard_errors(
    loss: Callable[[FloatArray], float], best: FloatArray, family: _Family, design_effect: float
) -> tuple[float, ...]:
    """Take standard errors from the curvature of the likelihood, carried over to the fields."""
    size, step = len(best), 1e-3
    unit = np.eye(size) * step

    def mixed(i: int, j: int) -> float:
        a, b = unit[i], unit[j]
        corners = (loss(best + a + b), loss(best + a - b), loss(best - a + b), loss(best - a - b))
        return (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * step * step)

    hessian = np.array([[mixed(i, j) for j in range(size)] for i in range(size)])
    if not np.all(np.isfinite(hessian)) or np.linalg.eigvalsh(hessian).min() <= 0:
        return (math.nan,) * size

    def fields_at(point: FloatArray) -> FloatArray:
        tail = family.build(point)
        return np.array([getattr(tail, field) for field in family.fields])

    slopes = np.column_stack(
        [(fields_at(best + unit[i]) - fields_at(best - unit[i])) / (2 * step) for i in range(size)]
    )
    covariance = slopes @ np.linalg.inv(hessian) @ slopes.T * max(design_effect, 1.0)
    return tuple(float(error) for error in np.sqrt(np.diag(covariance)))


def _gaussian(bins: _Bins, mean: float, deviation: float, design_effect: float) -> TailFit:
    tail = tails.Gaussian(mean, deviation)
    error = deviation / math.sqrt(bins.counts.sum()) * math.sqrt(max(design_effect, 1.0))
    return TailFit(
        "gaussian",
        (("kl", mean), ("std", deviation)),
        (error, error / math.sqrt(2)),
        bins.log_likelihood(tail),
        bins.distance(tail),
        chosen=False,
    )
