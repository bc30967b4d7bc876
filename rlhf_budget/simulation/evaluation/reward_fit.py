"""Preference labels and the reward model that is fitted to them.

Labels are counts over pairs of responses, never a list, so that a million cost what a hundred do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.simulation.evaluation.world import World

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

_NEWTON_STEPS = 60
_GRADIENT_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Bradley–Terry comparisons, counted."""

    differences: Floats
    """Feature differences of each kind of pair, shape (pairs, d)."""
    compared: Integers
    """Labels of each kind, shape (pairs,)."""
    preferred: Integers
    """Of those, how many prefer the first response, shape (pairs,)."""

    def __add__(self, other: Labels) -> Labels:
        return Labels(
            self.differences,
            self.compared + other.compared,
            self.preferred + other.preferred,
        )


def draw_labels(world: World, policy: Floats, labels: int, random: np.random.Generator) -> Labels:
    """Draw comparisons of two responses of one policy, shape (P, A), to one prompt.

    Annotators prefer by ``σ(logit_scale·(r*₁ − r*₂)/R)``. Counts are over unordered pairs of
    different responses; a response compared with itself is drawn, paid for and teaches nothing.
    """
    first, second = np.triu_indices(policy.shape[1], k=1)
    chance = 2.0 * world.prompt_law[:, None] * policy[:, first] * policy[:, second]
    flat = chance.ravel()
    compared = random.multinomial(labels, np.append(flat, max(0.0, 1.0 - flat.sum())))[:-1]
    gap = (world.reward[:, first] - world.reward[:, second]).ravel() / world.spec.reward_range
    preferred = random.binomial(compared, _sigmoid(world.spec.logit_scale * gap))
    differences = world.features[:, first] - world.features[:, second]
    return Labels(differences.reshape(-1, differences.shape[-1]), compared, preferred)


def fit_weights(labels: Labels) -> Floats:
    """Fit a Bradley–Terry model's logit weights w, shape (d,), by penalised maximum likelihood.

    Minimises ``Σ [ln(1 + e^Δ) − share preferred·Δ] + ½|w|²`` with logits ``Δ = w·(φ₁ − φ₂)`` by
    Newton steps, halved while they do not descend; the penalty makes the minimum unique.
    """
    weights = np.zeros(labels.differences.shape[1])
    value = _penalised_loss(labels, weights)
    for _ in range(_NEWTON_STEPS):
        chance = _sigmoid(labels.differences @ weights)
        gradient = labels.differences.T @ (labels.compared * chance - labels.preferred) + weights
        if np.abs(gradient).max() <= _GRADIENT_TOLERANCE * (1.0 + labels.compared.sum()):
            break
        curvature = labels.compared * chance * (1.0 - chance)
        hessian = labels.differences.T @ (curvature[:, None] * labels.differences)
        step = np.linalg.solve(hessian + np.eye(weights.size), gradient)
        for _ in range(_NEWTON_STEPS):
            trial = weights - step
            trial_value = _penalised_loss(labels, trial)
            if trial_value <= value:
                break
            step = 0.5 * step
        weights, value = trial, trial_value
    return weights


def _penalised_loss(labels: Labels, weights: Floats) -> float:
    logits = labels.differences @ weights
    losses = labels.compared * np.logaddexp(0.0, logits) - labels.preferred * logits
    return float(losses.sum() + 0.5 * weights @ weights)


def reward_from_weights(world: World, weights: Floats) -> Floats:
    """Turn logit weights into a learned reward r̂ on [0, R], shape (P, A).

    Preferences cannot identify a prompt's offset; it is set to its true value. Where coverage is
    measured on features the part learned is shrunk into the range, which keeps it linear;
    otherwise what lies outside the range is cut off.
    """
    R = world.spec.reward_range
    learned = world.features @ weights * (R / world.spec.logit_scale)
    if world.spec.coverage_kind == "features":
        return _shrunk(world, learned)
    return np.clip(world.offset[:, None] + learned, 0.0, R)


def _shrunk(world: World, learned: Floats) -> Floats:
    """``offset + factor·learned`` with the largest factor up to 1 that keeps it in [0, R]."""
    offset = world.offset[:, None]
    room = np.where(learned > 0, world.spec.reward_range - offset, offset)
    needed = np.abs(learned)
    ratio = np.divide(room, needed, out=np.ones_like(room), where=needed > room)
    return offset + float(ratio.min()) * learned


def finished_reward(
    world: World, training: Floats, error: float, random: np.random.Generator
) -> Floats:
    """Build a reward model r̂ in [0, R], shape (P, A), of a given mean squared error.

    The error, reward units squared, is that on the policy ``training``, shape (P, A). Keeping r̂ in
    the range can make it smaller, never larger than wanted with ``coverage_kind`` density; what
    holds exactly is computed later.
    """
    direction = world.features @ random.standard_normal(world.features.shape[-1])
    size = np.sqrt(np.einsum("x,xy,xy->", world.prompt_law, training, direction**2))
    wrong: Floats = world.reward + direction * np.sqrt(error) / max(float(size), 1e-300)
    if world.spec.coverage_kind == "features":
        return _shrunk(world, wrong - world.offset[:, None])
    return np.clip(wrong, 0.0, world.spec.reward_range)


def _sigmoid(logits: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -logits))
