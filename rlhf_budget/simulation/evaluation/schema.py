"""JSON Schema of what ``simulate --format json`` prints."""

from __future__ import annotations

from typing import Any

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def simulate_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a simulation with its header."""
    properties = {
        "schema_version": {"const": 1},
        "tool": _object(
            {"name": {"const": "rlhf-budget"}, "version": _text("Version of the tool.")}
        ),
        "command": {"const": "simulate"},
        "warnings": _list(
            _object({"code": _text("Stable name."), "message": _text("What to do next.")}),
            "What is doubtful.",
        ),
        "scenario": _text("Name of the scenario."),
        "currency": _text("Label of the currency."),
        "seed": _integer("Where all randomness comes from."),
        "constants": {"enum": ["true", "scenario"], "description": "Whose the bound uses."},
        "world": _world(),
        "worlds": _object(
            {
                "requested": _integer("Worlds asked for.", least=1),
                "completed": _integer("Worlds tried.", least=1),
                "replicates": _integer("Estimates in each world.", least=1),
            }
        ),
        "validity": _validity(),
        "looseness": _nullable(
            _estimate("Bound over the (1 - delta)-quantile of the error, a ratio.")
        ),
        "terms": _list(_term(), "Each term of the bound beside what it bounds.", exactly=3),
        "allocations": _list(_allocation(), "The plan, then its rivals."),
    }
    return {
        "$schema": SCHEMA_ID,
        "title": "rlhf-budget simulate",
        "description": "A plan and its rivals in worlds where the true error is known.",
        **_object(properties),
    }


def _world() -> dict[str, Any]:
    law = {"enum": ["reference", "earlier", "mixture", "current"]}
    return _object(
        {
            "prompts": _integer("Prompts of a world.", least=1),
            "responses": _integer("Responses to each.", least=1),
            "features": _integer("Features of a response.", least=1),
            "reward": {"enum": ["graded", "verifiable"]},
            "reward_model": {"enum": ["fitted", "finished", "known"]},
            "misspecification": _number("Reward outside the features, a ratio.", least=0),
            "logit_scale": _number("Bradley-Terry logit of rewards R apart.", least=0),
            "coverage_kind": {"enum": ["density", "features"]},
            "behaviour": {**law, "description": "Who wrote the existing labels' responses."},
            "new_labels_on": {**law, "description": "Who writes the new labels' responses."},
            "prompt_offsets": {
                "const": "true",
                "description": "Preferences do not identify them: set to their true values.",
            },
            "checkpoints": _integer("Candidates on the path.", least=1),
            "strengths": _list(
                _number("0 is the reference, 1 the KL-optimal policy.", least=0), "Of each."
            ),
            "named_checkpoint": _integer("Index of the one named beforehand.", least=0),
            "judged": {"enum": ["fixed", "finite_class", "pac_bayes"]},
            "constants": _list(
                _object(
                    {
                        "constant": _text("Which constant."),
                        "scenario": _nullable(_number("The scenario's value.")),
                        "worlds": _estimate("The worlds' own."),
                    }
                ),
                "How like the scenario the worlds are.",
            ),
            "inequalities": _list(
                _object(
                    {
                        "inequality": {"enum": ["coverage-above-kl", "fresh-labels"]},
                        "held": _integer("Worlds in which it holds.", least=0),
                        "of": _integer("Worlds.", least=1),
                    }
                ),
                "Checked exactly in each world.",
            ),
        }
    )


def _validity() -> dict[str, Any]:
    return _object(
        {
            "promised": _share("1 - delta."),
            "trials": _integer("Worlds times replicates.", least=1),
            "covered": _integer("Trials within the bound.", least=0),
            "share": _share("covered / trials."),
            "interval": _interval("Clopper-Pearson, 95 %."),
            "worst_world": _object(
                {"world": _integer("Its number, from 0.", least=0), "share": _share("Its share.")}
            ),
            "holds": {"type": "boolean", "description": "The interval reaches what is promised."},
        }
    )


def _term() -> dict[str, Any]:
    return _object(
        {
            "term": {"enum": ["sampling", "reward_shift", "kl_clipping"]},
            "bound": _number("The term, reward units.", least=0),
            "actual": _estimate("What it bounds, reward units."),
            "ratio": _nullable(_number("bound / actual.", least=0)),
        }
    )


def _allocation() -> dict[str, Any]:
    money = {
        name: _number("In currency.")
        for name in ("total", "prompts", "rollouts", "labels", "fixed", "budget", "unspent")
    }
    wins = {
        "worlds": _integer("Worlds in which the plan ships better.", least=0),
        "of": _integer("Worlds.", least=1),
        "share": _share("worlds / of."),
        "interval": _interval("Clopper-Pearson, 95 %."),
    }
    versus = {
        "error_difference": _estimate("Rival less plan, reward units."),
        "quality_difference": _estimate("Rival less plan, reward units."),
        "plan_wins": _object(wins),
    }
    return _object(
        {
            "name": {
                "enum": ["plan", "prompts-first", "labels-first", "k8", "k16", "thirds", "current"]
            },
            "allocation": _object(
                {
                    "prompts": _integer("Distinct prompts.", least=1),
                    "rollouts_per_prompt": _integer("Completions of each.", least=1),
                    "labels": _integer("Preference labels to buy.", least=0),
                    "clip_threshold": _nullable(_number("Nats per sequence.", least=0)),
                    "rollouts": _integer("Completions in all.", least=1),
                }
            ),
            "cost": _object(money),
            "bound_total": _number("Mean bound over worlds, reward units.", least=0),
            "error": _estimate("|J^ - J*|, reward units."),
            "quality": _estimate("J* of the checkpoint that J^ picks, reward units."),
            "versus_plan": _nullable(_object(versus)),
        }
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: dict[str, Any], description: str, *, exactly: int | None = None) -> dict[str, Any]:
    size = {} if exactly is None else {"minItems": exactly, "maxItems": exactly}
    return {"type": "array", "description": description, "items": items, **size}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _integer(description: str, *, least: int | None = None) -> dict[str, Any]:
    limit = {} if least is None else {"minimum": least}
    return {"type": "integer", "description": description, **limit}


def _number(description: str, *, least: float | None = None) -> dict[str, Any]:
    limit = {} if least is None else {"minimum": least}
    return {"type": "number", "description": description, **limit}


def _share(description: str) -> dict[str, Any]:
    return {"type": "number", "description": description, "minimum": 0, "maximum": 1}


def _interval(description: str) -> dict[str, Any]:
    return {
        "type": "array",
        "description": description,
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
    }


def _estimate(description: str) -> dict[str, Any]:
    fields = {
        "mean": _number("Mean over worlds."),
        "interval": _nullable(_interval("95 %; null with one world.")),
    }
    return {**_object(fields), "description": description}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}
