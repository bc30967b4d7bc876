"""JSON Schemas of what ``compare``, ``check`` and ``sweep`` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.report.schema import (
    REWARD,
    allocation_schema,
    array,
    bound_schema,
    certificate_schema,
    cost_schema,
    marginal_schema,
    nullable,
    number,
    record,
    result_schema,
    text,
    truth,
    whole,
    with_header,
)
from rlhf_budget.studies.attribution import GROUPS
from rlhf_budget.studies.comparison import LOWER_IS_BETTER
from rlhf_budget.studies.sweeps import STATUSES

if TYPE_CHECKING:
    from rlhf_budget.report.schema import Schema


def error_schema() -> Schema:
    """Describe ERR: why there is no plan."""
    problem = record(
        "One thing that is wrong.",
        {
            "file": nullable(text("File that wrote it.")),
            "line": nullable(whole("Line in the file", minimum=1)),
            "key": text("Key path."),
            "found": text("What stands there."),
            "allowed": text("What would be right."),
        },
    )
    return record(
        "Why there is no plan.",
        {
            "code": text("Stable name, such as infeasible or invalid."),
            "message": text("What is wrong, in a sentence."),
            "least_budget": nullable(number("The least budget that is feasible", "currency")),
            "shortfall": nullable(number("How much the budget lacks", "currency")),
            "limits": array(text("Key path."), "Limits responsible."),
            "problems": array(problem, "Everything wrong with the scenario."),
        },
    )


def compare_schema() -> Schema:
    """Return the JSON Schema of what ``compare --format json`` prints."""
    column = record(
        "A scenario and its plan.",
        {
            "name": text("Name of the column."),
            "file": nullable(text("File of the scenario.")),
            "scenario": nullable(text("Name among the file's scenarios; null for the file.")),
            "status": text("How it ended.", "optimal", "not_proved", "infeasible"),
            "result": nullable(result_schema()),
            "error": nullable(error_schema()),
        },
    )
    value = record(
        "A number beside the baseline's.",
        {
            "key": text("Key path in the plan."),
            "baseline": nullable(number("The baseline's number")),
            "value": nullable(number("The column's number")),
            "absolute": nullable(number("value - baseline")),
            "relative": nullable(number("absolute over the baseline's size", "fraction")),
        },
    )
    difference = record(
        "A feasible column against the baseline.",
        {
            "name": text("Name of the column."),
            "values": array(value, "Every number of allocation, bound and cost."),
            "attribution": _attribution_schema(),
        },
    )
    best = record(
        "Who has the best of a number.",
        {
            "key": text("Key path in the plan; lower is better.", *LOWER_IS_BETTER),
            "names": array(text("Name of a column."), "Several where they are the same."),
        },
    )
    result = record(
        "Scenarios side by side.",
        {
            "currency": text("Label of all money."),
            "baseline": text("Name of the column compared with."),
            "columns": array(column, "All columns, infeasible ones too."),
            "differences": array(difference, "Feasible columns but the baseline."),
            "best": array(best, "The best of each number that has one."),
        },
    )
    return with_header("compare", "Output of rlhf-budget compare", result)


def _attribution_schema() -> Schema:
    group = record(
        "What one group of constants brings.",
        {
            "group": text("Section of the scenario.", *GROUPS),
            "changed": array(text("Key path."), "Constants that differ."),
            "contribution": number("Its part of the difference", REWARD),
            "planned": truth("False where its change alone cannot be planned."),
        },
    )
    groups = array(group, "Always all seven.") | {"minItems": len(GROUPS), "maxItems": len(GROUPS)}
    return record(
        "Where the difference of the bound comes from.",
        {
            "metric": text("What is attributed.", "bound.total"),
            "method": text("How it was split.", "shapley", "one_at_a_time"),
            "total": number("The difference", REWARD),
            "residual": number("The difference less all contributions", REWARD),
            "groups": groups,
        },
    )


def check_schema() -> Schema:
    """Return the JSON Schema of what ``check --format json`` prints."""
    operand: Schema = {"type": ["number", "boolean"]}
    baseline = record(
        "The other version's plan.",
        {
            "file": text("File that it was read from."),
            "scenario": text("Name of its scenario."),
            "tool_version": text("Version of the program that wrote it."),
            "value": number("Its value of the metric"),
            "max_increase": number("Relative increase allowed", "fraction", minimum=0),
        },
    )
    gate = record(
        "A gate and its verdict.",
        {
            "gate": text("Name of the gate."),
            "source": text("The flag or key path that asked for it, or always."),
            "key": text("Key path in the plan."),
            "operator": text("How the value must stand to the limit.", "<=", ">=", "=="),
            "limit": operand | {"description": "The limit."},
            "value": operand | {"description": "The plan's value."},
            "margin": nullable(number("Room left, negative where failed; null for truth values")),
            "passed": truth("Whether the value is as asked."),
            "baseline": nullable(baseline),
        },
    )
    summary = record(
        "How many gates.",
        {
            "gates": whole("All gates", minimum=1),
            "passed": whole("Those that passed"),
            "failed": whole("Those that failed"),
        },
    )
    result = record(
        "A plan held against gates.",
        {
            "passed": truth("Whether all gates passed, whatever --warn-only says."),
            "warn_only": truth("Whether a failure is only told."),
            "status": text("Whether the plan is proved.", "optimal", "not_proved"),
            "gates": array(gate, "Every gate."),
            "summary": summary,
            "result": result_schema(),
        },
    )
    return with_header("check", "Output of rlhf-budget check", result)


def sweep_schema() -> Schema:
    """Return the JSON Schema of what ``sweep --format json`` prints."""
    value: Schema = {"type": ["number", "string", "boolean"]}
    over = record(
        "What the sweep goes over.",
        {
            "key": text("Key path of the constant."),
            "scale": nullable(text("Spacing; null for a list."))
            | {"enum": ["log", "linear", None]},
            "from": nullable(number("First value; null for a list")),
            "to": nullable(number("Last value; null for a list")),
            "points": whole("Number of values", minimum=1),
        },
    )
    point = record(
        "The plan at one value.",
        {
            "value": value | {"description": "Value of the constant."},
            "status": text("How it ended.", *STATUSES),
            "allocation": nullable(allocation_schema()),
            "bound": nullable(bound_schema()),
            "cost": nullable(cost_schema()),
            "certificate": nullable(certificate_schema()),
            "marginal": nullable(marginal_schema()),
            "binding": array(text("Key path."), "Limits that a decision meets and that cost."),
            "warnings": array(text("Code."), "Codes of the plan's warnings."),
            "error": nullable(error_schema()),
        },
    )
    current = record(
        "What the scenario does now, over the budget.",
        {"allocation": allocation_schema(), "bound": bound_schema(), "cost": cost_schema()},
    )
    result = record(
        "A scenario planned at many values of one constant.",
        {
            "scenario": text("Name of the scenario."),
            "currency": text("Label of all money."),
            "inputs": {"type": "object", "description": "The scenario as it is, resolved."},
            "over": over,
            "points": array(point, "One for each value, in their order."),
            "summary": record(
                "How many points ended how.",
                {status: whole(f"Points that are {status}") for status in STATUSES},
            ),
            "current": nullable(current),
        },
    )
    return with_header("sweep", "Output of rlhf-budget sweep", result)
