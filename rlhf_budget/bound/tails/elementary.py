"""Elementary functions of a float or an array.

On floats they follow IEEE 754 (infinities, no exceptions), as NumPy does on arrays, so that each
formula of a family is written once for both.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]


Number = TypeVar("Number", float, "FloatArray")

INFINITY = math.inf
SMALLEST = math.ulp(0.0)
LARGEST_EXPONENT = math.log(1.7e308)
ROOT_HALF = math.sqrt(0.5)
ROOT_PI = math.sqrt(math.pi)
STANDARD_NORMAL = NormalDist()


def exp(x: Number) -> Number:
    """Exponential."""
    if isinstance(x, np.ndarray):
        return np.exp(x)
    return math.exp(x) if x < LARGEST_EXPONENT else INFINITY


def expm1(x: Number) -> Number:
    """``e^x − 1``."""
    if isinstance(x, np.ndarray):
        return np.expm1(x)
    return math.expm1(x) if x < LARGEST_EXPONENT else INFINITY


def log(x: Number) -> Number:
    """Natural logarithm; minus infinity at 0."""
    if isinstance(x, np.ndarray):
        return np.log(x)
    return math.log(x) if x > 0.0 else -INFINITY


def log1p(x: Number) -> Number:
    """``ln(1 + x)``."""
    if isinstance(x, np.ndarray):
        return np.log1p(x)
    return math.log1p(x) if x > -1.0 else -INFINITY


def minimum(x: Number, limit: float) -> Number:
    """The lesser of a value and a limit."""
    if isinstance(x, np.ndarray):
        return np.minimum(x, limit)
    return min(x, limit)


def maximum(x: Number, limit: float) -> Number:
    """The greater of a value and a limit."""
    if isinstance(x, np.ndarray):
        return np.maximum(x, limit)
    return max(x, limit)


def where(condition: Any, yes: Number, no: Number) -> Number:
    """The first value where a condition holds, else the second."""
    if isinstance(yes, np.ndarray):
        return np.where(condition, yes, no)
    return yes if condition else no


def each(function: Callable[[float], float], x: Number) -> Number:
    """Apply a function of floats to a float or to each entry."""
    if isinstance(x, np.ndarray):
        # A memoryview hands out floats without the list that tolist() would build first.
        values = np.fromiter(map(function, x.ravel().data), np.float64, x.size)
        return values.reshape(x.shape)
    return function(x)


def erfc(x: Number) -> Number:
    """Complementary error function."""
    # NumPy has no erfc, and scipy.special takes longer to import than a plan takes to compute.
    return each(math.erfc, x)


def integral_of_erfc(x: Number) -> Number:
    """``∫_x^∞ erfc``, the first repeated integral of erfc (DLMF 7.18.2)."""
    # Beyond 28 both terms are 0 in floats; the limit keeps infinity times zero out.
    x = minimum(x, 28.0)
    return exp(-x * x) / ROOT_PI - x * erfc(x)


def upper_normal_quantile(p: Number) -> Number:
    """``z`` with ``P(Z > z) = p`` for a standard normal ``Z`` and ``0 < p < 1``."""
    return -each(STANDARD_NORMAL.inv_cdf, maximum(p, SMALLEST))


def log_quotient(t: Number, scale: float, rest: float = 0.0) -> Number:
    """``ln(t / (scale + rest))``, with ``rest`` below the rounding of ``scale``.

    Near ``t = scale`` the difference is exact in floats and the quotient is not, and a narrow
    distribution multiplies the quotient's rounding by its shape.
    """
    near = abs(t - scale) < 0.5 * scale
    return where(near, log1p((t - scale - rest) / scale), log(t / scale))


def of_kind(x: Number, value: Any) -> Number:
    """Give what SciPy made of ``x`` back as ``x`` came: an array, or a plain float."""
    if isinstance(x, np.ndarray):
        return np.asarray(value)
    return float(value)
