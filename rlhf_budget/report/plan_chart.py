"""A picture of a plan: how far each constant that is not known moves bound and decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.report.charts import altair_package, styled
from rlhf_budget.report.numbers import plain
from rlhf_budget.report.words import buys_labels, listing
from rlhf_budget.scenario.keys import KEYS

if TYPE_CHECKING:
    from rlhf_budget.planning.results import Plan
    from rlhf_budget.planning.swings import End, Swing, Swings

ENDS: Final = {"lower end": "#0072b2", "upper end": "#d55e00"}
"""End of what a constant may be -> colour."""
_ROW: Final = 26
"""Height of a constant, pixels."""
_WIDTHS: Final = (300, 130)
"""Of the panel of the bound, and of each decision."""


def plan_chart(plan: Plan, found: Swings) -> Any:
    """Return the tornado chart of a plan: bound and decision at both ends of each constant.

    Parameters
    ----------
    plan
        The plan.
    found
        What :func:`rlhf_budget.planning.swings.swings` says of it.

    Raises
    ------
    MissingExtraError
        Without the extra ``plot``.
    """
    altair = altair_package()
    panels = [_panel(altair, plan, found, "bound")]
    panels += [_panel(altair, plan, found, name) for name in decisions(plan)]
    title = altair.TitleParams(
        f"{plan.scenario.name}: what is not known, and how far it moves the best plan",
        subtitle=_subtitle(found),
        anchor="start",
        fontSize=15,
        subtitleColor="#555555",
    )
    chart = altair.hconcat(*panels, spacing=18).resolve_scale(y="shared")
    return styled(chart.properties(title=title, background="white"))


def decisions(plan: Plan) -> dict[str, str]:
    """Fields of an allocation that a plan decides -> their titles."""
    whole = plan.progress is not None
    titles = {
        "prompts": "prompts in all" if whole else "prompts",
        "rollouts_per_prompt": "rollouts per prompt",
        "labels": "labels in all" if whole else "labels to buy",
    }
    shown = buys_labels(plan.scenario)
    return {name: title for name, title in titles.items() if shown or name != "labels"}


def said(swing: Swing) -> str:
    """A constant with the ends that it is tried at."""
    rules = KEYS.get(swing.constant)
    unit = rules.unit.partition(" per ")[0] if rules else ""
    unit = f" {unit}" if unit in {"nats", "tokens"} else ""
    low, high = (_short(end.value) for end in (swing.low, swing.high))
    guess = " (guess)" if swing.kind == "guess" else ""
    return f"{swing.constant}: {low} to {high}{unit}{guess}"


def _short(value: float) -> str:
    return plain(float(f"{value:.3g}"))


def _subtitle(found: Swings) -> list[str]:
    kinds = {swing.kind for swing in found.constants}
    tried = [
        text
        for kind, text in (
            ("range", "ranges at their 5 and 95 %"),
            ("guess", "guesses at half and twice their value"),
        )
        if kind in kinds
    ]
    middle = " for the middle" if "range" in kinds else ""
    how = "one at a time, each planned anew"
    lines = [f"{listing(tried).capitalize()}, {how}; the line is the plan{middle}."]
    missing = [
        f"{swing.constant} at {_short(end.value)}"
        for swing in found.constants
        for end in (swing.low, swing.high)
        if end.bound is None
    ]
    return [*lines, *([f"No plan: {listing(missing)}."] if missing else [])]


def _panel(altair: Any, plan: Plan, found: Swings, name: str) -> Any:
    """Bars from the plan's number to those at both ends of each constant."""
    is_bound = name == "bound"
    middle = found.bound if is_bound else getattr(found.allocation, name)
    rows = [
        {"constant": said(swing), "end": title, "middle": middle, "value": _value(end, name)}
        for swing in found.constants
        for title, end in zip(ENDS, (swing.low, swing.high), strict=True)
        if end.bound is not None
    ]
    order = [said(swing) for swing in found.constants]
    axis = altair.Axis(labelLimit=330, ticks=False, domain=False) if is_bound else None
    vertical = altair.Y("constant:N", title=None, sort=order, axis=axis)
    scale = altair.Scale(zero=False, nice=True)
    form = "~g" if is_bound else "~s"
    title = "bound (reward units)" if is_bound else decisions(plan)[name]
    bars = (
        altair.Chart(altair.Data(values=rows))
        .mark_bar()
        .encode(
            y=vertical,
            yOffset=altair.YOffset("end:N", sort=list(ENDS)),
            x=altair.X(
                "middle:Q",
                title=title,
                scale=scale,
                axis=altair.Axis(format=form, tickCount=5 if is_bound else 3),
            ),
            x2="value:Q",
            color=altair.Color(
                "end:N",
                scale=altair.Scale(domain=list(ENDS), range=list(ENDS.values())),
                legend=altair.Legend(title="the constant is at its", orient="bottom"),
            ),
        )
    )
    line = (
        altair.Chart(altair.Data(values=[{"middle": middle}]))
        .mark_rule(strokeWidth=1.5, color="#000000")
        .encode(x="middle:Q")
    )
    width = _WIDTHS[0] if is_bound else _WIDTHS[1]
    return altair.layer(bars, line).properties(width=width, height=_ROW * len(order))


def _value(end: End, name: str) -> float | int | None:
    return end.bound if name == "bound" else getattr(end.allocation, name)
