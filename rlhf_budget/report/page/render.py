"""A page's content as one self-contained HTML file, through templates."""

from __future__ import annotations

import json
from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget import __version__
from rlhf_budget.report.document import Section
from rlhf_budget.report.html import sections, table
from rlhf_budget.report.page.charts import (
    attribution_figure,
    frontier_figures,
    run_figure,
    sensitivity_figure,
    swings_figure,
)
from rlhf_budget.report.page.content import frontier_table, slider_table, stops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.report.page.charts import Figure
    from rlhf_budget.report.page.content import PageContent, PlanContent

_LINKS: Final = {
    "s0": "Plan",
    "s0-run": "The run",
    "s0-budgets": "Other budgets",
    "s0-unknown": "Not known",
    "s0-full": "In full",
    "s0-constants": "Constants",
}


def render_page(content: PageContent, scripts: str) -> str:
    """Render a page that asks nothing of a network: its own policy forbids it.

    The scripts are Vega, Vega-Lite and Vega-Embed in one.
    """
    parts = [_Plan(plan, f"s{index}") for index, plan in enumerate(content.plans)]
    first, *others = [part.body() for part in parts]
    sides, charts = _sides(content)
    folded = "".join(
        f'<details class="scenario"><summary>{escape(part.content.name)}</summary>{body}</details>'
        for part, body in zip(parts[1:], others, strict=True)
    )
    figures = [*charts, *(figure for part in parts for figure in part.figures)]
    data: dict[str, Any] = {figure.name: figure.spec for figure in figures}
    data |= {f"{part.name}-plans": stops(part.content) for part in parts}
    data |= {f"{part.name}-result": part.content.plan.to_dict() for part in parts}
    links = {name: text for name, text in _LINKS.items() if f'id="{name}"' in first}
    links |= {"sides": "Side by side"} if sides else {}
    items = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in links.items())
    footer = (
        f"<h2>How to make this page again</h2><pre><code>{escape(content.command)}</code></pre>"
        f"<p>Made by rlhf-budget {__version__}. Numbers at full precision stand in the page's "
        "source, as the JSON of <code>rlhf-budget plan</code>.</p>"
    )
    return _fill(
        "page.html",
        title=escape(content.title),
        version=__version__,
        style=_text("page.css"),
        navigation=f'<nav aria-label="Parts of the page"><ul>{items}</ul></nav>',
        body=first + sides + folded,
        footer=footer,
        data="\n".join(_json_script(name, value) for name, value in data.items()),
        # Nothing in a script may end it.
        vega=scripts.replace("</script", "<\\/script"),
        script=_text("page.js"),
    )


_UNKNOWN: Final = "What is not known, and what it moves"


class _Plan:
    """The part of one scenario: its name in the page, its figures and its body."""

    def __init__(self, content: PlanContent, name: str) -> None:
        self.content, self.name = content, name
        self.frontier = frontier_figures(content, name)
        self.sensitivity = sensitivity_figure(content, name)
        self.swings, self.run = swings_figure(content, name), run_figure(content, name)
        found = (*self.frontier, self.sensitivity, self.swings, self.run)
        self.figures = [figure for figure in found if figure is not None]

    def body(self) -> str:
        content, first = self.content, self.content.first
        values = [point.value for point in content.frontier.points]
        here = values.index(content.plan.scenario.budget) if content.plan.scenario.budget else 0
        rest = sections(content.rest, level=3)
        if self.sensitivity:
            rest += _figure(self.sensitivity)
        return _fill(
            "plan.html",
            name=self.name,
            title=escape(content.name),
            kind=first.verdict.kind,
            verdict=escape(first.verdict.text),
            first=sections([*first.sections, content.money], level=2),
            last=str(len(values) - 1),
            here=str(here),
            count=str(len(values)),
            run=self._part("run", "The run: behind, to come, total", content.run, self.run),
            unknown=self._part("unknown", _UNKNOWN, content.unknown, self.swings),
            slider=_slider_table(content),
            frontier="".join(
                _figure(figure, self.name, with_table=False) for figure in self.frontier
            ),
            stops=table(frontier_table(content), "Plans over the budget"),
            rest=rest,
            constants=sections([content.constants], level=3),
        )

    def _part(self, name: str, title: str, shown: Sequence[Section], figure: Figure | None) -> str:
        """A part of its own under a heading; nothing where there is nothing to show."""
        if not shown and figure is None:
            return ""
        drawn = "" if figure is None else _figure(figure)
        head = f'<h2 id="{self.name}-{name}">{title}</h2>'
        return f'{head}<div class="grid">{drawn}{sections(shown, level=3)}</div>'


def _slider_table(content: PlanContent) -> str:
    """The plan at the scenario's budget beside the one at the slider's, which the script fills."""
    own = slider_table(content)
    rows = "".join(
        f'<tr><th scope="row">{escape(quantity.title)}</th>'
        f'<td style="text-align:right">{escape(str(row.cells[1]))}</td>'
        f'<td style="text-align:right"><data data-key="{quantity.key}" value=""></data></td></tr>'
        for quantity, row in zip(content.quantities, own.rows, strict=True)
    )
    heads = f'<th scope="col" style="text-align:right">{escape(own.columns[1].title)}</th>'
    heads += '<th scope="col" style="text-align:right">at the slider</th>'
    return f"<table><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _figure(figure: Figure, follows: str = "", *, with_table: bool = True) -> str:
    numbers = f"<details><summary>As a table</summary>{table(figure.table, figure.title)}</details>"
    return _fill(
        "figure.html",
        name=figure.name,
        title=escape(figure.title),
        words=escape(figure.words),
        follows=follows,
        table=numbers if with_table else "",
    )


def _sides(content: PageContent) -> tuple[str, list[Figure]]:
    """Scenarios side by side, with where their differences come from."""
    if content.sides is None:
        return "", []
    compared = content.comparison
    found = [
        attribution_figure(difference, compared.baseline, f"c{index}")
        for index, difference in enumerate(compared.differences)
    ]
    figures = [figure for figure in found if figure is not None]
    shown = [part for part in content.sides.sections if part.title != "Warnings"]
    verdict = sections([Section("", (content.sides.verdict,))], level=3)
    inner = f'{verdict}<div class="grid">{sections(shown, level=3)}</div>'
    drawn = "".join(_figure(figure) for figure in figures)
    title = '<h2 id="sides">Scenarios side by side</h2>'
    return f'{title}{inner}<div class="grid">{drawn}</div>', figures


# --- pieces --------------------------------------------------------------------------------------


def _json_script(name: str, value: Any) -> str:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    # As an escape, "<" can neither end the script nor open a comment in it.
    escaped = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{escaped}</script>'


def _fill(template: str, **texts: str) -> str:
    return Template(_text(template)).substitute(texts)


def _text(name: str) -> str:
    return (resources.files("rlhf_budget.report.page") / name).read_text(encoding="utf-8")
