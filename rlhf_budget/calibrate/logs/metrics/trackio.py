"""trackio's project file: SQLite, one row of JSON a record."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from rlhf_budget.errors import LogError

if TYPE_CHECKING:
    from pathlib import Path

SQLITE_START = b"SQLite format 3\x00"


def read_trackio(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the records of each run.

    Raises
    ------
    LogError
        If the file is no such database.
    """
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            rows = connection.execute(
                "SELECT run_name, step, metrics FROM metrics ORDER BY step, id"
            ).fetchall()
    except sqlite3.Error as error:
        raise LogError(f"{path}: not readable as trackio's project: {error}") from None
    runs: dict[str, list[dict[str, Any]]] = {}
    for run, step, metrics in rows:
        values = json.loads(metrics)
        if isinstance(values, dict):
            runs.setdefault(str(run), []).append({"_step": step, **values})
    return runs
