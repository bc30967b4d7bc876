"""JSON Schemas of what commands print: every field with its meaning and unit."""

from __future__ import annotations

from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REWARD = "reward units"


# --- building blocks, for every output -----------------------------------------------------------


def number(description: str, unit: str = "", **limits: float) -> Schema:
    """Describe a number, with its unit."""
    return {"type": "number", "description": _with_unit(description, unit), **limits}


def whole(description: str, unit: str = "", minimum: int = 0) -> Schema:
    """Describe a whole number."""
    return {
        "type": "integer",
        "minimum": minimum,
        "description": _with_unit(description, unit),
    }


def text(description: str, *words: str) -> Schema:
    """Describe a text, or one of some words."""
    return {"type": "string", "description": description} | ({"enum": [*words]} if words else {})


def truth(description: str) -> Schema:
    """Describe a truth value."""
    return {"type": "boolean", "description": description}


def array(items: Schema, description: str) -> Schema:
    """Describe a list."""
    return {"type": "array", "items": items, "description": description}


def pair(items: Schema, description: str) -> Schema:
    """Describe a range: its two ends."""
    return array(items, description) | {"minItems": 2, "maxItems": 2}


def record(description: str, fields: Schema, optional: tuple[str, ...] = ()) -> Schema:
    """Describe an object, all of whose fields are there unless named as optional.

    Other keys may be added within a schema version, so they are allowed.
    """
    return {
        "type": "object",
        "description": description,
        "required": [name for name in fields if name not in optional],
        "properties": fields,
    }


def nullable(schema: Schema) -> Schema:
    """Allow null: not applicable."""
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def with_header(command: str, title: str, result: Schema) -> Schema:
    """Describe the whole output of a command: the common header and its result."""
    header = {
        "schema_version": {"const": 1, "description": "Version of this format."},
        "tool": record(
            "What wrote this.", {"name": {"const": "rlhf-budget"}, "version": text("Its version.")}
        ),
        "command": {"const": command, "description": "The command."},
        "warnings": array(
            record(
                "A warning.",
                {
                    "code": text("Stable name, such as vacuous-bound."),
                    "message": text("What is doubtful, and what to do."),
                },
            ),
            "What is doubtful about the result.",
        ),
    }
    return {
        "$schema": DIALECT,
        "title": title,
        "type": "object",
        "required": [*header, *result["required"]],
        "properties": header | result["properties"],
    }


def _with_unit(description: str, unit: str) -> str:
    return f"{description} ({unit})." if unit else f"{description}."


# --- parts of a plan -----------------------------------------------------------------------------


def allocation_schema() -> Schema:
    """Describe an allocation."""
    return record(
        "The four decisions.",
        {
            "prompts": whole("Distinct prompts", "prompts"),
            "rollouts_per_prompt": whole("Completions of each prompt", "rollouts", 1),
            "labels": whole("Preference comparisons to buy", "labels"),
            "clip_threshold": nullable(
                number(
                    "Where the log-ratio of whole responses is clipped; null at a KL coefficient "
                    "of 0",
                    "nats",
                    minimum=0,
                )
            ),
            "rollouts": whole("Rollouts in all", "rollouts"),
        },
    )


def bound_schema() -> Schema:
    """Describe a bound with its terms."""
    return record(
        "The bound on the error of the estimated objective, and its terms.",
        {
            "total": number("Sum of the three terms", REWARD, minimum=0),
            "sampling": number("Error of finitely many prompts and rollouts", REWARD, minimum=0),
            "reward_shift": number(
                "Error of the reward model on the current policy", REWARD, minimum=0
            ),
            "kl_clipping": number("Bias of clipping the log-ratio", REWARD, minimum=0),
            "irreducible": number(
                "Infimum of the total over all budgets within the limits", REWARD, minimum=0
            ),
            "vacuous": truth("Whether the total is not below the reward range."),
            "coverage": number("Coverage after the labels", minimum=1),
            "reward_error": number(
                "Mean squared error of the reward model", "reward units squared", minimum=0
            ),
            "clipped_share": nullable(
                number(
                    "Share of responses beyond the clip threshold", "fraction", minimum=0, maximum=1
                )
            ),
            "policy_complexity": number("What choosing the policy costs", "nats", minimum=0),
        },
    )


def cost_schema() -> Schema:
    """Describe a cost with its parts."""
    return record(
        "What an allocation costs (currency).",
        {
            "total": number("Everything together", "currency"),
            "prompts": number("Acquisition and prefill of prompts", "currency"),
            "rollouts": number("All rollouts", "currency"),
            "labels": number("All labels to buy", "currency"),
            "fixed": number("Paid whatever is bought", "currency"),
            "budget": nullable(number("Money there is; null with a target", "currency")),
            "unspent": nullable(
                number("Budget less total, negative beyond the budget", "currency")
            ),
        },
    )


def certificate_schema() -> Schema:
    """Describe a certificate."""
    return record(
        "Proof that no feasible allocation is better by more than the gap.",
        {
            "lower_bound": number("No feasible allocation has a smaller bound", REWARD),
            "relative_gap": number("(total - lower_bound)/total", "fraction", minimum=0),
            "proved": truth("Whether the gap is within --tolerance."),
            "evaluations": whole("Points and boxes at which the bound was evaluated"),
        },
    )


def marginal_schema() -> Schema:
    """Describe the value of more money."""
    return record(
        "What a little more money does.",
        {
            "bound_per_currency": number(
                "Slope of the best bound in the budget", f"{REWARD} per currency", maximum=0
            )
        },
    )


def _near_optimal_schema() -> Schema:
    names = {
        "prompts": "prompts",
        "rollouts_per_prompt": "rollouts per prompt",
        "labels": "labels",
    }
    ranges = {
        key: pair(whole(f"Number of {name}"), f"Least and most {name} of such a plan.")
        for key, name in names.items()
    }
    return record(
        "How far each decision can move while the bound stays near its best.",
        {
            "within": number("Relative excess that counts as near", "fraction", minimum=0),
            **ranges,
            "least_cost": number("Cost of the cheapest such plan", "currency"),
        },
    )


def _alternative_schema() -> Schema:
    return record(
        "The best plan under another concentration inequality.",
        {
            "concentration": text("As in bound.concentration."),
            "total": number("Its best bound", REWARD),
            "allocation": allocation_schema(),
            "cost": cost_schema(),
        },
        optional=("cost",),
    )


def _assumed_schema() -> Schema:
    return record(
        "A constant given as a range or as unknown.",
        {
            "constant": text("Key path in the scenario."),
            "kind": text("How it was given.", "range", "unknown"),
            "value": number("What the plan used"),
            "low": number("Low end"),
            "high": number("High end"),
            "source": nullable(text("Where the range comes from.")),
            "allocation_at_low": nullable(allocation_schema()),
            "allocation_at_high": nullable(allocation_schema()),
        },
    )


def _current_schema() -> Schema:
    return record(
        "The scenario's current allocation beside the plan.",
        {
            "allocation": allocation_schema(),
            "bound": bound_schema(),
            "cost": cost_schema(),
            "excess": number("Its bound less the plan's", REWARD),
            "excess_relative": number("The same over the plan's bound", "fraction"),
            "violations": array(text("Key path, or budget."), "Limits that it breaks."),
        },
    )


def _target_schema() -> Schema:
    return record(
        "The least budget that reaches a target bound.",
        {
            "bound": number("The bound asked for", REWARD),
            "least_cost": number("Cost of the plan found", "currency"),
            "least_cost_lower_bound": number("No such plan costs less", "currency"),
            "relative_gap": number(
                "(least_cost - least_cost_lower_bound)/least_cost", "fraction", minimum=0
            ),
        },
    )


def result_schema() -> Schema:
    """Describe RESULT: a plan without the header."""
    elasticity = record(
        "How much the best bound moves with one constant.",
        {
            "constant": text("Key path in the scenario."),
            "elasticity": number("d ln(total)/d ln(constant) at the re-optimised plan"),
        },
    )
    closed_form = record(
        "The textbook number of rollouts per prompt.",
        {
            "rollouts_per_prompt": nullable(number("Not rounded; null where no rule applies")),
            "rule": text("The rule, or why none applies."),
        },
    )
    return record(
        "The certified best allocation.",
        {
            "status": text("Whether the certificate proves it.", "optimal", "not_proved"),
            "scenario": text("Name of the scenario."),
            "currency": text("Label of all money."),
            "inputs": {
                "type": "object",
                "description": "The scenario, fully resolved; plans to the same total.",
            },
            "allocation": allocation_schema(),
            "bound": bound_schema(),
            "cost": cost_schema(),
            "certificate": certificate_schema(),
            "closed_form": closed_form,
            "alternatives": array(_alternative_schema(), "Other inequalities, each planned."),
            "binding": array(text("Key path."), "Limits that a decision meets and that cost."),
            "marginal": nullable(marginal_schema()),
            "near_optimal": nullable(_near_optimal_schema()),
            "sensitivity": array(elasticity, "Elasticities, largest first."),
            "assumed": array(_assumed_schema(), "Constants that are not known exactly."),
            "current": nullable(_current_schema()),
            "target": nullable(_target_schema()),
        },
    )


def plan_schema() -> Schema:
    """Return the JSON Schema of what ``plan --format json`` prints."""
    return with_header("plan", "Output of rlhf-budget plan", result_schema())
