"""A run under way in words: what is behind, what is still to come, and whether to change course."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.planning.advice import AS_GOOD
from rlhf_budget.report.document import Column, Paragraph, Row, Section, Table
from rlhf_budget.report.numbers import percent, significant
from rlhf_budget.report.robust_words import fits_seldom, risk_name
from rlhf_budget.report.words import amount, buys_labels, count, listing

if TYPE_CHECKING:
    from rlhf_budget.planning.results import CurrentPlan, Plan, Rest
    from rlhf_budget.report.document import Cell, Format
    from rlhf_budget.scenario.models import Scenario


def underway(plan: Plan) -> Section:
    """Show behind, to come and total, empty before a run."""
    behind, rest, a = plan.progress, plan.to_come, plan.allocation
    if behind is None or rest is None:
        return Section("The run", ())
    used = round(behind.prompts * behind.rollouts_per_prompt)
    rows: list[tuple[str, Format, Cell, Cell, Cell]] = [
        ("prompts", "integer", behind.prompts, rest.prompts, a.prompts),
        (
            "rollouts per prompt",
            "significant",
            behind.rollouts_per_prompt if behind.prompts else None,
            rest.rollouts_per_prompt if rest.prompts else None,
            None,
        ),
        ("rollouts in all", "integer", used, rest.rollouts, used + rest.rollouts),
    ]
    if buys_labels(plan.scenario):
        rows.append(("labels", "integer", behind.labels, rest.labels, a.labels))
    spent = plan.cost.total - rest.cost
    rows.append((f"cost, {plan.scenario.currency}", "money", spent, rest.cost, plan.cost.total))
    columns = (Column(""), Column("behind"), Column("to come"), Column("total"))
    table = Table(columns, tuple(Row((title, *cells), kind) for title, kind, *cells in rows))
    if float(behind.rollouts_per_prompt).is_integer():
        return Section("The run", (table,))
    text = "Groups behind differ: they count as equal groups that are worth as much."
    return Section("The run", (table, Paragraph(text, "note")))


TO_WEIGH = " To weigh it against the old plan: --against plan.json."


def course(plan: Plan, *, unknown: str = TO_WEIGH) -> str:
    """Say in one sentence to stay, to change, or to stop generating; empty before a run.

    Where the old plan is not known, ``unknown`` ends it.
    """
    rest, current = plan.to_come, plan.current
    if rest is None:
        return ""
    if rest.prompts == 0:
        left_to_buy = f"buy {count(rest.labels, 'label')}" if rest.labels else "buy nothing more"
        text = f"Stop generating: {left_to_buy}, {amount(rest.cost, plan.scenario.currency)}"
    else:
        text = f"Best rest: {rest_words(rest)}, {amount(rest.cost, plan.scenario.currency)}"
    if current is None:
        return f"{text}.{unknown}"
    broken = _cannot_be_followed(plan, current)
    if broken:
        return f"{text}. {broken}"
    excess, judged, robust = current.excess_relative, "bound", plan.robust
    before, now = current.bound.total, plan.bound.total
    if robust is not None and robust.current is not None:
        excess, judged = robust.current.excess_relative, risk_name(robust)
        before, now = robust.current.value, robust.value
    if excess <= AS_GOOD and not rest.prompts and not rest.labels:
        return "Done: the old plan is at its end. Buy nothing more."
    if excess <= AS_GOOD:
        return f"Stay: the rest of the old plan is as good. {text}."
    more = significant(now)
    # What a regret exceeds another by is told of the bounds, not of the regret.
    if robust is None or robust.risk != "regret":
        more = f"{percent(excess)} above {more}"
    else:
        more = f"this at {more}"
    unspent, currency = current.cost.unspent or 0.0, plan.scenario.currency
    # A better bound may come of money alone that the old plan does not spend.
    left = f", with {amount(unspent, currency)} unspent" if unspent > 0.01 * rest.cost else ""
    ends = f"the old plan ends at a {judged} of {significant(before)}{left}"
    return f"Change: {ends}, {more}. {text}."


def _cannot_be_followed(plan: Plan, current: CurrentPlan) -> str:
    """What the old plan breaks, of a robust plan over the draws; empty where nothing."""
    over, draws = current.cost.unspent, plan.robust and plan.robust.current
    violations = draws.violations if draws else current.violations
    if violations == ("budget",) and plan.robust and draws:
        return f"The old plan to its end {fits_seldom(plan.robust, draws)}."
    if violations == ("budget",) and over is not None:
        more = amount(-over, plan.scenario.currency)
        return f"The old plan to its end costs {more} more than there is."
    if violations:
        broken = listing(list(violations))
        return f"The old plan cannot be followed to its end: it breaks {broken}."
    return ""


def counted(*scenarios: Scenario) -> tuple[Paragraph, ...]:
    """Say what tables without a column for the rest count; empty before a run."""
    if all(scenario.progress is None for scenario in scenarios):
        return ()
    text = (
        "Of a run under way, prompts, labels and money are those of the whole run, rollouts per "
        "prompt those to come, and fixed is what was spent so far."
    )
    return (Paragraph(text, "note"),)


def rest_words(rest: Rest) -> str:
    """Say what is still to buy."""
    parts = ["no more prompts"]
    if rest.prompts:
        each = f"{count(rest.rollouts_per_prompt, 'rollout')} of each"
        parts = [count(rest.prompts, "more prompt"), each]
    return listing([*parts, *([count(rest.labels, "more label")] if rest.labels else [])])
