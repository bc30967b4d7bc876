"""Documents on a terminal, in a pipe or in a text file.

Nothing is ever cut: a table that is too wide turns, wraps its words, or becomes a list of records.
There are no drawn lines and no colour but a few accents that read on light and dark backgrounds.
"""

from __future__ import annotations

import os
import shutil
from typing import IO, TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from rlhf_budget.report.document import Paragraph, Table, turned
from rlhf_budget.report.numbers import written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rlhf_budget.report.document import Document, Section

UNKNOWN_WIDTH = 120
"""Columns of a pipe or a file, unless COLUMNS says otherwise."""
LONGEST_LINE = 100
"""Prose wider than this is hard to read."""
NARROWEST_WORDS = 16
"""A column of words may be wrapped down to this width, no further."""
GAP = 2
"""Columns between two columns of a table."""
INDENT = 2
"""Columns before the parts of a section."""

_STYLES = {
    "text": "",
    "note": "dim",
    "warning": "magenta",
    "good": "bold green",
    "bad": "bold red",
}


def make_console(stream: IO[str], *, width: int | None = None) -> Console:
    """Make a console for a stream, honouring COLUMNS, NO_COLOR and TERM.

    Parameters
    ----------
    stream
        Where to write.
    width
        Columns; by default those of the terminal, or of COLUMNS, or plenty for a pipe.
    """
    if width is None:
        width = _width(is_terminal=stream.isatty())
    # Both sizes are given because Rich would take 80 columns for a dumb terminal.
    return Console(
        file=stream,
        width=max(width, 20),
        height=25,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        legacy_windows=False,
    )


def _width(*, is_terminal: bool) -> int:
    if is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size((80, 25)).columns
    return UNKNOWN_WIDTH


def show(document: Document, console: Console) -> None:
    """Write a document to a console."""
    for line in _document(document, console):
        # The lines fit already; soft wrapping keeps Rich from padding or cropping them.
        console.print(line, soft_wrap=True)


def _document(document: Document, console: Console) -> Iterator[Text]:
    yield from _wrap(Text(document.title, "bold"), console, console.width)
    yield from _prose(document.verdict, console, min(console.width, LONGEST_LINE), "bold")
    for section in document.sections:
        yield Text()
        yield from _section(section, console)


def _section(section: Section, console: Console) -> Iterator[Text]:
    if section.title:
        yield from _wrap(Text(section.title, "bold cyan"), console, console.width)
    room = console.width - INDENT
    for index, part in enumerate(section.parts):
        if index and isinstance(part, Table):
            yield Text()
        for line in _part(part, console, room):
            yield Text(" " * INDENT).append_text(line) if line else line


def _part(part: Table | Paragraph, console: Console, room: int) -> Iterable[Text]:
    if isinstance(part, Table):
        return _table(part, console, room)
    return _prose(part, console, min(room, LONGEST_LINE))


def _prose(paragraph: Paragraph, console: Console, room: int, default: str = "") -> list[Text]:
    style = _STYLES[paragraph.kind]
    if paragraph.label:
        text = Text.assemble((paragraph.label, style or "bold"), f": {paragraph.text}")
    else:
        text = Text(paragraph.text, style or default)
    return _wrap(text, console, room)


def _wrap(text: Text, console: Console, width: int) -> list[Text]:
    lines = list(text.wrap(console, width, overflow="fold")) or [Text()]
    for line in lines:
        line.rstrip()
    return lines


# --- tables --------------------------------------------------------------------------------------


def _table(table: Table, console: Console, room: int) -> Iterator[Text]:
    """Lay a table out as it is, turned, with wrapped words, or as records: what fits first."""
    if table.turns and _natural(table) > room:
        other = turned(table)
        table = other if _natural(other) <= room else table
    widths = _widths(table, room)
    return _records(table, console, room) if widths is None else _grid(table, console, widths)


def _natural(table: Table) -> int:
    return sum(_cell_widths(table)) + GAP * (len(table.columns) - 1)


def _cell_widths(table: Table) -> list[int]:
    rows = [[column.title for column in table.columns], *written(table)]
    return [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]


def _is_words(table: Table, index: int) -> bool:
    numbers = index > 0 and any(row.format is not None for row in table.rows)
    return table.columns[index].format == "text" and not numbers


def _widths(table: Table, room: int) -> list[int] | None:
    """Width of each column, words made narrower where they must; None where nothing fits."""
    widths = _cell_widths(table)
    excess = _natural(table) - room
    least = _word_widths(table)
    while excess > 0:
        wide = [index for index, width in least.items() if widths[index] > width]
        if not wide:
            return None
        widest = max(wide, key=lambda index: widths[index])
        widths[widest] -= 1
        excess -= 1
    return widths


def _word_widths(table: Table) -> dict[int, int]:
    """Columns of words, each with the least width at which no word is broken."""
    texts = [[column.title for column in table.columns], *written(table)]
    return {
        index: max(
            NARROWEST_WORDS, *(cell_len(word) for row in texts for word in row[index].split())
        )
        for index in range(len(table.columns))
        if _is_words(table, index)
    }


def _grid(table: Table, console: Console, widths: list[int]) -> Iterator[Text]:
    titles = [column.title for column in table.columns]
    if any(titles):
        yield from _row([Text(title, "dim") for title in titles], table, console, widths)
    for row, cells in zip(table.rows, written(table), strict=True):
        texts = [
            Text(cell, "bold" if row.emphasis or index == table.emphasis else "")
            for index, cell in enumerate(cells)
        ]
        yield from _row(texts, table, console, widths)


def _row(
    cells: Sequence[Text], table: Table, console: Console, widths: Sequence[int]
) -> Iterator[Text]:
    """Lines of a row: numbers stand right, words left, wrapped words below one another."""
    columns = [_wrap(cell, console, width) for cell, width in zip(cells, widths, strict=True)]
    for index in range(max(len(lines) for lines in columns)):
        whole = Text()
        for number, (lines, width) in enumerate(zip(columns, widths, strict=True)):
            piece = lines[index] if index < len(lines) else Text()
            space = Text(" " * (width - piece.cell_len))
            ordered = (piece, space) if _is_words(table, number) else (space, piece)
            whole = Text.assemble(whole, " " * (GAP if number else 0), *ordered)
        whole.rstrip()
        yield whole


def _records(table: Table, console: Console, room: int) -> Iterator[Text]:
    """One short list for every row, where not even wrapped words make the table fit."""
    titles = [column.title for column in table.columns][1:]
    width = max(cell_len(title) for title in titles)
    for row, cells in zip(table.rows, written(table), strict=True):
        yield from _wrap(Text(cells[0], "bold" if row.emphasis else ""), console, room)
        for title, cell in zip(titles, cells[1:], strict=True):
            if cell:
                text = Text.assemble((title.ljust(width), "dim"), "  ", cell)
                for line in _wrap(text, console, room - INDENT):
                    yield Text(" " * INDENT).append_text(line)
