"""A training study as a document: which allocation trains the best policy, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_budget.report.document import Paragraph, Section, arranged, tabulated, warned
from rlhf_budget.report.numbers import money, percent, significant
from rlhf_budget.report.simulation_document import (
    constants_table,
    flat_row,
    sentence,
    sorted_out,
    won,
)
from rlhf_budget.report.words import count, listing

if TYPE_CHECKING:
    from rlhf_budget.report.document import Document, Table
    from rlhf_budget.simulation.training.results import TrainingStudy

_THRESHOLDS = {
    "plan": "at the plan's threshold",
    "2x plan": "at twice the plan's",
    "4x plan": "at four times the plan's",
}
_REWARD_MODELS = {
    "known": "The reward is known: no labels are bought.",
    "finished": "The reward model is finished: no labels are bought.",
    "fitted": "Reward models are fitted to the labels of each allocation.",
}


def training_document(study: TrainingStudy) -> Document:
    """Arrange a training study for reading."""
    return arranged(
        f"{study.scenario}, simulated",
        _verdict(study),
        Section("What each allocation trains", _trained(study)),
        Section("Against the plan, paired by world", _against(study)),
        Section("What clipping the log-ratio while training costs", _clipping(study)),
        Section("The worlds", _worlds(study)),
        warned(study.warnings),
    )


def training_rows(study: TrainingStudy) -> list[dict[str, Any]]:
    """Return one mapping per allocation for CSV; intervals become ``low`` and ``high``."""
    whole = study.to_dict()
    common = {key: whole[key] for key in ("study", "scenario", "currency", "seed", "worlds")}
    return [flat_row({**common, **allocation}) for allocation in whole["allocations"]]


# --- words ---------------------------------------------------------------------------------------


def _verdict(study: TrainingStudy) -> Paragraph:
    plan = study.allocations[0]
    interval = plan.regret.interval
    size = f"{significant(plan.regret.mean, digits=2)} of reward"
    if interval is not None:
        low, high = (significant(end, digits=2) for end in interval)
        size += f" (95 %: {low} to {high})"
    return Paragraph(
        f"Training with the plan ends {size} below the best of a grid of {plan.of - 1} "
        f"allocations; its rank among them is {plan.rank}.",
        "good" if plan.rank <= plan.of / 4 else "text",
    )


def _trained(study: TrainingStudy) -> tuple[Table | Paragraph, ...]:
    labels = study.world.reward_model == "fitted"
    clips = any(trained.allocation.clip_threshold is not None for trained in study.allocations)
    table = tabulated(
        study.allocations,
        ("allocation", "text", lambda trained: trained.name),
        ("prompts", "integer", lambda trained: trained.allocation.prompts),
        ("rollouts each", "integer", lambda trained: trained.allocation.rollouts_per_prompt),
        ("labels", "integer", lambda trained: trained.allocation.labels) if labels else None,
        ("clip at, nats", "significant", lambda trained: trained.allocation.clip_threshold)
        if clips
        else None,
        ("trained J*", "significant", lambda trained: trained.quality.mean),
        ("regret", "significant", lambda trained: trained.regret.mean),
        ("95 % interval", "significant", lambda trained: trained.regret.interval),
        ("rank", "text", lambda trained: f"{trained.rank} of {trained.of}"),
        first=lambda trained: trained.versus_plan is None,
        turns=True,
    )
    note = (
        f"Means over {count(study.worlds.completed, 'world')} with "
        f"{count(study.worlds.replicates, 'training')} of each allocation. J*: true objective on "
        "fresh prompts. Regret: the grid's best less this. Learning rates and the grid's best are "
        "chosen on other trainings than those that judge. Every world has its own pilot, so its "
        "own plan; shown is the one in the middle."
    )
    return table, Paragraph(note, "note")


def _against(study: TrainingStudy) -> tuple[Table | Paragraph, ...]:
    pairs = [(t.name, t.versus_plan) for t in study.allocations if t.versus_plan is not None]
    table = tabulated(
        pairs,
        ("rival", "text", lambda pair: pair[0]),
        ("J*, rival - plan", "significant", lambda pair: pair[1].quality_difference.mean),
        ("95 % interval", "significant", lambda pair: pair[1].quality_difference.interval),
        ("plan better in", "text", lambda pair: won(pair[1].plan_wins)),
        turns=True,
    )
    sides = sorted_out([(name, versus.quality_difference) for name, versus in pairs])
    sentences = (
        sentence("The plan trains better than", sides[-1]),
        sentence("It trains worse than", sides[1]),
        sentence("It is not told apart from", sides[0]),
    )
    outcome = " ".join(each for each in sentences if each)
    return table, Paragraph(outcome)


def _clipping(study: TrainingStudy) -> tuple[Table | Paragraph, ...]:
    if not study.clipping:
        return ()
    table = tabulated(
        study.clipping,
        ("the plan's allocation, clipped", "text", lambda check: _THRESHOLDS[check.threshold]),
        ("J*, less never clipped", "significant", lambda check: check.quality_difference.mean),
        ("95 % interval", "significant", lambda check: check.quality_difference.interval),
    )
    return (table,)


def _worlds(study: TrainingStudy) -> tuple[Table | Paragraph, ...]:
    world = study.world
    spec, recipe = world.spec, world.recipe
    rates = listing([f"{rate:g}" for rate in recipe.learning_rates])
    note = (
        f"Money, pools and limits on counts are {significant(world.scale, digits=3)} times the "
        f"scenario's, which is what a world can train: {money(world.budget)} {study.currency}; "
        "prices and the KL coefficient are the scenario's. "
        f"{_REWARD_MODELS[world.reward_model]} Policies are linear-softmax, {spec.features} "
        f"features and {spec.responses} responses to a prompt, trained by "
        f"{'GRPO' if recipe.normalise else 'RLOO'} with Adam, {recipe.step} {recipe.step_unit} a "
        f"step, the best of the learning rates {rates}. Features explain {percent(spec.visible)} "
        "of the variance of what decides the reward. In each world the calibrations of this tool "
        "measure the constants from a pilot run, which costs nothing here, and the plan is made "
        "from those."
    )
    return constants_table(world.constants, "pilots"), Paragraph(note, "note")
