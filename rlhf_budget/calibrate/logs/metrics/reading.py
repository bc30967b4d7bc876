"""From a file to a trainer's log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlhf_budget.calibrate.logs.metrics.log import MetricsLog
from rlhf_budget.errors import FileAccessError, LogError


def read_metrics(path: str) -> MetricsLog:
    """Read ``trainer_state.json`` or a file of JSON lines such as verl's.

    Raises
    ------
    FileAccessError
        If the file cannot be read.
    LogError
        If it is no such log.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileAccessError(f"{path}: {error}") from error
    logging_steps = 1
    try:
        whole = json.loads(text)
    except ValueError:
        rows = [_flat(row) for line in text.splitlines() if (row := _parsed(line)) is not None]
    else:
        rows = [_flat(row) for row in _history(whole)]
        logging_steps = int(whole.get("logging_steps") or 1) if isinstance(whole, dict) else 1
    rows = [row for row in rows if isinstance(row.get("step"), int | float)]
    if not rows:
        raise LogError(f"{path}: no record with a step; allowed: trainer_state.json or JSON lines")
    evaluations = {int(r["step"]) for r in rows if any(key.startswith("eval_") for key in r)}
    training = [r for r in rows if not any(key.startswith("eval_") for key in r)]
    return MetricsLog(path, tuple(training), frozenset(evaluations), logging_steps)


def _history(whole: Any) -> list[Any]:
    if isinstance(whole, dict) and isinstance(whole.get("log_history"), list):
        return list(whole["log_history"])
    return whole if isinstance(whole, list) else [whole]


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _flat(row: Any) -> dict[str, Any]:
    """Undo verl's nesting: ``{"step": 1, "data": {…}}``."""
    if not isinstance(row, dict):
        return {}
    inner = row.get("data")
    return {**row, **inner} if isinstance(inner, dict) else row
