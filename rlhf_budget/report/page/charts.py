"""Charts of a page, as Vega-Lite: in the page's own colours, so that they follow light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.report.charts import altair_package
from rlhf_budget.report.document import Column, Row, Table
from rlhf_budget.report.numbers import percent, significant
from rlhf_budget.report.page.content import REACH, frontier_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rlhf_budget.report.page.content import PlanContent
    from rlhf_budget.studies.comparison import Difference

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
    spec: dict[str, Any]
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


def attribution_figure(difference: Difference, baseline: str, name: str) -> Figure | None:
    """Bars of where the difference from the baseline comes from."""
    parts = [(group.group, group.contribution) for group in difference.attribution.groups]
    rows = [(group, value) for group, value in parts if value]
    if not rows:
        return None
    title = f"{difference.name} against {baseline}: the bound's difference, reward units"
    return _bars(f"{name}-attribution", title, "reward units", rows, is_share=False)


# --- charts --------------------------------------------------------------------------------------


def _bound_chart(content: PlanContent) -> Any:
    altair = altair_package()
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
    legend = altair.Legend(title=None, orient="top", symbolType="stroke", symbolSize=300, columns=2)
    colours = altair.Scale(domain=names, range=[TERMS[name][1] for name in names])
    dashes = altair.Scale(domain=names, range=[TERMS[name][2] for name in names])
    lines = (
        altair.Chart(altair.Data(values=rows))
        .mark_line(strokeWidth=2.2)
        .encode(
            x=_budget_axis(content),
            y=altair.Y("value:Q", title="reward units"),
            color=altair.Color("term:N", scale=colours, legend=legend),
            strokeDash=altair.StrokeDash("term:N", scale=dashes, legend=legend),
        )
    )
    return altair.layer(lines, *_now(content), _rule(content))


def _now(content: PlanContent) -> list[Any]:
    altair, now = altair_package(), content.plan.current
    numbers = [float(value) for value, _ in content.frontier.planned]
    if now is None or not min(numbers) <= now.cost.total <= max(numbers):
        return []
    row = {"at": now.cost.total, "value": now.bound.total}
    mark = altair.Chart(altair.Data(values=[row])).mark_point(
        shape="diamond", size=130, filled=True, color="var(--ink)", opacity=1
    )
    return [mark.encode(x="at:Q", y="value:Q")]


def _money_chart(content: PlanContent) -> Any:
    altair = altair_package()
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
    legend = altair.Legend(title=None, orient="top")
    colours = altair.Scale(domain=names, range=[MONEY[name] for name in names])
    areas = (
        altair.Chart(altair.Data(values=rows))
        .mark_area(stroke="var(--paper)", strokeWidth=1, opacity=1)
        .encode(
            x=_budget_axis(content),
            y=altair.Y(
                "share:Q",
                title="share of the cost",
                stack="zero",
                scale=altair.Scale(domain=[0, 1]),
                axis=altair.Axis(format="%"),
            ),
            color=altair.Color("part:N", scale=colours, legend=legend),
            order=altair.Order("order:Q"),
        )
    )
    return altair.layer(areas, _rule(content))


def _budget_axis(content: PlanContent) -> Any:
    altair = altair_package()
    return altair.X(
        "at:Q",
        title=f"budget, {content.plan.scenario.currency} (log scale)",
        scale=altair.Scale(type="log", nice=False),
        axis=altair.Axis(format="~s", labelOverlap="greedy", tickCount=6, grid=False),
    )


def _rule(content: PlanContent) -> Any:
    """A vertical rule at the slider's budget, moved by the signal ``budget``."""
    altair, budget = altair_package(), content.plan.scenario.budget
    moved = altair.param(name="budget", value=budget)
    rule = altair.Chart(altair.Data(values=[{}])).transform_calculate(at="budget")
    mark = rule.mark_rule(color="var(--ink)", strokeDash=[4, 3], strokeWidth=1.5)
    return mark.encode(x="at:Q").add_params(moved)


def _bars(
    name: str, title: str, axis: str, rows: Iterable[tuple[str, float]], *, is_share: bool = True
) -> Figure:
    altair = altair_package()
    values = [{"name": label, "value": value} for label, value in rows]
    order = [entry["name"] for entry in values]
    axis_ = altair.Axis(format="+.2~%" if is_share else "+.2~g", tickCount=4, labelOverlap=True)
    chart = (
        altair.Chart(altair.Data(values=values))
        .mark_bar()
        .encode(
            y=altair.Y("name:N", title=None, sort=order, axis=altair.Axis(labelLimit=210)),
            x=altair.X("value:Q", title=None, axis=axis_),
            color=altair.condition(
                "datum.value > 0", altair.value("var(--orange)"), altair.value("var(--blue)")
            ),
        )
        .properties(height=24 * len(values))
    )
    write = percent if is_share else significant
    largest = max(values, key=lambda entry: abs(float(str(entry["value"]))))
    words = (
        f"Bars: {axis}; the longest is {largest['name']}, {write(float(str(largest['value'])))}."
    )
    table = Table(
        (Column(""), Column(axis, "signed_percent" if is_share else "significant")),
        tuple(Row((label, value)) for label, value in rows),
    )
    return Figure(name, title, words, _spec(chart), table)


def _spec(chart: Any) -> dict[str, Any]:
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
    # Checking against Vega-Lite's schema takes thrice as long as all else; tests draw the charts.
    spec: dict[str, Any] = chart.properties(width="container").to_dict(validate=False)
    return spec | {"config": config, "autosize": {"type": "fit-x", "contains": "padding"}}
