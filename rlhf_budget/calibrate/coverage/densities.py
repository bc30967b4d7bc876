"""Coverage of densities: ``C² = E_policy[policy/behaviour]``, a mean of importance weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.calibrate.coverage.pareto import RELIABLE_SHAPE, pareto_shape
from rlhf_budget.calibrate.coverage.results import (
    CONSTANT,
    CoverageConstants,
    kind_choice,
    require_level,
)
from rlhf_budget.calibrate.estimates import CalibrationWarning, Estimate, Source
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

_LARGEST_LOG_COVERAGE = 700.0


def density_coverage(
    policy_logprobs: ArrayLike,
    behaviour_logprobs: ArrayLike,
    *,
    level: float = 0.95,
    source: Source | None = None,
) -> CoverageConstants:
    """Estimate the coverage of densities from rollouts of the current policy.

    Parameters
    ----------
    policy_logprobs, behaviour_logprobs
        Shape (S,) each: log-probabilities, in nats, of whole responses *sampled from the current
        policy*, under it and under the policy whose responses were labelled.
    level
        Level of the interval.
    source
        Files behind the arrays.

    Returns
    -------
    CoverageConstants
        ``C`` with ``C² = mean(policy/behaviour)``, at least 1; ``unreliable`` when the Pareto
        shape ``k̂`` of the weights exceeds 0.7 or cannot be told.

    Raises
    ------
    CalibrationError
        If the arrays differ in length, are empty, or hold values that are not finite.

    Notes
    -----
    The interval is that of the mean's logarithm, by the central limit theorem: it means nothing
    where ``k̂`` is large, and is left out there.
    """
    require_level(level)
    log_weights = _log_weights(policy_logprobs, behaviour_logprobs)
    source = source or Source(rows_read=log_weights.size, rows_used=log_weights.size)
    shape = pareto_shape(log_weights)
    log_square, relative_error, largest_share = _weight_summary(log_weights)
    divergence = float(log_weights.mean())
    facts = _weight_facts(shape, largest_share, divergence)
    reliable = bool(np.ptp(log_weights) == 0.0) or (shape is not None and shape <= RELIABLE_SHAPE)
    warnings = () if reliable else (CalibrationWarning("heavy-weights", _heavy_message(facts)),)
    if log_square / 2.0 > _LARGEST_LOG_COVERAGE:
        estimate = Estimate.unavailable(
            CONSTANT, "1", "importance-weights", f"the coverage overflows; {facts}"
        )
    else:
        estimate = Estimate(
            CONSTANT,
            "1",
            "estimated" if reliable else "unreliable",
            max(1.0, math.exp(log_square / 2.0)),
            math.exp(log_square / 2.0) * relative_error / 2.0 if reliable else None,
            _log_interval(log_square / 2.0, relative_error / 2.0, level) if reliable else None,
            "importance-weights",
            log_weights.size,
            facts if reliable else _heavy_message(facts),
        )
    return CoverageConstants(
        level=level,
        source=source,
        estimates=(estimate,),
        warnings=warnings,
        choices=kind_choice("density"),
        pareto_shape=shape,
    )


def _log_weights(policy: ArrayLike, behaviour: ArrayLike) -> Array:
    first = np.asarray(policy, dtype=np.float64)
    second = np.asarray(behaviour, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or first.size == 0:
        raise CalibrationError(
            "log-probabilities must be two lists of one length, one number a response, found the "
            f"shapes {first.shape} and {second.shape}"
        )
    weights: Array = first - second
    if not np.isfinite(weights).all():
        raise CalibrationError("log-probabilities hold values that are not finite")
    return weights


def _weight_summary(log_weights: Array) -> tuple[float, float, float]:
    """Return ln of the mean weight, its relative standard error, and the largest weight's share."""
    top = float(log_weights.max())
    weights = np.exp(log_weights - top)
    mean = float(weights.mean())
    error = float(weights.std(ddof=1)) / math.sqrt(weights.size) if weights.size > 1 else math.inf
    return top + math.log(mean), error / mean, 1.0 / (mean * weights.size)


def _weight_facts(shape: float | None, largest_share: float, divergence: float) -> str:
    told = "no tail to fit" if shape is None else f"Pareto shape k = {shape:.2f}"
    return (
        f"{told}; the largest weight carries {largest_share:.0%} of the sum; mean log-ratio "
        f"{divergence:.3g} nats, so the coverage is at least exp({divergence / 2.0:.3g}) "
        "(Jensen)"
    )


def _heavy_message(facts: str) -> str:
    return (
        f"the mean of the importance weights cannot be trusted ({facts}); use features "
        "(--training, --current), or label the current policy's own rollouts "
        "(label_policy: current)"
    )


def _log_interval(centre: float, error: float, level: float) -> tuple[float, float]:
    from statistics import NormalDist

    half = NormalDist().inv_cdf(0.5 + level / 2.0) * error
    return max(1.0, math.exp(centre - half)), max(1.0, math.exp(min(centre + half, 709.0)))
