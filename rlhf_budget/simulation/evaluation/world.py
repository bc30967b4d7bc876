"""Synthetic worlds: finite prompts and responses whose true reward is known.

Every quantity that the bound speaks of is a finite sum here, so nothing about a world is ever
estimated. Sizes: P prompts, A responses to each, d features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.scenario import units

    Floats = NDArray[np.float64]

Behaviour = Literal["reference", "earlier", "mixture", "current"]
CoverageKind = Literal["density", "features"]

OVER_OPTIMISED = 3.0
"""Last checkpoint: the KL-optimal policy of a third of the KL coefficient."""

_RARITIES = np.linspace(0.25, 16.0, 64)
"""Spreads of the reference policy that are tried for the log-ratio wanted."""


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """What a family of random worlds has in common."""

    reward_range: float = 1.0
    """R: true and learned rewards lie in [0, R]."""
    kl_coefficient: float = 0.05
    """β, reward units per nat."""
    coverage_kind: CoverageKind = "density"
    """``features``: the reward is linear in the features and learned rewards stay linear."""
    behaviour: Behaviour = "mixture"
    """Who wrote the responses of the labels that are not on the current policy; ``mixture`` is
    half the reference policy and half an earlier policy."""
    verifiable: bool = False
    """The reward is 0 or R and is known, so no reward model is learned."""
    finished_error: float | None = None
    """Mean squared error of a finished reward model, reward units squared; None: one is fitted."""
    mean_log_ratio: float | None = None
    """E|ℓ| wanted at the KL-optimal policy, nats; the reference policy is spread to come near."""
    prompts: units.Positive = 24
    """P, prompts of a world."""
    responses: units.Positive = 8
    """A, responses to each prompt."""
    features: units.Positive = 4
    """d, features of a response."""
    misspecification: float = 0.25
    """Part of the reward that no feature explains, relative to the part that they do (standard
    deviations); 0 with ``coverage_kind`` features."""
    logit_scale: units.Ratio = 5.0
    """Bradley–Terry logit of a pair whose rewards differ by R."""
    pilot_labels: int = 200
    """Reference labels that trained the earlier and the current policy."""
    strengths: tuple[units.Ratio, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.4, 1.8, 2.2, 2.6, 3.0)
    """Checkpoints ``π ∝ π_ref·exp(strength·r̂/β)``: 0 is the reference, 1 is KL-optimal."""
    named: units.Count = 4
    """Index of the checkpoint named beforehand."""
    balanced: bool = False
    """A world built to be tight: under the reference, every prompt's reward is a fair coin."""

    @property
    def temperature(self) -> float:
        """What the reward is divided by along the path, reward units: β, or R/2 where β = 0.

        Without a penalty the optimum is a certain best response; half the range stops well short.
        """
        return self.kl_coefficient or 0.5 * self.reward_range


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """One world: all laws and the true reward."""

    spec: WorldSpec
    """The family it belongs to."""
    prompt_law: Floats
    """ρ, shape (P,)."""
    log_reference: Floats
    """``ln π_ref(y|x)``, shape (P, A)."""
    reward: Floats
    """r*, shape (P, A), in [0, R]."""
    features: Floats
    """φ centred under the reference policy of each prompt, shape (P, A, d)."""
    offset: Floats
    """Mean of r* under the reference policy, shape (P,): what no preference identifies."""

    @property
    def reference(self) -> Floats:
        """π_ref, shape (P, A)."""
        return np.exp(self.log_reference)


def path_strengths(checkpoints: int) -> tuple[tuple[float, ...], int]:
    """Strengths of a path from the reference to beyond the KL-optimal policy, at least 1 of them.

    Ascending, always with 1 (KL-optimal) among them; also returns the index of that one.
    """
    if checkpoints == 1:
        return (1.0,), 0
    before = np.linspace(0.0, 1.0, (checkpoints + 1) // 2 if checkpoints > 2 else 2)
    beyond = np.linspace(1.0, OVER_OPTIMISED, checkpoints - before.size + 1)[1:]
    return tuple(float(s) for s in (*before, *beyond)), before.size - 1


def tilt(log_reference: Floats, reward: Floats, temperature: float) -> Floats:
    """``ln π`` of the policy ``π ∝ π_ref·exp(reward/temperature)``; shapes (…, P, A)."""
    return log_normalise(log_reference + reward / temperature)


def log_normalise(logits: Floats) -> Floats:
    """``ln softmax`` over the last axis, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normal: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normal


def build_world(spec: WorldSpec, random: np.random.Generator) -> World:
    """Draw a world of a family: r* in [0, R]; without misspecification ``r* = offset + φ·w``."""
    shape = (spec.prompts, spec.responses)
    prompt_law = random.dirichlet(np.full(spec.prompts, 4.0))
    raw = random.uniform(-1.0, 1.0, (*shape, spec.features))
    taste = random.standard_normal(spec.features)
    linear = raw @ (taste / np.linalg.norm(taste))
    beyond = random.standard_normal(shape)
    levels = random.uniform(0.4, 0.6, spec.prompts)
    rarity = random.standard_normal(shape)
    if spec.balanced:
        # Half of every prompt's responses earn R, all equally likely.
        row = np.arange(spec.responses) < spec.responses / 2
        uniform = np.full(shape, -np.log(spec.responses))
        reward = np.tile(spec.reward_range * row, (spec.prompts, 1))
        return _complete(spec, prompt_law, uniform, reward, raw)
    misfit = 0.0 if spec.coverage_kind == "features" else spec.misspecification
    score = linear + misfit * linear.std() * beyond
    score = score - score.mean(axis=1, keepdims=True)
    scale = 0.4 / np.abs(score).max()
    reward = spec.reward_range * (levels[:, None] + scale * score)
    if spec.verifiable:
        reward = spec.reward_range * (levels[:, None] + scale * score > 0.5)
    unlikely = score / score.std() + 0.5 * rarity
    log_reference = _reference_for(spec, prompt_law, reward, unlikely)
    return _complete(spec, prompt_law, log_reference, reward, raw)


def _complete(
    spec: WorldSpec, prompt_law: Floats, log_reference: Floats, reward: Floats, raw: Floats
) -> World:
    reference = np.exp(log_reference)
    centre = np.einsum("xy,xyd->xd", reference, raw)
    return World(
        spec=spec,
        prompt_law=prompt_law,
        log_reference=log_reference,
        reward=reward.astype(np.float64),
        features=raw - centre[:, None, :],
        offset=np.einsum("xy,xy->x", reference, reward),
    )


def _reference_for(spec: WorldSpec, prompt_law: Floats, reward: Floats, unlikely: Floats) -> Floats:
    """Spread the reference so that the KL-optimal policy is as far from it as wanted."""
    if spec.mean_log_ratio is None:
        return log_normalise(-1.5 * unlikely)
    references = log_normalise(-_RARITIES[:, None, None] * unlikely)
    best = tilt(references, reward, spec.temperature)
    distance = np.einsum("x,sxy,sxy->s", prompt_law, np.exp(best), np.abs(best - references))
    nearest: Floats = references[np.argmin(np.abs(distance - spec.mean_log_ratio))]
    return nearest
