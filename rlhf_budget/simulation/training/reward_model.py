"""Preference labels and the Bradley–Terry reward models fitted to them, many at once.

Shapes: T replicates, M labels, C label counts, d features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.simulation.training.world import draw_responses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget.simulation.training.world import Prompts, TrainingWorld

    Floats = NDArray[np.floating]

_NEWTON_STEPS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Pairs of responses with an annotator's choice; the first response is the chosen one."""

    differences: Floats
    """φ of the chosen less φ of the rejected response, shape (T, M, d)."""
    chance: Floats
    """Probability that an annotator chooses as this one did, shape (T, M)."""

    def __add__(self, other: Comparisons) -> Comparisons:
        return Comparisons(
            np.concatenate([self.differences, other.differences], axis=1),
            np.concatenate([self.chance, other.chance], axis=1),
        )


def draw_comparisons(
    world: TrainingWorld,
    prompts: Prompts,
    log_probability: Floats,
    size: tuple[int, int],
    random: np.random.Generator,
) -> Comparisons:
    """Draw preference labels on two responses of one policy to one prompt.

    Annotators prefer by ``σ(logit_scale·(r*₁ − r*₂)/R)``; prompts are chosen with replacement. The
    policy's ``ln π`` has shape (N, A); ``size`` is replicates T and labels M.
    """
    from scipy.special import expit  # noqa: PLC0415 - start-up time

    asked = random.integers(log_probability.shape[0], size=size)
    first, second = (draw_responses(log_probability, asked, random) for _ in range(2))
    gap = (prompts.reward[asked, first] - prompts.reward[asked, second]) / world.spec.reward_range
    chance = expit(world.spec.logit_scale * gap.astype(np.float64))
    prefers_first = random.random(size) < chance
    difference = prompts.features[asked, first] - prompts.features[asked, second]
    sign = np.where(prefers_first, 1.0, -1.0)
    return Comparisons(sign[..., None] * difference, np.where(prefers_first, chance, 1.0 - chance))


def fit_reward_models(labels: Comparisons, existing: int, bought: Sequence[int]) -> Floats:
    """Fit a reward model to each number of labels, by penalised maximum likelihood.

    Minimises ``Σ ln(1 + e^{−Δ}) + ½|w|²`` with logits ``Δ = w·(φ₁ − φ₂)`` by Newton steps from 0.
    The existing labels come first, and the labels bought are the first ones after them, so that
    more of them hold the fewer. Returns the logit weights, shape (T, C, d).
    """
    from scipy.special import expit  # noqa: PLC0415 - start-up time

    replicates, total, d = labels.differences.shape
    weights = np.zeros((replicates, len(bought), d))
    place = np.arange(total)
    used = place < existing + np.asarray(bought)[:, None]
    across = np.swapaxes(labels.differences, 1, 2)
    for _ in range(_NEWTON_STEPS):
        wrong = expit(-(weights @ across)) * used
        gradient = weights - wrong @ labels.differences
        curvature = wrong * (1.0 - wrong)
        hessian = (
            np.eye(d) + (across[:, None] * curvature[:, :, None]) @ labels.differences[:, None]
        )
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        weights = weights - step
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    return weights


def evaluation_loss(weights: Floats, labels: Comparisons) -> Floats:
    """Mean ``−ln σ(Δ)`` of each reward model on the first replicate's labels, nats per pair."""
    logits = weights @ labels.differences[0].T
    return np.asarray(np.logaddexp(0.0, -logits).mean(axis=-1))


def finished_reward(
    world: TrainingWorld, prompts: Prompts, error: float, random: np.random.Generator
) -> Floats:
    """Give a finished reward model r̂, shape (N, A): r* with an error linear in the features.

    The features have unit variance under the reference policy, on which the mean squared ``error``
    is in reward units squared; its direction is random.
    """
    direction = random.standard_normal(world.spec.features)
    direction *= np.sqrt(error) / np.linalg.norm(direction)
    return np.asarray(prompts.reward + prompts.features @ direction.astype(np.float32))
