"""The output formats: a line each, and the file that it names."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rlhf_budget.report.document import Document

TABLE: Final = "table"
"""The format of terminals, which is the default."""
FORMATS: Final = {
    TABLE: ("rlhf_budget.report.terminal", "table_answer"),
    "json": ("rlhf_budget.report.data", "json_answer", ".json"),
    "markdown": ("rlhf_budget.report.markdown", "markdown_answer", ".md", ".markdown"),
    "csv": ("rlhf_budget.report.data", "csv_answer", ".csv"),
}
"""Name -> module, function from an :class:`Answer` to text, and suffixes of files that mean it."""


class Answer(NamedTuple):
    """A result in the forms that the formats need, each made when it is asked for."""

    command: str
    """Name in the JSON header."""
    document: Callable[[], Document]
    """For table and markdown."""
    data: Callable[[], Mapping[str, Any]]
    """For JSON, without the header; ``warnings`` in it move there."""
    rows: Callable[[], Sequence[Mapping[str, Any]]]
    """For CSV: one mapping per plan."""


def format_of(file: str | None) -> str:
    """Return the format that a file's suffix means; a table for none, and for ``.txt``.

    Raises
    ------
    ValueError
        Where the suffix means something that no format is.
    """
    suffix = Path(file or "").suffix.lower()
    known = {end: name for name, (_, _, *ends) in FORMATS.items() for end in ends}
    if suffix in known:
        return known[suffix]
    if suffix not in {"", ".txt"}:
        ends = ", ".join(known)
        raise ValueError(f"what to write to {file}? Give --format, or one of {ends} or .txt.")
    return TABLE


def text_of(answer: Answer, name: str) -> str:
    """Write an answer in a format."""
    module, function, *_ = FORMATS[name]
    text: str = getattr(import_module(module), function)(answer)
    return text
