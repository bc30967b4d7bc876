"""Documents on a terminal, in a pipe or in a text file."""

from __future__ import annotations

import io
import os
import shutil
from typing import IO, TYPE_CHECKING

from rlhf_budget.report.layout import layout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from rlhf_budget.report.document import Document
    from rlhf_budget.report.formats import Answer
    from rlhf_budget.report.layout import Line

UNKNOWN_WIDTH = 120
"""Columns of a pipe or a file, unless COLUMNS says otherwise."""
NARROWEST = 20
"""Nothing can be read on fewer columns, so a narrower terminal has to wrap."""


def table_answer(answer: Answer) -> str:
    """Write a command's answer to a file, whose width nobody knows."""
    text = io.StringIO()
    show(answer.document(), text, width=UNKNOWN_WIDTH)
    return text.getvalue()


def show(document: Document, stream: IO[str], *, width: int | None = None) -> None:
    """Write a document to a stream, by default as wide as :func:`stream_width` says."""
    width = max(NARROWEST, width or stream_width(stream))
    write_lines(layout(document, width, draws=_draws(stream)), stream)


def _draws(stream: IO[str]) -> bool:
    """Whether blocks can be drawn: where Rich styles, in an encoding that has them."""
    encoding = getattr(stream, "encoding", None) or ""
    return (
        _styles(stream) and encoding.lower().startswith("utf") and os.environ.get("TERM") != "dumb"
    )


def _styles(stream: IO[str]) -> bool:
    return stream.isatty() or bool(os.environ.get("FORCE_COLOR"))


def write_lines(lines: Iterable[Line], stream: IO[str]) -> None:
    """Write lines, styled only where they can be: on a terminal, or with FORCE_COLOR."""
    if not _styles(stream):
        stream.writelines(f"{''.join(span.text for span in line)}\n" for line in lines)
        return
    # Rich takes as long to import as a plan to make, so pipes do without.
    from rich.text import Text  # noqa: PLC0415

    console = make_console(stream)
    for line in lines:
        # The lines fit already; soft wrapping keeps Rich from padding or cropping them.
        console.print(Text.assemble(*line), soft_wrap=True)


def make_console(stream: IO[str], *, width: int | None = None) -> Console:
    """Make a Rich console for a stream, honouring COLUMNS, NO_COLOR and TERM."""
    from rich.console import Console  # noqa: PLC0415 - as above

    class QuietConsole(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to the caller: Rich would exit with 1."""
            raise BrokenPipeError

    # Both sizes are given because Rich would take 80 columns for a dumb terminal.
    return QuietConsole(
        file=stream,
        width=max(NARROWEST, width or stream_width(stream)),
        height=25,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def stream_width(stream: IO[str]) -> int:
    """Columns of a stream: those of the terminal or of COLUMNS, and plenty for a pipe."""
    if stream.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size((80, 25)).columns
    return UNKNOWN_WIDTH
