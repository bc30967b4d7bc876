"""Points of a learning curve, (labels, evaluation loss), from tables and from training logs.

The traps of Hugging Face's ``trainer_state.json``: an epoch is a share of the labels, not a
multiple, so after the first one no new labels come; the number of labels stands in no field, but
follows from the speed in the last record; a checkpoint's file is the beginning of its run's.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_budget.calibrate.estimates import Source
from rlhf_budget.calibrate.logs.fields import number
from rlhf_budget.calibrate.logs.files import find_tables
from rlhf_budget.calibrate.logs.names import STATE, newest_of_each_run
from rlhf_budget.calibrate.logs.tables import TABLE_SUFFIXES, Row, find_field, read_table
from rlhf_budget.calibrate.reward_model.log_kind import LogKind, kind_of
from rlhf_budget.calibrate.reward_model.scored_pairs import (
    pair_loss,
    require_logits,
    require_scores,
    score_columns,
)
from rlhf_budget.errors import CalibrationError, FileAccessError, LogError

if TYPE_CHECKING:
    from collections.abc import Sequence

LABELS_FIELDS = ("labels", "m_labels", "n_labels", "num_labels", "comparisons", "pairs")
"""Columns recognised as numbers of labels."""
LOSS_FIELDS = ("eval_loss", "val_loss", "validation_loss", "test_loss", "eval_nll", "nll", "loss")
"""Columns, and values of a column ``metric``, recognised as evaluation losses, best first."""
ACCURACY_FIELDS = ("accuracy", "eval_accuracy", "val_accuracy", "validation_accuracy")
"""Columns, and values of a column ``metric``, recognised as accuracies."""

_STEPS = ("step", "global_step", "current_steps")
_TRAINING_ONLY = ("lr", "learning_rate", "grad_norm")
_BROKEN = ("malformed-row", "unusable-loss", "unusable-labels")


@dataclass(frozen=True, slots=True)
class LossLog:
    """Points of a learning curve and where they come from."""

    points: tuple[tuple[float, float], ...]
    """Pairs (labels, evaluation loss in nats per pair)."""
    source: Source
    """Files, fields and rows."""
    accuracies: int = 0
    """Rows that hold an accuracy and no loss."""
    runs: int | None = None
    """Training runs, where the points come from training logs."""
    refused: tuple[str, ...] = ()
    """What was left out because it is no reward model's, with the reason."""
    doubts: tuple[str, ...] = ()
    """Why the losses that were used may not be a reward model's."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What one file, or one run, gives."""

    points: tuple[tuple[float, float], ...]
    skips: tuple[str, ...]
    fields: tuple[tuple[str, str | None], ...]
    accuracies: int = 0
    from_run: bool = False
    kind: LogKind = field(default_factory=LogKind)
    pairs: int = 0
    """Scored preference pairs behind the points; 0 where each row is a point."""


def read_losses(
    paths: Sequence[str | Path],
    *,
    labels_field: str | None = None,
    loss_field: str | None = None,
    labels_per_step: float | None = None,
    strict: bool = False,
) -> LossLog:
    """Read the points of a learning curve.

    Parameters
    ----------
    paths
        Tables (``.csv``, ``.jsonl``, ``.json``, ``.parquet``) with a column of labels and one of
        losses, ``trainer_state.json`` files, patterns, or directories, which are searched for
        ``trainer_state.json``, else for scored pairs. One log gives its evaluations, several give
        one point each: the run's labels and its lowest loss. Tables of preference pairs with a
        reward model's scores of both responses give its loss at their column of labels, or at
        their number of pairs.
    labels_field, loss_field
        Columns of a table, where they are not recognised.
    labels_per_step
        Labels per optimiser step, for logs without a last record of the run's speed.
    strict
        Make unusable rows an error.

    Raises
    ------
    CalibrationError
        If a file has no usable row, or the number of labels cannot be told.
    LogError
        If a file is not of its kind, or ``strict`` finds an unusable row.
    FileAccessError
        If a file cannot be read.
    """
    files = tuple(dict.fromkeys(file for path in paths for file in _files_of(path)))
    runs: dict[Path, _Run] = {}
    tables: dict[Path, tuple[list[Row], int]] = {}
    for file in files:
        rows, broken = read_table(file)
        if len(rows) == 1 and isinstance(rows[0].get("log_history"), list):
            runs[file] = _Run(file, rows[0])
        else:
            tables[file] = rows, broken
    kept = set(newest_of_each_run(runs, lambda file: runs[file].length).values())
    beginnings = [runs.pop(file) for file in list(runs) if file not in kept]
    parts = [_run_part(run, labels_per_step, alone=len(runs) == 1) for run in runs.values()]
    parts += [
        _table_part(file, rows, broken, labels_field, loss_field, labels_per_step)
        for file, (rows, broken) in tables.items()
    ]
    log = _joined(files, parts, sum(len(run.evaluations) for run in beginnings))
    place = ", ".join(map(str, files))
    broken_rows = [skip for skip in log.source.skipped if skip.reason in _BROKEN]
    if broken_rows and (strict or not (log.points or log.accuracies or log.refused)):
        told = ", ".join(f"{skip.count} rows with {skip.reason}" for skip in broken_rows)
        kind = LogError if strict else CalibrationError
        raise kind(f"{place}: no usable row: {told}")
    if not log.points and log.refused:
        raise CalibrationError(f"no usable row: {'; '.join(log.refused)}")
    if not log.points and not log.accuracies:
        raise CalibrationError(
            f"{place}: no evaluation loss; evaluate while training "
            f"(TRL: eval_strategy='steps'), so that {STATE} holds eval_loss"
        )
    return log


def _files_of(path: str | Path) -> Sequence[Path]:
    """Return a file, those of a pattern, or a directory's states, else its scored pairs."""
    if Path(path).is_dir() and not any(Path(path).rglob(STATE)):
        with suppress(FileAccessError, CalibrationError, LogError):
            tables = find_tables([path], TABLE_SUFFIXES)
            scored = [file for file in tables if score_columns(read_table(file, limit=5)[0])]
            if scored:
                return scored
    return find_tables([path], (STATE,))


class _Run:
    """A trainer_state.json."""

    def __init__(self, file: Path, state: Row) -> None:
        self.file = file
        self.records = [record for record in state["log_history"] if isinstance(record, dict)]
        self.evaluations = [r for r in self.records if "eval_loss" in r or "eval_accuracy" in r]
        self.length = number(state.get("global_step")) or 0.0, len(state["log_history"])

    def losses(self, key: str) -> list[float]:
        return [loss for r in self.records if (loss := number(r.get(key))) is not None]

    def kind(self) -> LogKind:
        keys = {key for record in self.records for key in record}
        training = self.losses("loss")
        return kind_of(keys, self.losses("eval_loss"), training_losses=training, from_run=True)


def _run_part(run: _Run, labels_per_step: float | None, *, alone: bool) -> _Part:
    kind = _named(run.kind(), run.file)
    if kind.refused is not None:
        return _Part((), ("not-a-reward-model",) * len(run.evaluations), (), kind=kind)
    skips: list[str] = []
    best: dict[float, float] = {}
    labels_of = _LabelCount.of(run, labels_per_step) if run.evaluations else None
    for record in run.evaluations:
        loss = number(record.get("eval_loss"))
        labels = None if labels_of is None else labels_of(record)
        if "eval_loss" not in record:
            skips.append("accuracy-without-loss")
        elif loss is None or loss < 0.0:
            skips.append("unusable-loss")
        elif labels is None:
            skips.append("unusable-labels")
        elif labels == 0.0:
            skips.append("before-any-label")
        else:
            if labels in best:
                skips.append("no-new-labels")
            best[labels] = min(loss, best.get(labels, loss))
    accuracies = skips.count("accuracy-without-loss")
    points = sorted(best.items())
    if not alone and points:
        skips += ["not-the-lowest-loss"] * (len(points) - 1)
        points = [(points[-1][0], min(loss for _, loss in points))]
    fields = (("labels", labels_of.field if labels_of else None), ("loss", "eval_loss"))
    return _Part(tuple(points), tuple(skips), fields, accuracies, from_run=True, kind=kind)


def _named(kind: LogKind, file: Path) -> LogKind:
    return replace(kind, refused=kind.refused and f"{file}: {kind.refused}")


@dataclass(frozen=True, slots=True)
class _LabelCount:
    """Labels seen at a record of a training log."""

    total: float | None  # labels of the run; None where epochs are not logged
    per_step: float | None
    field: str

    @classmethod
    def of(cls, run: _Run, per_step: float | None) -> _LabelCount:
        last = max(run.records, key=lambda record: number(record.get("step")) or 0.0)
        epoch = number(last.get("epoch")) or 0.0
        end = next((record for record in reversed(run.records) if "train_runtime" in record), {})
        runtime = number(end.get("train_runtime"))
        speed = number(end.get("train_samples_per_second"))
        if runtime and speed and epoch:
            return cls(float(round(runtime * speed / epoch)), None, "epoch")
        if per_step is None:
            raise CalibrationError(
                f"{run.file}: the number of labels cannot be told without the last record of a "
                "finished run (trainer.save_state() writes it); give --labels-per-step, which is "
                "the pairs in one optimiser step over all devices and accumulation"
            )
        step = number(last.get("step")) or 0.0
        return cls(per_step * step / epoch if epoch else None, per_step, "step")

    def __call__(self, record: Row) -> float | None:
        epoch = number(record.get("epoch"))
        if self.total is not None and epoch is not None and epoch >= 0.0:
            return float(round(self.total * min(1.0, epoch)))
        step = number(record.get("step"))
        return None if self.per_step is None or step is None else self.per_step * step


def _table_part(
    file: Path,
    rows: list[Row],
    broken: int,
    labels_field: str | None,
    loss_field: str | None,
    labels_per_step: float | None,
) -> _Part:
    scores = score_columns(rows) if loss_field is None else None
    if scores is not None and find_field(rows, LOSS_FIELDS) is None:
        return _scored_part(file, rows, scores, labels_field)
    require_scores(file, rows)
    columns = _Columns.of(file, rows, labels_field, loss_field, labels_per_step)
    points: list[tuple[float, float]] = []
    skips = ["malformed-row"] * broken
    for row in rows:
        point = columns.point(row)
        if isinstance(point, str):
            skips.append(point)
        else:
            points.append(point)
    fields = (("labels", columns.labels), ("loss", columns.loss))
    accuracies = skips.count("accuracy-without-loss")
    keys = {key for row in rows for key in row}
    ordered = [loss for _, loss in sorted(points)]
    kind = _named(kind_of(keys, ordered, from_run=columns.labels in _STEPS), file)
    if kind.refused is not None:
        skips += ["not-a-reward-model"] * len(points)
        points = []
    return _Part(tuple(points), tuple(skips), fields, accuracies, kind=kind)


def _scored_part(
    file: Path, rows: list[Row], scores: tuple[str, str], labels_field: str | None
) -> _Part:
    """Return one point a number of labels: the pairs' own, or as many as the file has pairs."""
    require_logits(file, rows, scores)
    labels = find_field(rows, (labels_field,) if labels_field else LABELS_FIELDS)
    losses: dict[float, list[float]] = {}
    skips: list[str] = []
    for row in rows:
        loss = pair_loss(row, scores)
        count = float(len(rows)) if labels is None else number(row.get(labels))
        if loss is None or count is None or count <= 0.0:
            skips.append("unusable-loss" if loss is None else "unusable-labels")
        else:
            losses.setdefault(count, []).append(loss)
    points = tuple((count, sum(found) / len(found)) for count, found in sorted(losses.items()))
    fields = (("labels", labels or "(pairs in the file)"), ("loss", " - ".join(scores)))
    return _Part(points, tuple(skips), fields, pairs=len(rows) - len(skips))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which columns of a table hold what."""

    labels: str
    loss: str | None
    accuracy: str | None
    metric: str | None
    labels_per_unit: float

    @classmethod
    def of(
        cls,
        file: Path,
        rows: list[Row],
        labels: str | None,
        loss: str | None,
        labels_per_step: float | None,
    ) -> _Columns:
        metric = find_field(rows, ("metric",)) if loss in (None, "value") else None
        if metric and not find_field(rows, ("value",)):
            metric = None
        names = (loss,) if loss else (("value",) if metric else LOSS_FIELDS)
        loss_found = find_field(rows, names)
        accuracy = find_field(rows, ACCURACY_FIELDS)
        labels_found = find_field(rows, (labels,) if labels else LABELS_FIELDS)
        per_unit = 1.0
        if labels_found is None and labels is None and labels_per_step is not None:
            labels_found, per_unit = find_field(rows, _STEPS), labels_per_step
        if labels_found is None or (loss_found is None and (loss or accuracy is None)):
            role = "labels" if labels_found is None else "loss"
            present = ", ".join(sorted({name for row in rows for name in row}))
            by_steps = (
                labels_found is None and find_field(rows, _STEPS) and (loss_found or accuracy)
            )
            option = "--labels-per-step, the labels of a step" if by_steps else f"--{role}-field"
            raise CalibrationError(f"{file}: no field of {role} among {present}; give {option}")
        return cls(labels_found, loss_found, accuracy, metric, per_unit)

    def point(self, row: Row) -> tuple[float, float] | str:
        """Return the point of a row, or why there is none."""
        if self.metric is not None:
            name = str(row.get(self.metric))
            if name not in LOSS_FIELDS:
                return "accuracy-without-loss" if "accuracy" in name else "another-metric"
        empty = (None, "")
        if self.loss is None or (
            self.accuracy and row.get(self.loss) in empty and row.get(self.accuracy) not in empty
        ):
            return "accuracy-without-loss"
        training = self.loss == "loss" and any(name in row for name in _TRAINING_ONLY)
        if training or self.loss not in row:
            return "no-evaluation-loss"
        labels, loss = number(row.get(self.labels)), number(row[self.loss])
        if loss is None or loss < 0.0 or labels is None or labels < 0.0:
            return "unusable-loss" if loss is None or loss < 0.0 else "unusable-labels"
        return (labels * self.labels_per_unit, loss) if labels > 0.0 else "before-any-label"


def _joined(files: tuple[Path, ...], parts: list[_Part], beginnings: int) -> LossLog:
    runs = [part for part in parts if part.from_run]
    reasons = [reason for part in parts for reason in part.skips]
    source = Source.counted(
        files,
        sum(part.pairs or len(part.points) for part in parts),
        [*reasons, *["earlier-checkpoint"] * beginnings],
        trainer="trl" if runs and len(runs) == len(parts) else None,
        fields=next((part.fields for part in parts if part.fields), ()),
    )
    return LossLog(
        tuple(sorted(point for part in parts for point in part.points)),
        source,
        sum(part.accuracies for part in parts),
        len(runs) or None,
        refused=tuple(part.kind.refused for part in parts if part.kind.refused),
        doubts=tuple(dict.fromkeys(part.kind.doubt for part in parts if part.kind.doubt)),
    )
