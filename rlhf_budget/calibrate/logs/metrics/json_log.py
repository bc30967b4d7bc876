"""JSON: ``trainer_state.json``, a bare list of its records, and one record a line (verl)."""

from __future__ import annotations

import json
from typing import Any


def read_json_log(text: str) -> tuple[list[dict[str, Any]], int | None]:
    """Return the records in a text, and the steps between them where it says so.

    Lines that are no JSON are left out: a run that was killed cuts its last one.
    """
    steps_between = None
    try:
        whole = json.loads(text)
    except ValueError:
        found = [_parsed(line) for line in text.splitlines() if line.lstrip().startswith("{")]
    else:
        found = _history(whole)
        if isinstance(whole, dict) and isinstance(whole.get("logging_steps"), int | float):
            steps_between = max(1, int(whole["logging_steps"]))
    return [_flat(row) for row in found if isinstance(row, dict)], steps_between


def _history(whole: Any) -> list[Any]:
    if isinstance(whole, dict) and isinstance(whole.get("log_history"), list):
        return list(whole["log_history"])
    return whole if isinstance(whole, list) else [whole]


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Undo verl's nesting: ``{"step": 1, "data": {…}}``."""
    inner = row.get("data")
    return {**row, **inner} if isinstance(inner, dict) else row
