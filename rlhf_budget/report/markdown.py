"""Documents as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rlhf_budget.report.document import Paragraph, Table
from rlhf_budget.report.numbers import written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.report.document import Document
    from rlhf_budget.report.formats import Answer

_MARKS = {"warning": "**Warning**", "note": "**Note**"}


def markdown_answer(answer: Answer) -> str:
    """Write a command's answer."""
    return markdown(answer.document())


def markdown(document: Document) -> str:
    """Render a document, for a pull request or a page."""
    blocks = [f"## {escape(document.title)}", f"**{escape(document.verdict.text)}**"]
    for section in document.sections:
        blocks += [f"### {escape(section.title)}"] if section.title else []
        blocks += [_part(part) for part in section.parts]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Keep text from being read as markup, and on one line."""
    one_line = re.sub(r"\s+", " ", text)
    html_safe = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore inside a word is no markup on GitHub, and key paths read better without \_.
    marked = re.sub(r"([\\`*|\[\]~])", r"\\\1", html_safe)
    marked = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", marked)
    return re.sub(r"^(\d+)\.(?=\s)|^([#+-])(?=\s)", _escape_start, marked)


def _escape_start(match: re.Match[str]) -> str:
    return f"{match[1]}\\." if match[1] else f"\\{match[2]}"


def _part(part: Table | Paragraph) -> str:
    if isinstance(part, Table):
        return _table(part)
    mark = _MARKS.get(part.kind, "")
    label = (f"`{part.label}`" if mark else f"**{escape(part.label)}**") if part.label else ""
    before = " ".join(piece for piece in (mark, label) if piece)
    text = f"{before}: {escape(part.text)}" if before else escape(part.text)
    return f"> {text}" if mark else text


def _table(table: Table) -> str:
    rules = ["---" if column.format == "text" else "---:" for column in table.columns]
    numeric = [row.format is not None for row in table.rows]
    if any(numeric):
        rules[1:] = ["---:"] * (len(rules) - 1)
    lines = [_line([escape(column.title) for column in table.columns]), _line(rules)]
    for row, cells in zip(table.rows, written(table), strict=True):
        texts = [escape(cell) for cell in cells]
        lines.append(_line([f"**{text}**" if row.emphasis and text else text for text in texts]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
