"""The upper incomplete gamma function and what keeps its excess accurate."""

from __future__ import annotations

import math

from rlhf_budget.bound.tails.elementary import (
    ROOT_HALF,
    ROOT_PI,
    Number,
    exp,
    log,
    log1p,
    of_kind,
    where,
)


def upper_gamma(shape: float, x: Number) -> Number:
    """Regularised upper incomplete gamma function ``Q(shape, x)``."""
    from scipy.special import gammaincc  # noqa: PLC0415 (loading it costs more than a plan)

    return of_kind(x, gammaincc(shape, x))


def gamma_kernel(shape: float, x: Number) -> Number:
    """``x^k e^(-x) / Γ(k)``, the density of a gamma variable times ``x``.

    A large shape ``k`` needs Loader's form (Loader 2000, "Fast and accurate computation of
    binomial probabilities"): ``√(k/2π)·exp(-k·(u - ln(1 + u)) - s(k))`` with ``u = (x - k)/k``
    and ``s`` the error of Stirling's formula (DLMF 5.11.1).
    """
    if shape < 20.0:
        return exp(shape * log(x) - x - math.lgamma(shape))
    inverse_square = 1.0 / (shape * shape)
    stirling = 1.0 / 1680.0
    for coefficient in (1.0 / 1260.0, 1.0 / 360.0, 1.0 / 12.0):
        stirling = coefficient - stirling * inverse_square
    deviance = shape * minus_log1p((x - shape) / shape)
    height = ROOT_HALF / ROOT_PI * math.sqrt(shape)
    return height * exp(-deviance - stirling / shape)


def minus_log1p(u: Number) -> Number:
    """``u - ln(1 + u)``, for small ``u`` by the series of ``ln(1 + u) = 2 artanh(u / (2 + u))``."""
    r = u / (2.0 + u)
    square = r * r
    series = 0.0 * square + 1.0 / 23.0
    for denominator in range(21, 1, -2):
        series = 1.0 / denominator + square * series
    return where(abs(u) < 0.25, r * (u - 2.0 * square * series), u - log1p(u))


def legendre_ratio(k: float, x: Number) -> Number:
    """``U(2, k + 1, x) / U(1, k + 1, x)`` of Kummer's function ``U``, as a continued fraction.

    The fraction comes from the recurrence in the first argument (DLMF 13.3.7), as Legendre's for
    the incomplete gamma function does. 60 terms suffice from two standard deviations above the
    mean on.
    """
    ratio = 0.0 * x
    for a in range(60, 1, -1):
        ratio = 1.0 / (x + (2.0 * a - 1.0 - k) - a * (a - k) * ratio)
    return ratio
