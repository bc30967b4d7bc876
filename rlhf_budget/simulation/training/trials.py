"""One world tried: a pilot, a plan from what it measured, and a policy trained by every allocation.

Shapes: T replicates, H learning rates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rlhf_budget.bound.results import Allocation
from rlhf_budget.bound.terms import bound_of
from rlhf_budget.optimum.case import prepare
from rlhf_budget.optimum.certified import optimise
from rlhf_budget.simulation.results import constants_at
from rlhf_budget.simulation.rivals import find_rivals
from rlhf_budget.simulation.training.pilot import run_pilot
from rlhf_budget.simulation.training.reward_model import (
    draw_comparisons,
    finished_reward,
    fit_reward_models,
)
from rlhf_budget.simulation.training.trainer import Run, train
from rlhf_budget.simulation.training.world import draw_prompts, draw_world, true_objective

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from rlhf_budget.scenario.models import Scenario
    from rlhf_budget.simulation.training.pilot import PilotSize
    from rlhf_budget.simulation.training.results import Threshold
    from rlhf_budget.simulation.training.scale import Decisions
    from rlhf_budget.simulation.training.trainer import Recipe
    from rlhf_budget.simulation.training.world import Prompts, TrainingSpec, TrainingWorld

    Floats = NDArray[np.floating]

JUDGING_PROMPTS = 512
"""Fresh prompts over which J* is summed."""
CLIP_FACTORS: Final[dict[Threshold, float]] = {"plan": 1.0, "2x plan": 2.0, "4x plan": 4.0}
"""Thresholds at which the plan is trained too, in units of its own."""


@dataclass(frozen=True, slots=True)
class TrainingProtocol:
    """What is the same in every world of a study."""

    spec: TrainingSpec
    """The family of worlds."""
    recipe: Recipe
    """How every policy is trained."""
    scenario: Scenario
    """The scenario, its money scaled; the pilot's constants are put into it in each world."""
    rules: tuple[tuple[str, Mapping[str, object]], ...]
    """Further planning rules: a name and the keys that it sets."""
    cells: tuple[Decisions, ...]
    """The grid."""
    pilot: PilotSize
    """The pilot run."""
    replicates: int
    """T: labels, prompts and rollouts drawn anew."""
    scale: float
    """What the scenario's money was multiplied by."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRecord:
    """All allocations in one world; qualities are J* of shape (..., H, T), reward units."""

    entries: tuple[tuple[str, Allocation], ...]
    """The plan first, then its rivals."""
    cells: tuple[Allocation, ...]
    """The grid, each cell clipped at its own best threshold."""
    left_out: tuple[str, ...]
    """Rules of thumb that budget and limits do not allow."""
    quality: Floats
    """Of the entries."""
    grid: Floats
    """Of the grid's cells."""
    clipping: Floats
    """Of the plan never clipped, then by ``CLIP_FACTORS``; no rows without a penalty."""
    constants: tuple[tuple[str, float], ...]
    """What the pilot measured, as the bound has it at the plan."""


def try_training(protocol: TrainingProtocol, seed: np.random.SeedSequence) -> TrainingRecord:
    """Draw a world, plan in it and train every allocation."""
    laws, piloting, training = seed.spawn(3)
    stage, scenario = set_stage(protocol, laws, piloting)
    plan = optimise(scenario).allocation
    rivals, left_out = find_rivals(scenario, plan)
    entries = (
        ("plan", plan),
        *((name, optimise(scenario.with_values(keys)).allocation) for name, keys in protocol.rules),
        *((rival.name, rival.allocation) for rival in rivals),
    )
    bound = bound_of(scenario)
    cells = tuple(
        Allocation(n, K, m, bound.sampling_and_clipping(n, K)[2]) for n, K, m in protocol.cells
    )
    τ, clips = plan.clip_threshold, list[Allocation]()
    if τ is not None:
        thresholds = (None, *(factor * τ for factor in CLIP_FACTORS.values()))
        clips = [replace(plan, clip_threshold=threshold) for threshold in thresholds]
    allocations = [*(allocation for _, allocation in entries), *cells, *clips]
    quality = train_allocations(protocol, stage, allocations, training)
    first, second = len(entries), len(entries) + len(cells)
    return TrainingRecord(
        entries=entries,
        cells=cells,
        left_out=left_out,
        quality=quality[:first],
        grid=quality[first:second],
        clipping=quality[second:],
        constants=tuple(
            (name, value or 0.0) for name, value in constants_at(scenario, plan).items()
        ),
    )


def set_stage(
    protocol: TrainingProtocol, laws: np.random.SeedSequence, piloting: np.random.SeedSequence
) -> tuple[Stage, Scenario]:
    """Draw a world and let a pilot measure the scenario's constants there."""
    random = np.random.default_rng(laws)
    world = draw_world(protocol.spec, random)
    # The pool holds what any allocation could buy, and all that the pilot needs.
    case, current = prepare(protocol.scenario), protocol.scenario.current
    most = case.prices.prompts_affordable(case.allowed[0], 0, case.prompts[1])
    most = max(most, protocol.pilot.prompts, 0 if current is None else current.prompts)
    pool = draw_prompts(world, most, random)
    fresh = draw_prompts(world, JUDGING_PROMPTS, random)
    # The reward but for what is learned.
    given: Floats = np.broadcast_to(pool.level, pool.reward.shape)
    if world.spec.verifiable:
        given = pool.reward
    elif world.spec.finished_error is not None:
        given = finished_reward(world, pool, world.spec.finished_error, random)
    pilot = run_pilot(
        world, pool, given, protocol.pilot, protocol.recipe, np.random.default_rng(piloting)
    )
    stage = Stage(world, pool, fresh, given, pilot.log_probability)
    return stage, _planned_with(protocol.scenario, pilot.constants)


def _planned_with(scenario: Scenario, constants: dict[str, Any]) -> Scenario:
    """Put measured constants into a scenario; it says itself whether it knows of silent groups."""
    known = {
        key: value
        for key, value in constants.items()
        if key != "groups" or scenario.groups is not None
    }
    return scenario.with_values(known)


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A world and what all allocations find in it."""

    world: TrainingWorld
    """The world."""
    pool: Prompts
    """Prompts to train on, N of them."""
    fresh: Prompts
    """Prompts to judge by."""
    given: Floats
    """The reward but for what is learned, shape (N, A)."""
    current: Floats
    """``ln π`` of the pilot's policy, shape (N, A)."""


def train_allocations(
    protocol: TrainingProtocol,
    stage: Stage,
    allocations: Sequence[Allocation],
    seed: np.random.SeedSequence,
) -> Floats:
    """Buy labels, fit reward models, train policies and judge them.

    Allocations share prompts, labels and random numbers as far as each has them: the fewer are the
    first of the more. Returns J* by allocation, learning rate and replicate, reward units.
    """
    labelling, training = (np.random.default_rng(child) for child in seed.spawn(2))
    weights = reward_weights(protocol, stage, {a.labels for a in allocations}, labelling)
    T, pool = protocol.replicates, stage.pool
    order = np.stack([training.permutation(pool.reward.shape[0]) for _ in range(T)])
    quality = np.empty((len(allocations), len(protocol.recipe.learning_rates), T))
    sizes = protocol.scenario.limits.group_sizes
    for K in sorted({allocation.rollouts_per_prompt for allocation in allocations}):
        group = sizes.get(K, K)
        chosen = [i for i, each in enumerate(allocations) if each.rollouts_per_prompt == K]
        # Runs with several epochs come back to their own prompts, so each is trained alone.
        for together in [chosen] if group == K else [[index] for index in chosen]:
            runs = [
                Run(a.prompts * K // group, a.clip_threshold, weights.get(a.labels))
                for a in (allocations[i] for i in together)
            ]
            visits = np.tile(order[:, : allocations[together[0]].prompts], K // group)
            seen = order if group == K else training.permuted(visits, axis=1)
            policies = train(pool, seen, group, runs, protocol.recipe, stage.given, training)
            quality[together] = true_objective(stage.world, stage.fresh, policies)
    return quality


def reward_weights(
    protocol: TrainingProtocol, stage: Stage, counts: set[int], random: np.random.Generator
) -> dict[int, Floats]:
    """Weights of the learned reward by number of new labels, shape (T, d) each, reward units."""
    world, pool, size = stage.world, stage.pool, protocol.pilot
    spec, T = world.spec, protocol.replicates
    if spec.verifiable or spec.finished_error is not None:
        return {}
    bought = sorted(counts)
    writer = stage.current if size.labels_on_current else pool.log_reference
    labels = draw_comparisons(world, pool, pool.log_reference, (T, size.existing_labels), random)
    labels += draw_comparisons(world, pool, writer, (T, max(bought[-1], 1)), random)
    weights = fit_reward_models(labels, size.existing_labels, bought)
    unit = spec.reward_range / spec.logit_scale
    return {m: unit * weights[:, index] for index, m in enumerate(bought)}
