"""Which files to read: paths, patterns and directories become a list of logs, each of one kind."""

from __future__ import annotations

import csv
import glob
import gzip
import hashlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, cast

from rlhf_budget.calibrate.logs.dialects import is_metadata, layout_of, recognise
from rlhf_budget.calibrate.logs.fields import parsed
from rlhf_budget.calibrate.logs.metrics.records import is_training_log
from rlhf_budget.calibrate.logs.metrics.tensorboard import is_event_file
from rlhf_budget.calibrate.logs.names import (
    CHECKPOINT,
    STATE,
    evaluation_files,
    newest_of_each_run,
)
from rlhf_budget.errors import FileAccessError, LogError

if TYPE_CHECKING:
    from collections.abc import Iterable

Format = Literal["jsonl", "json", "csv", "parquet"]

_SUFFIXES = re.compile(r"\.(jsonl|json|csv|parquet)(\.gz)?(\d*)$")
_SNIFFED_RECORDS = 5
_SNIFFED_LINES = 200
_SHORTEST_PARQUET = 12
_HEAD = 1 << 20
_WHOLE = 0.95
"""Share of its shards' bytes that a merge has at the least."""
_CONSOLE_SUFFIXES = frozenset({".log", ".txt", ".out", ".err"})
_PROJECT_SUFFIXES = frozenset({".db", ".sqlite", ".sqlite3"})
_METRICS_KEYS = {"step", "data"}


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of rollouts."""

    path: str
    """Path as given or found."""
    format: Format
    """How it is written."""
    columns: frozenset[str]
    """Keys of the first records, or column names; empty for parquet, which its engine describes."""
    evaluation: bool
    """Whether its name says that it holds evaluation rollouts."""
    named: bool = True
    """Whether the user named it; False where a pattern or directory brought it."""


@dataclass(frozen=True, slots=True)
class FileSet:
    """What a list of paths stands for."""

    logs: tuple[LogFile, ...]
    """Files of rollouts, in order of their names."""
    metrics: str | None
    """A trainer's own log found in a directory."""
    repeated: tuple[str, ...]
    """Files left out because others hold the same rows: copies, and shards beside their merge."""
    unreadable: tuple[tuple[str, str], ...]
    """Pairs (file, why) of files that hold nothing that can be read."""


def find_logs(paths: tuple[str, ...]) -> FileSet:
    """Return the logs behind paths, patterns and directories.

    Raises FileAccessError if one of them stands for nothing, or a file cannot be read.
    """
    named: dict[str, bool] = {}
    for path in paths:
        for found, by_name in expand(path):
            if format_of(found) is not None:
                named[found] = named.get(found, False) or by_name
            elif by_name:
                raise FileAccessError(
                    f"{path}: not a log by its name; allowed: .jsonl, .jsonl.gz, .json, .csv,"
                    " .parquet"
                )
    metrics = [path for path in named if Path(path).name == STATE]
    candidates = [path for path in sorted(named, key=_natural) if path not in metrics]
    kept, repeated = _without_repeats(candidates)
    evaluations = evaluation_files(kept)
    logs, unreadable = [], []
    for path in kept:
        evaluation = path in evaluations
        log, reason = _open_log(path, by_name=named[path], evaluation=evaluation)
        if log is not None and set(log.columns) == _METRICS_KEYS:
            metrics.append(path)
        elif log is not None:
            logs.append(log)
        elif reason:
            unreadable.append((path, reason))
    return FileSet(tuple(logs), _best_metrics(metrics), tuple(repeated), tuple(unreadable))


def is_training_log_file(path: str) -> bool:
    """Return whether a path is a trainer's own log and no table of rollouts, by its first records.

    A console's text, TensorBoard's events and trackio's project count as logs by their names:
    reading them tells. Raises FileAccessError if the file cannot be read.
    """
    place = Path(path)
    if place.is_dir():
        inside = [file for file in place.rglob("*") if file.is_file()]
        return bool(tracker_logs([path])) and not any(format_of(file.name) for file in inside)
    kind = format_of(place.name)
    if not place.is_file():
        return False
    if kind is None:
        suffix = Path(place.name.lower().removesuffix(".gz")).suffix
        return suffix in _CONSOLE_SUFFIXES | _PROJECT_SUFFIXES or is_event_file(place)
    log, _ = _open_log(path, by_name=True, evaluation=False)
    return log is not None and is_metrics_table(log)


def is_metrics_table(log: LogFile) -> bool:
    """Return whether a table, or JSON, holds a trainer's metrics and no rollouts."""
    if log.format == "json":
        with open_text(log.path) as stream:
            if '"log_history"' in stream.read(_HEAD):  # trainer_state.json, under whatever name
                return True
    keys = log.columns or (_parquet_columns(log.path) if log.format == "parquet" else log.columns)
    return is_training_log(keys) and layout_of(keys, recognise(keys)).prompt is None


def tracker_logs(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the logs in directories that no table holds: those of trackers, else consoles.

    TensorBoard's event files are one log however many folders hold them.
    """
    directories = [Path(path) for path in paths if Path(path).is_dir()]
    for directory in directories:
        inside = sorted(file for file in directory.rglob("*") if file.is_file())
        if any(map(is_event_file, inside)):
            return (str(directory),)
        for suffixes in (_PROJECT_SUFFIXES, _CONSOLE_SUFFIXES):
            found = tuple(str(file) for file in inside if file.suffix.lower() in suffixes)
            if found:
                return found
    return ()


def expand(path: str, *, endings: tuple[str, ...] | None = None) -> list[tuple[str, bool]]:
    """Return pairs (file, whether it was named itself) of a path, a pattern or a directory.

    A directory is searched recursively, for names with the given endings; None takes every kind
    that can be read. Raises FileAccessError if it stands for no file.
    """

    def wanted(name: str) -> bool:
        return format_of(name) is not None if endings is None else name.endswith(endings)

    place = Path(path)
    if place.is_dir():
        inside = sorted(str(p) for p in place.rglob("*") if p.is_file() and wanted(p.name))
        if not inside:
            listed = ".jsonl, .jsonl.gz, .json, .csv or .parquet"
            raise FileAccessError(f"{path}: no {' or '.join(endings or (listed,))} in it")
        return [(found, False) for found in inside]
    if place.is_file():
        return [(path, True)]
    found_names = glob.glob(path, recursive=True)  # noqa: PTH207 (Path.glob refuses absolute ones)
    matches = sorted(found for found in found_names if Path(found).is_file())
    if not matches:
        what = "no file matches" if glob.has_magic(path) else "no such file"
        raise FileAccessError(f"{path}: {what}")
    return [(found, False) for found in matches]


def find_tables(paths: Iterable[str | Path], endings: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the files of small tables behind paths, patterns and directories, each once.

    Raises FileAccessError if one of them stands for no file.
    """
    found = (name for path in paths for name, _ in expand(str(path), endings=endings))
    return tuple(Path(name) for name in dict.fromkeys(found))


def format_of(name: str) -> Format | None:
    """Return how a file is written, by its name; None where it is no log or table."""
    match = _SUFFIXES.search(name.lower())
    return cast("Format", match.group(1)) if match else None


def _natural(path: str) -> list[tuple[int, int | str]]:
    """Sort key under which 2.jsonl comes before 10.jsonl."""
    parts = re.split(r"(\d+)", path)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def _without_repeats(paths: list[str]) -> tuple[list[str], list[str]]:
    """Drop a shard (``x.jsonl0``) beside its merge (``x.jsonl``), and byte-for-byte copies."""
    sizes = {path: Path(path).stat().st_size for path in paths}
    same_size = Counter(sizes.values())
    # Content is read only where another file is of the same size, and beyond its head only where
    # another one has the same head.
    heads = {
        path: (size, _digest(path, _HEAD) if size and same_size[size] > 1 else b"")
        for path, size in sizes.items()
    }
    alike = Counter(heads.values())
    merges = {path: re.sub(r"\d+$", "", path) for path in paths}
    shards = Counter[str]()
    for path, merged in merges.items():
        shards[merged] += sizes[path] if merged != path else 0
    kept, repeated, digests = [], [], set[bytes]()
    for path in paths:
        digest = _digest(path) if sizes[path] and alike[heads[path]] > 1 else b""
        merged = merges[path]
        # What is shorter than its parts is no merge; rows tell which files repeat others.
        whole = merged != path and sizes.get(merged, -1) >= _WHOLE * shards[merged]
        if whole or digest in digests:
            repeated.append(path)
        else:
            kept.append(path)
            digests |= {digest} - {b""}
    return kept, repeated


def _digest(path: str, length: int | None = None) -> bytes:
    """Return a digest of a file, or of its head of so many bytes."""
    with Path(path).open("rb") as stream:
        if length is not None:
            return hashlib.sha256(stream.read(length)).digest()
        return hashlib.file_digest(stream, "sha256").digest()


def _open_log(path: str, *, by_name: bool, evaluation: bool) -> tuple[LogFile | None, str]:
    """Return the log, or why there is none; files of another kind in a directory have no reason."""
    kind = format_of(Path(path).name)
    try:
        if kind is None or Path(path).stat().st_size == 0:
            return None, "empty file"
        if kind == "parquet":
            if not _is_parquet(path):
                return None, "not a parquet file (cut short?)"
            columns: frozenset[str] = frozenset()
        else:
            with open_text(path) as stream:
                head = next(csv.reader(stream), []) if kind == "csv" else _json_keys(stream)
            columns = frozenset(head)
            other = re.search(r"[;\t]", "".join(columns)) if len(columns) == 1 else None
            if kind == "csv" and other is not None:
                raise LogError(f"{path}: values are parted by {other[0]!r}; allowed: commas")
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise FileAccessError(f"{path}: {error}") from error
    if is_metadata(path, columns):
        return None, ""
    return LogFile(path, kind, columns, evaluation, by_name), ""


def _is_parquet(path: str) -> bool:
    with Path(path).open("rb") as stream:
        start = stream.read(4)
        if stream.seek(0, 2) < _SHORTEST_PARQUET:
            return False
        stream.seek(-4, 2)
        return start == stream.read(4) == b"PAR1"


def _parquet_columns(path: str) -> frozenset[str]:
    try:
        import duckdb
    except ImportError:
        return frozenset()
    try:
        with duckdb.connect() as connection:
            return frozenset(connection.read_parquet(glob.escape(path)).columns)
    except duckdb.Error as error:
        raise FileAccessError(f"{path}: not readable as parquet: {error}") from None


def open_text(path: str) -> IO[str]:
    """Open a text, unpacked where it is packed; bytes that are no UTF-8 are replaced."""
    if path.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace")
    return Path(path).open(encoding="utf-8-sig", errors="replace")


def _json_keys(stream: IO[str]) -> set[str]:
    """Return the keys of the first records of JSON lines or of a JSON array."""
    start = stream.read(1)
    while start.isspace():
        start = stream.read(1)
    stream.seek(0)
    if start == "[":  # the first object, without reading the array
        text = stream.read(_HEAD)
        try:
            return set(json.JSONDecoder().raw_decode(text[text.index("{") :])[0])
        except ValueError:
            return set()
    keys: set[str] = set()
    records = 0
    for _, line in zip(range(_SNIFFED_LINES), stream, strict=False):
        record = parsed(line)
        if isinstance(record, dict) and record:
            keys.update(record)
            records += 1
        if records == _SNIFFED_RECORDS:
            break
    return keys


def state_around(rollouts: Iterable[str]) -> str | None:
    """Return the newest trainer_state.json beside files of rollouts, else one folder up.

    None where there is none, or where they are of several runs. TRL writes its completions into a
    folder of the run's, and its state into the run's folder and into that of each checkpoint.
    """
    beside = list(dict.fromkeys(Path(file).parent for file in rollouts))
    above = [Path(os.path.normpath(folder / "..")) for folder in beside]
    for folders in (beside, above):
        states = [
            state
            for folder in dict.fromkeys(folders)
            for pattern in (STATE, f"{CHECKPOINT}*/{STATE}")
            for state in folder.glob(pattern)
        ]
        newest = list(newest_of_each_run(states, _last_step).values())
        if newest:
            return str(newest[0]) if len(newest) == 1 else None
    return None


def _best_metrics(paths: list[str]) -> str | None:
    """Return the newest log of the run nearest to the top."""
    if not paths:
        return None
    newest = newest_of_each_run(map(Path, paths), _last_step)
    return str(min(newest.items(), key=lambda entry: (len(entry[0].parts), entry[0]))[1])


def _last_step(path: Path) -> tuple[float, int]:
    """Return the last step and the number of records of a trainer_state.json."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return float(state.get("global_step") or 0), len(state.get("log_history") or ())
    except (OSError, ValueError, AttributeError, TypeError):
        return 0.0, 0
