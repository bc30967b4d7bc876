"""Coverage of features: the largest ratio of second moments over linear functions of them.

For a reward head on frozen features, the largest ratio ``E_current f²/E_training f²`` over linear
functions ``f`` of the features is the largest generalised eigenvalue of the two second moments
(docs/theory.md, section 3; Agarwal, Kakade, Lee, Mahajan 2021, "On the theory of policy gradient
methods", the relative condition number).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rlhf_budget.calibrate.coverage.results import CONSTANT, CoverageConstants, RidgeEffect
from rlhf_budget.calibrate.estimates import Choice, Estimate, Source, require_level
from rlhf_budget.calibrate.logs.tables import read_columns
from rlhf_budget.errors import CalibrationError, FileAccessError, LogError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

_WORST_CONDITION = 1e10
_DEFAULT_RIDGE = 1e-6
_LARGEST_RIDGE_EFFECT = 0.1
_LARGEST_CHANCE_COVERAGE = 2.0
_REPLICATES = 200
_LEADING = 32


def read_features(path: Path) -> Array:
    """Read a table of features, one row a response.

    Parameters
    ----------
    path
        ``.npy`` of shape (n, d), or ``.parquet`` with one number a column, or with one column that
        holds a list of d numbers.

    Raises
    ------
    LogError
        If the file holds no such table.
    FileAccessError
        If it cannot be read.
    """
    values: Any
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except OSError as error:
            raise FileAccessError(f"{path}: {error.strerror or error}") from None
        except (ValueError, EOFError) as error:
            raise LogError(f"{path}: not readable as .npy: {error}") from None
    elif path.suffix == ".parquet":
        columns = list(read_columns(path).values())
        one_list = len(columns) == 1 and bool(columns[0]) and isinstance(columns[0][0], list)
        values = columns[0] if one_list else list(zip(*columns, strict=True))
    else:
        raise LogError(f"{path}: features are read from .npy and .parquet")
    try:
        table = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise LogError(f"{path}: features must be numbers, as many in every row") from None
    if table.ndim != 2 or 0 in table.shape or not np.isfinite(table).all():
        raise LogError(
            f"{path}: expected a table of finite numbers with a row for each response, found the "
            f"shape {table.shape}"
        )
    return table


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
    require_level(level)
    problem = _Moments(trained, now)
    used = problem.default_ridge if ridge is None else ridge
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
    doubt = _doubt(problem, used, value, effects, chance)
    shown = ", ".join(
        f"{effect.ridge:g}: {'none' if effect.coverage is None else format(effect.coverage, '.4g')}"
        for effect in effects
    )
    by_chance = "any value" if math.isinf(chance) else f"{chance:.3g}"
    estimate = Estimate.of(
        CONSTANT,
        "1",
        "generalised-eigenvalue",
        min(len(trained), len(now)),
        value,
        interval=None if doubt else _bootstrap_interval(problem, used, value, level, seed),
        doubt=doubt,
        note=f"coverage by ridge (in mean eigenvalues; used {used:g}): {shown};"
        f" equal laws would show {by_chance} at these sample sizes",
    )
    rows = len(trained) + len(now)
    return CoverageConstants(
        level=level,
        source=source or Source(rows_read=rows, rows_used=rows),
        estimates=(estimate,),
        choices=(Choice("reward_model.coverage_kind", "features", (CONSTANT,)),),
        ridges=effects,
    )


def feature_coverage_value(training: ArrayLike, current: ArrayLike) -> float:
    """Return the value of :func:`feature_coverage` alone, without its interval."""
    problem = _Moments(_features(training, "training"), _features(current, "current"))
    value = problem.coverage(problem.default_ridge)
    return 1.0 if value is None else value


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


class _Moments:
    """The two samples and their second moments."""

    def __init__(self, training: Array, current: Array) -> None:
        from scipy import linalg

        self.training, self.current = training, current
        self.training_moment: Array = training.T @ training / len(training)
        self.current_moment: Array = current.T @ current / len(current)
        self.size = len(self.training_moment)
        # Mean eigenvalue of the training moment, in which ridges are; 1 where all features are 0.
        self.unit = float(np.trace(self.training_moment)) / self.size or 1.0
        eigenvalues = linalg.eigvalsh(self.training_moment)
        self.invertible = bool(eigenvalues[0] > eigenvalues[-1] / _WORST_CONDITION)
        self.default_ridge = 0.0 if self.invertible else _DEFAULT_RIDGE

    def coverage(self, ridge: float) -> float | None:
        """Return the coverage under a ridge; None where the training moment is singular."""
        from scipy import linalg

        if ridge == 0.0 and not self.invertible:
            return None
        moments, last = (self.current_moment, self._ridged(ridge)), self.size - 1
        largest = linalg.eigh(*moments, eigvals_only=True, subset_by_index=[last, last])[0]
        return max(1.0, math.sqrt(max(float(largest), 0.0)))

    def leading(self, ridge: float) -> Array:
        """Return the leading generalised eigenvectors, one a column."""
        from scipy import linalg

        subset = [max(0, self.size - _LEADING), self.size - 1]
        moments = (self.current_moment, self._ridged(ridge))
        vectors: Array = linalg.eigh(*moments, subset_by_index=subset)[1]
        return vectors

    def _ridged(self, ridge: float) -> Array:
        ridged: Array = self.training_moment + ridge * self.unit * np.eye(self.size)
        return ridged


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


def _doubt(
    problem: _Moments, ridge: float, value: float, effects: tuple[RidgeEffect, ...], chance: float
) -> str:
    """Return why the value may say nothing; empty where nothing speaks against it."""
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
    return "; ".join(doubts)
