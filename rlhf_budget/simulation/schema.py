"""JSON Schema of what ``simulate --format json`` prints, whichever the study."""

from __future__ import annotations

from typing import Any

from rlhf_budget.simulation.evaluation.schema import evaluation_schema
from rlhf_budget.simulation.training.schema import training_schema


def simulate_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a simulation with its header."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rlhf-budget simulate",
        "type": "object",
        "oneOf": [training_schema(), evaluation_schema()],
    }
