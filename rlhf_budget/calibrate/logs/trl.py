"""What only TRL needs: which columns are rewards, what they weigh, which files hold evaluation.

Weights of reward functions are in no file, but the log's ``reward`` is their weighted sum of
``rewards/{name}/mean``: least squares over steps recovers them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog

_ROUNDING = 1e-4
"""The log holds float32 means: relative difference from the file's that still is the same."""


@dataclass(frozen=True, slots=True)
class StepMeans:
    """Means of one step's rows in the dump."""

    step: int
    """Training step."""
    means: tuple[float, ...]
    """Mean of each reward column, null as 0."""
    nulls: tuple[int, ...]
    """Rows without a value, per reward column."""


def reward_columns(log: MetricsLog) -> tuple[str, ...]:
    """Return the names of the reward functions in the log, in its order."""
    names: dict[str, None] = {}
    for record in log.records:
        for key in record:
            if key.startswith("rewards/") and key.endswith("/mean"):
                names[key.removeprefix("rewards/").removesuffix("/mean")] = None
    return tuple(names)


def evaluation_steps(
    log: MetricsLog, columns: Sequence[str], steps: Sequence[StepMeans]
) -> tuple[int, ...]:
    """Return steps whose file does not hold the rows that the log's training record speaks of.

    An evaluation at a step overwrites that step's file. A log every few steps averages over more
    rows than the file holds; then only steps with an evaluation record are suspected.
    """
    records: dict[int, dict[str, Any]] = {}
    for record in log.records:  # the last step has a second record, of the whole run
        records.setdefault(int(record["step"]), {}).update(record)
    suspects = []
    for step in steps:
        record = records.get(step.step, {})
        differs = any(
            not step.nulls[index]
            and (logged := record.get(f"rewards/{name}/mean")) is not None
            and not _same(step.means[index], float(logged))
            for index, name in enumerate(columns)
        )
        if differs and (log.logging_steps == 1 or step.step in log.evaluations):
            suspects.append(step.step)
    return tuple(suspects)


def recover_weights(
    log: MetricsLog, columns: Sequence[str], steps: Sequence[StepMeans]
) -> tuple[float, ...]:
    """Return the weight of each reward function.

    Parameters
    ----------
    log
        TRL's log.
    columns
        Names of the reward functions.
    steps
        Means of the dump's steps without evaluation rows; they stand in for logged means of a
        function that returned None, which skip the nulls.

    Raises
    ------
    CalibrationError
        If the log does not determine the weights.
    """
    files = {step.step: step for step in steps}
    sometimes_null = [any(step.nulls[index] for step in steps) for index in range(len(columns))]
    rows, totals = [], []
    for record in log.records:
        step = files.get(int(record["step"]))
        logged = [record.get(f"rewards/{name}/mean") for name in columns]
        if record.get("reward") is None or (step is None and any(sometimes_null)):
            continue
        means = [
            step.means[index] if sometimes_null[index] and step is not None else value
            for index, value in enumerate(logged)
        ]
        if all(mean is not None for mean in means):
            rows.append(means)
            totals.append(float(record["reward"]))
    return _solve(np.array(rows, dtype=float), np.array(totals), columns)


def _solve(
    means: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    totals: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    columns: Sequence[str],
) -> tuple[float, ...]:
    problem = (
        "the trainer's log does not give the rewards' weights; give them as --reward-field "
        + ",".join(f"{name}=WEIGHT" for name in columns)
    )
    if len(totals) == 0:
        raise CalibrationError(problem)
    active = np.abs(means).max(axis=0) > 0
    solution, _, rank, _ = np.linalg.lstsq(means[:, active], totals, rcond=1e-6)
    residual = np.abs(means[:, active] @ solution - totals).max()
    if rank < active.sum() or residual > _ROUNDING * max(1.0, float(np.abs(totals).max())):
        raise CalibrationError(problem)
    weights = np.zeros(len(columns))
    weights[active] = [_snapped(float(weight)) for weight in solution]
    return tuple(float(weight) for weight in weights)


def _snapped(weight: float) -> float:
    """Undo the float32 rounding of the log where a short decimal is meant."""
    short = round(weight, 4)
    return short if abs(short - weight) < 1e-5 else weight


def _same(mean: float, logged: float) -> bool:
    return abs(mean - logged) <= _ROUNDING * max(1.0, abs(logged))
