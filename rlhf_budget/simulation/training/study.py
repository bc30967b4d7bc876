"""From a scenario to a training study: its plan and rivals, each training policies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.errors import Problem, ScenarioError
from rlhf_budget.optimum.case import prepare
from rlhf_budget.planning.results import Notice
from rlhf_budget.simulation.parallel import try_worlds, untriable
from rlhf_budget.simulation.results import WorldConstant, Worlds, constants_at, count_wins
from rlhf_budget.simulation.rivals import left_out_notices, not_the_same_money
from rlhf_budget.simulation.statistics import mean_interval
from rlhf_budget.simulation.training.judging import judge
from rlhf_budget.simulation.training.pilot import PilotSize
from rlhf_budget.simulation.training.results import (
    ClippingCheck,
    QualityVersusPlan,
    TrainedAllocation,
    TrainingStudy,
    TrainingWorlds,
)
from rlhf_budget.simulation.training.scale import grid, halves, scaled, world_scale
from rlhf_budget.simulation.training.trainer import Recipe
from rlhf_budget.simulation.training.trials import CLIP_FACTORS, TrainingProtocol, try_training
from rlhf_budget.simulation.training.world import TrainingSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.scenario.models import Scenario
    from rlhf_budget.simulation.training.trials import TrainingRecord

    Floats = NDArray[np.floating]
    Rules = tuple[tuple[str, Mapping[str, object]], ...]


GRPO_RATES = (0.1, 0.4, 1.6)
_TIE = 1e-12
"""Means of the same numbers in another order differ by less."""


def study_training(
    scenario: Scenario,
    *,
    worlds: int = 50,
    replicates: int = 4,
    seed: int = 0,
    jobs: int = 1,
    on_world: Callable[[int], None] | None = None,
    world: TrainingSpec | None = None,
    recipe: Recipe | None = None,
    rules: Rules | None = None,
) -> TrainingStudy:
    """Let a scenario's plan and its rivals train policies in worlds where J* is known.

    In each world a pilot measures the bound's constants with the product's own calibrations; the
    scenario, its money scaled to what a world can train, is planned with them (docs/validation.md).

    Parameters
    ----------
    scenario, worlds, replicates, seed, jobs, on_world
        As of :func:`rlhf_budget.simulate`, with the same exceptions.
    world
        Family of worlds; the default follows the scenario.
    recipe
        How policies are trained; by default RLOO, or GRPO where the reward is verifiable.
    rules
        Further planning rules, each a name and the keys that it sets; by default the other
        concentration inequalities.
    """
    problems = untriable(scenario)
    if replicates < 2:
        allowed = "at least 2: half of them choose what the others judge"
        problems.append(Problem("replicates", str(replicates), allowed))
    if problems:
        raise ScenarioError(tuple(problems))
    protocol = training_protocol(scenario, replicates, world=world, recipe=recipe, rules=rules)
    records = try_worlds(
        partial(try_training, protocol),
        worlds=worlds,
        seed=seed,
        jobs=jobs,
        on_world=on_world,
    )
    done = tuple(records.values())
    allocations = _trained(protocol, done)
    notices = [
        *left_out_notices(done[0].left_out),
        *not_the_same_money(protocol.scenario, [(a.name, a.allocation) for a in allocations]),
        *_rates_at_an_end(protocol.recipe, allocations),
    ]
    return TrainingStudy(
        scenario=scenario.name,
        currency=scenario.currency,
        seed=seed,
        world=_describe(scenario, protocol, allocations[0].allocation, done),
        worlds=Worlds(worlds, len(done), replicates),
        allocations=allocations,
        clipping=_clipping(done),
        warnings=tuple(notices),
    )


def training_protocol(
    scenario: Scenario,
    replicates: int,
    *,
    world: TrainingSpec | None = None,
    recipe: Recipe | None = None,
    rules: Rules | None = None,
    size: float = 1.0,
) -> TrainingProtocol:
    """Describe what every world of a study has in common; parameters as of the study.

    ``size`` multiplies the money of a world.
    """
    scale = size * world_scale(scenario)
    small = scenario.with_values(scaled(scenario, scale))
    spec, model = world or training_spec(scenario), small.reward_model
    prompts, K, labels = halves(small)
    return TrainingProtocol(
        spec=spec,
        recipe=recipe or default_recipe(spec),
        scenario=small,
        rules=other_rules(small) if rules is None else rules,
        cells=grid(small),
        pilot=PilotSize(
            prompts=prompts,
            rollouts_per_prompt=K,
            existing_labels=0 if model == "verifiable" else model.existing_labels,
            labels=labels,
            labels_on_current=model != "verifiable" and model.label_policy == "current",
        ),
        replicates=replicates,
        scale=scale,
    )


def default_recipe(spec: TrainingSpec) -> Recipe:
    """RLOO, or GRPO, whose best learning rates are larger in these worlds."""
    if spec.verifiable:
        return Recipe(spec.kl_coefficient, normalise=True, learning_rates=GRPO_RATES)
    return Recipe(spec.kl_coefficient, normalise=False)


def training_spec(scenario: Scenario) -> TrainingSpec:
    """Describe worlds that have the scenario's rewards and penalty."""
    model, finished = scenario.reward_model, None
    if model != "verifiable" and isinstance(model.error, (int, float)):
        finished = float(model.error)
    return TrainingSpec(
        reward_range=scenario.objective.reward_range,
        kl_coefficient=scenario.objective.kl_coefficient,
        verifiable=model == "verifiable",
        finished_error=finished,
    )


def other_rules(scenario: Scenario) -> Rules:
    """The concentration inequalities that the scenario does not plan by.

    ``bernstein`` holds for a policy that is given, or one of finitely many, so with other policies
    it is tried as ``fixed``.
    """
    own, policy = scenario.bound.concentration, scenario.bound.policy
    rules: list[tuple[str, Mapping[str, object]]] = []
    for name in ("hoeffding", "prompt_mean", "bernstein"):
        keys: dict[str, object] = {"bound.concentration": name}
        if name == "bernstein" and policy not in {"fixed", "finite_class"}:
            keys["bound.policy"] = "fixed"
        if name != own:
            rules.append((f"plan-{name}", keys))
    return tuple(rules)


# --- what was found ------------------------------------------------------------------------------


def _trained(
    protocol: TrainingProtocol, records: Sequence[TrainingRecord]
) -> tuple[TrainedAllocation, ...]:
    entries = judge(np.stack([record.quality for record in records]))
    cells = judge(np.stack([record.grid for record in records]))
    names = [name for name, _ in records[0].entries]
    chosen = [(name, _middle([dict(record.entries)[name] for record in records])) for name in names]
    judged = [
        (name, allocation, entries.quality[:, i], int(entries.rates[i]))
        for i, (name, allocation) in enumerate(chosen)
    ]
    best = _middle([record.cells[cells.best_index] for record in records])
    judged.append(("best-of-grid", best, cells.best, int(cells.rates[cells.best_index])))
    plan, prices = entries.quality[:, 0], prepare(protocol.scenario).prices
    found = []
    for name, bought, quality, rate in judged:
        versus = None
        if name != "plan":
            versus = QualityVersusPlan(
                mean_interval((quality - plan).tolist()), count_wins((plan > quality).tolist())
            )
        found.append(
            TrainedAllocation(
                name=name,
                allocation=bought,
                cost=prices.cost(bought.prompts, bought.rollouts_per_prompt, bought.labels),
                learning_rate=protocol.recipe.learning_rates[rate],
                quality=mean_interval(quality.tolist()),
                regret=mean_interval((cells.best - quality).tolist()),
                rank=1 + int((cells.quality.mean(axis=0) > quality.mean() + _TIE).sum()),
                of=cells.quality.shape[1] + 1,
                versus_plan=versus,
            )
        )
    return tuple(found)


def _middle(allocations: Sequence[Allocation]) -> Allocation:
    """The allocation of the world in the middle, by labels and then by prompts."""
    ordered = sorted(allocations, key=lambda a: (a.labels, a.prompts, a.rollouts_per_prompt))
    return ordered[(len(ordered) - 1) // 2]


def _clipping(records: Sequence[TrainingRecord]) -> tuple[ClippingCheck, ...]:
    qualities = np.stack([record.clipping for record in records])
    if qualities.shape[1] == 0:
        return ()
    quality = judge(qualities).quality
    return tuple(
        ClippingCheck(name, mean_interval((quality[:, index] - quality[:, 0]).tolist()))
        for index, name in enumerate(CLIP_FACTORS, start=1)
    )


def _describe(
    scenario: Scenario,
    protocol: TrainingProtocol,
    plan: Allocation,
    records: Sequence[TrainingRecord],
) -> TrainingWorlds:
    measured = [dict(record.constants) for record in records]
    return TrainingWorlds(
        spec=protocol.spec,
        recipe=protocol.recipe,
        scale=protocol.scale,
        budget=protocol.scenario.budget or 0.0,
        new_labels_on="current" if protocol.pilot.labels_on_current else "reference",
        constants=tuple(
            WorldConstant(name, value, mean_interval([each[name] for each in measured]))
            for name, value in constants_at(scenario, plan).items()
        ),
    )


def _rates_at_an_end(recipe: Recipe, allocations: Sequence[TrainedAllocation]) -> list[Notice]:
    ends = (min(recipe.learning_rates), max(recipe.learning_rates))
    there = [a.name for a in allocations if a.learning_rate in ends]
    if not there or len(recipe.learning_rates) < 3:
        return []
    message = (
        f"The best learning rate of {', '.join(there)} is the least or the largest of those tried "
        f"({', '.join(f'{rate:g}' for rate in recipe.learning_rates)}): another rate might serve "
        "them better, so small differences from them say little."
    )
    return [Notice("learning-rate-at-an-end", message)]
