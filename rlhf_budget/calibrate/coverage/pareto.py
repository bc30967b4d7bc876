"""The Pareto shape of the largest importance weights.

A mean of importance weights whose tail falls like ``w^(-1/k)`` has a finite variance only for
``k < 1/2``; in practice its error can be judged up to ``k ≈ 0.7`` and not beyond (Vehtari,
Simpson, Gelman, Yao, Gabry 2024, "Pareto smoothed importance sampling", JMLR 25(72)).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RELIABLE_SHAPE = 0.7
"""Largest shape at which a mean of weights can be trusted (Vehtari et al. 2024)."""

_FEWEST_TAIL_WEIGHTS = 5
_PRIOR_WEIGHTS = 10
_PRIOR_SHAPE = 0.5


def pareto_shape(log_weights: NDArray[np.float64]) -> float | None:
    """Estimate the Pareto shape ``k̂`` of the largest weights.

    Parameters
    ----------
    log_weights
        Shape (S,): natural logarithms of the weights, in any order. Logarithms, because weights of
        whole responses overflow.

    Returns
    -------
    float or None
        ``k̂``; None where fewer than five weights lie above the tail's cut, so that there is no
        tail to fit (25 samples are the fewest that can have one).

    Notes
    -----
    The tail holds the largest ``min(S/5, 3√S)`` weights, as in Vehtari et al. 2024, section 3; the
    shape is shrunk towards 1/2 with the strength of ten weights (their appendix G).
    """
    count = log_weights.size
    tail_count = math.ceil(min(0.2 * count, 3.0 * math.sqrt(count)))
    if tail_count < _FEWEST_TAIL_WEIGHTS:
        return None
    largest = np.sort(log_weights)[-tail_count - 1 :]
    weights = np.exp(largest - largest[-1])
    exceedances: NDArray[np.float64] = weights[1:] - weights[0]
    exceedances = exceedances[exceedances > 0.0]
    if exceedances.size < _FEWEST_TAIL_WEIGHTS:
        return None
    shape = generalised_pareto_shape(exceedances)
    used = int(exceedances.size)
    return (shape * used + _PRIOR_SHAPE * _PRIOR_WEIGHTS) / (used + _PRIOR_WEIGHTS)


def generalised_pareto_shape(exceedances: NDArray[np.float64]) -> float:
    """Fit the shape of a generalised Pareto law by a posterior mean.

    Parameters
    ----------
    exceedances
        Shape (M,), all positive, ascending.

    Returns
    -------
    float
        The shape ``k``; positive for tails heavier than exponential.

    Notes
    -----
    Zhang and Stephens 2009, "A new and efficient estimation method for the generalized Pareto
    distribution", Technometrics 51(3): with ``θ = -k/scale`` the likelihood has one free
    parameter, whose posterior mean is taken over a fixed set of points under a weak prior.
    """
    count = exceedances.size
    point_count = 30 + math.isqrt(count)
    quartile = exceedances[int(count / 4 + 0.5) - 1]
    ranks = np.arange(1, point_count + 1)
    points = 1.0 / exceedances[-1] + (1.0 - np.sqrt(point_count / (ranks - 0.5))) / (3.0 * quartile)
    points = points[np.abs(points) > np.finfo(np.float64).tiny]
    shapes = np.log1p(-points[:, None] * exceedances).mean(axis=1)
    log_likelihoods = count * (np.log(-points / shapes) - shapes - 1.0)
    weights = np.exp(log_likelihoods - log_likelihoods.max())
    point = float(weights @ points / weights.sum())
    return float(np.log1p(-point * exceedances).mean())
