"""Tables: Weights & Biases' history (CSV, parquet), its panels' exports, trackio's parquet."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.logs.metrics.records import BETWEEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_RUN_COLUMNS = ("run_name", "run", "run_id")
_STEP_COLUMNS = frozenset({"step", "_step", "train/global_step", "global_step"})
_TWINS = ("__MIN", "__MAX")


def read_csv_log(text: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each run in a CSV text; none where it has no column of steps."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = [name.strip() for name in reader.fieldnames or ()]
    if not any(name.lower() in _STEP_COLUMNS for name in names):
        return {}
    reader.fieldnames = names
    return by_run(reader, names)


def by_run(rows: Iterable[Mapping[str, Any]], names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a table, apart by run."""
    panel = [name for name in names if BETWEEN in name]
    if panel:
        return _panel(rows, names[0], panel)
    run = next((name for name in _RUN_COLUMNS if name in names), None)
    runs: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name = "" if run is None else str(row[run])
        runs.setdefault(name, []).append({k: v for k, v in row.items() if k and k != run})
    return runs


def _panel(
    rows: Iterable[Mapping[str, Any]], step: str, columns: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """Undo ``RUN - KEY``; each value has twins with its least and its largest."""
    wanted = []
    for column in columns:
        run, _, key = column.rpartition(BETWEEN)
        if not key.endswith(_TWINS) and key != "_step":
            wanted.append((column, run, key))
    runs: dict[str, list[dict[str, Any]]] = {run: [] for _, run, _ in wanted}
    for row in rows:
        at_step: dict[str, dict[str, Any]] = {}
        for column, run, key in wanted:
            if row.get(column) not in {None, ""}:
                at_step.setdefault(run, {"step": row[step]})[key] = row[column]
        for run, record in at_step.items():
            runs[run].append(record)
    return runs
