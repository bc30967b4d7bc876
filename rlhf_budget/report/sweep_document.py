"""A sweep as a document: how the decision and the bound move with one constant."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING

from rlhf_budget.report.document import Column, Paragraph, Row, Section, Table, arranged
from rlhf_budget.report.numbers import percent, plain, significant
from rlhf_budget.report.robust_words import shared_risk
from rlhf_budget.report.underway import counted
from rlhf_budget.report.words import amount, buys_labels, count, purchase

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlhf_budget.bound.results import Allocation, Bound
    from rlhf_budget.planning.results import CurrentOverDraws, Robust
    from rlhf_budget.report.document import Cell, Document, Kind
    from rlhf_budget.studies.sweeps import PlannedPoint, Sweep, Value

CURRENT = "current"
"""Names the row of what is done now, at the budget that it costs."""


def sweep_document(sweep: Sweep) -> Document:
    """Arrange a sweep for reading."""
    return arranged(
        f"{sweep.scenario.name} over {sweep.over.key}",
        _verdict(sweep),
        Section("Decisions", (_decisions(sweep),)),
        Section("Bound, reward units", (_bounds(sweep),)),
        Section("What is counted", counted(sweep.scenario)),
        Section(
            "Cost and clip threshold"
            if _risk(sweep)
            else "Cost, value of more money, and clip threshold",
            (_money(sweep),),
        ),
        Section("Beside the current allocation", _current(sweep)),
        Section("Without a plan", _failures(sweep)),
        Section("Limits that bind", _at_values(sweep, lambda point: point.binding, "text")),
        Section("Warnings", _at_values(sweep, lambda point: point.warnings, "warning")),
    )


def written_value(value: Value) -> str:
    """Write a value of the constant."""
    return value if isinstance(value, str) else plain(value)


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
    return Paragraph(text + told, sketch=sketch if len(sketch) > 2 else ())


def _risk(sweep: Sweep) -> str:
    """What robust plans minimise; empty for others."""
    return shared_risk(point.robust for _, point in sweep.planned)


def _bound_at(value: Value, point: PlannedPoint, sweep: Sweep) -> str:
    total = significant(point.judged)
    return f"{total} (at {sweep.over.key} {written_value(value)})"


# --- tables --------------------------------------------------------------------------------------


def _decisions(sweep: Sweep) -> Table:
    labels = buys_labels(sweep.scenario)
    columns = (
        Column(sweep.over.key, "plain"),
        Column("prompts", "integer"),
        Column("rollouts each", "integer"),
        *([Column("labels", "integer")] if labels else []),
        Column("status"),
    )

    def cells(a: Allocation) -> tuple[Cell, ...]:
        return (a.prompts, a.rollouts_per_prompt, *((a.labels,) if labels else ()))

    rows = []
    for point in sweep.points:
        found = point.planned
        decided = (None,) * (len(columns) - 2) if found is None else cells(found.optimum.allocation)
        status = {"optimal": "proved", "not_proved": "not proved"}.get(point.status, point.status)
        rows.append(Row((point.value, *decided, status)))
    now = sweep.current
    marked = None if now is None else (*cells(now.allocation), "as it is")
    return _with_current(sweep, Table(columns, (*rows,)), marked)


def _with_current(sweep: Sweep, table: Table, cells: tuple[Cell, ...] | None) -> Table:
    """Insert what is done now at the budget that it costs."""
    if sweep.current is None or cells is None:
        return table
    cost = sweep.current.cost.total
    place = sum(isinstance(row.cells[0], (int, float)) and row.cells[0] <= cost
                for row in table.rows)  # fmt: skip
    marked = Row((CURRENT, *cells), emphasis=True)
    return replace(table, rows=(*table.rows[:place], marked, *table.rows[place:]))


def _risks(sweep: Sweep, name: str) -> Table:
    """Robust plans: the risk, the bound over the draws and at the middle of every range."""
    names = (name, "5 %", "50 %", "95 %", "at the middle")
    columns = (Column(sweep.over.key, "plain"), *(Column(each, "significant") for each in names))

    def cells(over: Robust | CurrentOverDraws, middle: Bound) -> tuple[Cell, ...]:
        spread = over.distribution
        return over.value, spread.p5, spread.p50, spread.p95, middle.total

    rows = tuple(
        Row((value, *cells(point.robust, point.optimum.bound)))
        for value, point in sweep.planned
        if point.robust
    )
    now, over = sweep.current, _current_over_draws(sweep)
    marked = cells(over, now.bound) if now is not None and over is not None else None
    if marked is not None and "regret" in name:
        # What is best for each draw depends on the budget, the bounds of what is done now do not.
        marked = (None, *marked[1:])
    return _with_current(sweep, Table(columns, rows), marked)


def _bounds(sweep: Sweep) -> Table:
    risk = _risk(sweep)
    if risk:
        return _risks(sweep, risk)
    names = ("bound", "sampling", "reward shift", "KL clipping")
    columns = (Column(sweep.over.key, "plain"), *(Column(name, "significant") for name in names))

    def cells(b: Bound) -> tuple[Cell, ...]:
        return b.total, b.sampling, b.reward_shift, b.kl_clipping

    rows = tuple(Row((value, *cells(point.optimum.bound))) for value, point in sweep.planned)
    marked = None if sweep.current is None else cells(sweep.current.bound)
    return _with_current(sweep, Table(columns, rows), marked)


def _money(sweep: Sweep) -> Table:
    currency, robust = sweep.scenario.currency, bool(_risk(sweep))
    slope = () if robust else (Column(f"bound per {currency}", "significant"),)
    columns = (
        Column(sweep.over.key, "plain"),
        Column(f"cost, {currency}", "money"),
        *slope,
        Column("clip, nats", "significant"),
    )

    def cells(point: PlannedPoint) -> tuple[Cell, ...]:
        slope = point.marginal and point.marginal.bound_per_currency
        return point.optimum.cost.total, *(() if robust else (slope,))

    rows = tuple(
        Row((value, *cells(point), point.optimum.allocation.clip_threshold))
        for value, point in sweep.planned
    )
    now = sweep.current
    marked = None
    if now is not None:
        marked = (now.cost.total, *(None for _ in slope), now.allocation.clip_threshold)
    return _with_current(sweep, Table(columns, rows), marked)


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
            values = _values([point.value for point in points])
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
            "at every value." if len(values) == everywhere else f"at {_values(values)}.", kind, name
        )
        for name, values in found.items()
    )


def _values(values: list[Value]) -> str:
    """Name a few values, or the ends of many."""
    if len(values) <= 3:
        return ", ".join(map(written_value, values))
    ends = f"{written_value(values[0])} to {written_value(values[-1])}"
    return f"{len(values)} values from {ends}"
