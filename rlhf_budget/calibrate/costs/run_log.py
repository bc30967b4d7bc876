"""Past runs from a table: prompts, rollouts per prompt, and hours or money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.calibrate.costs.calibration import PastRun
from rlhf_budget.calibrate.estimates import Skip, Source
from rlhf_budget.calibrate.logs.files import find_tables
from rlhf_budget.calibrate.logs.tables import TABLE_SUFFIXES, Row, number, read_table
from rlhf_budget.errors import CalibrationError, LogError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def read_runs(
    paths: Sequence[str | Path],
    *,
    hourly_rate: float | None = None,
    name: str | None = None,
    strict: bool = False,
) -> tuple[tuple[PastRun, ...], Source]:
    """Read past runs.

    Parameters
    ----------
    paths
        Tables with the columns ``prompts``, ``rollouts_per_prompt`` and ``cost`` or ``hours``, and
        optionally ``gpus`` (1), ``tokens`` and ``run``.
    hourly_rate
        Price of one GPU hour: money is ``hours · gpus · hourly_rate`` where there is no ``cost``.
    name
        Use the rows of this ``run`` only.
    strict
        Make unusable rows an error.

    Raises
    ------
    CalibrationError
        If a column is missing, the hours have no rate, no row is usable, or no run has the name.
    LogError
        If a file is not of its kind, or ``strict`` finds an unusable row.
    FileAccessError
        If a file cannot be read.
    """
    files = find_tables(paths, TABLE_SUFFIXES)
    tables = [read_table(file) for file in files]
    rows = [row for table, _ in tables for row in table]
    place = ", ".join(map(str, files))
    _require_columns(place, rows, hourly_rate)
    runs: list[PastRun] = []
    skips = ["malformed-row"] * sum(broken for _, broken in tables)
    for row in rows:
        run = _run(row, hourly_rate)
        if name is not None and str(row.get("run") or "") != name:
            skips.append("another-run")
        elif run is None:
            skips.append("unusable-run")
        else:
            runs.append(run)
    if strict and "unusable-run" in skips:
        raise LogError(f"{place}: {skips.count('unusable-run')} rows lack a number above 0")
    if strict and "malformed-row" in skips:
        raise LogError(f"{place}: {skips.count('malformed-row')} rows with malformed-row")
    if not runs:
        _raise_empty(place, rows, name)
    source = Source(
        files=tuple(map(str, files)),
        rows_read=len(runs) + len(skips),
        rows_used=len(runs),
        skipped=tuple(Skip(r, skips.count(r)) for r in sorted(set(skips))),
    )
    return tuple(runs), source


def _require_columns(place: str, rows: list[Row], hourly_rate: float | None) -> None:
    present = {column for row in rows for column in row}
    missing = [c for c in ("prompts", "rollouts_per_prompt") if c not in present]
    if not present & {"cost", "hours"}:
        missing.append("cost or hours")
    if missing:
        found = ", ".join(sorted(present))
        raise CalibrationError(f"{place}: no column {' and no '.join(missing)} among {found}")
    if "cost" not in present and hourly_rate is None:
        raise CalibrationError(
            f"{place}: hours are no money; give --hourly-rate, the price of a GPU hour"
        )


def _run(row: Row, hourly_rate: float | None) -> PastRun | None:
    prompts, group = number(row.get("prompts")), number(row.get("rollouts_per_prompt"))
    money = _money(row, hourly_rate)
    tokens = number(row.get("tokens"))
    if prompts is None or group is None or money is None:
        return None
    if prompts <= 0.0 or group <= 0.0 or money < 0.0 or (tokens is not None and tokens <= 0.0):
        return None
    return PastRun(prompts, group, money, str(row.get("run") or ""), tokens)


def _money(row: Row, hourly_rate: float | None) -> float | None:
    cost = number(row.get("cost"))
    if cost is not None or hourly_rate is None:
        return cost
    hours = number(row.get("hours"))
    gpus = 1.0 if row.get("gpus") in (None, "") else number(row["gpus"])
    return None if hours is None or gpus is None else hours * gpus * hourly_rate


def _raise_empty(place: str, rows: list[Row], name: str | None) -> None:
    if name is not None:
        names = ", ".join(sorted({str(row.get("run") or "") for row in rows}))
        raise CalibrationError(f"{place}: no usable row of run {name!r}; there are {names}")
    raise CalibrationError(
        f"{place}: no usable row; each needs prompts, rollouts per prompt and a cost"
    )
