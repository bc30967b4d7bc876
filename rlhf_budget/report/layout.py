"""Documents as lines of a given width, each a few styled pieces.

Nothing is ever cut: a table that is too wide turns, wraps its words, or becomes a list of records.
Bars and small lines are drawn where they are asked for, on terminals; pipes and files get the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rlhf_budget.report.document import Table, turned
from rlhf_budget.report.numbers import written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rlhf_budget.report.document import Document, Paragraph

LONGEST_LINE = 78
"""Prose wider than this is hard to read, and breaks on the terminal that a pipe ends on."""
NARROWEST_WORDS = 16
"""A column of words may be wrapped down to this width, or to its longest word."""
GAP = 2
"""Columns between two columns of a table."""
BAR = 8
"""Columns of the longest bar."""
INDENT = 2
"""Columns before the parts of a section."""

_STYLES = {
    "text": "",
    "note": "dim",
    "warning": "magenta",
    "good": "bold green",
    "bad": "bold red",
}


class Span(NamedTuple):
    """A piece of a line."""

    text: str
    """What is written."""
    style: str = ""
    """How, in Rich's words; accents that read on light and dark backgrounds."""


Line = tuple[Span, ...]


def layout(document: Document, width: int, *, draws: bool = False) -> Iterator[Line]:
    """Lay a document out in lines that are no wider than ``width`` columns.

    Where it ``draws``, shares get bars and sketches are drawn, if there is room for them.
    """
    room = min(width, LONGEST_LINE)
    yield from _styled_lines(document.title, width, "bold")
    yield from _prose(document.verdict, room, "bold")
    if draws and document.verdict.sketch:
        yield (Span(sketch(document.verdict.sketch, room), "cyan"),)
    for section in document.sections:
        yield ()
        if section.title:
            yield from _styled_lines(section.title, width, "bold cyan")
        for index, part in enumerate(section.parts):
            inside = width - INDENT
            if isinstance(part, Table):
                yield from [()] if index else []
                yield from _indented(_table(part, inside, draws=draws))
            else:
                yield from _indented(_prose(part, min(inside, LONGEST_LINE)))


def _indented(lines: Iterable[Line]) -> Iterator[Line]:
    for line in lines:
        yield (Span(" " * INDENT), *line) if line else line


# --- prose ---------------------------------------------------------------------------------------


def _prose(paragraph: Paragraph, room: int, default: str = "") -> Iterator[Line]:
    style = _STYLES[paragraph.kind]
    if not paragraph.label:
        yield from _styled_lines(paragraph.text, room, style or default)
        return
    label = clean(paragraph.label)
    for index, line in enumerate(wrap(f"{label}: {paragraph.text}", room)):
        if index == 0 and line.startswith(label):
            yield Span(label, style or "bold"), Span(line[len(label) :])
        else:
            yield (Span(line),)


def _styled_lines(text: str, width: int, style: str) -> list[Line]:
    return [(Span(line, style),) for line in wrap(text, width)]


def clean(text: str) -> str:
    """Make control characters visible, so that no text from outside can steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def cell_width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - only wide characters need its tables

    return cell_len(text)


def wrap(text: str, width: int) -> list[str]:
    """Break a text into lines at its spaces, and a longer word where it must be."""
    indent = " " * (len(text) - len(text.lstrip(" ")))
    lines: list[str] = []
    line = ""
    for word in _pieces(text, width - len(indent)):
        longer = f"{line} {word}" if line else f"{indent}{word}"
        if line and cell_width(longer) > width:
            lines.append(line)
            longer = f"{indent}{word}"
        line = longer
    return [*lines, line]


def _pieces(text: str, width: int) -> Iterator[str]:
    """Words of a text, those wider than ``width`` in pieces."""
    for word in text.split():
        rest = clean(word)
        while cell_width(rest) > width:
            end = max(1, next(i for i in range(len(rest)) if cell_width(rest[: i + 1]) > width))
            yield rest[:end]
            rest = rest[end:]
        if rest:
            yield rest


# --- drawing -------------------------------------------------------------------------------------


def bar(share: float) -> str:
    """Draw a share of the whole as a bar of blocks, in eighths of a column, on a dotted track."""
    eighths = round(8 * BAR * min(max(share, 0.0), 1.0))
    drawn = "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")
    return drawn.ljust(BAR, "·")


def sketch(values: Sequence[float], width: int) -> str:
    """Draw numbers as a line of blocks, as many columns as there are or as fit."""
    columns = min(len(values), width)
    picked = [values[i * len(values) // columns] for i in range(columns)]
    low, high = min(picked), max(picked)
    height = [7 * (value - low) / (high - low) if high > low else 0.0 for value in picked]
    return "".join("▁▂▃▄▅▆▇█"[round(step)] for step in height)


# --- tables --------------------------------------------------------------------------------------


def _table(table: Table, room: int, *, draws: bool) -> Iterator[Line]:
    """Lay a table out as it is, turned, with wrapped words, or as records: what fits first."""
    texts = _texts(table)
    if draws:
        drawn = _with_bars(table, texts)
        texts = drawn if _natural(drawn) <= room else texts
    if table.turns and _natural(texts) > room:
        other = turned(table)
        if _natural(_texts(other)) <= room:
            table, texts = other, _texts(other)
    widths = _widths(table, texts, room)
    return _records(table, texts, room) if widths is None else _grid(table, texts, widths)


def _texts(table: Table) -> list[list[str]]:
    """Titles and written cells, row by row."""
    rows = [[column.title for column in table.columns], *written(table)]
    return [[clean(cell) for cell in row] for row in rows]


def _with_bars(table: Table, texts: list[list[str]]) -> list[list[str]]:
    """Put bars before the shares of a table."""
    shares = [index for index, column in enumerate(table.columns) if column.format == "share"]
    titles, *rows = [list(row) for row in texts]
    for index in shares:
        longest = max((cell_width(row[index]) for row in rows), default=0)
        for row, cells in zip(table.rows, rows, strict=True):
            value, text = row.cells[index], cells[index]
            if isinstance(value, (int, float)):
                # Dots, not spaces, make up for a shorter number: spaces are not kept.
                cells[index] = f"{bar(value)}{'·' * (longest - cell_width(text))} {text}"
    return [titles, *rows]


def _natural_widths(texts: list[list[str]]) -> list[int]:
    return [max(map(cell_width, column)) for column in zip(*texts, strict=True)]


def _natural(texts: list[list[str]]) -> int:
    widths = _natural_widths(texts)
    return sum(widths) + GAP * (len(widths) - 1)


def _is_words(table: Table, index: int) -> bool:
    numbers = index > 0 and any(row.format is not None for row in table.rows)
    return table.columns[index].format == "text" and not numbers


def _widths(table: Table, texts: list[list[str]], room: int) -> list[int] | None:
    """Width of each column, words made narrower where they must; None where nothing fits."""
    widths = _natural_widths(texts)
    excess = _natural(texts) - room
    least = {
        index: max(
            [NARROWEST_WORDS, *(cell_width(word) for row in texts for word in row[index].split())]
        )
        for index in range(len(widths))
        if _is_words(table, index)
    }
    while excess > 0:
        wide = [index for index, width in least.items() if widths[index] > width]
        if not wide:
            return None
        widths[max(wide, key=lambda index: widths[index])] -= 1
        excess -= 1
    return widths


def _grid(table: Table, texts: list[list[str]], widths: list[int]) -> Iterator[Line]:
    titles, *rows = texts
    if any(titles):
        yield from _row(titles, ["dim"] * len(titles), table, widths)
    for row, cells in zip(table.rows, rows, strict=True):
        styles = [
            "bold" if row.emphasis or index == table.emphasis else "" for index in range(len(cells))
        ]
        yield from _row(cells, styles, table, widths)


def _row(
    cells: Sequence[str], styles: Sequence[str], table: Table, widths: Sequence[int]
) -> Iterator[Line]:
    """Lines of a row: numbers stand right, words left, wrapped words below one another."""
    columns = [wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for index in range(max(map(len, columns))):
        pieces = [lines[index] if index < len(lines) else "" for lines in columns]
        spans: list[Span] = []
        for number, (piece, style, width) in enumerate(zip(pieces, styles, widths, strict=True)):
            space = " " * (width - cell_width(piece))
            before, after = ("", space) if _is_words(table, number) else (space, "")
            spans += [Span(" " * (GAP if number else 0) + before), Span(piece, style), Span(after)]
        # Lines end where their text does.
        while spans and not spans[-1].text.strip():
            spans.pop()
        yield tuple(span for span in spans if span.text)


def _records(table: Table, texts: list[list[str]], room: int) -> Iterator[Line]:
    """One short list for every row, where not even wrapped words make the table fit."""
    titles, *rows = texts
    width = max(map(cell_width, titles[1:]))
    for row, cells in zip(table.rows, rows, strict=True):
        yield from _styled_lines(cells[0].strip(), room, "bold" if row.emphasis else "")
        for title, cell in zip(titles[1:], cells[1:], strict=True):
            if cell:
                yield from _indented(_entry(title.ljust(width), cell, room - INDENT))


def _entry(title: str, cell: str, room: int) -> Iterator[Line]:
    left = cell_width(title) + GAP
    if room - left >= NARROWEST_WORDS:
        first, *more = wrap(cell, room - left)
        yield Span(title + " " * GAP, "dim"), Span(first)
        yield from ((Span(" " * left + line),) for line in more)
        return
    yield (Span(title.strip(), "dim"),)
    yield from _indented((Span(line),) for line in wrap(cell, room - INDENT))
