"""Coverage of densities: ``C² = E_policy[policy/behaviour]``, a mean of importance weights.

A mean of importance weights whose tail falls like ``w^(-1/k)`` has a finite variance only for
``k < 1/2``; in practice its error can be judged up to ``k ≈ 0.7`` and not beyond (Vehtari,
Simpson, Gelman, Yao, Gabry 2024, "Pareto smoothed importance sampling", JMLR 25(72)).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.calibrate.coverage.results import CONSTANT, CoverageConstants
from rlhf_budget.calibrate.estimates import (
    CalibrationWarning,
    Choice,
    Estimate,
    Source,
    require_level,
)
from rlhf_budget.calibrate.logs.fields import number, words
from rlhf_budget.calibrate.logs.tables import Tables, find_field, read_tables
from rlhf_budget.errors import CalibrationError, LogError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

POLICY_FIELDS = ("logp_policy", "policy_logprob", "policy_logprobs", "logprob", "log_prob")
"""Fields recognised as log-probabilities under the current policy."""
BEHAVIOUR_FIELDS = words(
    "logp_behaviour behaviour_logprob behaviour_logprobs behavior_logprob logp_behavior"
)
"""Fields recognised as log-probabilities under the policy whose responses were labelled."""

_SAMPLER_FIELDS = ("behaviour", "behavior", "sampled_by")
_CURRENT_SAMPLER = "policy"
RELIABLE_SHAPE = 0.7
"""Largest shape at which a mean of weights can be trusted (Vehtari et al. 2024)."""

_FEWEST_TAIL_WEIGHTS = 5
_PRIOR_WEIGHTS = 10
_PRIOR_SHAPE = 0.5
_LARGEST_LOG_COVERAGE = 700.0


def read_logprobs(
    paths: Sequence[str | Path],
    *,
    policy_field: str | None = None,
    behaviour_field: str | None = None,
    strict: bool = False,
) -> tuple[Array, Array, Source]:
    """Read log-probabilities of whole responses sampled from the current policy.

    Parameters
    ----------
    paths
        Tables, patterns or directories.
    policy_field, behaviour_field
        Fields of log p(response) under the current policy, and under the one whose responses were
        labelled; lists of one number a token are summed.
    strict
        Make unusable rows an error.

    Returns
    -------
    tuple
        Both log-probabilities, shape (S,) each, in nats, and their source. Where a column
        ``behaviour`` says which policy sampled a row, only those of ``policy`` are used.

    Raises
    ------
    CalibrationError
        If a field is missing, or no row is usable.
    LogError
        If a file is not of its kind, or ``strict`` finds an unusable row.
    FileAccessError
        If a file cannot be read.
    """
    tables = read_tables(paths)
    policy = _field(tables, "policy", policy_field, POLICY_FIELDS)
    behaviour = _field(tables, "behaviour", behaviour_field, BEHAVIOUR_FIELDS)
    sampler = find_field(tables.rows, _SAMPLER_FIELDS)
    if sampler and not any(row.get(sampler) == _CURRENT_SAMPLER for row in tables.rows):
        sampler = None  # the column says something else
    pairs: list[tuple[float, float]] = []
    skips = ["malformed-row"] * tables.broken
    for row in tables.rows:
        first, second = _log_probability(row.get(policy)), _log_probability(row.get(behaviour))
        if sampler is not None and row.get(sampler) != _CURRENT_SAMPLER:
            skips.append("sampled-by-another-policy")
        elif first is None or second is None:
            skips.append("unusable-logprob")
        else:
            pairs.append((first, second))
    faults = skips.count("unusable-logprob") + skips.count("malformed-row")
    if not pairs or (strict and faults):
        kind = LogError if strict else CalibrationError
        raise kind(f"{tables.place}: {faults} rows without log-probabilities")
    fields = (("policy_logprob", policy), ("behaviour_logprob", behaviour))
    source = Source.counted(tables.files, len(pairs), skips, fields=fields)
    table = np.array(pairs)
    return table[:, 0], table[:, 1], source


def _field(tables: Tables, role: str, given: str | None, names: tuple[str, ...]) -> str:
    found = find_field(tables.rows, (given,) if given else names)
    if found is None:
        raise CalibrationError(
            f"{tables.place}: no field of {role} log-probabilities among"
            f" {', '.join(tables.columns)}; give --{role}-logprob-field"
        )
    return found


def _log_probability(value: object) -> float | None:
    if isinstance(value, (list, tuple)):
        parts = [number(part) for part in value]
        return None if not parts or None in parts else sum(p for p in parts if p is not None)
    return number(value)


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
    count = log_weights.size
    # The logarithm of the mean weight, scaled by the largest: weights of responses overflow.
    top = float(log_weights.max())
    weights = np.exp(log_weights - top)
    mean = float(weights.mean())
    log_coverage = (top + math.log(mean)) / 2.0
    error = float(weights.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    relative_error = error / mean / 2.0
    shape = pareto_shape(log_weights)
    divergence = float(log_weights.mean())
    facts = (
        f"{'no tail to fit' if shape is None else f'Pareto shape k = {shape:.2f}'}; the largest"
        f" weight carries {1.0 / (mean * count):.0%} of the sum; mean log-ratio {divergence:.3g}"
        f" nats, so the coverage is at least exp({divergence / 2.0:.3g}) (Jensen)"
    )
    heavy = (
        f"the mean of the importance weights cannot be trusted ({facts}); use features "
        "(--training, --current), or label the current policy's own rollouts "
        "(label_policy: current)"
    )
    reliable = bool(np.ptp(log_weights) == 0.0) or (shape is not None and shape <= RELIABLE_SHAPE)
    about = (CONSTANT, "1", "importance-weights")
    if log_coverage > _LARGEST_LOG_COVERAGE:
        estimate = Estimate.unavailable(*about, f"the coverage overflows; {facts}")
    elif reliable:
        estimate = Estimate.of(
            *about,
            count,
            max(1.0, math.exp(log_coverage)),
            math.exp(log_coverage) * relative_error,
            _log_interval(log_coverage, relative_error, level),
            note=facts,
        )
    else:
        estimate = Estimate.of(*about, count, max(1.0, math.exp(log_coverage)), doubt=heavy)
    return CoverageConstants(
        level=level,
        source=source or Source(rows_read=count, rows_used=count),
        estimates=(estimate,),
        warnings=() if reliable else (CalibrationWarning("heavy-weights", heavy),),
        choices=(Choice("reward_model.coverage_kind", "density", (CONSTANT,)),),
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


def _log_interval(centre: float, error: float, level: float) -> tuple[float, float]:
    from statistics import NormalDist

    half = NormalDist().inv_cdf(0.5 + level / 2.0) * error
    return max(1.0, math.exp(centre - half)), max(1.0, math.exp(min(centre + half, 709.0)))


def pareto_shape(log_weights: NDArray[np.float64]) -> float | None:
    """Estimate the Pareto shape ``k̂`` of the largest of the weights with these logarithms.

    None where fewer than five weights lie above the tail's cut, so that there is no tail to fit (25
    samples are the fewest that can have one). The tail holds the largest ``min(S/5, 3√S)`` weights,
    as in Vehtari et al. 2024, section 3; the shape is shrunk towards 1/2 with the strength of ten
    weights (their appendix G).
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
    """Fit the shape ``k`` of a generalised Pareto law to positive, ascending exceedances.

    It is positive for tails heavier than exponential. Zhang and Stephens 2009, "A new and efficient
    estimation method for the generalized Pareto distribution", Technometrics 51(3): with
    ``θ = -k/scale`` the likelihood has one free parameter, whose posterior mean is taken over a
    fixed set of points under a weak prior.
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
