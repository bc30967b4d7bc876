"""Documents as HTML, for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rlhf_budget.report.document import Paragraph, Table
from rlhf_budget.report.numbers import written

if TYPE_CHECKING:
    from rlhf_budget.report.document import Document, Section


def html(document: Document) -> str:
    """Render a document as one ``<div>``; colours are left to the page, light or dark."""
    sections = "".join(_section(section) for section in document.sections)
    return (
        f'<div class="rlhf-budget"><h3>{escape(document.title)}</h3>'
        f"<p><strong>{escape(document.verdict.text)}</strong></p>{sections}</div>"
    )


def _section(section: Section) -> str:
    title = f"<h4>{escape(section.title)}</h4>" if section.title else ""
    return title + "".join(_part(part) for part in section.parts)


def _part(part: Table | Paragraph) -> str:
    if isinstance(part, Table):
        return _table(part)
    name = part.kind.capitalize() if part.kind in {"warning", "note"} else ""
    tag = "code" if name else "strong"
    before = " ".join(
        piece
        for piece in (
            f"<strong>{name}</strong>" if name else "",
            f"<{tag}>{escape(part.label)}</{tag}>" if part.label else "",
        )
        if piece
    )
    text = escape(part.text)
    return f'<p class="{part.kind}">{before}: {text}</p>' if before else f"<p>{text}</p>"


def _table(table: Table) -> str:
    sides = [
        "right" if index and (column.format != "text" or any(row.format for row in table.rows))
        else "left"
        for index, column in enumerate(table.columns)
    ]  # fmt: skip
    head = "".join(
        f'<th style="text-align:{side}">{escape(column.title)}</th>'
        for side, column in zip(sides, table.columns, strict=True)
    )
    body = "".join(
        _row(cells, sides, "th" if row.emphasis else "td")
        for row, cells in zip(table.rows, written(table), strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(cells: list[str], sides: list[str], tag: str) -> str:
    inner = "".join(
        f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>'
        for side, cell in zip(sides, cells, strict=True)
    )
    return f"<tr>{inner}</tr>"
