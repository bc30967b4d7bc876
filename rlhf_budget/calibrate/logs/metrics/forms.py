"""The forms of a trainer's log but TensorBoard's: JSON, consoles, tables of trackers, trackio."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.logs.fields import parsed
from rlhf_budget.calibrate.logs.metrics.records import BETWEEN, is_evaluation, is_training_log
from rlhf_budget.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Row = dict[str, Any]
"""Values by key, as a trainer wrote them."""
Runs = dict[str, list[Row]]
"""Rows of each run of a log, in order; a log without names has one run, ``""``."""

SQLITE_START = b"SQLite format 3\x00"
_NUMBER = r"[-+]?\d[\d_.]*(?:[eE][-+]?\d+)?"
_TYPED = r"(?:[A-Za-z][\w.]*\()?"  # np.float64(0.5)
_DICTIONARY = re.compile(r"\{[^{}]*\}")
_ENTRY = re.compile(rf"""['"]([^'"]+)['"]\s*:\s*['"]?{_TYPED}({_NUMBER})""")
_STEP_LINE = re.compile(r"\bstep:\d+ - .*")
_STEP_ENTRY = re.compile(rf"^(\S+?):{_TYPED}({_NUMBER})\)?$")
_RUN_COLUMNS = ("run_name", "run", "Name", "run_id")
"""Columns of a run's name and its identifier: two runs may have one name."""
_STEP_COLUMNS = frozenset({"step", "_step", "train/global_step", "global_step"})
_TWINS = ("__MIN", "__MAX")


def read_json_log(text: str) -> tuple[list[Row], int | None]:
    """Return the records of ``trainer_state.json``, of a bare list, or of a file of JSON lines.

    With them, the steps between them where the text says so. Lines that are no JSON are left out:
    a run that was killed cuts its last one.
    """
    steps_between = None
    try:
        whole = json.loads(text)
    except ValueError:
        found = [parsed(line) for line in text.splitlines() if line.lstrip().startswith("{")]
    else:
        found = whole if isinstance(whole, list) else [whole]
        if isinstance(whole, dict):
            if isinstance(whole.get("log_history"), list):
                found = whole["log_history"]
            if isinstance(whole.get("logging_steps"), int | float):
                steps_between = max(1, int(whole["logging_steps"]))
    rows = [row for row in found if isinstance(row, dict)]
    # verl nests its numbers: {"step": 1, "data": {…}}.
    return [
        {**r, **r["data"]} if isinstance(r.get("data"), dict) else r for r in rows
    ], steps_between


def read_console(text: str) -> list[dict[str, str]]:
    """Return the records that lines of a console's text hold, as texts of numbers.

    They are dictionaries (TRL, Unsloth, Hugging Face) or verl's ``step:N - key:value``; progress
    bars, prefixes of processes and other lines stand between and before them.
    """
    records = []
    for line in re.split(r"[\r\n]+", text):
        if (step_line := _STEP_LINE.search(line)) is not None:
            entries = (_STEP_ENTRY.match(part) for part in step_line.group().split(" - "))
            records.append({entry[1]: entry[2] for entry in entries if entry})
            continue
        for dictionary in _DICTIONARY.findall(line):
            record = dict(_ENTRY.findall(dictionary))
            if is_training_log(record) or is_evaluation(record):
                records.append(record)
    return records


def read_csv_log(text: str) -> Runs:
    """Return the rows of each run in a CSV text; none where it has no column of steps."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = [name.strip() for name in reader.fieldnames or ()]
    if not any(name.lower() in _STEP_COLUMNS for name in names):
        return {}
    reader.fieldnames = names
    return by_run(reader, names)


def by_run(rows: Iterable[Mapping[str, Any]], names: list[str]) -> Runs:
    """Return the rows of a table, apart by run."""
    panel = [name for name in names if BETWEEN in name]
    if panel:
        return _panel(rows, names[0], panel)
    columns = [name for name in _RUN_COLUMNS if name in names]
    runs: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = tuple(str(row[name]) for name in columns)
        runs.setdefault(key, []).append({k: v for k, v in row.items() if k and k not in columns})
    first = Counter(key[:1] for key in runs)
    return {"/".join(key if first[key[:1]] > 1 else key[:1]): rows for key, rows in runs.items()}


def _panel(rows: Iterable[Mapping[str, Any]], step: str, columns: list[str]) -> Runs:
    """Undo ``RUN - KEY``; each value has twins with its least and its largest."""
    wanted = []
    for column in columns:
        run, _, key = column.rpartition(BETWEEN)
        if not key.endswith(_TWINS) and key != "_step":
            wanted.append((column, run, key))
    runs: Runs = {run: [] for _, run, _ in wanted}
    for row in rows:
        at_step: dict[str, dict[str, Any]] = {}
        for column, run, key in wanted:
            if row.get(column) not in {None, ""}:
                at_step.setdefault(run, {"step": row[step]})[key] = row[column]
        for run, record in at_step.items():
            runs[run].append(record)
    return runs


def read_trackio(path: Path) -> Runs:
    """Return the records of each run of trackio's SQLite; LogError if it is no such file."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            found = connection.execute("SELECT * FROM metrics ORDER BY step, id")
            names = [name for name, *_ in found.description]
            rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except sqlite3.Error as error:
        raise LogError(f"{path}: not readable as trackio's project: {error}") from None
    runs = by_run(rows, names)
    return {
        run: [
            {"_step": row.get("step"), **values}
            for row in of_run
            if isinstance(values := parsed(row.get("metrics") or ""), dict)
        ]
        for run, of_run in runs.items()
    }
