"""JSON Schema of what ``simulate --study evaluation --format json`` prints."""

from __future__ import annotations

from typing import Any

from rlhf_budget.simulation import schema_parts as parts


def evaluation_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a simulation with its header."""
    properties = {
        **parts.header("evaluation"),
        "constants": {"enum": ["true", "scenario"], "description": "Whose the bound uses."},
        "world": _world(),
        "worlds": parts.worlds("Estimates in each world."),
        "validity": _validity(),
        "looseness": parts.nullable(
            parts.estimate("Bound over the (1 - delta)-quantile of the error, a ratio.")
        ),
        "terms": parts.listing(_term(), "Each term of the bound beside what it bounds.", exactly=3),
        "allocations": parts.listing(_allocation(), "The plan, then its rivals."),
    }
    return {
        "description": "A plan and its rivals in worlds where the true error is known.",
        **parts.record(properties),
    }


def _world() -> dict[str, Any]:
    law = {"enum": ["reference", "earlier", "mixture", "current"]}
    return parts.record(
        {
            "prompts": parts.integer("Prompts of a world.", least=1),
            "responses": parts.integer("Responses to each.", least=1),
            "features": parts.integer("Features of a response.", least=1),
            "reward": {"enum": ["graded", "verifiable"]},
            "reward_model": {"enum": ["fitted", "finished", "known"]},
            "misspecification": parts.number("Reward outside the features, a ratio.", least=0),
            "logit_scale": parts.number("Bradley-Terry logit of rewards R apart.", least=0),
            "coverage_kind": {"enum": ["density", "features"]},
            "behaviour": {**law, "description": "Who wrote the existing labels' responses."},
            "new_labels_on": {**law, "description": "Who writes the new labels' responses."},
            "prompt_offsets": {
                "const": "true",
                "description": "Preferences do not identify them: set to their true values.",
            },
            "checkpoints": parts.integer("Candidates on the path.", least=1),
            "strengths": parts.listing(
                parts.number("0 is the reference, 1 the KL-optimal policy.", least=0), "Of each."
            ),
            "named_checkpoint": parts.integer("Index of the one named beforehand.", least=0),
            "judged": {"enum": ["fixed", "finite_class", "pac_bayes"]},
            "constants": parts.listing(
                parts.record(
                    {
                        "constant": parts.text("Which constant."),
                        "scenario": parts.nullable(parts.number("The scenario's value.")),
                        "worlds": parts.estimate("The worlds' own."),
                    }
                ),
                "How like the scenario the worlds are.",
            ),
            "inequalities": parts.listing(
                parts.record(
                    {
                        "inequality": {"enum": ["coverage-above-kl", "fresh-labels"]},
                        "held": parts.integer("Worlds in which it holds.", least=0),
                        "of": parts.integer("Worlds.", least=1),
                    }
                ),
                "Checked exactly in each world.",
            ),
        }
    )


def _validity() -> dict[str, Any]:
    return parts.record(
        {
            "promised": parts.share("1 - delta."),
            "trials": parts.integer("Worlds times replicates.", least=1),
            "covered": parts.integer("Trials within the bound.", least=0),
            "share": parts.share("covered / trials."),
            "interval": parts.interval("Clopper-Pearson, 95 %."),
            "worst_world": parts.record(
                {
                    "world": parts.integer("Its number, from 0.", least=0),
                    "share": parts.share("Its share."),
                }
            ),
            "holds": {"type": "boolean", "description": "The interval reaches what is promised."},
        }
    )


def _term() -> dict[str, Any]:
    return parts.record(
        {
            "term": {"enum": ["sampling", "reward_shift", "kl_clipping"]},
            "bound": parts.number("The term, reward units.", least=0),
            "actual": parts.estimate("What it bounds, reward units."),
            "ratio": parts.nullable(parts.number("bound / actual.", least=0)),
        }
    )


def _allocation() -> dict[str, Any]:
    versus = {
        "error_difference": parts.estimate("Rival less plan, reward units."),
        "quality_difference": parts.estimate("Rival less plan, reward units."),
        "plan_wins": parts.wins(),
    }
    return parts.record(
        {
            "name": {
                "enum": ["plan", "prompts-first", "labels-first", "k8", "k16", "thirds", "current"]
            },
            "allocation": parts.allocation(),
            "cost": parts.cost(),
            "bound_total": parts.number("Mean bound over worlds, reward units.", least=0),
            "error": parts.estimate("|J^ - J*|, reward units."),
            "quality": parts.estimate("J* of the checkpoint that J^ picks, reward units."),
            "versus_plan": parts.nullable(parts.record(versus)),
        }
    )
