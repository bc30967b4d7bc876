"""The bound's constants, measured in a world by the calibrations that users run on their logs.

This module alone of the simulation knows ``calibrate``: a study that measured constants by
formulas of its own would not show what plans from calibrated constants are worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rlhf_budget.calibrate.coverage.features import feature_coverage_value
from rlhf_budget.calibrate.moments import Moments
from rlhf_budget.calibrate.reward_model.calibration import reward_model
from rlhf_budget.calibrate.rollouts.variance import FEATURES, components
from rlhf_budget.simulation.training.reward_model import (
    draw_comparisons,
    evaluation_loss,
    fit_reward_models,
)
from rlhf_budget.simulation.training.trainer import Run, train
from rlhf_budget.simulation.training.world import draw_responses, log_policy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.simulation.training.trainer import Recipe
    from rlhf_budget.simulation.training.world import Prompts, TrainingWorld

    Floats = NDArray[np.floating]

CURVE_LABELS = (64, 128, 256, 512)
"""Numbers of labels at which a reward model is evaluated: a curve does not show its fall sooner."""
_PROMPTS, _ROLLOUTS = 256, 8
_SAMPLED = 2
"""Rollouts of each prompt whose log-ratios go into the scenario: more only take time to read."""
_EVALUATION_PAIRS = 2000
_REPLICATES = 4
_LEAST_SCALE = 1e-9
_EDGE = 1e-3
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class PilotSize:
    """What the pilot run uses; it is behind every allocation alike and costs none of its money."""

    prompts: int
    """Prompts that the pilot's policy is trained on."""
    rollouts_per_prompt: int
    """K of that training."""
    existing_labels: int
    """Labels on the reference policy's responses that all allocations have."""
    labels: int
    """New labels of the largest reward model; 0 where none can be bought."""
    labels_on_current: bool
    """Whether new labels compare the pilot policy's responses, not the reference policy's."""


@dataclass(frozen=True, slots=True, eq=False)
class Pilot:
    """What the pilot leaves."""

    log_probability: Floats
    """``ln π`` of its policy on the pool, shape (N, A): who writes the labels' responses."""
    constants: dict[str, Any]
    """Key path -> value, as a scenario takes them."""


def run_pilot(
    world: TrainingWorld,
    pool: Prompts,
    given: Floats,
    size: PilotSize,
    recipe: Recipe,
    random: np.random.Generator,
) -> Pilot:
    """Train a policy in a world, then measure what a scenario asks for.

    The middle learning rate, no clipping, labels on the reference policy. The learning curve has
    four numbers of labels (``CURVE_LABELS``) with four reward models each, on 2,000 pairs;
    agreement is that of two annotators on those pairs. Log-ratios and variances are those of 8
    rollouts of 256 prompts.

    Returns
    -------
    Pilot
        With ``log_ratio`` (its samples), ``bound.prompt_variance`` and ``.rollout_variance``, and
        whichever of ``reward_model.error``, ``.coverage`` and ``groups`` the world has.
    """
    spec = world.spec
    learns = not spec.verifiable and spec.finished_error is None
    weights: Floats = np.zeros((1, spec.features))
    if learns:
        total = max(size.existing_labels + size.labels, 1)
        labels = draw_comparisons(world, pool, pool.log_reference, (1, total), random)
        unit = spec.reward_range / spec.logit_scale
        weights = unit * fit_reward_models(labels, 0, [total])[:, 0]
    order = random.permutation(pool.reward.shape[0])[None, :]
    trained = train(
        pool,
        order,
        size.rollouts_per_prompt,
        [Run(size.prompts, None, weights if learns else None)],
        recipe,
        given,
        random,
    )
    policy = trained[0, len(recipe.learning_rates) // 2, 0]
    log_probability = log_policy(pool, policy)
    constants = _rollout_constants(pool, log_probability, given, weights[0], recipe, random)
    if learns:
        writer = log_probability if size.labels_on_current else pool.log_reference
        constants["reward_model.error"] = _error_curve(world, pool, writer, random)
    if not spec.verifiable:
        constants |= _coverage(pool, log_probability, random)
    return Pilot(log_probability, constants)


def _rollout_constants(
    pool: Prompts,
    log_probability: Floats,
    given: Floats,
    weights: Floats,
    recipe: Recipe,
    random: np.random.Generator,
) -> dict[str, Any]:
    prompts = np.repeat(random.integers(pool.reward.shape[0], size=(_PROMPTS, 1)), _ROLLOUTS, 1)
    drawn = draw_responses(log_probability, prompts, random)
    ratio = (log_probability - pool.log_reference)[prompts, drawn].astype(np.float64)
    reward = given[prompts, drawn] + pool.features[prompts, drawn] @ weights
    found = components(group_moments(reward - recipe.kl_coefficient * ratio), _LEVEL)
    constants: dict[str, Any] = {
        "bound.prompt_variance": found.between.value,
        "bound.rollout_variance": found.within.value,
    }
    if set(np.unique(given)) == {0.0, float(given.max())}:
        constants["groups"] = _groups(reward / float(given.max()))
    if recipe.kl_coefficient > 0:
        samples = ratio[:, :_SAMPLED].ravel().tolist()
        constants["log_ratio"] = {"family": "empirical", "samples": samples}
    return constants


def _groups(successes: Floats) -> dict[str, float]:
    """Mean and intraclass correlation of rewards of 0 and 1, within what a scenario takes."""
    correlation = components(group_moments(successes), _LEVEL).correlation
    value = 0.0 if correlation is None else correlation.value
    mean = float(successes.mean())
    return {"mean": min(max(mean, _EDGE), 1.0 - _EDGE), "correlation": min(value, 1.0 - _EDGE)}


def group_moments(values: Floats) -> Moments:
    """Sums that the variance components need, of values of shape (groups, K)."""
    mean, variance = values.mean(axis=1), values.var(axis=1, ddof=1)
    centred = mean - mean.mean()
    one = np.ones_like(mean)
    rows = np.stack([one, variance, centred, centred**2, variance / values.shape[1]], axis=1)
    return Moments(
        FEATURES,
        mean.size,
        tuple(rows.sum(axis=0).tolist()),
        tuple(tuple(row) for row in (rows.T @ rows).tolist()),
    )


def _error_curve(
    world: TrainingWorld,
    pool: Prompts,
    writer: Floats,
    random: np.random.Generator,
) -> dict[str, float]:
    labels = draw_comparisons(world, pool, writer, (_REPLICATES, CURVE_LABELS[-1]), random)
    pairs = draw_comparisons(world, pool, writer, (1, _EVALUATION_PAIRS), random)
    losses = evaluation_loss(fit_reward_models(labels, 0, CURVE_LABELS), pairs)
    points = [
        (m, loss) for row in losses.tolist() for m, loss in zip(CURVE_LABELS, row, strict=True)
    ]
    agree = float((random.random(pairs.chance.shape) < pairs.chance).mean())
    R = world.spec.reward_range
    found = reward_model(
        points,
        agreement=min(max(agree, 0.5), 0.99),
        logit_scale=world.spec.logit_scale / R,
        reward_range=(0.0, R),
        level=_LEVEL,
    )
    floor, scale, exponent = (
        found.estimate(f"reward_model.error.{name}").value
        for name in ("floor", "scale", "exponent")
    )
    return {
        "floor": floor or 0.0,
        "scale": max(scale or 0.0, _LEAST_SCALE * R**2),
        "exponent": exponent or 1.0,
    }


def _coverage(
    pool: Prompts, log_probability: Floats, random: np.random.Generator
) -> dict[str, Any]:
    prompts = random.integers(pool.reward.shape[0], size=(2, _PROMPTS * _ROLLOUTS))
    before = draw_responses(pool.log_reference, prompts[0], random)
    now = draw_responses(log_probability, prompts[1], random)
    value = feature_coverage_value(
        pool.features[prompts[0], before], pool.features[prompts[1], now]
    )
    return {"reward_model.coverage": value, "reward_model.coverage_kind": "features"}
