"""The first screen of a plan: all that a decision needs, in 24 lines of 80 columns.

Counts are rounded to what a person would order: down for the plan, inwards for the ranges, and not
at all where that would put the plan outside them. The exact numbers are in the full document and in
JSON.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rlhf_budget.planning.advice import AS_GOOD
from rlhf_budget.report.document import Column, Document, Paragraph, Row, Section, Table, arranged
from rlhf_budget.report.numbers import integer, money, percent, significant
from rlhf_budget.report.plan_words import CLEARLY_BELOW, group_words, guarantee_words, rounded_up
from rlhf_budget.report.robust_words import (
    current_over_draws,
    information_section,
    risk_name,
    robust_section,
)
from rlhf_budget.report.underway import course, rest_words, underway
from rlhf_budget.report.words import amount, buys_labels, count, listing, measured_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rlhf_budget.planning.advice import Advice
    from rlhf_budget.planning.results import Plan
    from rlhf_budget.report.document import Cell

DIGITS = 3
"""Significant digits of a rounded count."""
MOST_OF_THE_TIME = 0.9
"""Share of the wrong guesses that the sentence about them speaks of."""
WORTH_NAMING = 0.01
"""Excess above which the worst of the wrong guesses is named beside the others."""


def first_screen(plan: Plan, advice: Advice, *, elsewhere: str = "--explain") -> Document:
    """Arrange what a decision needs, most important first; ``elsewhere`` says where the rest is."""
    proved = plan.status == "optimal"
    headline = f"{'' if proved else 'Not proved to be the best: '}{_headline(plan)}"
    sections = (
        underway(plan),
        robust_section(plan, brief=True)
        if plan.robust
        else Section("Allocation", (_allocation(plan), *_clipping(plan))),
        information_section(plan),
        Section("What it is worth", tuple(_worth(plan, advice, elsewhere))),
    )
    return arranged(plan.scenario.name, Paragraph(headline, "text" if proved else "bad"), *sections)


def rounded(value: float, towards: int) -> int:
    """Round a count to :data:`DIGITS` digits, down (-1) or up (1); the exact count where few."""
    if value < 10**DIGITS:
        return int(value)
    step: int = 10 ** (math.floor(math.log10(value)) + 1 - DIGITS)
    return int(value // step * step if towards < 0 else -(-value // step) * step)


# --- what to buy ---------------------------------------------------------------------------------


def _headline(plan: Plan) -> str:
    currency, near = plan.scenario.currency, plan.near_optimal
    if plan.target is not None:
        least = amount(plan.target.least_cost, currency)
        return (
            f"{least} is the least for a bound of {significant(plan.target.bound)}: {_buy(plan)}."
        )
    if plan.progress is not None:
        return course(plan)
    budget = plan.cost.budget or plan.cost.total
    if plan.robust is not None:
        return (
            f"Best use of {amount(budget, currency)} by the {risk_name(plan.robust)}: {_buy(plan)}."
        )
    text = f"Best use of {amount(budget, currency)}: {_buy(plan)}."
    if near is not None and near.least_cost <= CLEARLY_BELOW * budget:
        share = f"{100 * near.within:g} %"
        return f"{text} {amount(near.least_cost, currency)} already reach within {share} of it."
    return text


def _buy(plan: Plan) -> str:
    if plan.to_come is not None:
        return rest_words(plan.to_come)
    a, prompt, made = plan.allocation, plan.scenario.costs.prompt, plan.schedule
    n = _ordered(plan, "prompts")
    bought = max(0, n - prompt.existing)
    new = f" ({integer(bought)} of them new)" if prompt.existing and bought else ""
    how = f" ({count(made.epochs, 'epoch')} of groups of {made.group_size})" if made else ""
    parts = [
        f"{count(n, 'prompt')}{new}",
        f"{count(a.rollouts_per_prompt, 'rollout')} of each{how}",
    ]
    if buys_labels(plan.scenario):
        parts.append(count(_ordered(plan, "labels"), "label"))
    return listing(parts)


def _ordered(plan: Plan, name: str) -> int:
    """A count as it is ordered: exact where fewer would miss a target, or not be near the best."""
    exact: int = getattr(plan.allocation, name)
    least = getattr(plan.near_optimal, name)[0] if plan.near_optimal else 0
    ordered = rounded(exact, -1)
    return exact if plan.target is not None or ordered < least else ordered


def _allocation(plan: Plan) -> Table:
    near, current = plan.near_optimal, plan.current
    columns = [Column(""), Column("plan")]
    columns += [Column(f"within {100 * near.within:g} %")] if near else []
    columns += [Column("current")] if current else []
    titles = {"prompts": "prompts", "rollouts_per_prompt": "rollouts per prompt"}
    if buys_labels(plan.scenario):
        titles["labels"] = "labels to buy" if plan.progress is None else "labels in all"
    rows = []
    for name, title in titles.items():
        ordered = _ordered(plan, name)
        cells: list[Cell] = [title, ordered]
        if near:
            low, high = getattr(near, name)
            ends = rounded(low, 1), rounded(high, -1)
            cells.append(ends if ends[0] <= ordered <= ends[1] else (low, high))
        cells += [getattr(current.allocation, name)] if current else []
        rows.append(Row((*cells,), "integer"))
    if plan.allocation.clip_threshold is not None:
        ends_: list[Cell] = [None] if near else []
        now: list[Cell] = [current.allocation.clip_threshold] if current else []
        cells = ["clip threshold, nats", plan.allocation.clip_threshold, *ends_, *now]
        rows.append(Row((*cells,), "significant"))
    cost: list[Cell] = [f"cost, {plan.scenario.currency}", plan.cost.total]
    cost += [(near.least_cost, plan.cost.total)] if near else []
    cost += [current.cost.total] if current else []
    bound: list[Cell] = ["bound on the error", plan.bound.total, *([None] if near else [])]
    bound += [current.bound.total] if current else []
    rows += [Row((*cost,), "money"), Row((*bound,), "significant", emphasis=True)]
    return Table((*columns,), (*rows,), emphasis=1)


def _clipping(plan: Plan) -> tuple[Paragraph, ...]:
    τ = plan.allocation.clip_threshold
    if not τ:
        return ()
    text = f"The threshold is for the estimate; training clips no lower than {significant(2 * τ)}."
    return (Paragraph(text, "note"),)


# --- what it is worth ----------------------------------------------------------------------------


def _worth(plan: Plan, advice: Advice, elsewhere: str) -> Iterator[Paragraph]:
    drawn = plan.robust and current_over_draws(plan.robust)
    now = drawn or _against_current(plan, advice)
    if now:
        where = ", at the middle" if plan.robust and not drawn else ""
        yield Paragraph(now, label=f"Against current{where}")
    if advice.buy_nothing is not None and not now:
        nothing = advice.buy_nothing
        cost = amount(nothing.cost, plan.scenario.currency)
        text = f"a bound of {significant(nothing.bound)} for {cost} of rollouts."
        yield Paragraph(text, label="Buying no prompts and no labels")
    if advice.wrong_guesses:
        yield Paragraph(_wrong_guesses(advice), label="Guesses halved or doubled")
        # What each constant is worth knowing says more, and is told above.
        if plan.information is None:
            yield Paragraph(_measure_first(advice), label="Measure first")
    for text in group_words(plan):
        yield Paragraph(text.partition(" A group that")[0], label="Groups")
    yield Paragraph(guarantee_words(plan), label="Guarantee")
    # What is not known is told above, with what it does.
    caveats = [notice for notice in plan.warnings if notice.code != "assumed-constants"]
    if caveats:
        first = caveats[0].message.partition(". ")[0].rstrip(".")
        more = len(caveats) - 1
        others = f" ({count(more, 'more warning')}: {elsewhere})" if more else ""
        yield Paragraph(f"{first}.{others}", "warning", caveats[0].code)
    proved = "Proved: nothing else is better. " if plan.status == "optimal" else ""
    yield Paragraph(f"{proved}Reasons, terms, sensitivities: {elsewhere}.", "note")


def _against_current(plan: Plan, advice: Advice) -> str | None:
    current, currency = plan.current, plan.scenario.currency
    if current is None:
        return None
    if plan.target is not None:
        relative = 1.0 - plan.cost.total / current.cost.total if current.cost.total else 0.0
        return f"the plan costs {percent(relative)} less." if relative > 0 else None
    over = current.cost.total - (current.cost.budget or 0.0)
    dear = f"it costs {amount(over, currency)} more than the budget"
    beyond = "budget" in current.violations
    if current.excess_relative <= -AS_GOOD:
        lower = percent(-current.excess / plan.bound.total)
        return f"its bound is {lower} lower than the plan's, but {dear}." if beyond else None
    if current.excess_relative <= AS_GOOD:
        return f"it is as good as the plan{f', but {dear}' if beyond else ''}."
    lower = percent(current.excess / current.bound.total)
    text = f"{f'{dear}, and ' if beyond else ''}the plan's bound is {lower} lower"
    if advice.cheaper is None or advice.cheaper.saving <= 0:
        return f"{text}."
    cost, saving = amount(advice.cheaper.cost, currency), money(advice.cheaper.saving)
    # Money that is not there is not saved.
    saved = "" if beyond else f", not {money(current.cost.total)}: {saving} saved by"
    target = f"--target-bound {rounded_up(advice.cheaper.bound)}"
    return f"{text}; current's needs only {cost}{saved or ':'} {target}."


def _wrong_guesses(advice: Advice) -> str:
    guesses = advice.wrong_guesses
    most = math.ceil(MOST_OF_THE_TIME * len(guesses))
    planned = sorted(guess.plan_excess for guess in guesses)[most - 1]
    text = (
        f"in {most} of {len(guesses)} cases the plan stays within {percent(max(planned, 0.0))} "
        "of the best"
    )
    worst = guesses[0]
    if worst.plan_excess > max(2.0 * planned, WORTH_NAMING):
        value = significant(worst.value, digits=3)
        text += f" (at worst {percent(worst.plan_excess)}, at {worst.constant} {value})"
    done = sorted(g.current_excess for g in guesses if g.current_excess is not None)
    if len(done) == len(guesses):
        text = f"{text}, current within {percent(max(done[most - 1], 0.0))}"
    return f"{text}."


def _measure_first(advice: Advice) -> str:
    constant = advice.measure_first
    if constant is None:
        return "nothing, as no guess moves the decision beyond these ranges."
    how = measured_by(constant)
    by = f" ({how})" if how else ""
    return f"{constant}{by}."
