"""A plan as a document: what a person needs to see, most important first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.planning.advice import is_near
from rlhf_budget.report.document import Column, Document, Paragraph, Row, Section, Table
from rlhf_budget.report.numbers import percent, significant
from rlhf_budget.report.plan_words import (
    current_words,
    group_words,
    guarantee_words,
    near_words,
    proof,
    reasons,
    verdict,
)
from rlhf_budget.report.robust_words import information_section, robust_section
from rlhf_budget.report.underway import counted, underway
from rlhf_budget.report.words import (
    INEQUALITIES,
    buys_labels,
    is_measurable,
    leaf,
    listing,
    mark,
)
from rlhf_budget.scenario.leaves import guesses

if TYPE_CHECKING:
    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.planning.advice import Advice
    from rlhf_budget.planning.results import AssumedConstant, Plan
    from rlhf_budget.report.document import Cell, Format

MOST_SENSITIVITIES = 6
"""Constants shown in the table; JSON has them all."""
LEAST_ELASTICITY = 0.01
"""Constants that move the bound less than this are not shown."""


def plan_document(plan: Plan, advice: Advice | None = None) -> Document:
    """Arrange a plan for reading; with its advice it names the same to measure first."""
    sections = (
        robust_section(plan),
        underway(plan),
        information_section(plan),
        _allocation(plan),
        _bound(plan),
        money_section(plan),
        Section("Why", reasons(plan)),
        _sensitivity(plan),
        _guarantees(plan),
        uncertain_section(plan, advice),
        Section("Proof", (Paragraph(proof(plan)),)),
        _warnings(plan),
    )
    return Document(plan.scenario.name, verdict(plan), tuple(s for s in sections if s.parts))


# --- the decisions -------------------------------------------------------------------------------


def _allocation(plan: Plan) -> Section:
    near, current = plan.near_optimal, plan.current
    done = current.allocation if current else None
    columns = [Column(""), Column("plan")]
    columns += [Column(f"within {100 * near.within:g} %")] if near else []
    columns += [Column("current")] if current else []

    def row(title: str, format_: Format, *cells: Cell, emphasis: bool = False) -> Row:
        value, around, now = cells
        optional = ((around,) if near else ()) + ((now,) if current else ())
        return Row((title, value, *optional), format_, emphasis)

    rows = [
        row(title, format_, getattr(plan.allocation, name), _of(near, name), _of(done, name))
        for title, name, format_ in _decisions(plan)
    ]
    textbook = plan.closed_form.rollouts_per_prompt
    if textbook is not None:
        rows.insert(2, row("  by the textbook rule", "significant", textbook, None, None))
    cost, now = plan.cost.total, current.cost.total if current else None
    range_ = (near.least_cost, cost) if near else None
    rows.append(row(f"cost, {plan.scenario.currency}", "money", cost, range_, now))
    bound = current.bound.total if current else None
    rows.append(row("bound", "significant", plan.bound.total, None, bound, emphasis=True))
    notes = [Paragraph(current_words(plan, current))] if current else []
    words = near_words(plan)
    notes += [Paragraph(words, "note")] if words else []
    return Section("Allocation", (Table((*columns,), (*rows,), emphasis=1), *notes))


def _decisions(plan: Plan) -> list[tuple[str, str, Format]]:
    """Title, field and format of each decision that there is to make."""
    decisions: list[tuple[str, str, Format]] = [
        ("prompts", "prompts", "integer"),
        ("rollouts per prompt", "rollouts_per_prompt", "integer"),
        ("rollouts in all", "rollouts", "integer"),
    ]
    if buys_labels(plan.scenario):
        title = "labels to buy" if plan.progress is None else "labels, bought and to buy"
        decisions.append((title, "labels", "integer"))
    if plan.allocation.clip_threshold is not None:
        decisions.append(("clip threshold, nats", "clip_threshold", "significant"))
    return decisions


def _of(part: object, name: str) -> Cell:
    """The field of an optional part, empty where the part or the field is missing."""
    value: Cell = getattr(part, name, None)
    return value


# --- the bound -----------------------------------------------------------------------------------


def _bound(plan: Plan) -> Section:
    bound, current = plan.bound, plan.current and plan.current.bound
    columns = [Column(""), Column("plan", "significant"), Column("share", "share")]
    columns += [Column("current", "significant")] if current else []

    def row(name: str, key: str, *, emphasis: bool = False) -> Row:
        value: float = getattr(bound, key)
        share = value / bound.total if bound.total > 0 else None
        now: tuple[float, ...] = (getattr(current, key),) if current else ()
        return Row((name, value, share, *now), emphasis=emphasis)

    rows = [row("sampling: finitely many prompts and rollouts", "sampling")]
    if plan.scenario.reward_model != "verifiable":
        rows.append(row("reward shift: error of the reward model", "reward_shift"))
    if plan.allocation.clip_threshold is not None:
        rows.append(row("KL clipping: bias of the clipped log-ratio", "kl_clipping"))
    rows.append(row("total", "total", emphasis=True))
    rows.append(row("of which no budget removes", "irreducible"))
    table = Table((*columns,), (*rows,))
    behind = _meaning(plan)
    notes = (Paragraph(behind, "note"),) if behind else ()
    return Section("What the bound is made of (reward units)", (table, *notes))


def _meaning(plan: Plan) -> str:
    bound, scenario = plan.bound, plan.scenario
    behind = []
    if scenario.reward_model != "verifiable":
        behind.append(f"coverage {significant(bound.coverage)}")
        behind.append(f"mean squared reward error {significant(bound.reward_error)}")
    if bound.clipped_share is not None:
        behind.append(f"{percent(bound.clipped_share)} of responses clipped")
    if bound.policy_complexity:
        behind.append(f"{significant(bound.policy_complexity, digits=3)} nats to choose the policy")
    return f"Behind the terms: {listing(behind)}." if behind else ""


# --- the money -----------------------------------------------------------------------------------


def money_section(plan: Plan) -> Section:
    """Where the money goes, beside what is done now."""
    cost, current = plan.cost, plan.current and plan.current.cost
    columns = [Column(""), Column("plan", "money"), Column("share", "share")]
    columns += [Column("current", "money")] if current else []
    names = ["prompts", "rollouts", *(["labels"] if buys_labels(plan.scenario) else [])]
    names += ["fixed"] if cost.fixed else []
    names += ["total", "unspent"] if cost.unspent is not None else ["total"]
    rows = []
    for name in names:
        value: float = getattr(cost, name)
        share = value / cost.total if cost.total > 0 and name != "unspent" else None
        now: tuple[float, ...] = (getattr(current, name),) if current else ()
        rows.append(Row((name, value, share, *now), emphasis=name == "total"))
    return Section(
        f"Where the money goes ({plan.scenario.currency})",
        (Table((*columns,), (*rows,)), *counted(plan.scenario)),
    )


# --- what surrounds the plan ---------------------------------------------------------------------


def _sensitivity(plan: Plan) -> Section:
    title = "What moves the bound most"
    # A plan for a target does not depend on the budget that the scenario happens to name.
    left_out = "budget" if plan.target else None
    entries = [
        entry
        for entry in plan.sensitivity
        if abs(entry.elasticity) >= LEAST_ELASTICITY and entry.constant != left_out
    ][:MOST_SENSITIVITIES]
    if not entries:
        return Section(title, ())
    marks = [mark(plan, entry.constant) for entry in entries]
    columns = [
        Column("constant"),
        Column("value", "plain"),
        Column("if 1 % more", "signed_percent"),
    ]
    columns += [Column("source")] if any(marks) else []
    inputs = plan.scenario.inputs()
    rows = []
    for entry, marked in zip(entries, marks, strict=True):
        rest = (marked,) if any(marks) else ()
        rows.append(
            Row((entry.constant, leaf(inputs, entry.constant), entry.elasticity / 100.0, *rest))
        )
    return Section(title, (Table((*columns,), (*rows,)),))


def _guarantees(plan: Plan) -> Section:
    columns = (
        Column("inequality"),
        Column("bound", "significant"),
        Column("sampling", "significant"),
    )
    rows = tuple(
        Row((INEQUALITIES[entry.concentration], entry.total, entry.sampling), emphasis=at == 0)
        for at, entry in enumerate(plan.guarantees)
    )
    words = [Paragraph(guarantee_words(plan), label="Guarantee")]
    words += [Paragraph(text, label="Groups") for text in group_words(plan)]
    return Section("Guarantee of this allocation", (Table(columns, rows), *words))


# --- what is not known ---------------------------------------------------------------------------


def uncertain_section(plan: Plan, advice: Advice | None) -> Section:
    """Decisions at both ends of every range, and which constants are guesses; empty for neither."""
    parts: list[Table | Paragraph] = []
    if plan.assumed:
        rows = [row for entry in plan.assumed for row in _ends(plan, entry)]
        columns = [
            Column("constant"),
            Column("value", "plain"),
            Column("prompts", "integer"),
            Column("rollouts each", "integer"),
        ]
        columns += [Column("labels", "integer")] if buys_labels(plan.scenario) else []
        parts.append(Table((*columns,), (*rows,)))
        parts.append(Paragraph(_stability(plan, advice), "note"))
    guessed = guesses(plan.scenario)
    if guessed:
        verb = "is a guess" if len(guessed) == 1 else "are guesses"
        parts.append(Paragraph(f"{listing(guessed)} {verb}, by the scenario's own sources."))
    return Section("Constants that are not known", (*parts,))


def _ends(plan: Plan, entry: AssumedConstant) -> list[Row]:
    labels = buys_labels(plan.scenario)

    def row(name: str, value: float, a: Allocation | None, *, used: bool) -> Row:
        if a is None:
            decided: tuple[Cell, ...] = ("infeasible", None, *((None,) if labels else ()))
        else:
            decided = (a.prompts, a.rollouts_per_prompt, *((a.labels,) if labels else ()))
        return Row((name, value, *decided), emphasis=used)

    return [
        row(f"{entry.constant} ({entry.kind})", entry.value, _at_middle(plan), used=True),
        row("  at its low end", entry.low, entry.allocation_at_low, used=False),
        row("  at its high end", entry.high, entry.allocation_at_high, used=False),
    ]


def _at_middle(plan: Plan) -> Allocation:
    """What is best with every constant at its middle: of a robust plan, not its own allocation."""
    return plan.robust.at_middle.allocation if plan.robust else plan.allocation


def _stability(plan: Plan, advice: Advice | None) -> str:
    first = advice.measure_first if advice else None
    if first is not None and is_measurable(first):
        return f"The decision depends most on {first}: measure it first."
    judged = advice is not None and advice.wrong_guesses
    moved = [entry.constant for entry in plan.assumed if not judged and _moves(plan, entry)]
    if first is not None:
        moved = [first]
    if not moved:
        return "The decision is nearly the same at both ends: measuring these can wait."
    depends = f"The decision depends on {listing(moved)}"
    able = [constant for constant in moved if is_measurable(constant)]
    if not able:
        return f"{depends}. Nothing measures that: plan for all of its range with --robust."
    them = listing(able) if able != moved else "it" if len(moved) == 1 else "them"
    return f"{depends}: measure {them} first."


def _moves(plan: Plan, entry: AssumedConstant) -> bool:
    """Whether the best plan at an end leaves the near-optimal ranges, or a tenth without them."""
    for end in (entry.allocation_at_low, entry.allocation_at_high):
        if end is None:
            return True
        if plan.near_optimal is not None:
            if not is_near(plan, end):
                return True
            continue
        for name in ("prompts", "rollouts_per_prompt", "labels"):
            used, there = getattr(_at_middle(plan), name), getattr(end, name)
            if abs(there - used) > 0.1 * max(used, 1):
                return True
    return False


def _warnings(plan: Plan) -> Section:
    notices = tuple(Paragraph(notice.message, "warning", notice.code) for notice in plan.warnings)
    return Section("Warnings", notices)
