"""A training study as a document: which allocation trains the best policy, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_budget.report.document import Column, Paragraph, Row, Section, Table, arranged, warned
from rlhf_budget.report.numbers import money, percent, significant
from rlhf_budget.report.simulation_document import CONSTANTS, flat_row, sentence, sorted_out
from rlhf_budget.report.words import count, listing

if TYPE_CHECKING:
    from rlhf_budget.report.document import Document
    from rlhf_budget.simulation.training.results import TrainedAllocation, TrainingStudy

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
    columns = [
        Column("allocation"),
        Column("prompts", "integer"),
        Column("rollouts each", "integer"),
        *([Column("labels", "integer")] if labels else []),
        *([Column("clip at, nats", "significant")] if clips else []),
        Column("trained J*", "significant"),
        Column("regret", "significant"),
        Column("95 % interval", "significant"),
        Column("rank"),
    ]

    def row(trained: TrainedAllocation) -> Row:
        a = trained.allocation
        cells = (
            trained.name,
            a.prompts,
            a.rollouts_per_prompt,
            *((a.labels,) if labels else ()),
            *((a.clip_threshold,) if clips else ()),
            trained.quality.mean,
            trained.regret.mean,
            trained.regret.interval,
            f"{trained.rank} of {trained.of}",
        )
        return Row(cells, emphasis=trained.versus_plan is None)

    note = (
        f"Means over {count(study.worlds.completed, 'world')} with "
        f"{count(study.worlds.replicates, 'training')} of each allocation. J*: true objective on "
        "fresh prompts. Regret: the grid's best less this. Learning rates and the grid's best are "
        "chosen on other trainings than those that judge. Every world has its own pilot, so its "
        "own plan; shown is the one in the middle."
    )
    table = Table(tuple(columns), tuple(row(each) for each in study.allocations), turns=True)
    return table, Paragraph(note, "note")


def _against(study: TrainingStudy) -> tuple[Table | Paragraph, ...]:
    pairs = [(t.name, t.versus_plan) for t in study.allocations if t.versus_plan is not None]
    columns = (
        Column("rival"),
        Column("J*, rival - plan", "significant"),
        Column("95 % interval", "significant"),
        Column("plan better in"),
    )
    rows = tuple(
        Row(
            (
                name,
                versus.quality_difference.mean,
                versus.quality_difference.interval,
                f"{versus.plan_wins.worlds} of {versus.plan_wins.of} worlds",
            )
        )
        for name, versus in pairs
    )
    sides = sorted_out([(name, versus.quality_difference) for name, versus in pairs])
    sentences = (
        sentence("The plan trains better than", sides[-1]),
        sentence("It trains worse than", sides[1]),
        sentence("It is not told apart from", sides[0]),
    )
    outcome = " ".join(each for each in sentences if each)
    return Table(columns, rows, turns=True), Paragraph(outcome)


def _clipping(study: TrainingStudy) -> tuple[Table | Paragraph, ...]:
    if not study.clipping:
        return ()
    columns = (
        Column("the plan's allocation, clipped"),
        Column("J*, less never clipped", "significant"),
        Column("95 % interval", "significant"),
    )
    rows = tuple(
        Row(
            (
                _THRESHOLDS[check.threshold],
                check.quality_difference.mean,
                check.quality_difference.interval,
            )
        )
        for check in study.clipping
    )
    return (Table(columns, rows),)


def _worlds(study: TrainingStudy) -> tuple[Table | Paragraph, ...]:
    world = study.world
    columns = (
        Column("constant"),
        Column("scenario", "significant"),
        Column("pilots", "significant"),
    )
    rows = tuple(
        Row((CONSTANTS[c.constant], c.scenario, c.worlds.mean), "significant")
        for c in world.constants
    )
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
    return Table(columns, rows), Paragraph(note, "note")
