"""Small tables from files: rows of named values.

For learning curves, prices of runs and log-probabilities, which fit in memory; rollouts, which may
not, have their own engine. Both read files by the same tables of DuckDB (``sql.file_table``).
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.logs.files import find_tables, format_of
from rlhf_budget.calibrate.logs.sql import file_table
from rlhf_budget.errors import CalibrationError, FileAccessError, LogError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Row = dict[str, Any]

TABLE_SUFFIXES = (".csv", ".json", ".jsonl", ".jsonl.gz", ".parquet")
"""Endings of the names of files that :func:`read_table` reads."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Rows of several files as one table."""

    files: tuple[Path, ...]
    """The files, each once."""
    rows: list[Row]
    """Rows of all."""
    broken: int
    """Records that are broken or no objects."""

    @property
    def place(self) -> str:
        """The files, as errors name them."""
        return ", ".join(map(str, self.files))

    @property
    def columns(self) -> list[str]:
        """Names that any row has, in order."""
        return sorted({name for row in self.rows for name in row})


def read_tables(paths: Iterable[str | Path]) -> Tables:
    """Read tables behind paths, patterns and directories; raises as :func:`read_table`."""
    files = find_tables(paths, TABLE_SUFFIXES)
    tables = [read_table(file) for file in files]
    return Tables(
        files, [row for rows, _ in tables for row in rows], sum(broken for _, broken in tables)
    )


def read_table(path: Path, *, limit: int | None = None) -> tuple[list[Row], int]:
    """Read a table, one mapping a row.

    Parameters
    ----------
    path
        A ``.csv`` with a header, ``.jsonl``, ``.jsonl.gz``, ``.json`` (an object or a list of
        objects), or ``.parquet``.
    limit
        Read the first rows only.

    Returns
    -------
    tuple
        Rows, whose values are texts from CSV and as written elsewhere (numbers that are not finite
        count as missing), and the number of records that are broken or no objects.

    Raises
    ------
    CalibrationError, LogError, FileAccessError, MissingExtraError
        If the file holds no row, is not of that kind or cannot be read; without the extra.
    """
    with _opened(path) as relation:
        names = relation.columns
        records = (relation if limit is None else relation.limit(limit)).fetchall()
    if not records:
        raise CalibrationError(f"{path}: no usable row: the file holds none")
    if format_of(path.name) in {"csv", "parquet"}:
        return [dict(zip(names, record, strict=True)) for record in records], 0
    documents = [_parsed(text) for text, _ in records]
    rows = [document for document in documents if isinstance(document, dict)]
    return rows, len(documents) - len(rows)


def read_columns(path: Path) -> dict[str, list[Any]]:
    """Read a parquet file, one list a column; raises as :func:`read_table`."""
    with _opened(path) as relation:
        rows = relation.fetchall()
        return {name: [row[i] for row in rows] for i, name in enumerate(relation.columns)}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Yield the file as a relation of DuckDB."""
    kind = format_of(path.name)
    if kind is None:
        raise LogError(f"{path}: unknown kind of file; readable are {', '.join(TABLE_SUFFIXES)}")
    try:
        import duckdb
    except ImportError:
        raise MissingExtraError(
            "reading logs needs: pip install 'rlhf-budget[calibrate]'"
        ) from None
    try:
        if kind != "parquet" and path.stat().st_size == 0:
            raise CalibrationError(f"{path}: no usable row: the file holds none")
        with duckdb.connect() as connection:
            yield connection.sql(f"SELECT * FROM {file_table(kind, [str(path)], names=False)}")  # noqa: S608 (the name is quoted)
    except (OSError, duckdb.IOException) as error:
        raise FileAccessError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except duckdb.Error as error:
        first_line = str(error).strip().splitlines()[0]
        raise LogError(f"{path}: not readable as {path.suffix[1:]}: {first_line}") from None


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text or "null", parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def find_field(rows: Iterable[Row], names: tuple[str, ...]) -> str | None:
    """Return the first of the names that any row has."""
    present = {name for row in rows for name in row}
    return next((name for name in names if name in present), None)
