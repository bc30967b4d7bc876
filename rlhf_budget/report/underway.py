"""A run under way in words: what is behind, what is still to come, and whether to change course."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.planning.advice import AS_GOOD
from rlhf_budget.report.document import Column, Row, Section, Table
from rlhf_budget.report.numbers import percent, significant
from rlhf_budget.report.words import amount, buys_labels, count, listing

if TYPE_CHECKING:
    from rlhf_budget.planning.results import Plan
    from rlhf_budget.report.document import Cell, Format


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
    return Section("The run", (table,))


def course(plan: Plan) -> str:
    """Say in one sentence to stay, to change, or to stop generating; empty before a run."""
    rest, current = plan.to_come, plan.current
    if rest is None:
        return ""
    if rest.prompts == 0:
        left = f"buy {count(rest.labels, 'label')}" if rest.labels else "buy nothing more"
        text = f"Stop generating: {left}, {amount(rest.cost, plan.scenario.currency)}"
    else:
        parts = [
            count(rest.prompts, "more prompt"),
            f"{count(rest.rollouts_per_prompt, 'rollout')} of each",
        ]
        parts += [count(rest.labels, "more label")] if rest.labels else []
        text = f"Best rest: {listing(parts)}, {amount(rest.cost, plan.scenario.currency)}"
    if current is None:
        return f"{text}. To weigh it against the old plan: --against plan.json."
    if current.violations:
        broken = listing(list(current.violations))
        return f"{text}. The old plan cannot be followed to its end: it breaks {broken}."
    if current.excess_relative <= AS_GOOD:
        return f"Stay: the rest of the old plan is as good. {text}."
    before, now = significant(current.bound.total), significant(plan.bound.total)
    gain = percent(current.excess_relative)
    return f"Change: the old plan ends at a bound of {before}, {gain} above {now}. {text}."
