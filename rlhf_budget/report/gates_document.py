"""A check as a document: the verdict, every gate, then what was planned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_budget.report.document import Column, Paragraph, Row, Section, Table, arranged, warned
from rlhf_budget.report.numbers import money, percent, plain, significant
from rlhf_budget.report.robust_words import fits_seldom, risk_name
from rlhf_budget.report.underway import course
from rlhf_budget.report.words import amount, count, listing, purchase

if TYPE_CHECKING:
    from rlhf_budget.planning.results import Plan
    from rlhf_budget.report.document import Document
    from rlhf_budget.studies.gates import Baseline, Check, CheckedScenario, Checks, Gate, Operand


def gates_document(check: Check) -> Document:
    """Arrange a check for reading."""
    titles = ("gate", "value", "limit", "margin", "verdict", "asked by")
    ordered = sorted(check.gates, key=lambda gate: gate.passed)
    table = Table(tuple(map(Column, titles)), tuple(map(_row, ordered)))
    baselines = (
        Paragraph(_baseline_words(gate, gate.rule.baseline), "note")
        for gate in check.gates
        if gate.rule.baseline is not None
    )
    plan = check.plan
    remedies = tuple(
        Paragraph(f"{gate.rule.key} would pass {remedy}.{_guesses(gate, plan)}", "note")
        for gate in check.failed
        if (remedy := _remedy(gate, plan.scenario.currency))
    )
    cost = f"{money(plan.cost.total)} {plan.scenario.currency}"
    bought = purchase(plan.allocation, plan.scenario)
    planned = f"{bought} for {cost}: a bound of {significant(plan.bound.total)}"
    planned += " at the middle of every range." if plan.robust else "."
    if plan.to_come is not None:
        planned = f"{course(plan, unknown='')} The whole run costs {cost}."
    return arranged(
        f"Check of {plan.scenario.name}",
        _verdict(check),
        Section("Gates", (table, *remedies, *baselines)),
        Section("Plan", (Paragraph(planned), *_risk(check))),
        warned(check.warnings),
    )


def _risk(check: Check) -> tuple[Paragraph, ...]:
    """Say what gates on the bound judge where the plan is a robust one."""
    robust = check.plan.robust
    if robust is None:
        return ()
    judged = (
        "the bound that 95 % of the draws do not exceed"
        if robust.risk == "regret"
        else f"the {risk_name(robust)}"
    )
    text = f"robust.bound is {judged}, over {count(robust.draws, 'draw')} of what is not known."
    now = robust.current
    if now is not None and "budget" in now.violations:
        text += f" What is done now {fits_seldom(robust, now)}."
    return (Paragraph(text, "note"),)


def checks_document(checks: Checks) -> Document:
    """Arrange the checks of several scenarios: one table, the failures first said."""
    titles = ("scenario", "failed gate", "value", "would pass")
    rows = [row for entry in checks.checks for row in _failed_rows(entry)]
    failed = [entry.name for entry in checks.checks if not entry.passed]
    total = len(checks.checks)
    if failed:
        told = " Only a warning was asked for." if checks.warn_only else ""
        text = f"{len(failed)} of {count(total, 'scenario')} failed: {listing(failed)}.{told}"
        verdict = Paragraph(text, "bad")
    else:
        verdict = Paragraph(f"All gates of {count(total, 'scenario')} pass.", "good")
    table = Table(tuple(map(Column, titles)), tuple(rows))
    passed = Table(
        (Column("scenario"), Column("gates"), Column("passed")),
        tuple(_passed_row(entry) for entry in checks.checks if entry.check is not None),
    )
    named = any(
        gate.rule.gate == "max_guesses" for e in checks.checks if e.check for gate in e.check.failed
    )
    note = Paragraph("check FILE, of one file, names the guesses.", "note")
    return arranged(
        "Check",
        verdict,
        Section("Failed", (table, *([note] if named else [])) if rows else ()),
        Section("Passed", (passed,)),
    )


def _failed_rows(entry: CheckedScenario) -> list[Row]:
    if entry.check is None:
        message = entry.error.message if entry.error else ""
        return [Row((entry.name, "feasible", message, ""), emphasis=True)]
    currency = entry.check.plan.scenario.currency
    return [
        Row((entry.name, *_asked(gate), _remedy(gate, currency)), emphasis=True)
        for gate in entry.check.failed
    ]


def _asked(gate: Gate) -> tuple[str, str]:
    """The condition in one cell, and the value."""
    value, limit = _value_and_limit(gate)
    return f"{gate.rule.key} {gate.rule.operator} {limit}", value


def _passed_row(entry: CheckedScenario) -> Row:
    gates = entry.check.gates if entry.check else ()
    passed = [gate for gate in gates if gate.passed]
    names = ", ".join(dict.fromkeys(gate.rule.key for gate in passed))
    return Row((entry.name, f"{len(passed)} of {len(gates)}", names))


def _remedy(gate: Gate, currency: str) -> str:
    if gate.least_budget is not None:
        return f"with a budget of {amount(gate.least_budget, currency)}"
    if gate.infimum is not None:
        return f"with no budget: the bound stays above {significant(gate.infimum)}"
    if gate.rule.gate == "max_guesses":
        return f"with {count(int(gate.value - gate.rule.limit), 'guess', 'guesses')} fewer"
    return ""


def _guesses(gate: Gate, plan: Plan) -> str:
    return f" Guesses: {listing(plan.guesses)}." if gate.rule.gate == "max_guesses" else ""


def gate_words(gate: Gate) -> str:
    """Say what a gate asks and what the plan has."""
    rule = gate.rule
    verb = "is" if gate.passed else "is not"
    if isinstance(gate.value, bool):
        return f"{rule.key} is {str(gate.value).lower()}, as asked" if gate.passed else (
            f"{rule.key} is {str(gate.value).lower()}, must be {str(rule.limit).lower()}"
        )  # fmt: skip
    value, limit = _value_and_limit(gate)
    return f"{rule.key}: {value} {verb} {rule.operator} {limit}"


def gate_rows(check: Check) -> list[dict[str, Any]]:
    """Return one mapping for CSV: the verdict, then the plan."""
    whole = check.to_dict()
    verdict = {name: whole[name] for name in ("passed", "warn_only", "summary")}
    failed = [gate.rule.key for gate in check.failed]
    return [{**verdict, "failed_gates": failed, **check.plan.to_dict()}]


def _verdict(check: Check) -> Paragraph:
    total, failed = len(check.gates), check.failed
    if not failed:
        all_ = "The gate passes" if total == 1 else f"All {total} gates pass"
        return Paragraph(f"{all_}.", "good")
    keys = listing([gate.rule.key for gate in failed])
    told = " Only a warning was asked for." if check.warn_only else ""
    return Paragraph(f"{len(failed)} of {count(total, 'gate')} failed: {keys}.{told}", "bad")


def _row(gate: Gate) -> Row:
    rule, (value, limit) = gate.rule, _value_and_limit(gate)
    margin = "" if gate.margin is None else _written(rule.key, gate.margin)
    verdict = "passed" if gate.passed else "FAILED"
    cells = (rule.key, value, f"{rule.operator} {limit}", margin, verdict, rule.source)
    return Row(cells, emphasis=not gate.passed)


def _value_and_limit(gate: Gate) -> tuple[str, str]:
    """Write both so that they differ where they do."""
    value, limit = gate.value, gate.rule.limit
    texts = _written(gate.rule.key, value), _written(gate.rule.key, limit)
    if texts[0] == texts[1] and value != limit:
        return str(value), str(limit)
    return texts


def _written(key: str, value: Operand) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value == 0:
        return "0"
    if key.endswith(("relative", "share", "_gap", "within")):
        return percent(value)
    if isinstance(value, int) or value.is_integer():
        return plain(value)
    return money(value) if "cost." in key else significant(value)


def _baseline_words(gate: Gate, baseline: Baseline) -> str:
    change = ""
    if baseline.value:
        relative = float(gate.value) / baseline.value - 1.0
        change = f" The change is {percent(relative, signed=True)}."
    return (
        f"{gate.rule.key} of {baseline.scenario} in {baseline.file} (version "
        f"{baseline.tool_version}): {_written(gate.rule.key, baseline.value)}; "
        f"{percent(baseline.max_increase)} more are allowed.{change}"
    )
