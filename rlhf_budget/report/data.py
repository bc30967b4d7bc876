"""Results as data: JSON at full precision, CSV of one row per plan, files written whole."""

from __future__ import annotations

import io
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_budget import __version__
from rlhf_budget.errors import FileAccessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rlhf_budget.report.formats import Answer

SCHEMA_VERSION = 1

# --- JSON ----------------------------------------------------------------------------------------


def with_header(
    command: str, result: Mapping[str, Any], warnings: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """Put the header of every JSON output before a result.

    ``warnings`` of the result itself, where it has any, move into the header.
    """
    body = dict(result)
    own = body.pop("warnings", [])
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "rlhf-budget", "version": __version__},
        "command": command,
        "warnings": [*warnings, *own],
        **body,
    }


def json_answer(answer: Answer) -> str:
    """Write a command's answer with its header."""
    return json_text(with_header(answer.command, answer.data()))


def json_text(value: Mapping[str, Any]) -> str:
    """Write JSON at full precision; a number that is not finite is an error."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


# --- CSV -----------------------------------------------------------------------------------------

_LIST_KEYS = {"alternatives": "concentration", "sensitivity": "constant", "assumed": "constant"}
_PAIRS = {"prompts", "rollouts_per_prompt", "labels"}


def csv_answer(answer: Answer) -> str:
    """Write a command's answer, a row for each plan."""
    return csv_text(answer.rows())


def csv_text(results: Iterable[Mapping[str, Any]]) -> str:
    """Write one row per result, with a column for every leaf, named by its dotted path.

    Lists of words are joined by spaces, ranges get ``.min`` and ``.max``, lists of objects are
    named by what tells their entries apart. Lists of numbers in ``inputs`` (samples, eigenvalues)
    are left out: JSON has them.
    """
    import csv  # noqa: PLC0415 - the other formats start sooner

    rows = [{name: _scalar(value) for name, value in flat_result(result)} for result in results]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def flat_result(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a result as dotted names and values for one row of a table."""
    for name, value in result.items():
        yield from _leaves(name, value)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}", inner)
    elif isinstance(value, list):
        yield from _listed(path, value)
    else:
        yield path, value


def _listed(path: str, values: list[Any]) -> Iterator[tuple[str, Any]]:
    key = _LIST_KEYS.get(path)
    if key is not None:
        for entry in values:
            named = {name: inner for name, inner in entry.items() if name != key}
            yield from _leaves(f"{path}.{entry[key]}", named)
    elif path == "warnings":
        yield path, " ".join(entry["code"] for entry in values)
    elif path.startswith("near_optimal."):
        yield f"{path}.min", values[0]
        yield f"{path}.max", values[1]
    elif all(isinstance(entry, str) for entry in values):
        yield path, " ".join(values)


def _scalar(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


# --- files ---------------------------------------------------------------------------------------


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file whole or not at all; one that exists keeps its permissions.

    The content goes to a temporary file in the same directory, which then takes the place of the
    old one. What is not a regular file (a device, a pipe) is written to directly.

    Raises
    ------
    FileAccessError
        Where the file cannot be written; an old one is then left as it was.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            with target.open("wb") as stream:
                stream.write(data)
        else:
            _replace(target, data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileAccessError(f"{path} could not be written: {reason}") from error


def _replace(target: Path, data: bytes) -> None:
    import tempfile  # noqa: PLC0415 - printing needs no files

    handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            mode = stat.S_IMODE(target.stat().st_mode)
        else:
            # The only way to read the umask is to set it.
            mask = os.umask(0o022)
            os.umask(mask)
            mode = 0o666 & ~mask
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
