"""Files of log-ratios for the empirical tail."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rlhf_budget.errors import FileAccessError, Problem, ScenarioError
from rlhf_budget.scenario.reading import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY: Final = "log_ratio.file"
COLUMN: Final = "log_ratio"
"""Column read from a .csv file that has several."""

_ALLOWED: Final = "a finite number, the log-ratio of one response in nats"


def read_bytes(path: Path, named_by: str = "") -> bytes:
    """Return what a file holds.

    Raises
    ------
    FileAccessError
        When it cannot be read, saying why and who named it.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a path with a null character is a ValueError
        reason = getattr(error, "strerror", None) or str(error)
        raise FileAccessError(f"cannot read {path}{named_by}: {reason}") from error


def decoded(content: bytes, file: str) -> str:
    """Return the text of a file.

    Raises
    ------
    FileAccessError
        When it is no UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileAccessError(f"cannot read {file}: not UTF-8 text ({error})") from error


def read_samples(file: str) -> tuple[float, ...]:
    """Read log-ratios from a .npy file, a .csv file, or a file with one number a line.

    A .csv file has one column, with or without a header, or one column called ``log_ratio``. In
    text files, blank lines and lines that begin with # are skipped. A path may be relative to the
    working directory; there is at least one number, in the order of the file.

    Raises
    ------
    FileAccessError
        When the file cannot be read.
    ScenarioError
        When it does not hold finite numbers alone.
    """
    path = Path(file)
    content = read_bytes(path, f" (named by {KEY})")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        samples = _from_npy(content, file)
    else:
        text = decoded(content, file)
        rows = _csv_rows(text, file) if suffix == ".csv" else _text_rows(text)
        samples = tuple(_number(cell, line, file) for line, cell in rows)
    if not samples:
        raise _error("an empty file", "at least one number", file)
    return samples


def _error(found: str, allowed: str, file: str, line: int | None = None) -> ScenarioError:
    return ScenarioError((Problem(KEY, found, allowed, file, line),))


def _number(cell: str, line: int, file: str) -> float:
    value = _float(cell)
    if value is None or not math.isfinite(value):
        raise _error(shown(cell), _ALLOWED, file, line)
    return value


def _float(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _text_rows(text: str) -> Iterable[tuple[int, str]]:
    for line, row in enumerate(text.splitlines(), start=1):
        if row.strip() and not row.lstrip().startswith("#"):
            yield line, row


def _csv_rows(text: str, file: str) -> Iterable[tuple[int, str]]:
    import csv  # noqa: PLC0415 - only this kind of file needs it

    reader = csv.reader(io.StringIO(text))
    column: int | None = None
    for row in reader:
        if not row or row[0].lstrip().startswith("#"):
            continue
        if column is None:
            column, is_header = _column(row, reader.line_num, file)
            if is_header:
                continue
        if len(row) <= column:
            raise _error(f"a row of {len(row)} cells", _ALLOWED, file, reader.line_num)
        yield reader.line_num, row[column]


def _column(first: list[str], line: int, file: str) -> tuple[int, bool]:
    """Return the column of the log-ratios, and whether the first row is a header."""
    names = [name.strip() for name in first]
    if COLUMN in names:
        return names.index(COLUMN), True
    if len(names) > 1:
        found = f"the columns {', '.join(names[:8])}"
        raise _error(found, f"one column, or one called {COLUMN}", file, line)
    return 0, _float(names[0]) is None


def _from_npy(content: bytes, file: str) -> tuple[float, ...]:
    import numpy as np  # noqa: PLC0415 - only this kind of file needs it

    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _error(f"no readable array ({error})", "an array saved by numpy.save", file) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise _error("an array of another kind", "an array of numbers", file)
    if array.ndim != 1 and array.size != max(array.shape, default=0):
        raise _error(f"an array of shape {array.shape}", "an array with one dimension", file)
    values = array.ravel().astype(float)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise _error(f"{values[bad[0]]} as entry {bad[0] + 1}", _ALLOWED, file)
    return tuple(values.tolist())
