"""Parts of which the JSON Schemas of both studies are made."""

from __future__ import annotations

from typing import Any


def header(study: str) -> dict[str, Any]:
    """What every simulation begins with."""
    warning = record({"code": text("Stable name."), "message": text("What to do next.")})
    return {
        "schema_version": {"const": 1},
        "tool": record({"name": {"const": "rlhf-budget"}, "version": text("Of the tool.")}),
        "command": {"const": "simulate"},
        "study": {"const": study},
        "warnings": listing(warning, "What is doubtful."),
        "scenario": text("Name of the scenario."),
        "currency": text("Label of the currency."),
        "seed": integer("Where all randomness comes from."),
    }


def worlds(replicates: str) -> dict[str, Any]:
    """How much was tried."""
    return record(
        {
            "requested": integer("Worlds asked for.", least=1),
            "completed": integer("Worlds tried.", least=1),
            "replicates": integer(replicates, least=1),
        }
    )


def allocation() -> dict[str, Any]:
    """The four decisions."""
    return record(
        {
            "prompts": integer("Distinct prompts.", least=1),
            "rollouts_per_prompt": integer("Completions of each.", least=1),
            "labels": integer("Preference labels to buy.", least=0),
            "clip_threshold": nullable(number("Nats per sequence.", least=0)),
            "rollouts": integer("Completions in all.", least=1),
        }
    )


def cost() -> dict[str, Any]:
    """What an allocation costs."""
    names = ("total", "prompts", "rollouts", "labels", "fixed", "budget", "unspent")
    return record({name: number("In currency.") for name in names})


def wins() -> dict[str, Any]:
    """Worlds won by the plan."""
    return record(
        {
            "worlds": integer("Worlds in which the plan ships better.", least=0),
            "of": integer("Worlds.", least=1),
            "share": share("worlds / of."),
            "interval": interval("Clopper-Pearson, 95 %."),
        }
    )


def record(properties: dict[str, Any]) -> dict[str, Any]:
    """Object whose properties are all required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def listing(
    items: dict[str, Any], description: str, *, exactly: int | None = None
) -> dict[str, Any]:
    """Array of one kind of item."""
    size = {} if exactly is None else {"minItems": exactly, "maxItems": exactly}
    return {"type": "array", "description": description, "items": items, **size}


def text(description: str) -> dict[str, Any]:
    """String."""
    return {"type": "string", "description": description}


def integer(description: str, *, least: int | None = None) -> dict[str, Any]:
    """Whole number."""
    limit = {} if least is None else {"minimum": least}
    return {"type": "integer", "description": description, **limit}


def number(description: str, *, least: float | None = None) -> dict[str, Any]:
    """Number."""
    limit = {} if least is None else {"minimum": least}
    return {"type": "number", "description": description, **limit}


def share(description: str) -> dict[str, Any]:
    """Number from 0 to 1."""
    return {"type": "number", "description": description, "minimum": 0, "maximum": 1}


def interval(description: str) -> dict[str, Any]:
    """Two numbers."""
    return {
        "type": "array",
        "description": description,
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
    }


def estimate(description: str) -> dict[str, Any]:
    """Mean over worlds with its interval."""
    fields = {
        "mean": number("Mean over worlds."),
        "interval": nullable(interval("95 %; null with one world.")),
    }
    return {**record(fields), "description": description}


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """What may be null."""
    return {"anyOf": [schema, {"type": "null"}]}
