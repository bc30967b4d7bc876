"""A sweep as a document: how the decision and the bound move with one constant."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING

from rlhf_budget.report.document import Column, Paragraph, Row, Section, Table, arranged
from rlhf_budget.report.first_screen import rounded
from rlhf_budget.report.numbers import percent, plain, significant
from rlhf_budget.report.robust_words import shared_risk
from rlhf_budget.report.underway import counted
from rlhf_budget.report.words import amount, buys_labels, count, purchase
from rlhf_budget.studies.sweeps import ENOUGH, Held

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlhf_budget.bound.results import Bound
    from rlhf_budget.planning.results import CurrentOverDraws, Robust
    from rlhf_budget.report.document import Cell, Document, Kind
    from rlhf_budget.studies.sweeps import PlannedPoint, Point, Sweep, Value

CURRENT = "current"
"""Names the row of what is done now, at the budget that it costs."""
MOST_ROWS = 15
"""Values shown; of more every second, third, ... is, and the last. Data have them all."""
DIGITS = 3
"""Significant digits of a value between the ends of a range, and of counts."""


def sweep_document(sweep: Sweep) -> Document:
    """Arrange a sweep for reading."""
    return arranged(
        f"{sweep.scenario.name} over {sweep.over.key}",
        _verdict(sweep),
        Section(
            "Decisions" if _risk(sweep) else "Decisions and bound, reward units", _decisions(sweep)
        ),
        Section("Bound, reward units", _risks(sweep)),
        Section("What is counted", counted(sweep.scenario)),
        Section("Beside the current allocation", _current(sweep)),
        Section("Without a plan", _failures(sweep)),
        Section("Limits that bind", _at_values(sweep, lambda point: point.binding, "text")),
        Section("Warnings", _at_values(sweep, lambda point: point.warnings, "warning")),
    )


def _verdict(sweep: Sweep) -> Paragraph:
    planned = sweep.planned
    missing = len(sweep.points) - len(planned)
    told = (
        f" {count(missing, 'value')} of {len(sweep.points)} cannot be planned." if missing else ""
    )
    if not planned:
        return Paragraph(f"No value can be planned.{told}", "bad")
    lowest = min(planned, key=lambda pair: pair[1].judged)
    highest = max(planned, key=lambda pair: pair[1].judged)
    name = f"The {_risk(sweep) or 'bound'}"
    text = (
        f"{name} goes from {_bound_at(*lowest, sweep)} to {_bound_at(*highest, sweep)}."
        if lowest[0] != highest[0]
        else f"{name} is {_bound_at(*lowest, sweep)}."
    )
    sketch = tuple(point.judged for _, point in planned)
    return Paragraph(f"{text}{_doubling(sweep)}{told}", sketch=sketch if len(sketch) > 2 else ())


def _risk(sweep: Sweep) -> str:
    """What robust plans minimise; empty for others."""
    return shared_risk(point.robust for _, point in sweep.planned)


def _bound_at(value: Value, point: PlannedPoint, sweep: Sweep) -> str:
    total = significant(point.judged)
    return f"{total} (at {sweep.over.key} {_text(sweep, value)})"


def _doubling(sweep: Sweep) -> str:
    """What a doubling of the budget buys: of the scenario's own, and where it buys little."""
    if not sweep.doublings:
        return ""
    currency, enough, last = sweep.scenario.currency, sweep.enough, sweep.doublings[-1]
    own = next((d for d in sweep.doublings if d.budget == sweep.scenario.budget), None)
    text = ""
    if own is not None:
        text = f" Doubling your {amount(own.budget, currency)} lowers it by {percent(own.buys)}."
    if enough is not None:
        return (
            f"{text} From {amount(rounded(enough, -1), currency)} on a doubling buys less than "
            f"{100 * ENOUGH:g} %."
        )
    if last is own:
        return text
    return (
        f"{text} Even at {amount(rounded(last.budget, -1), currency)} a doubling still buys "
        f"{percent(last.buys)}."
    )


# --- tables ------------------------------------------------------------------------------------


def _text(sweep: Sweep, value: Value) -> str:
    shown = _short(sweep, value)
    return shown if isinstance(shown, str) else plain(shown)


def _short(sweep: Sweep, value: Value) -> Value:
    """Round a value that stands between the ends of a range; what a user wrote stays."""
    over = sweep.over
    if over.scale is None or isinstance(value, str) or value in {over.first, over.last}:
        return value
    return float(f"{value:.{DIGITS}g}")


def _decisions(sweep: Sweep) -> tuple[Table | Paragraph, ...]:
    labels = buys_labels(sweep.scenario)
    robust = bool(_risk(sweep))
    proved = all(point.optimum.status == "optimal" for _, point in sweep.planned)
    clipped = any(p.optimum.allocation.clip_threshold is not None for _, p in sweep.planned)
    columns = (
        Column(sweep.over.key, "plain"),
        Column("prompts", "integer"),
        Column("rollouts each", "integer"),
        *([Column("labels", "integer")] if labels else []),
        *([Column("clip, nats", "significant")] if clipped else []),
        *([] if robust else [Column("bound", "significant")]),
        *([] if proved else [Column("status")]),
    )

    def cells(held: PlannedPoint | Held | None, status: str) -> tuple[Cell, ...]:
        if held is None:
            return (status, *((None,) * (len(columns) - 2)))
        plan = held if isinstance(held, Held) else held.optimum
        a, exact = plan.allocation, isinstance(held, Held)
        return (
            *((a.prompts if exact else rounded(a.prompts, -1)), a.rollouts_per_prompt),
            *([a.labels if exact else rounded(a.labels, -1)] if labels else []),
            *([a.clip_threshold] if clipped else []),
            *([] if robust else [plan.bound.total]),
            *([] if proved else [status]),
        )

    shown = _shown(sweep)
    names = {"optimal": "proved", "not_proved": "not proved"}
    rows = [
        Row(
            (
                _short(sweep, point.value),
                *cells(point.planned, names.get(point.status, point.status)),
            )
        )
        for point in shown
    ]
    now = sweep.current
    marked = None if now is None else cells(now, "as it is")
    table = _with_current(sweep, Table(columns, (*rows,)), marked)
    if len(shown) == len(sweep.points):
        return (table,)
    note = f"{len(shown)} of {len(sweep.points)} values; --format csv or json has all, exactly."
    return (table, Paragraph(note, "note"))


def _shown(sweep: Sweep) -> tuple[Point, ...]:
    """All points, or every second, third, ... of many, and the last."""
    step = -(-(len(sweep.points) - 1) // (MOST_ROWS - 1)) or 1
    some = sweep.points[::step]
    return some if some[-1] is sweep.points[-1] else (*some, sweep.points[-1])


def _with_current(sweep: Sweep, table: Table, cells: tuple[Cell, ...] | None) -> Table:
    """Insert what is done now at the budget that it costs."""
    if sweep.current is None or cells is None:
        return table
    cost = sweep.current.cost.total
    place = sum(isinstance(row.cells[0], (int, float)) and row.cells[0] <= cost
                for row in table.rows)  # fmt: skip
    marked = Row((CURRENT, *cells), emphasis=True)
    return replace(table, rows=(*table.rows[:place], marked, *table.rows[place:]))


def _risks(sweep: Sweep) -> tuple[Table, ...]:
    """Robust plans: the risk, the bound over the draws and at the middle of every range."""
    name = _risk(sweep)
    if not name:
        return ()
    names = (name, "5 %", "50 %", "95 %", "at the middle")
    columns = (Column(sweep.over.key, "plain"), *(Column(each, "significant") for each in names))

    def cells(over: Robust | CurrentOverDraws, middle: Bound) -> tuple[Cell, ...]:
        spread = over.distribution
        return over.value, spread.p5, spread.p50, spread.p95, middle.total

    rows = tuple(
        Row((_short(sweep, point.value), *cells(found.robust, found.optimum.bound)))
        for point in _shown(sweep)
        if (found := point.planned) is not None and found.robust
    )
    now, over = sweep.current, _current_over_draws(sweep)
    marked = cells(over, now.bound) if now is not None and over is not None else None
    if marked is not None and "regret" in name:
        # What is best for each draw depends on the budget, the bounds of what is done now do not.
        marked = (None, *marked[1:])
    return (_with_current(sweep, Table(columns, rows), marked),)


# --- words ---------------------------------------------------------------------------------------


def _current(sweep: Sweep) -> tuple[Paragraph, ...]:
    """Say which budget of the frontier does as well as what is done now."""
    now = sweep.current
    if now is None:
        return ()
    currency, over = sweep.scenario.currency, _current_over_draws(sweep)
    bound = over.bound if over else now.bound.total
    text = (
        f"{purchase(now.allocation, sweep.scenario)} cost {amount(now.cost.total, currency)} for a "
        f"{_bound_name(sweep)} of {significant(bound)}."
    )
    points = [(point.robust.bound if point.robust else point.optimum.bound.total,
               point.optimum.cost.total) for _, point in sweep.planned]  # fmt: skip
    enough = [(cost, mine) for mine, cost in points if mine <= bound and cost <= now.cost.total]
    if enough:
        cost, best = min(enough, key=itemgetter(0))
        less = 1.0 - cost / now.cost.total if now.cost.total > 0 else 0.0
        text += (
            f" On the frontier {amount(cost, currency)} ({percent(less)} less) reach "
            f"{significant(best)}."
        )
    return (Paragraph(text),)


def _current_over_draws(sweep: Sweep) -> CurrentOverDraws | None:
    """What is done now over the draws, which are those of every budget."""
    return next((point.robust.current for _, point in sweep.planned if point.robust), None)


def _bound_name(sweep: Sweep) -> str:
    risk = _risk(sweep)
    return "bound in 95 % of the draws" if "regret" in risk else risk or "bound"


def _failures(sweep: Sweep) -> tuple[Paragraph, ...]:
    """Say once why values of a kind have no plan, and which they are."""
    paragraphs = []
    for status in ("infeasible", "invalid"):
        points = [point for point in sweep.points if point.status == status]
        if points:
            values = _values(sweep, [point.value for point in points])
            first = str(points[0].outcome)
            paragraphs.append(Paragraph(f"{values}. The first: {first}", "bad", status))
    return tuple(paragraphs)


def _at_values(
    sweep: Sweep, names: Callable[[PlannedPoint], tuple[str, ...]], kind: Kind
) -> tuple[Paragraph, ...]:
    """One paragraph for each name that points have: at which values."""
    found: dict[str, list[Value]] = {}
    for value, point in sweep.planned:
        for name in names(point):
            found.setdefault(name, []).append(value)
    everywhere = len(sweep.planned)
    return tuple(
        Paragraph(
            "at every value." if len(values) == everywhere else f"at {_values(sweep, values)}.",
            kind,
            name,
        )
        for name, values in found.items()
    )


def _values(sweep: Sweep, values: list[Value]) -> str:
    """Name a few values, or the ends of many."""
    if len(values) <= 3:
        return ", ".join(_text(sweep, value) for value in values)
    ends = f"{_text(sweep, values[0])} to {_text(sweep, values[-1])}"
    return f"{len(values)} values from {ends}"
