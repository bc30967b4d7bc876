"""From paths to rows: files, trainer, fields, and what only a trainer's own log tells."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.estimates import CalibrationWarning, Skip, Source
from rlhf_budget.calibrate.logs.dialects import (
    NESTED,
    dialect_of,
    layout_of,
    recognise,
    resolve_layout,
)
from rlhf_budget.calibrate.logs.dialects.nested import NestedDialect
from rlhf_budget.calibrate.logs.fields import USED, Field, parse_reward, step_in_path
from rlhf_budget.calibrate.logs.files import (
    FileSet,
    LogFile,
    find_logs,
    format_of,
    is_metrics_table,
    is_training_log_file,
    state_around,
    tracker_logs,
)
from rlhf_budget.calibrate.logs.flattening import RECORD, flatten, nested_dialect
from rlhf_budget.calibrate.logs.merges import NOTHING, find_merges
from rlhf_budget.calibrate.logs.metrics.reading import read_metrics
from rlhf_budget.calibrate.logs.metrics.records import is_training_log
from rlhf_budget.calibrate.logs.names import step_level
from rlhf_budget.calibrate.logs.tables import read_table
from rlhf_budget.calibrate.logs.unnoticed import SAMPLE, unnoticed_step
from rlhf_budget.errors import CalibrationError, LogError, RlhfBudgetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import narwhals as nw

    from rlhf_budget.calibrate.logs.dialects.dialect import Dialect
    from rlhf_budget.calibrate.logs.engine import FileEngine
    from rlhf_budget.calibrate.logs.fields import FieldNames, Layout
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog


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
    steps_unknown: str | None = None
    """Why several policies may be pooled; None where nothing says so."""


def is_log_alone(path: str) -> bool:
    """Return whether a path is a trainer's own log, in which no list of rewards stands.

    Raises
    ------
    FileAccessError
        If the file cannot be read.
    """
    if not is_training_log_file(path):
        return False
    entries = find_logs((path,)).logs if format_of(Path(path).name) is not None else ()
    return not any(nested_dialect(entry, NESTED) for entry in entries)


def open_source(
    paths: Sequence[str],
    trainer: str | None,
    names: FieldNames,
    log: MetricsLog | None,
    engine: FileEngine,
    folder: Path,
    *,
    run: str | None = None,
    strict: bool,
) -> LogSource | MetricsLog:
    """Find the files, recognise their format and open their rows.

    Where there are no rollouts but a trainer's own log, that log is returned. Raises
    CalibrationError if there is no prompt or reward field, nothing to read, or a mixture of formats
    or runs; LogError if ``strict`` and a file holds nothing that can be read; FileAccessError.
    """
    files = find_logs(tuple(paths))
    if strict and files.unreadable:
        path, reason = files.unreadable[0]
        raise LogError(f"--strict: {path}: {reason}")
    logs, types = _with_columns(files, engine)
    dialect, logs = _one_trainer(logs, trainer, names)
    read = {entry.path for entry in logs}
    passed_over = tuple(
        (entry.path, "no rollouts in it")
        for entry in files.logs
        if entry.format == "jsonl" and entry.path not in read and not is_metrics_table(entry)
    )
    unknown = () if logs or log is None else files.logs
    if log is None and (beside := _log_beside(files, logs, paths)) is not None:
        log = read_metrics(beside, run)
    if not logs:
        if log is None or unknown:
            _say_what_is_missing(files.logs, names)
        if log is None:
            why = "; ".join(f"{path}: {reason}" for path, reason in files.unreadable)
            raise CalibrationError(f"no usable row: {why or 'no file of rollouts'}")
        return log
    logs, thinner = _without_thinner(logs, dialect)
    originals = tuple(entry.path for entry in logs)
    left_out: tuple[Skip, ...] = ()
    if isinstance(dialect, NestedDialect):
        _require_local_files(engine, dialect)
        flat = flatten(logs, dialect, names.reward, folder)
        logs, types = list(flat.logs), flat.types
        left_out = tuple(Skip(reason, n) for reason, n in sorted(flat.left_out.items()))
        names = replace(names, reward=None)
    columns = frozenset[str]().union(*(entry.columns for entry in logs), types)
    layout = resolve_layout(columns - {RECORD}, dialect, names)
    if dialect is not None and names.reward is None:
        layout = dialect.logged_rewards(layout, dict.fromkeys(columns, "DOUBLE") | types, log)
    logs, originals, merged = _without_merges(logs, originals, layout, engine)
    logs, warnings = _mark_evaluation(logs, dialect)
    if layout.step is None or layout.step.kind == "path":
        named = zip(originals, logs, strict=True)
        level = step_level([path for path, entry in named if not entry.evaluation])
        layout = replace(layout, step=None if level is None else step_in_path(level))
    rows = engine.read(logs, layout)
    evaluation: tuple[int, ...] = ()
    if dialect is not None and log is not None:
        given = names.reward is not None
        lesson = dialect.learn_from_log(rows, layout, log, engine, rewards_given=given)
        rows, layout, evaluation = lesson.rows, lesson.layout, lesson.evaluation_steps
    rows = _last_outputs(rows, layout, engine)
    doubt = None if layout.step is not None else _doubt_of_steps(rows, layout, logs, engine)
    return LogSource(
        rows=rows,
        layout=layout,
        source=Source(
            files=originals,
            skipped=left_out,
            trainer=layout.trainer,
            fields=layout.names(),
            files_skipped=(*files.unreadable, *passed_over),
        ),
        log=log,
        evaluation_steps=evaluation,
        warnings=(*_repeat_warning((*files.repeated, *thinner)), *merged, *warnings),
        steps_unknown=doubt,
    )


def _say_what_is_missing(logs: Sequence[LogFile], names: FieldNames) -> None:
    """Raise CalibrationError if tables are rollouts but for a field that is not recognised."""
    tables = [log for log in logs if log.format in {"jsonl", "csv"} and not is_metrics_table(log)]
    if tables:
        columns = frozenset[str]().union(*(table.columns for table in tables))
        resolve_layout(columns, recognise(columns), names)


def _doubt_of_steps(
    rows: nw.LazyFrame[Any], layout: Layout, logs: list[LogFile], engine: FileEngine
) -> str | None:
    """Return why rows without a step may be of several policies; None where nothing says so."""
    import narwhals as nw

    with suppress(RlhfBudgetError):  # what is wrong with the file is told where all of it is read
        records, _ = read_table(Path(logs[0].path), limit=SAMPLE)
        column = unnoticed_step(records, layout)
        if column is not None:
            return column
    if len(logs) < 2:
        return None
    one = nw.lit(1).alias("count")
    in_files = (
        rows.filter(nw.col("reason") == USED)
        .group_by("prompt", "file_name")
        .agg(nw.len().alias("count"))
        .with_columns(one)
        .group_by("prompt")
        .agg(nw.col("count").sum())
    )
    found = engine.fetch(
        in_files.filter(nw.col("count") > 1).with_columns(one).select(nw.col("count").sum())
    )
    shared = int(found[0]["count"] or 0)
    # A group that a shard's end cuts in two is in two files as well.
    if shared < len(logs):
        return None
    return (
        f"{shared} prompts come back in several files, and neither a field nor the files' names say"
        " which step they are of: name files after their steps (step_10.jsonl), give --step-field,"
        " or give the files of one step"
    )


def _log_beside(files: FileSet, rollouts: list[LogFile], paths: Sequence[str]) -> str | None:
    """Return a trainer's own log: its state, a table of metrics, a tracker's, a state around."""
    if files.metrics is not None:
        return files.metrics
    used = {entry.path for entry in rollouts}
    tables = tuple(e.path for e in files.logs if e.path not in used and is_metrics_table(e))
    beside = tables or tracker_logs(paths)
    if len(beside) > 1:
        listed = ", ".join(beside)
        raise CalibrationError(f"several training logs: {listed}; name one with --metrics")
    return beside[0] if beside else state_around(entry.path for entry in rollouts)


def _with_columns(files: FileSet, engine: FileEngine) -> tuple[list[LogFile], dict[str, str]]:
    """Fill in the columns of parquet files, which the engine describes together."""
    parquet = [entry for entry in files.logs if entry.format == "parquet"]
    types = engine.columns(parquet) if parquet else {}
    if is_training_log(types):
        parquet = [entry for entry in parquet if not is_metrics_table(entry)]
        types = engine.columns(parquet) if parquet else {}
    described = [
        replace(entry, columns=frozenset(types)) if entry in parquet else entry
        for entry in files.logs
    ]
    return described, types


def _one_trainer(
    logs: list[LogFile], trainer: str | None, names: FieldNames
) -> tuple[Dialect | None, list[LogFile]]:
    """Return the one trainer of all files, without side files that a directory brought."""
    forms = {entry.path: _form(entry) for entry in logs}
    rollouts = [
        entry
        for entry in logs
        if forms[entry.path]
        or not (is_metrics_table(entry) or (_is_side_file(entry, names) and not entry.named))
    ]
    nested = {form for form in forms.values() if isinstance(form, NestedDialect)}
    if trainer is not None:
        chosen = next((form for form in nested if form.name == trainer), dialect_of(trainer))
        return chosen, rollouts
    found = {forms[entry.path] for entry in rollouts if entry.columns or forms[entry.path]}
    if nested and len(found) > 1:
        listed = ", ".join(sorted(form.name if form else "rows of another form" for form in found))
        raise CalibrationError(f"files of several forms: {listed}; calibrate one at a time")
    found -= {None}
    known = sorted(dialect.name for dialect in found if dialect is not None)
    if len(known) > 1:
        raise CalibrationError(
            f"files of several trainers: {', '.join(known)}; calibrate one run at a time,"
            " or name one with --trainer"
        )
    dialect = next(iter(found), None)
    if dialect is not None and (above := dialect.run_folder) is not None:
        runs: dict[Path, str] = {}
        for path in (Path(entry.path) for entry in rollouts):
            whole, given = path.resolve().parents, path.parents
            run = whole[min(above, len(whole) - 1)]
            runs.setdefault(run, str(given[above] if above < len(given) else run))
        if len(runs) > 1:
            listed = ", ".join(sorted(runs.values()))
            raise CalibrationError(
                f"completions of several runs: {listed}; calibrate one at a time"
            )
    return dialect, rollouts


def _form(entry: LogFile) -> Dialect | None:
    """Return the form of a file: by its columns, else by what its first record holds."""
    return recognise(entry.columns) or nested_dialect(entry, NESTED)


def _is_side_file(entry: LogFile, names: FieldNames) -> bool:
    """Return whether a text that a directory brought holds no rollouts."""
    given = {names.prompt, *(f.name for f, _ in parse_reward(names.reward or ""))}
    if entry.format == "parquet" or (entry.format == "jsonl" and not entry.columns):
        return False
    layout = layout_of(entry.columns, recognise(entry.columns))
    return not given & entry.columns and (layout.prompt is None or not layout.rewards)


def _last_outputs(rows: nw.LazyFrame[Any], layout: Layout, engine: FileEngine) -> nw.LazyFrame[Any]:
    """Keep the last of several outputs of one rollout: they share one reward."""
    import narwhals as nw

    if layout.output is None:
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
    logs: list[LogFile], dialect: Dialect | None
) -> tuple[list[LogFile], tuple[CalibrationWarning, ...]]:
    """Leave evaluation files out where there are training ones; say so where there are none."""
    by_name = dialect is None or dialect.names_tell_evaluation
    only = None if dialect is None else dialect.evaluation_columns
    marked = [
        replace(
            entry,
            evaluation=(by_name and entry.evaluation)
            or (only is not None and only <= entry.columns),
        )
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


def _without_thinner(
    logs: list[LogFile], dialect: Dialect | None
) -> tuple[list[LogFile], tuple[str, ...]]:
    """Leave out files that hold a part of what a folder beside theirs holds."""
    folders = None if dialect is None else dialect.thinner_folders
    if folders is None:
        return logs, ()
    thin, whole = folders
    present = {Path(entry.path).parent for entry in logs}
    repeated = tuple(
        entry.path
        for entry in logs
        if (folder := Path(entry.path).parent).name == thin and folder.parent / whole in present
    )
    return [entry for entry in logs if entry.path not in repeated], repeated


def _require_local_files(engine: FileEngine, dialect: NestedDialect) -> None:
    if not engine.sees_local_files:
        raise CalibrationError(
            f"{dialect.name}: records that hold several rollouts are laid flat on this machine,"
            " where a Spark cluster does not read; use --engine duckdb"
        )


def _without_merges(
    logs: list[LogFile], originals: tuple[str, ...], layout: Layout, engine: FileEngine
) -> tuple[list[LogFile], tuple[str, ...], tuple[CalibrationWarning, ...]]:
    """Leave out files whose rows others hold too, and say so; say where that may be chance."""
    if len(logs) < 2:
        return logs, originals, ()
    step = None if layout.step is None or layout.step.kind == "path" else layout.step
    compared = replace(layout, step=step)
    if any(RECORD in entry.columns for entry in logs):
        compared = replace(compared, prompt=Field(RECORD))
    found = engine.contents(logs, compared)
    # The files that were given, whose folders tell shards apart; their rows may be flat elsewhere.
    named = dict(zip(originals, logs, strict=True))
    merges = find_merges(
        {p: found.get(str(Path(log.path).resolve()), NOTHING) for p, log in named.items()}
    )
    kept = {path: log for path, log in named.items() if path not in merges.certain}
    warnings = _repeat_warning(merges.certain)
    if merges.doubtful:
        message = (
            "files with the same prompts and rewards as others, which may be chance and are"
            f" counted: {', '.join(merges.doubtful)}; leave copies out"
        )
        warnings = (*warnings, CalibrationWarning("repeated-batches", message))
    return list(kept.values()), tuple(kept), warnings


def _repeat_warning(repeated: tuple[str, ...]) -> tuple[CalibrationWarning, ...]:
    message = (
        "left out, since other files hold the same rows (copies, or shards beside their merge):"
        f" {', '.join(repeated)}"
    )
    return (CalibrationWarning("repeated-batches", message),) if repeated else ()
