"""From paths to rows: files, trainer, fields, and what only a trainer's own log tells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.estimates import CalibrationWarning, Source
from rlhf_budget.calibrate.logs import trl
from rlhf_budget.calibrate.logs.aggregates import USED
from rlhf_budget.calibrate.logs.fields import (
    Field,
    FieldNames,
    Layout,
    Trainer,
    layout_of,
    recognise,
    resolve_layout,
    trl_reward_candidates,
)
from rlhf_budget.calibrate.logs.files import FileSet, LogFile, find_logs
from rlhf_budget.calibrate.logs.metrics.reading import read_metrics
from rlhf_budget.errors import CalibrationError, LogError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import narwhals as nw

    from rlhf_budget.calibrate.logs.engine import FileEngine
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog

_NUMERIC_TYPES = ("DOUBLE", "FLOAT", "BIGINT", "INTEGER", "INT", "SMALLINT", "TINYINT", "BOOLEAN")


@dataclass(frozen=True)
class LogSource:
    """Rows of rollouts and what is known about them."""

    rows: nw.LazyFrame[Any]
    """Frame with the columns ``fields.COLUMNS``."""
    layout: Layout
    """Where the columns came from."""
    source: Source
    """Files and fields, without counts."""
    log: MetricsLog | None
    """The trainer's own log."""
    evaluation_steps: tuple[int, ...]
    """Steps whose rows are evaluation rollouts."""
    warnings: tuple[CalibrationWarning, ...]
    """What the files themselves already say."""


def open_source(
    paths: Sequence[str],
    trainer: Trainer | None,
    names: FieldNames,
    metrics: str | None,
    engine: FileEngine,
    *,
    strict: bool,
) -> LogSource:
    """Find the files, recognise their format and open their rows.

    Raises
    ------
    CalibrationError
        If there is no prompt or reward field, no rollouts, or a mixture of formats or runs.
    LogError
        If ``strict`` and a file holds nothing that can be read.
    FileAccessError
        If files cannot be read.
    """
    files = find_logs(tuple(paths))
    if strict and files.unreadable:
        path, reason = files.unreadable[0]
        raise LogError(f"--strict: {path}: {reason}")
    log_path = metrics or files.metrics
    log = None if log_path is None else read_metrics(log_path)
    logs, types = _with_columns(files, engine)
    trainer, logs = _one_trainer(logs, trainer, types)
    if not logs:
        raise CalibrationError(_nothing_usable(files, log))
    columns = frozenset[str]().union(*(entry.columns for entry in logs), types)
    layout = resolve_layout(columns, trainer, names)
    if trainer == "trl" and names.reward is None:
        layout = _with_trl_rewards(layout, columns, types, log)
    logs, warnings = _mark_evaluation(logs, trainer)
    rows = engine.read(logs, layout)
    evaluation: tuple[int, ...] = ()
    if trainer == "trl" and log is not None:
        layout, rows, evaluation = _apply_trl_log(rows, layout, log, engine, names)
    rows = _last_outputs(rows, layout, engine)
    return LogSource(
        rows=rows,
        layout=layout,
        source=Source(
            files=tuple(entry.path for entry in logs),
            trainer=layout.trainer,
            fields=layout.names(),
            files_skipped=files.unreadable,
        ),
        log=log,
        evaluation_steps=evaluation,
        warnings=(*_repeat_warning(files), *warnings),
    )


def _nothing_usable(files: FileSet, log: MetricsLog | None) -> str:
    if files.unreadable:
        listed = "; ".join(f"{path}: {reason}" for path, reason in files.unreadable)
        return f"no usable row: {listed}"
    if log is not None:
        return (
            f"no usable row: {log.path} is a trainer's log, and there are no rollouts beside it"
            " (TRL's RLOO and OpenRLHF >= 0.9.6 write none; give rollouts and --metrics)"
        )
    return "no usable row: no file of rollouts"


def _with_columns(files: FileSet, engine: FileEngine) -> tuple[list[LogFile], dict[str, str]]:
    """Fill in the columns of parquet files, which the engine describes together."""
    parquet = [entry for entry in files.logs if entry.format == "parquet"]
    types = engine.columns(parquet) if parquet else {}
    described = [
        replace(entry, columns=frozenset(types)) if entry.format == "parquet" else entry
        for entry in files.logs
    ]
    return described, types


def _one_trainer(
    logs: list[LogFile], trainer: Trainer | None, types: dict[str, str]
) -> tuple[Trainer | None, list[LogFile]]:
    """Return the one trainer of all files, without side files that a directory brought."""
    del types
    rollouts = [entry for entry in logs if entry.named or not _is_side_file(entry)]
    if trainer is not None:
        return trainer, rollouts
    found = {recognise(entry.columns) for entry in rollouts if entry.columns}
    known = {name for name in found if name is not None}
    if len(known) > 1:
        raise CalibrationError(
            f"files of several trainers: {', '.join(sorted(known))}; calibrate one run at a time,"
            " or name one with --trainer"
        )
    trainer = next(iter(known), None)
    folders = {str(Path(entry.path).parent) for entry in rollouts}
    if trainer == "trl" and len(folders) > 1:
        raise CalibrationError(
            f"completions of several runs: {', '.join(sorted(folders))}; calibrate one at a time"
        )
    return trainer, rollouts


def _is_side_file(entry: LogFile) -> bool:
    """Return whether a directory brought a JSON or CSV file that holds no rollouts."""
    layout = layout_of(entry.columns, recognise(entry.columns))
    return entry.format in {"json", "csv"} and (layout.prompt is None or not layout.rewards)


def _with_trl_rewards(
    layout: Layout, columns: frozenset[str], types: dict[str, str], log: MetricsLog | None
) -> Layout:
    if log is not None:
        names = [name for name in trl.reward_columns(log) if name in columns]
    else:
        numeric = [name for name in columns if types.get(name, "DOUBLE").upper() in _NUMERIC_TYPES]
        names = sorted(trl_reward_candidates(numeric))
        if len(names) > 1:
            listed = ",".join(f"{name}=WEIGHT" for name in names)
            raise CalibrationError(
                f"no reward field: without the trainer's log, {', '.join(names)} may all be"
                f" rewards; give --metrics trainer_state.json, or --reward-field {listed}"
            )
    if not names:
        raise CalibrationError("no reward field: no reward column; give --reward-field")
    return replace(layout, rewards=tuple((Field(name), 1.0) for name in names))


def _apply_trl_log(
    rows: nw.LazyFrame[Any],
    layout: Layout,
    log: MetricsLog,
    engine: FileEngine,
    names: FieldNames,
) -> tuple[Layout, nw.LazyFrame[Any], tuple[int, ...]]:
    """Find evaluation steps and, unless rewards were given, weigh them by the log."""
    import narwhals as nw

    columns = [field.name for field, _ in layout.rewards]
    steps = _step_means(rows, len(columns), engine)
    evaluation = trl.evaluation_steps(log, columns, steps)
    if names.reward is not None:
        return layout, rows, evaluation
    training = [step for step in steps if step.step not in evaluation]
    weights = trl.recover_weights(log, columns, training)
    total = sum(
        (nw.col(f"reward_{i}") * weight for i, weight in enumerate(weights[1:], start=1)),
        nw.col("reward_0") * weights[0],
    )
    kept = tuple(
        (field, weight) for (field, _), weight in zip(layout.rewards, weights, strict=True)
    )
    weighed = replace(layout, rewards=tuple(pair for pair in kept if pair[1] != 0))
    return weighed, rows.with_columns(reward=total), evaluation


def _step_means(rows: nw.LazyFrame[Any], size: int, engine: FileEngine) -> list[trl.StepMeans]:
    import narwhals as nw

    names = [f"reward_{i}" for i in range(size)]
    nulls = [f"reward_null_{i}" for i in range(size)]
    table = (
        rows.filter(nw.col("reason") == USED)
        .group_by("step")
        .agg(*(nw.col(n).mean() for n in names), *(nw.col(n).sum() for n in nulls))
    )
    return [
        trl.StepMeans(
            int(record["step"]),
            tuple(float(record[name]) for name in names),
            tuple(int(record[name]) for name in nulls),
        )
        for record in engine.fetch(table)
    ]


def _last_outputs(rows: nw.LazyFrame[Any], layout: Layout, engine: FileEngine) -> nw.LazyFrame[Any]:
    """Keep the last of several outputs of one rollout: they share one reward (verl)."""
    import narwhals as nw

    if layout.prompt is None or layout.prompt.kind != "verl-uid":
        return rows
    several = engine.fetch(rows.select(nw.col("output_index").max()))[0]["output_index"]
    if not several:
        return rows
    last = nw.col("output_index").max().over("step", "rollout")
    earlier = (nw.col("reason") == USED) & (nw.col("output_index") < last)
    return rows.with_columns(
        reason=nw.when(earlier).then(nw.lit("earlier-output")).otherwise(nw.col("reason"))
    )


def _mark_evaluation(
    logs: list[LogFile], trainer: Trainer | None
) -> tuple[list[LogFile], tuple[CalibrationWarning, ...]]:
    """Leave evaluation files out where there are training ones; say so where there are none."""
    marked = [
        replace(entry, evaluation=trainer != "trl" and _holds_evaluation(entry, trainer))
        for entry in logs
    ]
    if not all(entry.evaluation for entry in marked):
        return marked, ()
    message = (
        "all files hold evaluation rollouts, and are used: their prompts and sampling may differ"
        " from training's"
    )
    used = [replace(entry, evaluation=False) for entry in marked]
    return used, (CalibrationWarning("evaluation-rows", message),)


def _holds_evaluation(entry: LogFile, trainer: Trainer | None) -> bool:
    verl_validation = trainer == "verl" and {"uid", "score", "reward"} <= entry.columns
    return entry.evaluation or verl_validation


def _repeat_warning(files: FileSet) -> tuple[CalibrationWarning, ...]:
    if not files.repeated:
        return ()
    listed = ", ".join(files.repeated)
    message = (
        "left out, since other files hold the same rows (copies, or shards beside their merge):"
        f" {listed}"
    )
    return (CalibrationWarning("repeated-batches", message),)
