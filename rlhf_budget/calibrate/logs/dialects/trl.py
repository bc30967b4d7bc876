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
from rlhf_budget.calibrate.logs.fields import GUESSES, USED, Field, words
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rlhf_budget.calibrate.logs.dialects.dialect import Rows
    from rlhf_budget.calibrate.logs.engine import Engine
    from rlhf_budget.calibrate.logs.fields import Layout
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog

_NOT_REWARDS = {
    *words(
        "step prompt completion advantage advantages entropy prompt_tokens num_turns image images"
    ),
    *(name for role in ("policy", "reference", "log_ratio", "tokens") for name in GUESSES[role]),
}
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
    run_folder: ClassVar[int | None] = 0
    rewards_are_logged = True

    fields: ClassVar = {"prompt": Field("prompt"), "rewards": ()}

    def logged_rewards(
        self, layout: Layout, types: Mapping[str, str], log: MetricsLog | None
    ) -> Layout:
        """Take the functions that the log names, or the only column that can be a reward."""
        if log is None or not log.reward_functions():
            return replace(layout, rewards=only_reward(types))
        names = [name for name in log.reward_functions() if name in types]
        if not names:
            raise CalibrationError("no reward field: no reward column; give --reward-field")
        return replace(layout, rewards=tuple((Field(name), 1.0) for name in names))

    def learn_from_log(
        self, rows: Rows, layout: Layout, log: MetricsLog, engine: Engine, *, rewards_given: bool
    ) -> LogLesson:
        """Find evaluation steps and, unless rewards were given, weigh them by the log."""
        import narwhals as nw

        columns = [field.name for field, _ in layout.rewards]
        steps = _step_means(rows, len(columns), engine)
        evaluation = _evaluation_steps(log, columns, steps)
        if rewards_given or not log.reward_functions():
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


def only_reward(types: Mapping[str, str]) -> tuple[tuple[Field, float], ...]:
    """Return the only column that can be a reward, where no log tells which are.

    Raises CalibrationError if there is none, or several.
    """
    numeric = (name for name, kind in types.items() if kind.upper() in NUMERIC_TYPES)
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


def _step_means(rows: Rows, size: int, engine: Engine) -> list[_StepMeans]:
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
    for step in () if log.ordered else steps:
        record = records.get(step.step, {})
        differs = False
        for name, mean, nulls in zip(columns, step.means, step.nulls, strict=True):
            logged = record.get(f"rewards/{name}/mean")
            if not nulls and logged is not None:
                differs |= abs(mean - float(logged)) > _ROUNDING * max(1.0, abs(float(logged)))
        if differs and (log.logging_steps == 1 or step.step in log.evaluations):
            suspects.append(step.step)
    return tuple(suspects)


def _recover_weights(
    log: MetricsLog, columns: Sequence[str], steps: Sequence[_StepMeans]
) -> tuple[float, ...]:
    """Return the weight of each reward function.

    Means of the dump's steps stand in for logged means of a function that returned None at times,
    which skip its nulls. Raises CalibrationError if the log does not determine the weights.
    """
    files = {} if log.ordered else {step.step: step for step in steps}
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
    problem = (
        "the trainer's log does not give the rewards' weights; give them as --reward-field "
        + ",".join(f"{name}=WEIGHT" for name in columns)
    )
    if not rows:
        raise CalibrationError(problem)
    logged_means, sums = np.array(rows, dtype=float), np.array(totals)
    active = np.abs(logged_means).max(axis=0) > 0
    solution, _, rank, _ = np.linalg.lstsq(logged_means[:, active], sums, rcond=1e-6)
    residual = np.abs(logged_means[:, active] @ solution - sums).max()
    if rank < active.sum() or residual > _ROUNDING * max(1.0, float(np.abs(sums).max())):
        raise CalibrationError(problem)
    weights = np.zeros(len(columns))
    # The log's rounding to float32 is undone where a short decimal is meant.
    short = np.array([round(float(weight), 4) for weight in solution])
    weights[active] = np.where(np.abs(short - solution) < 1e-5, short, solution)
    return tuple(float(weight) for weight in weights)
