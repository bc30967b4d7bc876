"""Charts of a page, as Vega-Lite: in the page's own colours, so that they follow light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.report.document import Column, Row, Table, tabulated
from rlhf_budget.report.numbers import percent, significant
from rlhf_budget.report.page.content import REACH, frontier_table
from rlhf_budget.report.plan_chart import decisions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.report.page.content import PlanContent
    from rlhf_budget.studies.comparison import Difference

Spec = dict[str, Any]
"""Vega-Lite, or a part of it."""

TERMS: Final = {
    "bound": ("total", "var(--ink)", [1, 0]),
    "reward shift": ("reward_shift", "var(--blue)", [7, 3]),
    "sampling": ("sampling", "var(--orange)", [2, 2]),
    "KL clipping": ("kl_clipping", "var(--pink)", [8, 3, 2, 3]),
    "no budget removes": ("irreducible", "var(--muted)", [1, 4]),
}
"""Line -> field of the bound, colour and dashes."""
MONEY: Final = {
    "labels": "var(--blue)",
    "rollouts": "var(--amber)",
    "prompts": "var(--sky)",
    "fixed": "var(--muted)",
}
"""What is paid for -> colour, from the bottom of the stack."""
MOST_BARS: Final = 10


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its words and its numbers."""

    name: str
    """Identifier in the page."""
    title: str
    """Heading."""
    words: str
    """What it shows, for those who do not see it."""
    spec: Spec
    """Vega-Lite."""
    table: Table
    """The numbers behind it."""


def frontier_figures(content: PlanContent, name: str) -> tuple[Figure, ...]:
    """The bound by its terms and the money by its use, over the budget; the rule is the slider."""
    planned = content.frontier.planned
    if len(planned) < 2:
        return ()
    table = frontier_table(content)
    plan = content.plan
    at = f"budgets from a {REACH:g}th of the scenario's to {REACH:g} times it"
    first, last = planned[0][1].optimum.bound.total, planned[-1][1].optimum.bound.total
    ends = f"from {significant(first)} to {significant(last)}"
    words = f"Lines of the bound and its terms over {at}: {ends}."
    stacked = f"Shares of the cost over {at}, stacked."
    title = "The bound, and what it is made of"
    current = "; the diamond is what is done now" if plan.current is not None else ""
    return (
        Figure(f"{name}-bound", title + current, words, _spec(_bound_chart(content)), table),
        Figure(
            f"{name}-money", "Where the money goes", stacked, _spec(_money_chart(content)), table
        ),
    )


def sensitivity_figure(content: PlanContent, name: str) -> Figure | None:
    """Bars of how far a constant moves the bound."""
    entries = [e for e in content.plan.sensitivity if abs(e.elasticity) >= 0.01][:MOST_BARS]
    if not entries:
        return None
    rows = [(entry.constant, entry.elasticity / 100.0) for entry in entries]
    return _bars(
        f"{name}-sensitivity",
        "Change of the bound if a constant is 1 % higher",
        "change of the bound",
        rows,
    )


def swings_figure(content: PlanContent, name: str) -> Figure | None:
    """Bars of the bound at both ends of each constant that is not known; None where all is."""
    found = content.swings
    if found is None or not found.constants:
        return None
    ends = [
        (swing.constant, title, end)
        for swing in found.constants
        for title, end in (("low", swing.low), ("high", swing.high))
        if end.bound is not None
    ]
    order = [swing.constant for swing in found.constants]
    rows = [
        {"name": constant, "end": title, "middle": found.bound, "value": end.bound}
        for constant, title, end in ends
    ]
    bars: Spec = {
        "data": {"values": rows},
        "mark": "bar",
        "encoding": {
            "y": _labels(order),
            "yOffset": {"field": "end", "type": "nominal", "sort": ["low", "high"]},
            "x": _number("middle") | {"scale": {"zero": False}, "axis": {**_FEW_TICKS}},
            "x2": {"field": "value"},
            "color": _named("end", ["low", "high"], ["var(--blue)", "var(--orange)"])
            | {"legend": _LEGEND},
        },
    }
    line = {
        "data": {"values": [{"middle": found.bound}]},
        "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1.5},
        "encoding": {"x": _number("middle")},
    }
    chart = {"layer": [bars, line], "height": 28 * len(order)}
    table = tabulated(
        ends,
        ("constant", "text", itemgetter(0)),
        ("at", "plain", lambda row: float(f"{row[2].value:.3g}")),
        ("bound", "significant", lambda row: row[2].bound),
        *(
            (title, "integer", lambda row, field=field: getattr(row[2].allocation, field))
            for field, title in decisions(content.plan).items()
        ),
    )
    widest = found.constants[0]
    words = (
        "Bars of the bound with each constant that is not known at its lower and its upper end, "
        f"planned anew; {widest.constant} moves it most, by {significant(widest.width)}."
    )
    title = (
        "The best bound where a constant is low or high: ranges at 5 and 95 %, guesses half and "
    )
    title += "twice; the line is the plan"
    return Figure(f"{name}-swings", title, words, _spec(chart), table)


def run_figure(content: PlanContent, name: str) -> Figure | None:
    """Bars of how much of a run under way is behind; None before a run."""
    plan = content.plan
    behind, rest = plan.progress, plan.to_come
    if behind is None or rest is None:
        return None
    used = behind.prompts * behind.rollouts_per_prompt
    parts = {
        "prompts": (behind.prompts, rest.prompts),
        "rollouts": (used, rest.rollouts),
        "labels": (behind.labels, rest.labels),
        "cost": (plan.cost.total - rest.cost, rest.cost),
    }
    shares = {title: done / (done + left) for title, (done, left) in parts.items() if done + left}
    names = ["behind", "to come"]
    rows = [
        {"name": title, "part": part, "order": order, "share": value}
        for title, share in shares.items()
        for order, (part, value) in enumerate(zip(names, (share, 1.0 - share), strict=True))
    ]
    chart: Spec = {
        "data": {"values": rows},
        "mark": "bar",
        "encoding": {
            "y": _labels(list(shares)),
            "x": _number("share") | {"stack": "zero", "axis": {"format": "%", **_FEW_TICKS}},
            "color": _named("part", names, ["var(--muted)", "var(--blue)"]) | {"legend": _LEGEND},
            "order": _number("order"),
        },
        "height": 24 * len(shares),
    }
    table = Table(
        (Column(""), Column("behind", "percent")),
        tuple(Row((title, share)) for title, share in shares.items()),
    )
    words = f"Bars of what is behind: {percent(shares.get('cost', 0.0))} of the cost."
    return Figure(f"{name}-behind", "How much of the whole is behind", words, _spec(chart), table)


def attribution_figure(difference: Difference, baseline: str, name: str) -> Figure | None:
    """Bars of where the difference from the baseline comes from."""
    parts = [(group.group, group.contribution) for group in difference.attribution.groups]
    rows = [(group, value) for group, value in parts if value]
    if not rows:
        return None
    title = f"{difference.name} against {baseline}: the bound's difference, reward units"
    return _bars(f"{name}-attribution", title, "reward units", rows, is_share=False)


# --- charts --------------------------------------------------------------------------------------
# Written as Vega-Lite itself: importing Altair takes as long as all plans of a page.


def _bound_chart(content: PlanContent) -> Spec:
    planned = content.frontier.planned
    names = [
        name
        for name, (field, _, _) in TERMS.items()
        if any(getattr(point.optimum.bound, field) > 0 for _, point in planned)
    ]
    rows = [
        {"at": value, "term": name, "value": getattr(point.optimum.bound, TERMS[name][0])}
        for value, point in planned
        for name in names
    ]
    legend = _LEGEND | {"symbolType": "stroke", "symbolSize": 300, "columns": 2}
    colours, dashes = ([TERMS[name][index] for name in names] for index in (1, 2))
    lines = {
        "data": {"values": rows},
        "mark": {"type": "line", "strokeWidth": 2.2},
        "encoding": {
            "x": _budget_axis(content),
            "y": _number("value", "reward units"),
            "color": _named("term", names, colours) | {"legend": legend},
            "strokeDash": _named("term", names, dashes) | {"legend": legend},
        },
    }
    return _layered(content, [lines, *_now(content)])


def _now(content: PlanContent) -> list[Spec]:
    now = content.plan.current
    numbers = [float(value) for value, _ in content.frontier.planned]
    if now is None or not min(numbers) <= now.cost.total <= max(numbers):
        return []
    mark = {"type": "point", "shape": "diamond", "size": 130, "filled": True, "color": "var(--ink)"}
    return [
        {
            "data": {"values": [{"at": now.cost.total, "value": now.bound.total}]},
            "mark": mark | {"opacity": 1},
            "encoding": {"x": _number("at"), "y": _number("value")},
        }
    ]


def _money_chart(content: PlanContent) -> Spec:
    planned = content.frontier.planned
    names = [n for n in MONEY if any(getattr(p.optimum.cost, n) > 0 for _, p in planned)]
    rows = [
        {
            "at": value,
            "part": name,
            "order": order,
            "share": getattr(point.optimum.cost, name) / point.optimum.cost.total,
        }
        for value, point in planned
        if point.optimum.cost.total > 0
        for order, name in enumerate(names)
    ]
    share = {"stack": "zero", "scale": {"domain": [0, 1]}, "axis": {"format": "%"}}
    areas = {
        "data": {"values": rows},
        "mark": {"type": "area", "stroke": "var(--paper)", "strokeWidth": 1, "opacity": 1},
        "encoding": {
            "x": _budget_axis(content),
            "y": _number("share", "share of the cost") | share,
            "color": _named("part", names, [MONEY[name] for name in names]) | {"legend": _LEGEND},
            "order": _number("order"),
        },
    }
    return _layered(content, [areas])


def _layered(content: PlanContent, layers: list[Spec]) -> Spec:
    """Layers with a vertical rule at the slider's budget, moved by the signal ``budget``."""
    rule = {
        "data": {"values": [{}]},
        "transform": [{"calculate": "budget", "as": "at"}],
        "mark": {
            "type": "rule",
            "color": "var(--ink)",
            "strokeDash": [4, 3],
            "strokeWidth": 1.5,
        },
        "encoding": {"x": _number("at")},
    }
    moved = {"name": "budget", "value": content.plan.scenario.budget}
    return {"params": [moved], "layer": [*layers, rule]}


def _budget_axis(content: PlanContent) -> Spec:
    axis = {"format": "~s", "labelOverlap": "greedy", "tickCount": 6, "grid": False}
    title = f"budget, {content.plan.scenario.currency} (log scale)"
    return _number("at", title) | {"scale": {"type": "log", "nice": False}, "axis": axis}


def _bars(
    name: str, title: str, axis: str, rows: Sequence[tuple[str, float]], *, is_share: bool = True
) -> Figure:
    values = [{"name": label, "value": value} for label, value in rows]
    format_ = "+.2~%" if is_share else "+.2~g"
    colour = {"test": "datum.value > 0", "value": "var(--orange)"}
    chart: Spec = {
        "data": {"values": values},
        "mark": "bar",
        "encoding": {
            "y": _labels([str(entry["name"]) for entry in values]),
            "x": _number("value") | {"axis": {"format": format_, **_FEW_TICKS}},
            "color": {"condition": colour, "value": "var(--blue)"},
        },
        "height": 24 * len(values),
    }
    write = percent if is_share else significant
    largest, value = max(rows, key=lambda row: abs(row[1]))
    words = f"Bars: {axis}; the longest is {largest}, {write(value)}."
    table = Table(
        (Column(""), Column(axis, "signed_percent" if is_share else "significant")),
        tuple(Row((label, value)) for label, value in rows),
    )
    return Figure(name, title, words, _spec(chart), table)


def _number(field: str, title: str | None = None) -> Spec:
    return {"field": field, "type": "quantitative", "title": title}


def _named(field: str, names: Sequence[str], shown: Sequence[Any]) -> Spec:
    """A channel that tells names apart by what is given for each."""
    return {"field": field, "type": "nominal", "scale": {"domain": [*names], "range": [*shown]}}


def _labels(order: Sequence[str]) -> Spec:
    """Names of rows, from the top to the bottom."""
    axis = {"labelLimit": 210}
    return {"field": "name", "type": "nominal", "title": None, "sort": [*order], "axis": axis}


_LEGEND: Final[Spec] = {"title": None, "orient": "top"}
_FEW_TICKS: Final[Spec] = {"tickCount": 4, "labelOverlap": True}


def _spec(chart: Spec) -> Spec:
    quiet = {"labelColor": "var(--muted)", "titleColor": "var(--muted)"}
    lines = {"gridColor": "var(--line)", "domainColor": "var(--line)", "tickColor": "var(--line)"}
    fonts = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    config = {
        "background": "transparent",
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": quiet | lines | fonts,
        "legend": {"labelColor": "var(--ink)", "labelFontSize": 12, "symbolStrokeWidth": 2.5},
        "aria": False,
    }
    size = {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
    return chart | size | {"config": config}
