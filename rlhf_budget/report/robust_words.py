"""One plan for all that the ranges allow, and what it is worth to know more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.planning.advice import AS_GOOD
from rlhf_budget.report.document import Column, Paragraph, Row, Section, Table
from rlhf_budget.report.numbers import money, percent, significant
from rlhf_budget.report.words import (
    amount,
    buys_labels,
    count,
    is_measurable,
    listing,
    measured_by,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rlhf_budget.planning.results import (
        AtMiddle,
        CurrentOverDraws,
        Plan,
        Robust,
        WorthKnowing,
    )
    from rlhf_budget.report.document import Format

WORTH_SAYING = 5e-4
"""Relative differences of risks below this are not worth a robust plan."""
FEW_WORST = 5.0
"""Fewer draws than these do not tell a mean of the worst."""
WORTH_MEASURING = 1e-3
"""What is worth less than this share of the budget is not worth measuring."""


def robust_section(plan: Plan, *, brief: bool = False) -> Section:
    """Both plans under the same risk and the same draws; empty without a robust plan.

    ``brief`` writes what varies over the draws in one row instead of one for each quantile, and
    says nothing twice.
    """
    robust = plan.robust
    if robust is None:
        return Section("", ())
    columns = (Column(""), Column("robust plan"), Column("plan for the middle"))
    middle = robust.at_middle
    decisions: list[tuple[str, str, Format]] = [
        ("prompts" if plan.progress is None else "prompts in all", "prompts", "integer"),
        ("rollouts per prompt", "rollouts_per_prompt", "integer"),
    ]
    labels = "labels to buy" if plan.progress is None else "labels in all"
    decisions += [(labels, "labels", "integer")] if buys_labels(plan.scenario) else []
    if plan.allocation.clip_threshold is not None:
        decisions.append(("clip threshold, nats", "clip_threshold", "significant"))
    rows = [
        Row((title, getattr(plan.allocation, name), getattr(middle.allocation, name)), format_)
        for title, name, format_ in decisions
    ]
    mine, other = robust.distribution, middle.distribution
    rows.append(Row((risk_name(robust), robust.value, middle.value), "significant", emphasis=True))
    between = [(each.p5, each.p95) for each in (mine, other)]
    rows += (
        [Row(("bound, 5 to 95 % of draws", *between), "significant")]
        if brief
        else [
            Row(("bound in 5, 50 and 95 % of the draws:  5 %", mine.p5, other.p5), "significant"),
            Row(("  50 %", mine.p50, other.p50), "significant"),
            Row(("  95 %", mine.p95, other.p95), "significant"),
        ]
    )
    least, most = (robust.cost.p5, middle.cost.p5), (robust.cost.p95, middle.cost.p95)
    currency = plan.scenario.currency
    if brief and least != most:
        spent = [(each.cost.p5, each.cost.p95) for each in (robust, middle)]
        rows.append(Row((f"cost, 5 to 95 % of draws, {currency}", *spent), "money"))
    elif least == most:
        rows.append(Row((f"cost, {currency}", *most), "money"))
    else:
        rows.append(Row((f"cost in 5 and 95 % of draws, {currency}:  5 %", *least), "money"))
        rows.append(Row(("  95 %", *most), "money"))
    told = brief and not middle.affordable  # in words, below
    if min(robust.affordable_share, middle.affordable_share) < 1.0 and not told:
        fits = tuple(_share(each.affordable_share) for each in (robust, middle))
        rows.append(Row(("draws in which it fits the budget", *fits)))
    table = Table(columns, (*rows,), emphasis=1)
    return Section("One plan for all that may be true", (table, Paragraph(robust_words(robust))))


def shared_risk(robust: Iterable[Robust | None]) -> str:
    """What several robust plans minimise; empty where plans are not robust."""
    return next((risk_name(each) for each in robust if each is not None), "")


def risk_name(robust: Robust) -> str:
    """What is minimised, in words."""
    if robust.risk == "mean":
        return "mean bound"
    if robust.risk == "regret":
        return "largest regret"
    return f"mean bound of the worst {_share(1.0 - (robust.level or 0.0))}"


def robust_words(robust: Robust) -> str:
    """What robustness buys, and what it rests on."""
    name, middle = risk_name(robust), robust.at_middle.value
    saved, affordable = middle - robust.value, robust.at_middle.affordable
    if middle > 0.0 and saved > WORTH_SAYING * middle:
        buys = (
            f"Robustness lowers the {name} of the plan for the middle by {percent(saved / middle)}."
            if not affordable
            else f"Robustness lowers the {name} by {percent(saved / middle)}."
        )
    elif robust.value > 0.0 and -saved > WORTH_SAYING * robust.value:
        buys = f"The plan for the middle has a {name} {percent(-saved / robust.value)} lower."
    else:
        buys = f"The plan for the middle has the same {name}."
        if affordable:
            buys = f"Robustness buys nothing here: t{buys[1:]}"
    if not affordable:
        buys += f" But that plan is not affordable: it {fits_seldom(robust, robust.at_middle)}."
    fresh = robust.fresh_draws
    value, error = significant(fresh.value), significant(fresh.standard_error, digits=2)
    which = "it is" if affordable else "the robust plan has"
    text = f"{buys} {count(robust.draws, 'draw')}; on fresh ones {which} {value} (± {error})."
    if robust.risk == "regret":
        text += f" That is the largest of {fresh.draws} draws: more would show a larger one."
        if min(robust.value, middle, fresh.value) < 0.0:
            text += " A regret below 0: in dear draws the plan may cost more than the budget, which"
            text += " what is best for a draw may not (--affordable)."
        return text
    worst = (1.0 - (robust.level or 0.0)) * fresh.draws
    if worst < FEW_WORST:
        return f"{text} That rests on the worst {worst:.2g} of {fresh.draws} draws: raise --draws."
    return text


def fits_seldom(robust: Robust, other: AtMiddle | CurrentOverDraws) -> str:
    """In how few draws another plan is affordable."""
    fits, asked = _share(other.affordable_share), _share(robust.affordable)
    return f"fits the budget in {fits} of the draws, not in {asked}"


def current_over_draws(robust: Robust) -> str | None:
    """How what is done now fares; None where the plan beats it and it is affordable."""
    now = robust.current
    if now is None or (now.excess_relative > AS_GOOD and "budget" not in now.violations):
        return None
    fits = (
        fits_seldom(robust, now)
        if "budget" in now.violations
        else f"fits the budget in {_share(now.affordable_share)} of the draws"
    )
    values = f"{significant(now.value)} against the plan's {significant(robust.value)}"
    return f"its {risk_name(robust)} is {values}; it {fits}."


def _share(share: float) -> str:
    return f"{100.0 * share:.4g} %"


def information_section(plan: Plan) -> Section:
    """What to find out before anything is bought; empty where that was not asked."""
    entries = plan.information
    if entries is None:
        return Section("", ())
    title = "Before you spend, find out"
    if not entries:
        return Section(title, (Paragraph("Nothing: every constant is given as known."),))
    columns = (
        Column("constant"),
        Column("bound falls", "significant"),
        Column("±", "significant"),
        Column(f"at most {plan.scenario.currency}"),
        Column("how"),
    )
    rows = [
        Row(
            (
                entry.constant,
                entry.worth_bound if entry.worth_bound > 0.0 else "nothing",
                "not estimated" if entry.standard_error is None else entry.standard_error,
                "no money does" if entry.worth_money is None else money(entry.worth_money),
                measured_by(entry.constant) or "",
            )
        )
        for entry in entries
    ]
    return Section(title, (Table(columns, (*rows,)), Paragraph(_first(plan, entries))))


def _first(plan: Plan, entries: Sequence[WorthKnowing]) -> str:
    budget = plan.scenario.budget or 0.0
    least = WORTH_MEASURING * budget
    worth = [e for e in entries if e.worth_money is None or e.worth_money > least]
    if not worth:
        limit = amount(least, plan.scenario.currency)
        return (
            f"Nothing is worth more than 0.1 % of the budget ({limit}): buy, and learn as you go."
        )
    measurable = [entry for entry in worth if is_measurable(entry.constant)]
    if not measurable:
        names = listing([entry.constant for entry in worth])
        return f"Nothing measures {names}: plan for all of its range with --robust."
    first = measurable[0]
    error = first.standard_error
    unsure = error is not None and first.worth_bound < 2.0 * error
    doubt = " Its worth is within two standard errors of nothing." if unsure else ""
    most = "moves the plan most" if first is worth[0] else "moves it most of what can be measured"
    return f"{first.constant} first: knowing it {most}.{doubt}"
