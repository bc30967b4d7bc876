"""How far the reward model's training data are from the current policy.

``C² = E_policy[policy/behaviour]`` for densities; for a reward head on frozen features the largest
ratio ``E_current f²/E_training f²`` over linear functions ``f`` of the features, which is the
largest generalised eigenvalue of the two second moments (docs/theory.md, section 3; Agarwal,
Kakade, Lee, Mahajan 2021, "On the theory of policy gradient methods", the relative condition
number).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlhf_budget.calibrate.coverage.pareto import RELIABLE_SHAPE, pareto_shape
from rlhf_budget.calibrate.estimates import (
    Calibration,
    CalibrationWarning,
    Choice,
    Estimate,
    Source,
)
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

CONSTANT = "reward_model.coverage"
"""The key path that both kinds of coverage estimate."""

_KIND = "reward_model.coverage_kind"
_WORST_CONDITION = 1e10
_DEFAULT_RIDGE = 1e-6
_LARGEST_RIDGE_EFFECT = 0.1
_LARGEST_CHANCE_COVERAGE = 2.0
_REPLICATES = 200
_LEADING = 32
_LARGEST_LOG_COVERAGE = 700.0


@dataclass(frozen=True, slots=True)
class RidgeEffect:
    """Coverage under one ridge."""

    ridge: float
    """Ridge added to the training moment, in units of its mean eigenvalue."""
    coverage: float | None
    """Coverage with that ridge; None where the training moment cannot be inverted."""


@dataclass(frozen=True)
class CoverageConstants(Calibration):
    """Coverage of the current policy by the reward model's training data."""

    command: ClassVar[str] = "calibrate coverage"

    pareto_shape: float | None = None
    """``k̂`` of the largest importance weights; None for features, or without a tail to fit."""
    ridges: tuple[RidgeEffect, ...] = ()
    """What ridges of several sizes do to a coverage of features."""


def feature_coverage(
    training: ArrayLike,
    current: ArrayLike,
    *,
    ridge: float | None = None,
    level: float = 0.95,
    seed: int = 0,
    source: Source | None = None,
) -> CoverageConstants:
    """Estimate the coverage of features.

    Parameters
    ----------
    training, current
        Shapes (n, d) and (k, d): the reward model's features, one row a response, on its training
        data and on rollouts of the current policy. A constant feature, if the head has a bias,
        is a column like the others.
    ridge
        Added to the training moment, in units of its mean eigenvalue. By default 0 where the
        moment can be inverted safely (condition below 1e10), else 1e-6.
    level
        Level of the bootstrap interval.
    seed
        Seed of the bootstrap.
    source
        Files behind the arrays.

    Returns
    -------
    CoverageConstants
        ``C = max(1, √λ)`` with the largest generalised eigenvalue ``λ``; ``unreliable`` where the
        ridge decides it, or where two samples of one law, of these sizes, would show 2 or more.

    Raises
    ------
    CalibrationError
        If the arrays have no rows, different numbers of features, or values that are not finite.

    Notes
    -----
    The bootstrap redraws both samples and solves within the span of the 32 leading directions,
    which is everything for up to 32 features. Its interval mirrors the redrawn logarithms at the
    estimate (the basic bootstrap), because the largest eigenvalue of a sample is too large on
    average. The note says what equal laws would show (the edge of Wachter's law; Bai and
    Silverstein 2010, *Spectral Analysis of Large Dimensional Random Matrices*, section 4).
    """
    trained, now = _features(training, "training"), _features(current, "current")
    if trained.shape[1] != now.shape[1]:
        raise CalibrationError(
            f"the training data have {trained.shape[1]} features, the current ones {now.shape[1]}"
        )
    _require_level(level)
    problem = _Moments.of(trained, now)
    used = problem.default_ridge() if ridge is None else ridge
    if used < 0.0 or not math.isfinite(used):
        raise CalibrationError(f"the ridge must be at least 0, found {used:g}")
    value = problem.coverage(used)
    if value is None:
        raise CalibrationError(
            "the training features span fewer directions than there are features, so a coverage "
            "needs a ridge above 0"
        )
    effects = tuple(
        RidgeEffect(size, problem.coverage(size)) for size in sorted({0.0, 1e-8, 1e-6, 1e-4, used})
    )
    chance = _chance_coverage(trained.shape, now.shape)
    doubts = _feature_doubts(problem, used, value, effects, chance)
    estimate = Estimate(
        CONSTANT,
        "1",
        "unreliable" if doubts else "estimated",
        value,
        None,
        None if doubts else _bootstrap_interval(problem, used, value, level, seed),
        "generalised-eigenvalue",
        min(trained.shape[0], now.shape[0]),
        "; ".join([*doubts, _ridge_note(used, effects), _chance_note(chance)]),
    )
    return CoverageConstants(
        level=level,
        source=source or Source(rows_read=_rows(trained, now), rows_used=_rows(trained, now)),
        estimates=(estimate,),
        choices=(Choice(_KIND, "features", (CONSTANT,)),),
        ridges=effects,
    )


def feature_coverage_value(training: ArrayLike, current: ArrayLike) -> float:
    """Return the value of :func:`feature_coverage` alone, without its interval.

    Parameters
    ----------
    training, current
        As there.
    """
    problem = _Moments.of(_features(training, "training"), _features(current, "current"))
    value = problem.coverage(problem.default_ridge())
    return 1.0 if value is None else value


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
    _require_level(level)
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
        choices=(Choice(_KIND, "density", (CONSTANT,)),),
        pareto_shape=shape,
    )


def coverage(
    *,
    training: ArrayLike | None = None,
    current: ArrayLike | None = None,
    policy_logprobs: ArrayLike | None = None,
    behaviour_logprobs: ArrayLike | None = None,
    ridge: float | None = None,
    level: float = 0.95,
    seed: int = 0,
    source: Source | None = None,
) -> CoverageConstants:
    """Estimate the coverage, of features or of densities.

    Parameters
    ----------
    training, current
        Features, for :func:`feature_coverage`.
    policy_logprobs, behaviour_logprobs
        Log-probabilities, for :func:`density_coverage`.
    ridge, level, seed, source
        As there.

    Raises
    ------
    CalibrationError
        Unless exactly one of the two pairs is given.
    """
    with_features = training is not None or current is not None
    with_logprobs = policy_logprobs is not None or behaviour_logprobs is not None
    if training is not None and current is not None and not with_logprobs:
        return feature_coverage(
            training, current, ridge=ridge, level=level, seed=seed, source=source
        )
    if policy_logprobs is not None and behaviour_logprobs is not None and not with_features:
        return density_coverage(policy_logprobs, behaviour_logprobs, level=level, source=source)
    raise CalibrationError(
        "give features of the training data and of current rollouts, or log-probabilities under "
        "the policy and under the behaviour policy"
    )


def _require_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise CalibrationError(f"the level must be between 0 and 1, found {level:g}")


def _features(values: ArrayLike, name: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise CalibrationError(
            f"{name} features must be a table with a row for each response, found the shape "
            f"{array.shape}"
        )
    if not np.isfinite(array).all():
        raise CalibrationError(f"{name} features hold values that are not finite")
    return array


def _rows(*arrays: Array) -> int:
    return sum(array.shape[0] for array in arrays)


@dataclass(frozen=True, slots=True)
class _Moments:
    """The two samples and their second moments."""

    training: Array
    current: Array
    training_moment: Array
    current_moment: Array

    @classmethod
    def of(cls, training: Array, current: Array) -> _Moments:
        return cls(training, current, _second_moment(training), _second_moment(current))

    @property
    def unit(self) -> float:
        """Mean eigenvalue of the training moment; 1 where all features are 0."""
        return float(np.trace(self.training_moment)) / self.training_moment.shape[0] or 1.0

    def default_ridge(self) -> float:
        return 0.0 if self._invertible() else _DEFAULT_RIDGE

    def _invertible(self) -> bool:
        from scipy import linalg

        eigenvalues = linalg.eigvalsh(self.training_moment)
        return bool(eigenvalues[0] > eigenvalues[-1] / _WORST_CONDITION)

    def coverage(self, ridge: float) -> float | None:
        """Return the coverage under a ridge; None where the training moment is singular."""
        if ridge == 0.0 and not self._invertible():
            return None
        from scipy import linalg

        size = self.training_moment.shape[0]
        largest = linalg.eigh(
            self.current_moment,
            self._ridged(ridge),
            eigvals_only=True,
            subset_by_index=[size - 1, size - 1],
        )[0]
        return max(1.0, math.sqrt(max(float(largest), 0.0)))

    def leading(self, ridge: float) -> Array:
        """Return the leading generalised eigenvectors, one a column."""
        from scipy import linalg

        size = self.training_moment.shape[0]
        first = max(0, size - _LEADING)
        vectors: Array = linalg.eigh(
            self.current_moment, self._ridged(ridge), subset_by_index=[first, size - 1]
        )[1]
        return vectors

    def _ridged(self, ridge: float) -> Array:
        ridged: Array = self.training_moment + ridge * self.unit * np.eye(
            self.training_moment.shape[0]
        )
        return ridged


def _second_moment(features: Array) -> Array:
    moment: Array = features.T @ features / features.shape[0]
    return moment


def _bootstrap_interval(
    problem: _Moments, ridge: float, value: float, level: float, seed: int
) -> tuple[float, float]:
    from scipy import linalg

    directions = problem.leading(ridge)
    training, current = problem.training @ directions, problem.current @ directions
    penalty = ridge * problem.unit * (directions.T @ directions)
    generator = np.random.default_rng(seed)
    logs = np.empty(_REPLICATES)
    size = directions.shape[1]
    for replicate in range(_REPLICATES):
        drawn_moments = []
        for rows in (current, training):
            counts = generator.multinomial(rows.shape[0], np.full(rows.shape[0], 1 / rows.shape[0]))
            drawn_moments.append((rows * counts[:, None]).T @ rows / rows.shape[0])
        drawn_moments[1] = drawn_moments[1] + (penalty + 1e-12 * np.eye(size))
        largest = linalg.eigh(
            *drawn_moments, eigvals_only=True, subset_by_index=[size - 1, size - 1]
        )[0]
        logs[replicate] = 0.5 * math.log(max(float(largest), 1.0))
    low, high = np.quantile(logs, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    centre = math.log(value)
    return max(1.0, math.exp(min(2.0 * centre - high, centre))), max(
        value, math.exp(2.0 * centre - low)
    )


def _chance_coverage(training_shape: tuple[int, ...], current_shape: tuple[int, ...]) -> float:
    """Return the coverage that two samples of one law show; infinite below d rows."""
    size = training_shape[1]
    trained, now = size / training_shape[0], size / current_shape[0]
    if trained >= 1.0:
        return math.inf
    root = math.sqrt(trained + now - trained * now)
    return (1.0 + root) / (1.0 - trained)


def _feature_doubts(
    problem: _Moments, ridge: float, value: float, effects: tuple[RidgeEffect, ...], chance: float
) -> list[str]:
    rows, size = problem.training.shape
    doubts = []
    if rows < size:
        doubts.append(f"{rows} training rows for {size} features: the ridge decides the value")
    elif chance > _LARGEST_CHANCE_COVERAGE:
        doubts.append(f"too few rows for {size} features")
    small = (e.coverage for e in effects if e.ridge <= max(ridge, _DEFAULT_RIDGE))
    moved = any(c is not None and abs(math.log(c / value)) > _LARGEST_RIDGE_EFFECT for c in small)
    if moved and rows >= size:
        doubts.append("the value depends on the ridge: some features hardly vary in training")
    return doubts


def _ridge_note(used: float, effects: tuple[RidgeEffect, ...]) -> str:
    shown = ", ".join(
        f"{effect.ridge:g}: {'none' if effect.coverage is None else format(effect.coverage, '.4g')}"
        for effect in effects
    )
    return f"coverage by ridge (in mean eigenvalues; used {used:g}): {shown}"


def _chance_note(chance: float) -> str:
    if math.isinf(chance):
        return "equal laws would show any value at these sample sizes"
    return f"equal laws would show {chance:.3g} at these sample sizes"


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
