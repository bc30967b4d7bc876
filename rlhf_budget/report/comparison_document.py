"""A comparison as a document: who is best, what each buys, and where differences come from."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from rlhf_budget.report.document import Column, Paragraph, Row, Section, Table, arranged, warned
from rlhf_budget.report.numbers import percent, significant, write_group
from rlhf_budget.report.robust_words import shared_risk
from rlhf_budget.report.underway import counted, course
from rlhf_budget.report.words import listing
from rlhf_budget.studies.attribution import GROUPS, judged
from rlhf_budget.studies.comparison import IN_REWARD_UNITS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rlhf_budget.planning.results import Plan
    from rlhf_budget.report.document import Cell, Document, Format
    from rlhf_budget.studies.attribution import Attribution, Contribution
    from rlhf_budget.studies.comparison import Comparison, ValueDifference

BEST = "* "
"""Stands before the best of a row."""
SAME = "same"
"""Stands where a difference is below the tolerance."""

_DECISIONS: Final[tuple[tuple[str, str, Format], ...]] = (
    ("prompts", "allocation.prompts", "integer"),
    ("rollouts per prompt", "allocation.rollouts_per_prompt", "integer"),
    ("rollouts in all", "allocation.rollouts", "integer"),
    ("labels to buy", "allocation.labels", "integer"),
    ("clip threshold, nats", "allocation.clip_threshold", "significant"),
)
_TERMS: Final[tuple[tuple[str, str, Format], ...]] = (
    ("sampling", "bound.sampling", "significant"),
    ("reward shift", "bound.reward_shift", "significant"),
    ("KL clipping", "bound.kl_clipping", "significant"),
    ("total", "bound.total", "significant"),
    ("of which no budget removes", "bound.irreducible", "significant"),
)
_RISK: Final[tuple[tuple[str, str, Format], ...]] = (
    ("in 5 % of the draws at most", "robust.distribution.p5", "significant"),
    ("in 50 %", "robust.distribution.p50", "significant"),
    ("in 95 %", "robust.distribution.p95", "significant"),
)
_MONEY: Final = ("prompts", "rollouts", "labels", "fixed", "total")
_COMPARED: Final[tuple[tuple[str, str, Format], ...]] = (
    *(_TERMS[:3]),
    *(_DECISIONS[:2]),
    _DECISIONS[3],
    ("clip threshold, nats", "allocation.clip_threshold", "significant"),
    ("cost", "cost.total", "money"),
)


def comparison_document(comparison: Comparison) -> Document:
    """Arrange a comparison for reading."""
    shares = (
        ", in shares of the reward range where it is a bound" if comparison.ranges_differ else ""
    )
    legend = Paragraph(f"{BEST}the best of its row, where lower is better{shares}.", "note")
    reasons = tuple(
        Paragraph(str(column.outcome), "bad", column.name)
        for column in comparison.columns
        if column.plan is None
    )
    return arranged(
        listing([column.name for column in comparison.columns]),
        _verdict(comparison),
        Section(
            "What each buys", (_numbers(comparison, _decisions(comparison)), *_underway(comparison))
        ),
        *_bounds(comparison, legend),
        Section(f"Money, {comparison.currency}", (_money(comparison),)),
        Section(
            "Proof and warnings" if _risk(comparison) else "More money, limits and warnings",
            (_around(comparison),),
        ),
        Section(
            f"Differences from {comparison.baseline}"
            f"{', of bounds in shares of the reward range' if comparison.ranges_differ else ''}",
            _differences(comparison),
        ),
        Section(
            f"Where the difference of the {_risk(comparison) or 'bound'} comes from"
            f"{', reward units' if comparison.ranges_differ else ''}",
            _attributions(comparison),
        ),
        Section("Infeasible", reasons),
        warned(comparison.warnings),
    )


def _risk(comparison: Comparison) -> str:
    """What robust plans minimise; empty for others."""
    return shared_risk(column.plan.robust for column in comparison.columns if column.plan)


def _bounds(comparison: Comparison, legend: Paragraph) -> tuple[Section, ...]:
    risk = _risk(comparison)
    terms = _numbers(comparison, _TERMS, "bound.total")
    if not risk:
        return (Section("Bound, reward units", (terms, _shares(comparison), legend)),)
    rows: tuple[tuple[str, str, Format], ...] = ((risk, "robust.value", "significant"), *_RISK)
    over = _numbers(comparison, rows, "robust.value")
    return (
        Section("Bound over what may be true, reward units", (over, _shares(comparison), legend)),
        Section("Bound at the middle of every range, reward units", (terms,)),
    )


def _decisions(comparison: Comparison) -> tuple[tuple[str, str, Format], ...]:
    """The rows of decisions; of a run under way labels count those behind too."""
    whole = any(c.plan is not None and c.plan.progress is not None for c in comparison.columns)
    return tuple(
        ("labels in all", key, format_)
        if whole and key == "allocation.labels"
        else (t, key, format_)
        for t, key, format_ in _DECISIONS
    )


def _underway(comparison: Comparison) -> tuple[Paragraph, ...]:
    """What is still to come of runs under way, beside tables of totals."""
    plans = [(column.name, column.plan) for column in comparison.columns if column.plan]
    return (
        *counted(*(plan.scenario for _, plan in plans)),
        *(Paragraph(course(plan, unknown=""), label=name) for name, plan in plans if plan.to_come),
    )


def _shares(comparison: Comparison) -> Paragraph:
    """The bounds as shares of the reward range, and what makes columns hard to compare."""
    plans = [(column.name, column.plan) for column in comparison.columns if column.plan]
    budgets = {plan.scenario.budget for _, plan in plans}
    shares = listing(
        [
            f"{percent(judged(plan) / plan.scenario.objective.reward_range)} ({name})"
            for name, plan in plans
        ]
    )
    text = f"As shares of the reward range: {shares}."
    if comparison.ranges_differ:
        text += " The reward ranges differ, so compare these shares rather than the bounds."
    if len(budgets) > 1:
        text += " The budgets differ: a lower bound may only be dearer."
    return Paragraph(text, "warning" if comparison.ranges_differ or len(budgets) > 1 else "note")


def _verdict(comparison: Comparison) -> Paragraph:
    infeasible = [column.name for column in comparison.columns if column.plan is None]
    told = f" Infeasible: {listing(infeasible)}." if infeasible else ""
    if not comparison.best:
        return Paragraph(f"No scenario is feasible.{told}", "bad")
    names = comparison.best[0].names
    best = next(c.plan for c in comparison.columns if c.name == names[0] and c.plan is not None)
    risk = _risk(comparison) or "bound"
    if comparison.ranges_differ:
        share = percent(judged(best) / best.scenario.objective.reward_range)
        lowest = f"{share} of its reward range is the lowest {risk} as a share"
        told = f" The reward ranges differ, so the {risk}s themselves cannot be ranked.{told}"
    else:
        lowest = f"{significant(judged(best))} is the lowest {risk}"
    text = f"{lowest}: {listing(names)}"
    change = next((d.values for d in comparison.differences if d.name == names[0]), ())
    value = next((v for v in change if v.key == comparison.best[0].key), None)
    gain = None if value is None else _comparable(comparison, names[0], value).relative
    if gain and comparison.baseline not in names:
        text += f", {percent(-gain)} below {comparison.baseline}"
    return Paragraph(f"{text}.{told}", "bad" if infeasible else "text")


# --- tables with a column for each scenario ------------------------------------------------------


def _table(comparison: Comparison, rows: Sequence[Row], first: str = "") -> Table:
    names = [
        f"{column.name} (ref)" if column.name == comparison.baseline else column.name
        for column in comparison.columns
    ]
    return Table((Column(first), *(Column(name) for name in names)), (*rows,), turns=True)


def _of_each(comparison: Comparison, value: Callable[[Plan], Cell]) -> list[Cell]:
    return [None if c.plan is None else value(c.plan) for c in comparison.columns]


def _numbers(
    comparison: Comparison, rows: Sequence[tuple[str, str, Format]], emphasis: str = ""
) -> Table:
    """A row for each number that any plan has, the best of it marked."""
    shown = []
    for title, key, format_ in rows:
        values = _of_each(comparison, attrgetter(key))
        if any(values) or key == emphasis:
            cells = _marked(comparison, key, write_group(values, format_))
            shown.append(Row((title, *cells), format_, key == emphasis))
    return _table(comparison, shown)


def _marked(comparison: Comparison, key: str, cells: list[str]) -> list[str]:
    """Mark the best cells, unless all are alike."""
    best = next((best.names for best in comparison.best if best.key == key), ())
    planned = [column.name for column in comparison.columns if column.plan is not None]
    if len(best) == len(planned):
        return cells
    return [
        f"{BEST}{cell}" if column.name in best else cell
        for column, cell in zip(comparison.columns, cells, strict=True)
    ]


def _money(comparison: Comparison) -> Table:
    rows = []
    for name in _MONEY:
        values = _of_each(comparison, attrgetter(f"cost.{name}"))
        if not any(values):
            continue
        shares = _of_each(comparison, lambda plan, name=name: _share(plan, name))  # type: ignore[misc]
        amounts = write_group(values, "money")
        parts = write_group(shares, "percent")
        cells = [
            f"{amount} ({part})" if part else amount
            for amount, part in zip(amounts, parts, strict=True)
        ]
        if name == "total":
            cells = _marked(comparison, "cost.total", amounts)
        rows.append(Row((name, *cells), "money", name == "total"))
    return _table(comparison, rows)


def _share(plan: Plan, name: str) -> float | None:
    total, part = plan.cost.total, getattr(plan.cost, name)
    return float(part) / total if total > 0 else None


def _around(comparison: Comparison) -> Table:
    def slope(plan: Plan) -> float | None:
        return None if plan.marginal is None else plan.marginal.bound_per_currency

    per = f"bound per {comparison.currency}"
    # Of robust plans neither is known.
    known = not _risk(comparison)
    slopes = [Row((per, *_of_each(comparison, slope)), "significant")] if known else []
    binding = (
        [Row(("limits that bind", *_words(comparison, lambda plan: plan.binding)))] if known else []
    )
    rows: list[Row] = [
        *slopes,
        Row(("status", *(_status(c.plan) for c in comparison.columns))),
        *binding,
        Row(("warnings", *_words(comparison, lambda plan: [n.code for n in plan.warnings]))),
    ]
    # Words and numbers wrap differently, so every row is written here.
    texts = [Row((row.cells[0], *write_group(row.cells[1:], row.format or "text"))) for row in rows]
    return _table(comparison, texts)


def _status(plan: Plan | None) -> str:
    if plan is None:
        return "infeasible"
    return "proved" if plan.status == "optimal" else "not proved"


def _words(comparison: Comparison, words: Callable[[Plan], Sequence[str]]) -> list[Cell]:
    return _of_each(comparison, lambda plan: ", ".join(words(plan)) or "none")


# --- differences ---------------------------------------------------------------------------------


def _differences(comparison: Comparison) -> tuple[Table, ...]:
    if not comparison.differences:
        return ()
    columns = [Column(""), *(Column(d.name) for d in comparison.differences)]
    rows = []
    risk = _risk(comparison)
    totals: list[tuple[str, str, Format]] = [("bound", "bound.total", "significant")]
    if risk:
        middle: tuple[str, str, Format] = ("bound at the middle", "bound.total", "significant")
        totals = [(risk, "robust.value", "significant"), middle]
    labels = next(row for row in _decisions(comparison) if row[1] == "allocation.labels")
    compared = (labels if row[1] == labels[1] else row for row in _COMPARED)
    for title, key, format_ in (*totals, *compared):
        values = [
            next((value for value in difference.values if value.key == key), None)
            for difference in comparison.differences
        ]
        if any(value and (value.baseline or value.value) for value in values):
            if comparison.ranges_differ and key in IN_REWARD_UNITS:
                format_ = "percent"  # noqa: PLW2901 - the same row, in another unit
            cells = [
                _difference(
                    value and _comparable(comparison, difference.name, value),
                    format_,
                    comparison.tolerance,
                )
                for difference, value in zip(comparison.differences, values, strict=True)
            ]
            rows.append(Row((title, *cells), format_, key == totals[0][1]))
    return (Table((*columns,), (*rows,), turns=True),)


def _comparable(comparison: Comparison, name: str, value: ValueDifference) -> ValueDifference:
    """The same difference in a unit that both columns have."""
    if comparison.ranges_differ and value.key in IN_REWARD_UNITS:
        return comparison.as_share(name, value)
    return value


def _difference(value: ValueDifference | None, format_: Format, tolerance: float) -> str:
    if value is None or value.absolute is None:
        return ""
    if value.absolute == 0 or abs(value.relative or 1.0) < tolerance:
        return SAME
    sign = "+" if value.absolute > 0 else "-"
    size = write_group([abs(value.absolute)], format_)[0]
    relative = "" if value.relative is None else f" ({percent(value.relative, signed=True)})"
    return f"{sign}{size}{relative}"


def _attributions(comparison: Comparison) -> tuple[Table | Paragraph, ...]:
    if not comparison.differences:
        return ()
    found = [(d.name, d.attribution) for d in comparison.differences]
    shown = [group for group in GROUPS if any(_part(a, group).changed for _, a in found)]
    alone = any(attribution.method == "one_at_a_time" for _, attribution in found)
    titles = [*shown, *(["residual"] if alone else []), "all together"]
    by_column = [
        _signed(_contributions(attribution, shown, alone=alone)) for _, attribution in found
    ]
    rows = tuple(
        Row((title, *cells), "significant", title == "all together")
        for title, *cells in zip(titles, *by_column, strict=True)
    )
    columns = (Column("group"), *(Column(name) for name, _ in found))
    table = Table(columns, rows, turns=True)
    return (table, *(_changes(name, attribution) for name, attribution in found))


def _part(attribution: Attribution, group: str) -> Contribution:
    return attribution.groups[GROUPS.index(group)]


def _contributions(attribution: Attribution, groups: Sequence[str], *, alone: bool) -> list[Cell]:
    """One column of the table: empty where a group does not differ or cannot be changed alone."""
    parts = [_part(attribution, group) for group in groups]
    cells: list[Cell] = [p.contribution if p.changed and p.planned else None for p in parts]
    rest = attribution.residual if attribution.method == "one_at_a_time" else None
    return [*cells, *([rest] if alone else []), attribution.total]


def _signed(values: Sequence[Cell]) -> list[str]:
    sizes = write_group(values, "significant")
    return [
        f"+{text}" if isinstance(value, float) and value > 0 else text
        for value, text in zip(values, sizes, strict=True)
    ]


def _changes(name: str, attribution: Attribution) -> Paragraph:
    """Say what differs, and how the difference was split."""
    changed = [key for part in attribution.groups for key in part.changed]
    if not changed:
        return Paragraph("no constant differs.", "text", name)
    text = f"{listing(changed)} {'differs' if len(changed) == 1 else 'differ'}."
    groups = [part for part in attribution.groups if part.changed]
    if attribution.method == "one_at_a_time":
        text += (
            " Some mixtures of the two scenarios cannot be planned, so each group is changed alone "
            "(one at a time); what they do together is the residual."
        )
        missing = [part.group for part in groups if not part.planned]
        if missing:
            text += f" Changing {listing(missing)} alone is not possible."
    elif len(groups) > 1:
        text += " Shapley values: what each group brings on average over all orders of changing."
    return Paragraph(text, "text", name)
