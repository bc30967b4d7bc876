"""TRL: ``completions/completions_{step}.parquet``, and what only its log tells of it.

Which columns are rewards, and which files an evaluation overwrote, stands in ``trainer_state.json``
alone. Weights of reward functions are in no file, but the log's ``reward`` is their weighted sum of
``rewards/{name}/mean``: least squares over steps recovers them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rlhf_budget.calibrate.logs.dialects.dialect import NUMERIC_TYPES, Dialect, KlKey, LogLesson
from rlhf_budget.calibrate.logs.fields import GUESSES, USED, Field
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import narwhals as nw

    from rlhf_budget.calibrate.logs.engine import Engine
    from rlhf_budget.calibrate.logs.fields import Layout
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog

_NOT_REWARDS = frozenset(
    {
        "step",
        "prompt",
        "completion",
        "advantage",
        "advantages",
        "entropy",
        "prompt_tokens",
        "num_turns",
        "image",
        "images",
    }
).union(*(GUESSES[role] for role in ("policy", "reference", "log_ratio", "tokens")))
"""Numeric columns of a dump that are no rewards."""
_ROUNDING = 1e-4
"""The log holds float32 means: relative difference from the file's that still is the same."""


class TRL(Dialect):
    """TRL's completions of GRPO."""

    name = "trl"
    signatures: ClassVar[tuple[frozenset[str], ...]] = (
        frozenset({"prompt", "completion", "advantage", "step"}),
    )
    kl_keys: ClassVar[tuple[KlKey, ...]] = (
        KlKey("objective/kl", None, "a sum per sequence (TRL PPO and OnlineDPO)"),
        KlKey("kl", ("completions/mean_length", "completion_length"), "a token mean (TRL)"),
    )
    names_tell_evaluation = False  # an evaluation overwrites files of training
    one_folder_a_run = True
    rewards_are_logged = True

    def layout(self, columns: frozenset[str], guessed: Layout) -> Layout:
        """Return where its files hold what, rewards apart."""
        del columns
        return replace(guessed, trainer=self.name, prompt=Field("prompt"), rewards=())

    def logged_rewards(
        self,
        layout: Layout,
        columns: frozenset[str],
        types: Mapping[str, str],
        log: MetricsLog | None,
    ) -> Layout:
        """Take the functions that the log names, or the only column that can be a reward."""
        if log is None or not log.reward_functions():
            return replace(layout, rewards=only_reward(columns, types))
        names = [name for name in log.reward_functions() if name in columns]
        if not names:
            raise CalibrationError("no reward field: no reward column; give --reward-field")
        return replace(layout, rewards=tuple((Field(name), 1.0) for name in names))

    def learn_from_log(
        self,
        rows: nw.LazyFrame[Any],
        layout: Layout,
        log: MetricsLog,
        engine: Engine,
        *,
        rewards_are_given: bool,
    ) -> LogLesson:
        """Find evaluation steps and, unless rewards were given, weigh them by the log."""
        import narwhals as nw

        columns = [field.name for field, _ in layout.rewards]
        steps = _step_means(rows, len(columns), engine)
        evaluation = _evaluation_steps(log, columns, steps)
        if rewards_are_given or not log.reward_functions():
            return LogLesson(rows, layout, evaluation)
        training = [step for step in steps if step.step not in evaluation]
        weights = _recover_weights(log, columns, training)
        total = sum(
            (nw.col(f"reward_{i}") * weight for i, weight in enumerate(weights[1:], start=1)),
            nw.col("reward_0") * weights[0],
        )
        kept = tuple(
            (field, weight)
            for (field, _), weight in zip(layout.rewards, weights, strict=True)
            if weight != 0
        )
        return LogLesson(rows.with_columns(reward=total), replace(layout, rewards=kept), evaluation)


def only_reward(
    columns: frozenset[str], types: Mapping[str, str]
) -> tuple[tuple[Field, float], ...]:
    """Return the only column that can be a reward, where no log tells which are.

    Raises
    ------
    CalibrationError
        If there is none, or several.
    """
    numeric = (n for n in columns if types.get(n, "DOUBLE").upper() in NUMERIC_TYPES)
    names = sorted(name for name in numeric if name not in _NOT_REWARDS)
    if len(names) > 1:
        listed = ",".join(f"{name}=WEIGHT" for name in names)
        raise CalibrationError(
            f"no reward field: without the trainer's log, {', '.join(names)} may all be"
            f" rewards; give --metrics trainer_state.json, or --reward-field {listed}"
        )
    if not names:
        raise CalibrationError("no reward field: no reward column; give --reward-field")
    return ((Field(names[0]), 1.0),)


@dataclass(frozen=True, slots=True)
class _StepMeans:
    """Means of one step's rows in the dump."""

    step: int
    """Training step."""
    means: tuple[float, ...]
    """Mean of each reward column, null as 0."""
    nulls: tuple[int, ...]
    """Rows without a value, per reward column."""


def _step_means(rows: nw.LazyFrame[Any], size: int, engine: Engine) -> list[_StepMeans]:
    import narwhals as nw

    names = [f"reward_{i}" for i in range(size)]
    nulls = [f"reward_null_{i}" for i in range(size)]
    table = (
        rows.filter(nw.col("reason") == USED)
        .group_by("step")
        .agg(*(nw.col(n).mean() for n in names), *(nw.col(n).sum() for n in nulls))
    )
    return [
        _StepMeans(
            int(record["step"]),
            tuple(float(record[name]) for name in names),
            tuple(int(record[name]) for name in nulls),
        )
        for record in engine.fetch(table)
    ]


def _evaluation_steps(
    log: MetricsLog, columns: Sequence[str], steps: Sequence[_StepMeans]
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


def _recover_weights(
    log: MetricsLog, columns: Sequence[str], steps: Sequence[_StepMeans]
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
