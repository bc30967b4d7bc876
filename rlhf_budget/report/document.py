"""A result as a neutral document: titles, tables of raw values, notes.

Builders turn results into documents; renderers turn documents into text. Values stay raw here:
rounding happens in the renderers, by the format that each column or row names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeVar

from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rlhf_budget.calibrate.estimates import CalibrationWarning
    from rlhf_budget.planning.results import Notice

    Thing = TypeVar("Thing")

Format = Literal[
    "text", "plain", "integer", "money", "significant", "percent", "signed_percent", "share"
]
"""How the numbers of a column or row are written: ``plain`` as in a scenario file, ``significant``
with as many decimals as the largest needs for four digits; ``percent`` takes fractions, and so does
``share``, a part of a whole, beside which a renderer that draws may put a bar."""

Kind = Literal["text", "note", "warning", "good", "bad"]
"""What a paragraph is: plain text, an aside, a warning, a verdict that is good or bad."""

Value = str | int | float | bool | None
Cell = Value | tuple[Value, ...]
"""A raw value, or a range of two; None is an empty cell."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    """Heading, with the unit where there is one."""
    format: Format = "text"
    """How its values are written, unless the row says otherwise."""


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    cells: tuple[Cell, ...]
    """Raw values, as many as there are columns."""
    format: Format | None = None
    """How the numbers of this row are written; None: as their columns say."""
    emphasis: bool = False
    """True for a row to look at first, such as a total."""


@dataclass(frozen=True)
class Table:
    """A table of raw values; the first column names the rows."""

    columns: tuple[Column, ...]
    """Columns, from left to right."""
    rows: tuple[Row, ...]
    """Rows, from top to bottom."""
    turns: bool = False
    """True where rows and columns may change places on a narrow terminal."""
    emphasis: int | None = None
    """Index of the column to look at first; None for none."""


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str
    """What is said."""
    kind: Kind = "text"
    """What it is."""
    label: str = ""
    """A name to put before it, such as a warning's code."""
    sketch: tuple[float, ...] = ()
    """Numbers in their order, of which a renderer that draws may put a small line below."""


@dataclass(frozen=True)
class Section:
    """A titled part of a document."""

    title: str
    """Heading; empty for none."""
    parts: tuple[Table | Paragraph, ...]
    """Tables and paragraphs in reading order."""


@dataclass(frozen=True)
class Document:
    """A whole answer."""

    title: str
    """What it is about."""
    verdict: Paragraph
    """The answer in one line."""
    sections: tuple[Section, ...]
    """The rest, most important first."""


def arranged(title: str, verdict: Paragraph, *sections: Section) -> Document:
    """Make a document of the sections that have something to show."""
    return Document(title, verdict, tuple(section for section in sections if section.parts))


def warned(notices: Iterable[Notice | CalibrationWarning]) -> Section:
    """Show warnings, each under its code."""
    return Section(
        "Warnings", tuple(Paragraph(each.message, "warning", each.code) for each in notices)
    )


def tabulated(
    things: Iterable[Thing],
    *columns: tuple[str, Format, Callable[[Thing], Cell]] | None,
    first: Callable[[Thing], bool] = lambda _: False,
    format_: Format | None = None,
    turns: bool = False,
) -> Table:
    """Make a table with a row for each thing.

    A column is its title, its format and what a cell shows of its thing, or None where it is left
    out; ``first`` says which rows to look at first, and ``format_`` how the numbers of every row
    are written, unless as the columns say.
    """
    shown = [column for column in columns if column is not None]
    rows = (
        Row(tuple(cell(thing) for _, _, cell in shown), format_, first(thing)) for thing in things
    )
    return Table(tuple(Column(title, kind) for title, kind, _ in shown), tuple(rows), turns)


def turned(table: Table) -> Table:
    """Exchange rows and columns: what a row said of its format, its column says then."""
    first, *others = table.columns
    columns = (
        Column(first.title),
        *(Column(str(row.cells[0]), row.format or "text") for row in table.rows),
    )
    rows = tuple(
        Row(
            (column.title, *(row.cells[index] for row in table.rows)),
            emphasis=index == table.emphasis,
        )
        for index, column in enumerate(others, start=1)
    )
    marked = next((i for i, row in enumerate(table.rows, start=1) if row.emphasis), None)
    return replace(table, columns=columns, rows=rows, emphasis=marked)
