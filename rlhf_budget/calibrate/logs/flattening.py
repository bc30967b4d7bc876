"""Records that hold several rollouts become one line a rollout, in a folder for the run."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.logs.dialects.nested import NestedDialect, NotUsable, Record, is_number
from rlhf_budget.calibrate.logs.fields import parsed
from rlhf_budget.calibrate.logs.files import LogFile, open_text
from rlhf_budget.errors import CalibrationError, LogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RECORD = "record"
"""Column of flat rows by which records that need not name a prompt are the same in two files."""
_FIRST_RECORDS = 10
_PARTS = 6
"""Folders of a path that are kept, for the steps that stand in their names."""


@dataclass(frozen=True)
class FlatLogs:
    """Nested logs, laid flat."""

    logs: tuple[LogFile, ...]
    """Files of JSON lines, one a rollout; lines that are no record stand as they were."""
    types: dict[str, str]
    """Type of each column: ``DOUBLE`` where its values are numbers, else ``VARCHAR``."""
    left_out: Counter[str]
    """Records left out on purpose, by reason."""


def nested_dialect(entry: LogFile, dialects: Sequence[NestedDialect]) -> NestedDialect | None:
    """Return the form of a file's first records; None where they are flat.

    Not of the first alone: it may be of a prompt that failed.
    """
    records = (record for record in _records(entry) if isinstance(record, dict))
    for record in islice(records, _FIRST_RECORDS):
        for dialect in dialects:
            with suppress(ValueError):
                if dialect.holds(record):
                    return dialect
    return None


def flatten(
    entries: Sequence[LogFile], dialect: NestedDialect, reward: str | None, folder: Path
) -> FlatLogs:
    """Write the rollouts of nested logs of one form into a folder, one line a rollout.

    ``reward`` is the reward's field, where it was given by hand; paths in the folder end as those
    of the files. Raises CalibrationError if no record holds a rollout.
    """
    columns: dict[str, bool] = {}
    left_out = Counter[str]()
    logs = []
    unnamed = count()
    for position, entry in enumerate(entries):
        place = folder.joinpath(str(position), *Path(entry.path).resolve().parts[1:][-_PARTS:])
        place = place.with_suffix(".jsonl")
        place.parent.mkdir(parents=True)
        with place.open("w", encoding="utf-8") as stream:
            for record in _records(entry):
                try:
                    rows = list(dialect.rows(record, reward)) if isinstance(record, dict) else []
                    if dialect.one_group_a_record:
                        common = {"prompt": f"record {next(unnamed)}", RECORD: _digest(rows)}
                        rows = [common | row for row in rows]
                except NotUsable as reason:
                    left_out[str(reason)] += 1
                    continue
                except (ValueError, TypeError, KeyError, AttributeError):
                    rows = []
                for row in rows:
                    for name, value in row.items():
                        columns[name] = columns.get(name, True) and (
                            value is None or is_number(value)
                        )
                    stream.write(json.dumps(row) + "\n")
                if not rows:
                    stream.write('"no rollouts in this record"\n')
        logs.append(replace(entry, path=str(place), format="jsonl"))
    if not columns:
        broken = (
            f"every record is broken ({dialect.name}): it needs lists of one length, or a reward in"
            " each object"
        )
        why = ", ".join(f"{number} {reason}" for reason, number in left_out.items()) or broken
        raise CalibrationError(f"no usable row: {why}")
    names = frozenset(columns)
    return FlatLogs(
        tuple(replace(log, columns=names) for log in logs),
        {name: "DOUBLE" if numbers else "VARCHAR" for name, numbers in columns.items()},
        left_out,
    )


def _digest(rows: list[Record]) -> str:
    """Return what the rows of a record have in every file and form, and no other rows have."""
    text = json.dumps(rows, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _records(entry: LogFile) -> Iterator[Any]:
    """Yield the records of a file; None for a broken line."""
    if entry.format == "parquet":
        yield from _parquet_records(entry.path)
        return
    with open_text(entry.path) as stream:
        if entry.format == "csv":
            yield from csv.DictReader(stream)
            return
        if entry.format == "jsonl":
            yield from (parsed(line) for line in stream if line.strip())
            return
        text = stream.read()
    try:
        whole = json.loads(text)
    except ValueError:
        yield from (parsed(line) for line in text.splitlines() if line.strip())
        return
    yield from whole if isinstance(whole, list) else [whole]


def _parquet_records(path: str) -> Iterator[Record]:
    """Yield the rows a few at a time: a cell may hold a thousand rollouts."""
    import duckdb

    from rlhf_budget.calibrate.logs.sql import quoted

    try:
        with duckdb.connect() as connection:
            found = connection.execute(f"SELECT * FROM read_parquet({quoted(path)})")  # noqa: S608
            names = [column[0] for column in found.description or ()]
            while rows := found.fetchmany(1000):
                yield from (dict(zip(names, row, strict=True)) for row in rows)
    except duckdb.Error as error:
        raise LogError(f"{path}: not readable as parquet: {error}") from None
