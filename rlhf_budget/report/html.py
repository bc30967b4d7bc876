"""Documents as HTML: the pieces of pages, and first screens for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rlhf_budget.report.document import Paragraph, Table
from rlhf_budget.report.numbers import written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.report.document import Document, Row, Section

_NAMED = {"warning": "Warning", "note": "Note"}
"""Kinds of paragraphs that say what they are, since colour alone would not."""


_STYLE = """<style>
.rlhf-budget .bar { display: inline-block; width: 4.5em; height: .6em; margin-right: .5em; }
.rlhf-budget .bar { background: rgb(128 128 128 / 30%); border-radius: .15em; overflow: hidden; }
.rlhf-budget .bar > span { display: block; height: 100%; background: #3f87c9; }
.rlhf-budget .grid { display: flex; flex-wrap: wrap; gap: 0 2.5rem; align-items: start; }
.rlhf-budget .total > * { font-weight: bold; }
</style>"""
"""For notebooks; colours of text and paper are theirs, light or dark."""


def for_notebook(document: Document) -> str:
    """Render a short document as one ``<div>`` for a notebook."""
    return (
        f'<div class="rlhf-budget">{_STYLE}<h3>{escape(document.title)}</h3>'
        f"<p><strong>{escape(document.verdict.text)}</strong></p>"
        f'<div class="grid">{sections(document.sections, level=4)}</div></div>'
    )


def framed(page: str) -> str:
    """Put a whole page into a frame of a notebook's page, where its style stays its own."""
    style = "width:100%;height:48rem;border:1px solid #8888"
    return f'<iframe srcdoc="{escape(page)}" title="rlhf-budget report" style="{style}"></iframe>'


def sections(parts: Sequence[Section], *, level: int) -> str:
    """Render sections, each a ``<section>`` with a heading of this level."""
    rendered = []
    for section in parts:
        title = f"<h{level}>{escape(section.title)}</h{level}>" if section.title else ""
        inner = "".join(
            table(part, section.title) if isinstance(part, Table) else paragraph(part)
            for part in section.parts
        )
        rendered.append(f"<section>{title}{inner}</section>")
    return "".join(rendered)


def paragraph(part: Paragraph) -> str:
    """Render a paragraph, with what kind it is in words."""
    name = _NAMED.get(part.kind, "")
    tag = "code" if name else "strong"
    pieces = [f"<strong>{name}</strong>"] if name else []
    pieces += [f"<{tag}>{escape(part.label)}</{tag}>"] if part.label else []
    before = " ".join(pieces)
    text = escape(part.text)
    return f'<p class="{part.kind}">{before}: {text}</p>' if before else f"<p>{text}</p>"


def table(part: Table, title: str) -> str:
    """Render a table, which scrolls by itself where it is too wide; ``title`` names it."""
    sides = [
        "right" if index and (column.format != "text" or any(row.format for row in part.rows))
        else "left"
        for index, column in enumerate(part.columns)
    ]  # fmt: skip
    head = "".join(
        f'<th scope="col" style="text-align:{side}">{escape(column.title)}</th>'
        if column.title
        else "<td></td>"
        for side, column in zip(sides, part.columns, strict=True)
    )
    body = "".join(
        _row(row, cells, part, sides) for row, cells in zip(part.rows, written(part), strict=True)
    )
    return (
        f'<div class="scrolls" role="region" tabindex="0" aria-label="{escape(title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Row, cells: list[str], part: Table, sides: list[str]) -> str:
    emphasis = ' class="total"' if row.emphasis else ""
    name, *others = cells
    # A key path may break after its dots: it is the widest word of most tables.
    broken = escape(name).replace(".", ".<wbr>") if " " not in name else escape(name)
    inner = [f'<th scope="row" style="text-align:left">{broken}</th>']
    for index, cell in enumerate(others, start=1):
        share, value, bar = part.columns[index].format == "share", row.cells[index], ""
        if share and isinstance(value, (int, float)):
            # Seen in pages that style it alone.
            width = 100.0 * min(max(value, 0.0), 1.0)
            bar = f'<span class="bar"><span style="width:{width:.1f}%"></span></span>'
        side = f"text-align:{sides[index]}{';white-space:nowrap' if share else ''}"
        # A number and its percent sign stay on one line.
        text = escape(cell).replace(" %", "&nbsp;%")
        inner.append(f'<td style="{side}">{bar}{text}</td>')
    return f"<tr{emphasis}>{''.join(inner)}</tr>"
