"""Where results go: one function for every command and format."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_budget.cli.options import Format
from rlhf_budget.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rlhf_budget.report.document import Document

_SUFFIXES = {
    ".json": Format.JSON,
    ".md": Format.MARKDOWN,
    ".markdown": Format.MARKDOWN,
    ".csv": Format.CSV,
}


@dataclass(frozen=True)
class Answer:
    """A result in the forms that the formats need, each made when it is asked for."""

    command: str
    """Name in the JSON header."""
    document: Callable[[], Document]
    """For table and markdown."""
    data: Callable[[], Mapping[str, Any]]
    """For JSON, without the header; ``warnings`` in it move there."""
    rows: Callable[[], Sequence[Mapping[str, Any]]]
    """For CSV: one mapping per plan."""


def send(answer: Answer, format_: Format | None, output: str | None, *, quiet: bool) -> None:
    """Print an answer, or write it to a file whole or not at all."""
    chosen = format_ or _by_suffix(output)
    if chosen is Format.TABLE and output in {None, "-"}:
        from rlhf_budget.report.terminal import show

        show(answer.document(), sys.stdout)
    else:
        deliver(_text(answer, chosen), output, quiet=quiet)


def deliver(text: str, output: str | None, *, quiet: bool) -> None:
    """Write finished text to standard output or to a file."""
    if output is None or output == "-":
        sys.stdout.write(text)
        return
    from rlhf_budget.report.data import write_whole

    write_whole(output, text)
    notice(f"Wrote {output}.", quiet=quiet)


def notice(message: str, *, quiet: bool) -> None:
    """Say something that is no result: on standard error, unless asked to be quiet."""
    if not quiet:
        print(message, file=sys.stderr)  # noqa: T201 - notices are what standard error is for


def _by_suffix(output: str | None) -> Format:
    return _SUFFIXES.get(Path(output or "").suffix.lower(), Format.TABLE)


def _text(answer: Answer, format_: Format) -> str:
    if format_ is Format.JSON:
        from rlhf_budget.report.data import json_text, with_header

        return json_text(with_header(answer.command, answer.data()))
    if format_ is Format.CSV:
        from rlhf_budget.report.data import csv_text

        return csv_text(answer.rows())
    if format_ is Format.MARKDOWN:
        from rlhf_budget.report.markdown import markdown

        return markdown(answer.document())
    from rlhf_budget.report.terminal import UNKNOWN_WIDTH, show

    text = io.StringIO()
    show(answer.document(), text, width=UNKNOWN_WIDTH)
    return text.getvalue()
