"""Estimates with standard errors from sums over independent prompts.

Everything that rows contribute is summed per prompt (the independent unit: a prompt that comes back
at several steps is one unit), and only the sums and cross products over prompts are kept. A smooth
function of the sums then has the linearised ("delete-one jackknife to first order", "sandwich")
variance ``∇hᵀ Cov(S) ∇h`` with ``Cov(S) = C/(C−1)·(Σ x_c x_cᵀ − S Sᵀ/C)`` for C prompts (Wolter
2007, *Introduction to Variance Estimation*, chapter 6). Nothing grows with rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Sums = NDArray[Any]

_COMPLEX_STEP = 1e-30


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums and cross products, over prompts, of each prompt's own sums."""

    names: tuple[str, ...]
    """What was summed, in order."""
    clusters: int
    """Number of prompts."""
    sums: tuple[float, ...]
    """Sum over prompts of each quantity."""
    products: tuple[tuple[float, ...], ...]
    """Symmetric matrix of sums over prompts of products of two quantities."""

    def covariance(self) -> NDArray[np.float64]:
        """Return the estimated covariance matrix of the sums; zeros for a single prompt."""
        sums = np.asarray(self.sums)
        if self.clusters < 2:
            return np.zeros((len(sums), len(sums)))
        centred = np.asarray(self.products) - np.outer(sums, sums) / self.clusters
        return np.asarray(centred * self.clusters / (self.clusters - 1))


def linearise(
    moments: Moments, function: Callable[[Sums], Sums]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a smooth function of the sums, shape (p,), and the covariance (p, p) of its values.

    The function maps sums, shape (q,), by arithmetic that also holds for complex numbers: the
    gradient is taken by the complex step, exact to rounding.
    """
    sums = np.asarray(moments.sums, dtype=complex)
    values = np.real(function(sums))
    gradient = np.empty((len(values), len(sums)))
    for index in range(len(sums)):
        moved = sums.copy()
        moved[index] += 1j * _COMPLEX_STEP
        gradient[:, index] = np.imag(function(moved)) / _COMPLEX_STEP
    return values, gradient @ moments.covariance() @ gradient.T


def mean_of_rows(
    moments: Moments, level: float, top: int, bottom: int, centre: float = 0.0
) -> tuple[float, float, tuple[float, float]]:
    """Return a mean over rows, its standard error and Student interval, prompts independent.

    ``top`` and ``bottom`` are positions of the sum of values and of the number of rows; ``centre``,
    which was subtracted from the values, is added to the mean.
    """
    values, covariance = linearise(moments, lambda sums: np.array([sums[top] / sums[bottom]]))
    value, error = float(values[0]) + centre, math.sqrt(max(float(covariance[0, 0]), 0.0))
    return value, error, student_interval(value, error, moments.clusters - 1, level)


def wilson_interval(share: float, size: float, level: float) -> tuple[float, float]:
    """Return Wilson's score interval of a share of ``size`` independent units."""
    from scipy.special import ndtri

    z = float(ndtri((1 + level) / 2))
    centre = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    reach = z / (1 + z**2 / size) * math.sqrt(share * (1 - share) / size + z**2 / (4 * size**2))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def student_interval(value: float, error: float, freedom: int, level: float) -> tuple[float, float]:
    """Return Student's interval around a mean with a standard error."""
    from scipy.special import stdtrit

    reach = float(stdtrit(max(freedom, 1), (1 + level) / 2)) * error
    return value - reach, value + reach
