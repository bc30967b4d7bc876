"""Pictures of sweeps: the bound, the decisions, where the money goes, what twice of it does.

Altair draws, through the extra ``plot``; one description serves pictures here and pages later.
Colours are those of Okabe and Ito (2008), told apart by people with any colour vision; in grey they
differ in lightness, and lines and areas are named by dashes and order too.
"""

from __future__ import annotations

import io
import math
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.errors import FileAccessError, MissingExtraError, Problem, ScenarioError
from rlhf_budget.report.data import write_whole
from rlhf_budget.report.robust_words import shared_risk
from rlhf_budget.report.words import leaf
from rlhf_budget.scenario.keys import KEYS
from rlhf_budget.studies.sweeps import ENOUGH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rlhf_budget.studies.sweeps import PlannedPoint, Sweep

SUFFIXES: Final = (".svg", ".png", ".pdf", ".html")
"""Endings of the files that a chart can be written to."""

_WIDTH, _HEIGHT = 560, 190
_MARGIN: Final = {"left": 12, "top": 8, "right": 48, "bottom": 8}
"""Pixels: a viewer whose font is wider than the one measured cuts no legend off."""
_MARKED = "#000000"
_FEW = 12
"""Up to so many values are marked one by one."""
_MONEY: Final = {
    "labels": "#0072b2",
    "rollouts": "#e69f00",
    "prompts": "#56b4e9",
    "fixed": "#999999",
}
"""Where money goes -> colour, from the bottom of the stack."""
_TERMS: Final = {
    "total": ("#000000", [1, 0]),
    "reward shift": ("#0072b2", [7, 3]),
    "sampling": ("#d55e00", [2, 2]),
    "KL clipping": ("#cc79a7", [8, 3, 2, 3]),
    "no budget removes": ("#777777", [1, 4]),
}
"""Term of the bound -> colour and dashes."""
_DECISIONS: Final = {
    "labels": ("labels", "#0072b2", [1, 0]),
    "prompts": ("prompts", "#009e73", [7, 3]),
    "rollouts of each": ("rollouts_per_prompt", "#d55e00", [2, 2]),
}
"""Decision -> field of the allocation, colour and dashes."""
_FIELDS: Final = {
    "total": "total",
    "reward shift": "reward_shift",
    "sampling": "sampling",
    "KL clipping": "kl_clipping",
    "no budget removes": "irreducible",
}
_SHARES: Final = {"5 % of the draws": "p5", "50 %": "p50", "95 %": "p95"}


def sweep_chart(sweep: Sweep) -> Any:
    """Return the chart of a sweep: panels over the constant, one more over the budget.

    A rule marks the scenario's own value; over the budget, diamonds mark what is done now.

    Raises
    ------
    ScenarioError
        Where no value could be planned.
    MissingExtraError
        Without the extra ``plot``.
    """
    altair = altair_package()
    if not sweep.planned:
        problem = Problem(sweep.over.key, "no value that can be planned", "at least one to draw")
        raise ScenarioError((problem,))
    panels = [_terms(altair, sweep), _decisions(altair, sweep), _money(altair, sweep)]
    panels += [_doublings(altair, sweep)] if sweep.doublings else []
    panels += [_spread(altair, sweep)] if _is_robust(sweep) else []
    missing = len(sweep.points) - len(sweep.planned)
    told = f"; {missing} of {len(sweep.points)} values cannot be planned" if missing else ""
    title = altair.TitleParams(
        f"{sweep.scenario.name}: the best plan over {sweep.over.key}",
        subtitle=f"{len(sweep.planned)} values, each planned anew{told}",
        anchor="start",
        fontSize=15,
        offset=14,
        subtitleColor="#555555",
    )
    chart = altair.vconcat(*panels, spacing=22).resolve_scale(
        shape="independent", color="independent", strokeDash="independent"
    )
    return styled(chart.properties(title=title, background="white"))


def styled(chart: Any) -> Any:
    """Give a chart the lines and letters of all pictures."""
    return (
        chart.properties(padding=_MARGIN)
        .configure_axis(
            gridColor="#e5e5e5", domainColor="#777777", labelFontSize=11, titleFontSize=12
        )
        .configure_legend(labelFontSize=11, titleFontSize=11, symbolStrokeWidth=2.5)
        .configure_view(stroke=None)
    )


# --- panels --------------------------------------------------------------------------------------


def _terms(altair: Any, sweep: Sweep) -> Any:
    names = [name for name in _TERMS if _matters(sweep, _FIELDS[name])]
    # The total is continuous where another K takes over; the terms that it is made of jump.
    rows = [
        {
            "at": value,
            "term": name,
            "value": getattr(point.optimum.bound, _FIELDS[name]),
            "run": 0 if name == "total" else point.optimum.allocation.rollouts_per_prompt,
        }
        for value, point in sweep.planned
        for name in names
    ]
    styles = {name: _TERMS[name] for name in names}
    lines = _styled(altair, sweep, rows, styles, "term of the bound", detail="run:N")
    title, marked = "The bound by its terms", []
    title += ", at the middle of every range" if _is_robust(sweep) else ""
    now = sweep.current
    if now is not None and _current_is_within(sweep):
        title += "; the diamond is what is done now"
        rows = [{"at": now.cost.total, "value": now.bound.total, "text": "current"}]
        mark = _diamonds(altair, sweep, rows, color=altair.value(_MARKED))
        text = mark.mark_text(align="left", dx=9, dy=-8, fontSize=12, fontWeight="bold")
        marked = [mark, text.encode(text="text:N")]
    return _panel(altair, sweep, title, *lines, *marked)


def _matters(sweep: Sweep, field: str) -> bool:
    return any(getattr(point.optimum.bound, field) > 0 for _, point in sweep.planned)


def _current_is_within(sweep: Sweep) -> bool:
    """Whether there is something done now, at a cost within the range of the sweep."""
    numbers = [value for value, _ in sweep.planned if not isinstance(value, str)]
    cost = sweep.current.cost.total if sweep.current else math.nan
    return bool(numbers) and min(numbers) <= cost <= max(numbers)


def _diamonds(altair: Any, sweep: Sweep, rows: list[dict[str, Any]], **channels: Any) -> Any:
    base = altair.Chart(altair.Data(values=rows)).encode(
        x=_horizontal(altair, sweep), y="value:Q", **channels
    )
    return base.mark_point(shape="diamond", size=130, filled=True, stroke="white", opacity=1)


def _decisions(altair: Any, sweep: Sweep) -> Any:
    """Steps, as a decision jumps from one count to the next; on a log scale 0 has no place."""

    def rows_of(at: Any, allocation: Any) -> list[dict[str, Any]]:
        counts = {name: getattr(allocation, _DECISIONS[name][0]) for name in _DECISIONS}
        return [{"at": at, "term": k, "value": v} for k, v in counts.items() if v > 0]

    rows = [row for at, point in sweep.planned for row in rows_of(at, point.optimum.allocation)]
    styles = {
        name: _DECISIONS[name][1:]
        for name in _DECISIONS
        if any(row["term"] == name for row in rows)
    }
    axis = altair.Axis(format="~s", tickCount=6)
    vertical = altair.Y("value:Q", title="count (log)", scale=altair.Scale(type="log"), axis=axis)
    lines = _styled(altair, sweep, rows, styles, "decision", vertical, steps=True)
    now = sweep.current
    if now is not None and _current_is_within(sweep):
        marked = rows_of(now.cost.total, now.allocation)
        lines.append(_diamonds(altair, sweep, marked, color="term:N"))
    return _panel(altair, sweep, "What to buy", *lines)


def _money(altair: Any, sweep: Sweep) -> Any:
    names = [
        name
        for name in _MONEY
        if any(getattr(point.optimum.cost, name) > 0 for _, point in sweep.planned)
    ]
    rows = [
        {"at": value, "part": name, "order": order, "share": _share(point, name)}
        for value, point in sweep.planned
        for order, name in enumerate(names)
    ]
    scale = altair.Scale(domain=names, range=[_MONEY[name] for name in names])
    base = altair.Chart(altair.Data(values=rows))
    drawn = (
        base.mark_bar(stroke="white")
        if _is_named(sweep)
        else base.mark_area(stroke="white", strokeWidth=1.2, opacity=1)
    )
    areas = drawn.encode(
        x=_horizontal(altair, sweep),
        y=altair.Y(
            "share:Q",
            title="share of the cost (%)",
            stack="zero",
            scale=altair.Scale(domain=[0, 100]),
        ),
        color=altair.Color("part:N", title="spent on", scale=scale),
        order=altair.Order("order:Q"),
    )
    return _panel(altair, sweep, "Where the money goes, stacked", areas)


def _share(point: PlannedPoint, name: str) -> float:
    cost = point.optimum.cost
    return 100.0 * float(getattr(cost, name)) / cost.total if cost.total > 0 else 0.0


def _doublings(altair: Any, sweep: Sweep) -> Any:
    rows = [{"at": each.budget, "buys": 100.0 * each.buys} for each in sweep.doublings]
    vertical = altair.Y("buys:Q", title=["bound removed by", "twice the budget (%)"])
    base = altair.Chart(altair.Data(values=rows)).encode(x=_horizontal(altair, sweep), y=vertical)
    line = base.mark_line(strokeWidth=1, color="#0072b2")
    points = base.mark_point(filled=True, size=55, opacity=1, color="#0072b2")
    little = altair.Chart(altair.Data(values=[{"buys": 100.0 * ENOUGH}]))
    rule = little.mark_rule(strokeDash=[7, 3], color="#777777").encode(y="buys:Q")
    title = "What a doubling of the budget buys; below the dashes, little"
    return _panel(altair, sweep, title, line, points, rule)


def _spread(altair: Any, sweep: Sweep) -> Any:
    """Of robust plans: the bound over the draws of what is not known, and the risk."""
    risk = shared_risk(point.robust for _, point in sweep.planned)
    rows = [
        {"at": value, "term": name, "value": number}
        for value, point in sweep.planned
        if point.robust
        for name, number in (
            (risk, point.robust.value),
            *((name, getattr(point.robust.distribution, key)) for name, key in _SHARES.items()),
        )
    ]
    styles = dict(zip((risk, *_SHARES), _TERMS.values(), strict=False))
    lines = _styled(altair, sweep, rows, styles, "over the draws")
    return _panel(altair, sweep, "The bound over what may be true", *lines)


# --- what panels share ---------------------------------------------------------------------------


def _title(altair: Any, text: str) -> Any:
    return altair.TitleParams(text, anchor="start", frame="group", fontSize=12.5)


def _panel(altair: Any, sweep: Sweep, title: str, *layers: Any) -> Any:
    """A panel with a rule where the scenario itself stands."""
    return altair.layer(*layers, *_here(altair, sweep)).properties(
        width=_WIDTH, height=_HEIGHT, title=_title(altair, title)
    )


def _here(altair: Any, sweep: Sweep) -> list[Any]:
    """A rule at the scenario's own value, where it lies within the sweep."""
    own = leaf(sweep.scenario.inputs(), sweep.over.key)
    if own is None or _is_named(sweep):
        return []
    numbers = [float(value) for value in sweep.over.values]
    if not min(numbers) <= own <= max(numbers):
        return []
    rows = [{"at": own, "text": "you are here"}]
    base = altair.Chart(altair.Data(values=rows)).encode(x=_horizontal(altair, sweep))
    rule = base.mark_rule(color="#555555", strokeDash=[4, 3])
    left = own > 0.5 * (min(numbers) + max(numbers))
    text = base.mark_text(
        align="right" if left else "left", dx=-5 if left else 5, dy=7, color="#555555"
    )
    return [rule, text.encode(text="text:N", y=altair.value(0))]


def _styled(
    altair: Any,
    sweep: Sweep,
    rows: list[dict[str, Any]],
    styles: Mapping[str, tuple[str, list[int]]],
    title: str,
    vertical: Any = None,
    **more: Any,
) -> list[Any]:
    """Lines, of reward units where no other axis is given, told apart by colour, dashes, shape."""
    names = list(styles)
    scale = altair.Scale(domain=names, range=[styles[name][0] for name in names])
    dashes = altair.Scale(domain=names, range=[styles[name][1] for name in names])
    strokes = {} if _is_named(sweep) else {"symbolType": "stroke", "symbolSize": 350}
    legend = altair.Legend(title=title, **strokes)
    return _lines(
        altair,
        sweep,
        rows,
        vertical or altair.Y("value:Q", title="bound (reward units)"),
        color=altair.Color("term:N", scale=scale, legend=legend),
        strokeDash=altair.StrokeDash("term:N", scale=dashes, legend=legend),
        shape=altair.Shape("term:N", scale=altair.Scale(domain=names), legend=legend),
        **more,
    )


def _is_robust(sweep: Sweep) -> bool:
    return any(point.robust for _, point in sweep.planned)


def _lines(
    altair: Any,
    sweep: Sweep,
    rows: list[dict[str, Any]],
    vertical: Any,
    *,
    steps: bool = False,
    **channels: Any,
) -> list[Any]:
    """Lines or steps; few values are marked by points, and words are not joined."""
    shape = {"shape": channels.pop("shape")} if "shape" in channels else {}
    base = altair.Chart(altair.Data(values=rows)).encode(
        x=_horizontal(altair, sweep), y=vertical, color=channels["color"]
    )
    if _is_named(sweep):
        return [base.mark_point(filled=True, size=90, opacity=1).encode(**shape)]
    line = base.mark_line(strokeWidth=2.2, interpolate="step" if steps else "linear")
    size = 55 if len(sweep.points) <= _FEW else 10
    # A value on its own is no line.
    return [line.encode(**channels), base.mark_point(filled=True, size=size, opacity=1)]


def _is_named(sweep: Sweep) -> bool:
    return any(isinstance(value, str) for value in sweep.over.values)


def _horizontal(altair: Any, sweep: Sweep) -> Any:
    title = _axis_title(sweep)
    if _is_named(sweep):
        names = [str(value) for value in sweep.over.values]
        axis = altair.Axis(labelAngle=0)
        return altair.X("at:N", title=title, sort=names, axis=axis)
    numbers = [float(value) for value in sweep.over.values]
    is_log = sweep.over.scale == "log" or (sweep.over.scale is None and _spreads(numbers))
    ends = [min(numbers), max(numbers)]
    scale = altair.Scale(type="log" if is_log else "linear", zero=False, nice=False, domain=ends)
    axis = altair.Axis(
        format="~g" if max(numbers) < 1e4 else "~s", labelOverlap="greedy", tickCount=8
    )
    return altair.X(
        "at:Q", title=f"{title}, log scale" if is_log else title, scale=scale, axis=axis
    )


def _spreads(numbers: Sequence[float]) -> bool:
    return min(numbers) > 0 and max(numbers) / min(numbers) > 20


def _axis_title(sweep: Sweep) -> str:
    rules = KEYS.get(f"{sweep.over.key}.min") or KEYS.get(sweep.over.key)
    unit = rules.unit.replace("currency", sweep.scenario.currency) if rules else ""
    return f"{sweep.over.key} ({unit})" if unit else sweep.over.key


# --- files ---------------------------------------------------------------------------------------


def check_chart_file(path: str | Path) -> None:
    """Refuse a file that no chart can be written to, before anything is computed.

    Raises
    ------
    FileAccessError
        If the ending is none of :data:`SUFFIXES`, or there is no such directory.
    MissingExtraError
        Without the extra ``plot``.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise FileAccessError(f"{path}: a picture is one of {', '.join(SUFFIXES)}")
    if not Path(path).parent.is_dir():
        raise FileAccessError(f"{path}: no such directory")
    altair_package()


def write_chart(chart: Any, path: str | Path) -> None:
    """Write a chart to a file, whole or not at all, as its name's ending says.

    Raises
    ------
    FileAccessError
        If the file cannot be written.
    MissingExtraError
        Without the extra ``plot``.
    """
    check_chart_file(path)
    write_whole(path, rendered(chart, Path(path).suffix.lower()[1:], ppi=110))


def rendered(chart: Any, kind: str, *, ppi: int) -> bytes:
    """Return a chart as ``svg``, ``html``, ``pdf`` or ``png`` (at ``ppi`` pixels an inch)."""
    picture = io.BytesIO()
    try:
        if kind in {"svg", "html"}:
            text = io.StringIO()
            chart.save(text, format=kind, **({"inline": True} if kind == "html" else {}))
            return text.getvalue().encode()
        chart.save(picture, format=kind, **({"ppi": ppi} if kind == "png" else {}))
    except ImportError:
        raise MissingExtraError(_MISSING) from None
    return picture.getvalue()


_MISSING: Final = "pictures need the extra plot: pip install 'rlhf-budget[plot]'"


def altair_package() -> Any:
    """Import Altair, or say which extra brings it."""
    try:
        import altair  # noqa: ICN001, PLC0415 - an extra; its full name says what it is
    except ImportError:
        raise MissingExtraError(_MISSING) from None
    return altair


@contextmanager
def vega_scripts() -> Iterator[Callable[[], str]]:
    """Bundle Vega, Vega-Lite and Vega-Embed as one script, for pages without a network.

    Bundling takes as long as planning and holds the interpreter's lock, so a process of its own
    does it meanwhile.

    Yields
    ------
    callable
        Waits for the script and returns it.

    Raises
    ------
    MissingExtraError
        Without the extra ``plot``.
    """
    if find_spec("vl_convert") is None:
        raise MissingExtraError(_MISSING)
    code = "import sys, vl_convert; sys.stdout.write(vl_convert.javascript_bundle())"
    command = [sys.executable, "-X", "utf8", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as bundling:  # noqa: S603

        def scripts() -> str:
            text, _ = bundling.communicate()
            if bundling.returncode:
                raise MissingExtraError(_MISSING)
            return text

        try:
            yield scripts
        finally:
            bundling.kill()
