"""Worlds to train in: prompts without end, responses with features, a reward partly beyond them.

Shapes: N prompts, A responses to each, d features. Policies are linear-softmax,
``π_θ(y|x) ∝ π_ref(y|x)·exp(θ·φ(x, y))``, so θ = 0 is the reference policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.scenario import units

    Floats = NDArray[np.floating]
    Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """What a family of random worlds has in common."""

    reward_range: float = 1.0
    """R: rewards lie in [0, R]."""
    kl_coefficient: float = 0.05
    """β, reward units per nat."""
    verifiable: bool = False
    """The reward is 0 or R and known, so no reward model is learned."""
    finished_error: float | None = None
    """Mean squared error of a finished reward model, reward units squared; None: one is fitted."""
    responses: units.Positive = 16
    """Responses to a prompt, A."""
    sharpness: float = 4.0
    """Logit of a graded reward per standard deviation of the score: how much of R rewards use."""
    features: units.Positive = 16
    """Features of a response, d."""
    visible: units.Share = 0.75
    """Share of the variance of a response's score that the features explain; all that a policy
    can move and a reward model learn."""
    reference_spread: float = 1.0
    """Standard deviation of the reference policy's logits."""
    logit_scale: units.Ratio = 5.0
    """Bradley–Terry logit of a pair whose rewards differ by R."""
    difficulties: tuple[float, ...] = (0.52, 0.30, 0.13)
    """Shares of correct responses, equally frequent among prompts, with a verifiable reward."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingWorld:
    """One world: what annotators value."""

    spec: TrainingSpec
    """The family it belongs to."""
    taste: Floats
    """Unit weights of the features in a response's score, shape (d,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """Independent prompts with all that is true of them."""

    features: Floats
    """φ, shape (N, A, d)."""
    log_reference: Floats
    """``ln π_ref``, shape (N, A)."""
    reward: Floats
    """r*, shape (N, A), in [0, R]."""
    level: Floats
    """Mean of r* over the responses, shape (N, 1): no preference identifies it."""


def draw_world(spec: TrainingSpec, random: np.random.Generator) -> TrainingWorld:
    """Draw a world of a family."""
    taste = random.standard_normal(spec.features)
    return TrainingWorld(spec, taste / np.linalg.norm(taste))


def draw_prompts(world: TrainingWorld, count: int, random: np.random.Generator) -> Prompts:
    """Draw independent prompts.

    A response's score is ``√v·w·φ + √(1−v)·ξ`` with standard normal φ and ξ, v the ``visible``
    share. A graded reward is ``R·σ(sharpness·score + level of the prompt)``; a verifiable one is R
    where the score exceeds the prompt's bar, set so that a share of the responses
    (``difficulties``) is correct on average.
    """
    from scipy.special import expit, ndtri  # noqa: PLC0415 - start-up time

    spec, shape = world.spec, (count, world.spec.responses)
    features = random.standard_normal((*shape, spec.features), dtype=np.float32)
    hidden = np.sqrt(1.0 - spec.visible) * random.standard_normal(shape)
    score = np.sqrt(spec.visible) * (features @ world.taste) + hidden
    if spec.verifiable:
        shares = random.choice(np.asarray(spec.difficulties), count)
        reward = spec.reward_range * (score > -ndtri(shares)[:, None])
    else:
        reward = spec.reward_range * expit(
            spec.sharpness * score + random.standard_normal((count, 1))
        )
    logits = spec.reference_spread * random.standard_normal(shape)
    return Prompts(
        features=features,
        log_reference=log_softmax(logits).astype(np.float32),
        reward=reward.astype(np.float32),
        level=reward.mean(axis=1, keepdims=True).astype(np.float32),
    )


def log_softmax(logits: Floats, axis: int = -1) -> Floats:
    """``ln softmax`` over one axis, without overflow."""
    shifted = logits - logits.max(axis=axis, keepdims=True)
    normalised: Floats = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return normalised


def log_policy(prompts: Prompts, weights: Floats) -> Floats:
    """``ln π_θ`` on all prompts, shape (N, A), of one policy θ, shape (d,)."""
    return log_softmax(prompts.log_reference + prompts.features @ weights.astype(np.float32))


def true_objective(world: TrainingWorld, prompts: Prompts, weights: Floats) -> Floats:
    """``J* = E[r* − βℓ]``, summed exactly over responses, of each policy, in reward units.

    The fresh prompts are the same for all policies θ, shape (..., d); the result has shape (...).
    """
    flat = weights.reshape(-1, weights.shape[-1])
    found = np.empty(flat.shape[0])
    for index, θ in enumerate(flat):
        log_probability = log_policy(prompts, θ)
        ratio = log_probability - prompts.log_reference
        value = np.exp(log_probability) * (prompts.reward - world.spec.kl_coefficient * ratio)
        found[index] = value.sum(axis=1, dtype=np.float64).mean()
    return found.reshape(weights.shape[:-1])


def draw_responses(
    log_probability: Floats, prompts: Integers, random: np.random.Generator
) -> Integers:
    """Draw one response to each prompt by ``ln π``, shape (N, A): indices shaped as ``prompts``."""
    cumulative = np.exp(log_probability).cumsum(axis=1)
    places = random.random(prompts.shape)[..., None] * cumulative[:, -1:][prompts]
    return np.asarray((places > cumulative[prompts]).sum(axis=-1))
