"""JSON Schema of what ``simulate --study training --format json`` prints."""

from __future__ import annotations

from typing import Any

from rlhf_budget.simulation import schema_parts as parts

NAMES = (
    "plan",
    "plan-prompt_mean",
    "plan-bernstein",
    "plan-hoeffding",
    "prompts-first",
    "labels-first",
    "k8",
    "k16",
    "thirds",
    "current",
    "best-of-grid",
)


def training_schema() -> dict[str, Any]:
    """Return the JSON Schema of a training study with its header."""
    difference = parts.estimate("Clipped less never clipped, reward units.")
    clipping = parts.record(
        {"threshold": {"enum": ["plan", "2x plan", "4x plan"]}, "quality_difference": difference}
    )
    properties = {
        **parts.header("training"),
        "world": _world(),
        "worlds": parts.worlds("Trainings of an allocation in each world."),
        "allocations": parts.listing(_allocation(), "The plan, its rivals, the grid's best."),
        "clipping": parts.listing(clipping, "What clipping costs; empty without a penalty."),
    }
    return {
        "description": "A plan and its rivals, each training policies with the same money.",
        **parts.record(properties),
    }


def _world() -> dict[str, Any]:
    constant = parts.record(
        {
            "constant": parts.text("Which constant."),
            "scenario": parts.nullable(parts.number("The scenario's value.")),
            "worlds": parts.estimate("Measured by the pilots."),
        }
    )
    return parts.record(
        {
            "scale": parts.number("Money, pools and limits on counts times this.", least=0),
            "budget": parts.number("Money in a world, in currency.", least=0),
            "responses": parts.integer("Responses to each prompt.", least=1),
            "features": parts.integer("Features of a response.", least=1),
            "visible": parts.share("Of the score's variance: what features explain."),
            "logit_scale": parts.number("Bradley-Terry logit of rewards R apart.", least=0),
            "reward_model": {"enum": ["fitted", "finished", "known"]},
            "new_labels_on": {"enum": ["reference", "current"]},
            "algorithm": {"enum": ["rloo", "grpo"]},
            "learning_rates": parts.listing(parts.number("Of Adam.", least=0), "Those tried."),
            "step": parts.integer("Rollouts or prompts of an optimiser step.", least=1),
            "step_unit": {"enum": ["rollouts", "prompts"]},
            "constants": parts.listing(constant, "How like the scenario the worlds are."),
        }
    )


def _allocation() -> dict[str, Any]:
    versus = {
        "quality_difference": parts.estimate("Rival less plan, reward units."),
        "plan_wins": parts.wins(),
    }
    return parts.record(
        {
            "name": {"enum": list(NAMES)},
            "allocation": parts.allocation(),
            "cost": parts.cost(),
            "learning_rate": parts.number("The best of those tried.", least=0),
            "quality": parts.estimate("J* on fresh prompts, reward units."),
            "regret": parts.estimate("The grid's best less this, reward units."),
            "rank": parts.integer("1 + cells of the grid that train better.", least=1),
            "of": parts.integer("Cells of the grid and this.", least=1),
            "versus_plan": parts.nullable(parts.record(versus)),
        }
    )
