"""A plan as a training run: the numbers that every trainer needs, before any trainer's names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlhf_budget.errors import TrainerError
from rlhf_budget.report.numbers import integer
from rlhf_budget.report.words import count

if TYPE_CHECKING:
    from rlhf_budget.planning.results import Plan
    from rlhf_budget.scenario.models import Scenario

LEAST_GROUP = 2
"""A group of one has no other rollout to be compared with: its advantage is always 0."""
USUAL_PROMPTS = 64
"""Prompts a step where none are asked for."""
NODE = 8
"""Devices of a node, where there are more than one node's."""
CAP = 2
"""A response may be this many times as long as the mean length that the scenario names."""
TRAINING_CLIP = 2.0
"""Training clips no lower than this times the plan's threshold (docs/theory.md, section 8)."""


@dataclass(frozen=True, slots=True)
class Run:
    """A training run that does what a plan says."""

    plan: Plan
    """What is to be done."""
    devices: int
    """Training processes, one a device."""
    prompts: int
    """Prompts to generate from: in a run under way, those still to come."""
    prompts_per_step: int
    """Prompts of one optimiser step."""
    group_size: int
    """Rollouts of a prompt in one step."""
    epochs: int
    """Visits to each prompt."""
    steps: int
    """Optimiser steps in all, one update each."""
    group_deviation: float | None
    """Standard deviation of the rewards of a prompt, reward units; None where it is not known."""
    mean_tokens: float | None
    """Mean length of a response that the scenario names, tokens."""

    @property
    def rollouts_per_step(self) -> int:
        """Rollouts of one optimiser step."""
        return self.prompts_per_step * self.group_size

    @property
    def prompts_used(self) -> int:
        """Prompts that whole steps of an epoch use."""
        return self.steps // self.epochs * self.prompts_per_step

    @property
    def nodes(self) -> int:
        """Nodes, where the devices are more than one has."""
        return self.devices // NODE if self.devices % NODE == 0 else 1

    @property
    def devices_per_node(self) -> int:
        """Devices of each node."""
        return self.devices // self.nodes

    @property
    def most_tokens(self) -> int | None:
        """Cap on the length of a response, tokens."""
        return None if self.mean_tokens is None else math.ceil(CAP * self.mean_tokens)

    @property
    def training_clip(self) -> float | None:
        """Least threshold at which training may clip the log-ratio, nats per response."""
        τ = self.plan.allocation.clip_threshold
        return None if τ is None else TRAINING_CLIP * τ


def training_run(
    plan: Plan, *, prompts_per_step: int | None, devices: int, whole_batches: bool
) -> Run:
    """Turn a plan into a run: all of it, or what is still to come of one under way.

    Without ``prompts_per_step`` a usual number is taken that the trainer takes; there is a training
    process on each device. ``whole_batches`` is for a trainer that deals the rollouts of a step out
    to its devices evenly.

    Raises
    ------
    TrainerError
        Where the trainer would refuse the run, with the nearest that it takes, or there is none.
    """
    if plan.to_come is not None and plan.to_come.prompts == 0:
        raise TrainerError(
            "the best rest of this run is to stop generating, so a trainer has nothing left to do "
            "(plan tells what else to buy)"
        )
    schedule = plan.schedule
    group_size = schedule.group_size if schedule else plan.allocation.rollouts_per_prompt
    epochs = schedule.epochs if schedule else 1
    if group_size < LEAST_GROUP:
        key = "group_size" if schedule else "rollouts_per_prompt"
        raise TrainerError(
            "the plan has groups of 1 rollout, which has nothing to be compared with: its "
            f"advantage is always 0. Plan with --set limits.{key}.min={LEAST_GROUP}"
        )
    prompts = plan.allocation.prompts if plan.to_come is None else plan.to_come.prompts
    unit = devices // math.gcd(devices, group_size) if whole_batches else 1
    most = prompts // unit * unit
    if most == 0:
        raise TrainerError(
            f"{devices} devices cannot share {count(prompts, 'prompt')} of {group_size} rollouts "
            "evenly: use fewer devices"
        )
    if prompts_per_step is None:
        prompts_per_step = min(max(unit, USUAL_PROMPTS // unit * unit), most)
    elif prompts_per_step % unit or not 0 < prompts_per_step <= most:
        raise TrainerError(_refusal(prompts_per_step, unit, most, devices, group_size))
    variance = plan.scenario.bound.rollout_variance
    return Run(
        plan=plan,
        devices=devices,
        prompts=prompts,
        prompts_per_step=prompts_per_step,
        group_size=group_size,
        epochs=epochs,
        steps=prompts // prompts_per_step * epochs,
        group_deviation=math.sqrt(variance) if variance else None,
        mean_tokens=_mean_tokens(plan.scenario),
    )


def _refusal(asked: int, unit: int, most: int, devices: int, group_size: int) -> str:
    below = min(asked // unit * unit, most)
    nearest = sorted({near for near in (below, min(below + unit, most)) if near > 0})
    rule = (
        f"a multiple of {unit}, so that {devices} devices share groups of {group_size} evenly, and "
        if unit > 1
        else ""
    )
    return (
        f"{integer(asked)} prompts a step: must be {rule}at most the {integer(most)} prompts of "
        f"the plan that fill whole steps; nearest: {' or '.join(map(str, nearest))}"
    )


def _mean_tokens(scenario: Scenario) -> float | None:
    middles = {entry.constant: entry.value for entry in scenario.assumed}
    for key in ("costs.rollout.tokens", "log_ratio.tokens"):
        value = middles.get(key, scenario.written(key))
        if isinstance(value, (int, float)):
            return float(value)
    return None
