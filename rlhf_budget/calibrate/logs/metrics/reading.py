"""From a file to a trainer's log: its form is told by its content, its run by name."""

from __future__ import annotations

import gzip
import zlib
from itertools import pairwise
from pathlib import Path

from rlhf_budget.calibrate.logs.files import tracker_logs
from rlhf_budget.calibrate.logs.metrics.forms import (
    SQLITE_START,
    Row,
    Runs,
    by_run,
    read_console,
    read_csv_log,
    read_json_log,
    read_trackio,
)
from rlhf_budget.calibrate.logs.metrics.log import MetricsLog
from rlhf_budget.calibrate.logs.metrics.records import (
    is_evaluation,
    is_training_log,
    plain_records,
    training_part,
)
from rlhf_budget.calibrate.logs.metrics.tensorboard import is_event_file, read_event_files
from rlhf_budget.errors import CalibrationError, FileAccessError, LogError

_FORMS = (
    "trainer_state.json, JSON lines, W&B's history or panels (CSV, parquet), TensorBoard's events,"
    " trackio's project, a console's text"
)
_PARQUET_START, _GZIP_START = b"PAR1", b"\x1f\x8b"
_UTF_16_STARTS = (b"\xff\xfe", b"\xfe\xff")


def read_metrics(path: str, run: str | None = None) -> MetricsLog:
    """Read a trainer's own log, in any of its forms, or a folder of TensorBoard's event files.

    ``run`` says which, where the log holds several. Raises FileAccessError or LogError if it cannot
    be read or is none, CalibrationError if ``run`` names none of several, MissingExtraError for
    parquet and event files without the extra that reads them.
    """
    runs, steps_between = _runs(Path(path))
    rows = _chosen_run(path, runs, run)
    records, ordered = plain_records(rows)
    if not records or not any(is_training_log(record) for record in records):
        raise LogError(f"{path}: no record of a training log; allowed: {_FORMS}")
    training = [part for record in records if (part := training_part(record)) is not None]
    steps = sorted({int(record["step"]) for record in training})
    distances = (later - step for step, later in pairwise(steps))
    return MetricsLog(
        path,
        tuple(training),
        frozenset(int(r["step"]) for r in records if is_evaluation(r)),
        steps_between or min(distances, default=1),
        ordered=ordered,
    )


def _runs(path: Path) -> tuple[Runs, int | None]:
    """Return the rows of each run, and the steps between them where the log says so."""
    if path.is_dir():
        found = tracker_logs([str(path)])
        if len(found) != 1:
            listed = ", ".join(found) or "none"
            raise CalibrationError(f"{path}: one training log is needed in it; there are {listed}")
        if found != (str(path),):
            return _runs(Path(found[0]))
    inside = (path, *path.rglob("*"))
    events = [file for file in inside if file.is_file() and is_event_file(file)]
    if events:
        return read_event_files(events), None
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_START):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileAccessError(f"{path}: {reason}") from error
    if content.startswith(SQLITE_START):
        return read_trackio(path), None
    if content.startswith(_PARQUET_START):
        from rlhf_budget.calibrate.logs.tables import read_table

        rows, _ = read_table(path)
        return by_run(rows, list(rows[0])), None
    # PowerShell's redirection writes UTF-16.
    coding = "utf-16" if content.startswith(_UTF_16_STARTS) else "utf-8-sig"
    text = content.decode(coding, errors="replace")
    json_rows, steps_between = read_json_log(text)
    if any(is_training_log(row) for row in json_rows):
        return {"": json_rows}, steps_between
    return read_csv_log(text) or {"": read_console(text)}, None


def _chosen_run(path: str, runs: Runs, run: str | None) -> list[Row]:
    if run is not None and run in runs:
        return runs[run]
    ending = [name for name in runs if run and Path(name).name == run]
    if len(ending) == 1:
        return runs[ending[0]]
    if len(runs) == 1 and (run is None or "" in runs):
        return next(iter(runs.values()))
    listed = ", ".join(sorted(runs)) or "none"
    if run is None:
        raise CalibrationError(f"{path}: several runs: {listed}; choose one with --run")
    raise CalibrationError(f"{path}: no run {run}; there are {listed}")
