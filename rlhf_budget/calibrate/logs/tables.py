"""Small tables from files: rows of named values.

For learning curves, prices of runs and log-probabilities, which fit in memory; rollouts, which may
not, have their own engine.
"""

from __future__ import annotations

import csv
import glob
import gzip
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_budget.errors import CalibrationError, FileAccessError, LogError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Row = dict[str, Any]

TABLE_SUFFIXES = (".csv", ".json", ".jsonl", ".jsonl.gz", ".parquet")
"""Endings of the names of files that :func:`read_rows` reads."""


def expand_paths(patterns: Iterable[str | Path], *, endings: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the files that paths, patterns and directories stand for.

    Parameters
    ----------
    patterns
        Files, patterns such as ``runs/*.csv``, and directories, which are searched recursively.
    endings
        Endings of the names to take from a directory.

    Raises
    ------
    FileAccessError
        If one of them stands for no file.
    """
    files: list[Path] = []
    for pattern in patterns:
        found = _files_of(str(pattern), endings)
        if not found:
            raise FileAccessError(f"{pattern}: no such file, or nothing matches")
        files += [file for file in found if file not in files]
    return tuple(files)


def _files_of(pattern: str, endings: tuple[str, ...]) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file() and p.name.endswith(endings))
    if path.exists():
        return [path]
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob has no absolute patterns
    return sorted(path for path in map(Path, matches) if path.is_file())


def read_rows(path: Path) -> list[Row]:
    """Read a table, one mapping a row.

    Parameters
    ----------
    path
        A ``.csv`` with a header, ``.jsonl``, ``.jsonl.gz``, a ``.json`` list of objects, or
        ``.parquet``.

    Returns
    -------
    list of dict
        Values are texts from CSV and as written elsewhere.

    Raises
    ------
    CalibrationError
        If the file holds no row.
    LogError
        If it is not of that kind.
    FileAccessError
        If it cannot be read.
    MissingExtraError
        For parquet without the extra ``calibrate``.
    """
    for ending, reader in _READERS.items():
        if path.name.endswith(ending):
            rows = _guarded(reader, path)
            if not rows:
                raise CalibrationError(f"{path}: no usable row: the file holds none")
            return rows
    raise LogError(f"{path}: unknown kind of file; readable are {', '.join(TABLE_SUFFIXES)}")


def _guarded(reader: Callable[[Path], list[Row]], path: Path) -> list[Row]:
    try:
        return reader(path)
    except (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise LogError(f"{path}: not readable as {path.suffix[1:]}: {error}") from None
    except OSError as error:
        raise FileAccessError(f"{path}: {error.strerror or error}") from None


def _read_csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return [{k: v for k, v in row.items() if k is not None} for row in csv.DictReader(lines)]


def _read_json(path: Path) -> list[Row]:
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise LogError(f"{path}: expected a list of objects")
    return rows


def read_json(path: Path) -> Any:
    """Read one JSON document; numbers that are not finite count as missing.

    Raises
    ------
    LogError
        If the text is no JSON.
    FileAccessError
        If the file cannot be read.
    """
    try:
        return _parsed(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise LogError(f"{path}: not readable as JSON: {error}") from None
    except OSError as error:
        raise FileAccessError(f"{path}: {error.strerror or error}") from None


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (json.JSONDecodeError, RecursionError) as error:
        raise LogError(f"{place}: not readable as JSON: {error}") from None


def _read_json_lines(path: Path) -> list[Row]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        rows = [
            _parsed(line, f"{path}, line {number}")
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
    if not all(isinstance(row, dict) for row in rows):
        raise LogError(f"{path}: expected one object a line")
    return rows


def _read_parquet(path: Path) -> list[Row]:
    columns = read_parquet_columns(path)
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def read_parquet_columns(path: Path) -> dict[str, list[Any]]:
    """Read a parquet file, one list a column.

    Raises
    ------
    LogError
        If the file is no parquet.
    FileAccessError
        If it cannot be read.
    MissingExtraError
        Without the extra ``calibrate``.
    """
    try:
        import duckdb
    except ImportError:
        raise MissingExtraError(
            "reading parquet needs: pip install 'rlhf-budget[calibrate]'"
        ) from None
    if not path.exists():
        raise FileAccessError(f"{path}: no such file")
    try:
        with duckdb.connect() as connection:
            relation = connection.read_parquet(glob.escape(str(path)))
            rows = relation.fetchall()
            return {name: [row[i] for row in rows] for i, name in enumerate(relation.columns)}
    except duckdb.Error as error:
        raise LogError(f"{path}: not readable as parquet: {error}") from None


_READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".jsonl.gz": _read_json_lines,
    ".parquet": _read_parquet,
}


def number(value: object) -> float | None:
    """Return a finite number, also from text; None for anything else, truth values included."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def find_field(rows: list[Row], names: tuple[str, ...]) -> str | None:
    """Return the first of the names that any row has."""
    present = {name for row in rows for name in row}
    return next((name for name in names if name in present), None)
