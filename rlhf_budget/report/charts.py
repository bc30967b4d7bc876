"""Pictures of sweeps: where the money goes, what the bound is made of, what more money does.

Altair draws, through the extra ``plot``; one description serves pictures here and pages later.
Colours are those of Okabe and Ito (2008), told apart by people with any colour vision; in grey they
differ in lightness, and lines and areas are named by dashes and order too.
"""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.errors import FileAccessError, MissingExtraError, Problem, ScenarioError
from rlhf_budget.report.data import write_whole
from rlhf_budget.report.robust_words import shared_risk
from rlhf_budget.scenario.keys import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rlhf_budget.studies.sweeps import PlannedPoint, Sweep

SUFFIXES: Final = (".svg", ".png", ".pdf", ".html")
"""Endings of the files that a chart can be written to."""

_WIDTH, _HEIGHT = 560, 190
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
_FIELDS: Final = {
    "total": "total",
    "reward shift": "reward_shift",
    "sampling": "sampling",
    "KL clipping": "kl_clipping",
    "no budget removes": "irreducible",
}
_SHARES: Final = {"5 % of the draws": "p5", "50 %": "p50", "95 %": "p95"}


def sweep_chart(sweep: Sweep) -> Any:
    """Return the chart of a sweep: three panels over the constant.

    Over the budget, what is done now is marked on the bound.

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
    last = (_spread if _is_robust(sweep) else _slopes)(altair, sweep)
    panels = [_terms(altair, sweep), _money(altair, sweep), last]
    missing = len(sweep.points) - len(sweep.planned)
    told = f"; {missing} of {len(sweep.points)} values cannot be planned" if missing else ""
    title = altair.TitleParams(
        f"{sweep.scenario.name}: the best plan over {sweep.over.key}",
        subtitle=f"{len(sweep.planned)} values, each planned anew{told}",
        anchor="start",
        fontSize=15,
        subtitleColor="#555555",
    )
    chart = altair.vconcat(*panels, spacing=22).resolve_scale(
        shape="independent", color="independent", strokeDash="independent"
    )
    return styled(chart.properties(title=title, background="white"))


def styled(chart: Any) -> Any:
    """Give a chart the lines and letters of all pictures."""
    return (
        chart.configure_axis(
            gridColor="#e5e5e5", domainColor="#777777", labelFontSize=11, titleFontSize=12
        )
        .configure_legend(labelFontSize=11, titleFontSize=11, symbolStrokeWidth=2.5)
        .configure_view(stroke=None)
    )


# --- panels --------------------------------------------------------------------------------------


def _terms(altair: Any, sweep: Sweep) -> Any:
    names = [name for name in _TERMS if _matters(sweep, _FIELDS[name])]
    rows = [
        {"at": value, "term": name, "value": getattr(point.optimum.bound, _FIELDS[name])}
        for value, point in sweep.planned
        for name in names
    ]
    lines = _styled(
        altair, sweep, rows, {name: _TERMS[name] for name in names}, "term of the bound"
    )
    title = "The bound by its terms"
    title += ", at the middle of every range" if _is_robust(sweep) else ""
    marked = _current(altair, sweep)
    layers = [*lines, *marked]
    if marked:
        title += "; the diamond is what is done now"
    return altair.layer(*layers).properties(
        width=_WIDTH, height=_HEIGHT, title=_title(altair, title)
    )


def _matters(sweep: Sweep, field: str) -> bool:
    return any(getattr(point.optimum.bound, field) > 0 for _, point in sweep.planned)


def _current(altair: Any, sweep: Sweep) -> list[Any]:
    """A diamond at the cost and bound of what is done now, within the range of the sweep."""
    now = sweep.current
    numbers = [value for value, _ in sweep.planned if not isinstance(value, str)]
    if now is None or not numbers or not min(numbers) <= now.cost.total <= max(numbers):
        return []
    rows = [{"at": now.cost.total, "value": now.bound.total, "text": "current"}]
    base = altair.Chart(altair.Data(values=rows)).encode(
        x=_horizontal(altair, sweep), y=altair.Y("value:Q", title="bound (reward units)")
    )
    mark = base.mark_point(
        shape="diamond", size=130, filled=True, color=_MARKED, stroke="white", opacity=1
    )
    text = base.mark_text(align="left", dx=9, dy=-8, fontSize=12, fontWeight="bold")
    return [mark, text.encode(text="text:N")]


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
    title = "Where the money goes, stacked"
    return areas.properties(width=_WIDTH, height=_HEIGHT, title=_title(altair, title))


def _share(point: PlannedPoint, name: str) -> float:
    cost = point.optimum.cost
    return 100.0 * float(getattr(cost, name)) / cost.total if cost.total > 0 else 0.0


def _slopes(altair: Any, sweep: Sweep) -> Any:
    rows = [
        {"at": value, "slope": -point.marginal.bound_per_currency}
        for value, point in sweep.planned
        if point.marginal is not None and point.marginal.bound_per_currency < 0
    ]
    currency = sweep.scenario.currency
    slopes = [float(row["slope"]) for row in rows]
    is_log = bool(slopes) and _spreads(slopes)
    vertical = altair.Y(
        "slope:Q",
        title=["bound removed by", f"one more {currency}{' (log)' if is_log else ''}"],
        scale=altair.Scale(type="log" if is_log else "linear"),
        axis=altair.Axis(format=".0e" if is_log else ".1e", tickCount=5),
    )
    lines = _lines(altair, sweep, rows, vertical, color=altair.value("#0072b2"))
    title = "What a little more money does"
    return altair.layer(*lines).properties(
        width=_WIDTH, height=_HEIGHT, title=_title(altair, title)
    )


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
    title = "The bound over what may be true"
    return altair.layer(*lines).properties(
        width=_WIDTH, height=_HEIGHT, title=_title(altair, title)
    )


# --- what panels share ---------------------------------------------------------------------------


def _title(altair: Any, text: str) -> Any:
    return altair.TitleParams(text, anchor="start", frame="group", fontSize=12.5)


def _styled(
    altair: Any,
    sweep: Sweep,
    rows: list[dict[str, Any]],
    styles: Mapping[str, tuple[str, list[int]]],
    title: str,
) -> list[Any]:
    """Lines of reward units, told apart by colour, dashes and shape."""
    names = list(styles)
    scale = altair.Scale(domain=names, range=[styles[name][0] for name in names])
    dashes = altair.Scale(domain=names, range=[styles[name][1] for name in names])
    strokes = {} if _is_named(sweep) else {"symbolType": "stroke", "symbolSize": 350}
    legend = altair.Legend(title=title, **strokes)
    return _lines(
        altair,
        sweep,
        rows,
        altair.Y("value:Q", title="bound (reward units)"),
        color=altair.Color("term:N", scale=scale, legend=legend),
        strokeDash=altair.StrokeDash("term:N", scale=dashes, legend=legend),
        shape=altair.Shape("term:N", scale=altair.Scale(domain=names), legend=legend),
    )


def _is_robust(sweep: Sweep) -> bool:
    return any(point.robust for _, point in sweep.planned)


def _lines(
    altair: Any, sweep: Sweep, rows: list[dict[str, Any]], vertical: Any, **channels: Any
) -> list[Any]:
    """Lines; few values are marked by points, and words are not joined."""
    shape = {"shape": channels.pop("shape")} if "shape" in channels else {}
    base = altair.Chart(altair.Data(values=rows)).encode(
        x=_horizontal(altair, sweep), y=vertical, color=channels["color"]
    )
    if _is_named(sweep):
        return [base.mark_point(filled=True, size=90, opacity=1).encode(**shape)]
    layers = [base.mark_line(strokeWidth=2.2).encode(**channels)]
    if len(sweep.points) <= _FEW:
        layers.append(base.mark_point(filled=True, size=55, opacity=1))
    return layers


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
    scale = altair.Scale(type="log" if is_log else "linear", zero=False, nice=False)
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
