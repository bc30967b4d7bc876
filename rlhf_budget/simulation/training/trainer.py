"""RLOO and GRPO on linear-softmax policies: many runs of one group size in lockstep.

Runs of one K share prompts, order and random numbers, and an optimiser step takes as many prompts
from each, so one array operation serves them all; a run with fewer prompts ends earlier. Shapes:
T replicates, b prompts of a step, A responses, d features, C runs, H learning rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rlhf_budget.simulation.training.world import log_softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget.scenario import units
    from rlhf_budget.simulation.training.world import Prompts

    Floats = NDArray[np.floating]
    Integers = NDArray[np.int64]

StepUnit = Literal["rollouts", "prompts"]

_MOMENTS = (0.9, 0.999)
_SMALL = 1e-8
_DEVIATION = 1e-4
"""Added to a group's standard deviation, as trainers do."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How every run is trained."""

    kl_coefficient: float
    """β, reward units per nat."""
    normalise: bool
    """GRPO: rewards divided by their group's standard deviation; else RLOO."""
    learning_rates: tuple[units.Number, ...] = (0.006, 0.025, 0.1)
    """Of Adam, falling linearly to 0; each is tried. Larger ones train these small policies in a
    handful of steps, which no language model does (docs/validation.md shows what that changes)."""
    step: units.Positive = 256
    """Rollouts, or prompts, of an optimiser step."""
    step_unit: StepUnit = "rollouts"
    """What ``step`` counts."""

    def prompts_per_step(self, rollouts_per_prompt: int) -> int:
        """Prompts of an optimiser step, at least 1."""
        if self.step_unit == "prompts":
            return self.step
        return max(1, self.step // rollouts_per_prompt)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One training run of an allocation."""

    prompts: int
    """Visits to prompts: n, times epochs."""
    clip_threshold: float | None
    """τ on the log-ratio in the reward, nats; None: never clipped."""
    reward_weights: Floats | None
    """Weights of the learned reward, reward units, shape (T, d); None: ``given`` is the reward."""


def train(
    prompts: Prompts,
    order: Integers,
    rollouts_per_prompt: int,
    runs: Sequence[Run],
    recipe: Recipe,
    given: Floats,
    random: np.random.Generator,
) -> Floats:
    """Train a policy for each run, learning rate and replicate.

    Parameters
    ----------
    prompts, given
        The pool, N prompts, and what is added to the learned reward, or is the reward, (N, A).
    order
        Which prompts come when, shape (T, visits); a run makes the first visits of its replicate.
    rollouts_per_prompt
        K of a visit in all ``runs``. With 1, the baseline is the mean over the step's other
        prompts.

    Returns
    -------
    ndarray
        θ, shape (C, H, T, d).
    """
    longest_first = sorted(range(len(runs)), key=lambda index: -runs[index].prompts)
    lockstep = _Lockstep.of([runs[index] for index in longest_first], prompts, order.shape[0])
    b = recipe.prompts_per_step(rollouts_per_prompt)
    steps = -(-lockstep.prompts // b)
    adam = _Adam(np.asarray(recipe.learning_rates, dtype=np.float32), lockstep.rewards.shape)
    for step in range(int(steps[0])):
        active = int((steps > step).sum())
        chosen = order[:, step * b : min((step + 1) * b, int(lockstep.prompts[0]))]
        batch = _Batch(
            features=prompts.features[chosen],
            log_reference=prompts.log_reference[chosen][..., None, None],
            given=given[chosen][..., None, None],
            places=random.random((*chosen.shape, rollouts_per_prompt), dtype=np.float32),
            present=step * b + np.arange(chosen.shape[1])[:, None] < lockstep.prompts[:active],
        )
        gradient = _gradient(batch, lockstep, adam.weights[:, :, :active], recipe)
        adam.ascend(gradient, step, steps[:active])
    trained = np.empty_like(adam.weights.transpose(2, 3, 0, 1))
    trained[longest_first] = adam.weights.transpose(2, 3, 0, 1)
    return trained


@dataclass(frozen=True, slots=True, eq=False)
class _Lockstep:
    """Runs as arrays, the longest first."""

    prompts: Integers
    """n, shape (C,)."""
    clips: Floats
    """τ, shape (C, 1); infinite where never clipped."""
    rewards: Floats
    """Weights of the learned reward, shape (T, d, C)."""

    @classmethod
    def of(cls, runs: Sequence[Run], prompts: Prompts, replicates: int) -> _Lockstep:
        rewards = np.zeros((replicates, prompts.features.shape[2], len(runs)), dtype=np.float32)
        for place, run in enumerate(runs):
            if run.reward_weights is not None:
                rewards[:, :, place] = run.reward_weights
        clips = [np.inf if run.clip_threshold is None else run.clip_threshold for run in runs]
        return cls(
            np.array([run.prompts for run in runs]),
            np.array(clips, dtype=np.float32)[:, None],
            rewards,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """The prompts of one optimiser step."""

    features: Floats
    """φ, shape (T, b, A, d)."""
    log_reference: Floats
    """``ln π_ref``, shape (T, b, A, 1, 1)."""
    given: Floats
    """What is added to the learned reward, shape (T, b, A, 1, 1)."""
    places: Floats
    """Uniforms that draw the responses, shape (T, b, K)."""
    present: NDArray[np.bool_]
    """Which prompts each run still sees, shape (b, C)."""


def _gradient(batch: _Batch, runs: _Lockstep, weights: Floats, recipe: Recipe) -> Floats:
    """Estimate the gradient of the objective, shape (T, d, C, H)."""
    T, b, A, d = batch.features.shape
    C, H = weights.shape[2:]
    K = batch.places.shape[2]
    # One small product a prompt: larger ones would start threads, which cost more than they do.
    logits = (batch.features @ weights.reshape(T, 1, d, C * H)).reshape(T, b, A, C, H)
    log_probability = log_softmax(batch.log_reference + logits, axis=2)
    probability = np.exp(log_probability)
    clip = runs.clips[:C]
    ratio = np.clip(log_probability - batch.log_reference, -clip, clip)
    reward = batch.given + (batch.features @ runs.rewards[:, None, :, :C])[..., None]
    drawn = _count_responses(probability, batch.places) * batch.present[:, None, :, None]
    push = drawn * _advantage(reward, recipe.kl_coefficient * ratio, drawn, K, recipe)
    push -= probability * push.sum(axis=2, keepdims=True)
    each = np.swapaxes(batch.features, 2, 3) @ push.reshape(T, b, A, C * H)
    seen = batch.present.sum(axis=0).astype(np.float32)
    return np.asarray(each.sum(axis=1).reshape(T, d, C, H) / (K * seen[:, None]))


class _Adam:
    """Adam (Kingma and Ba 2015), its learning rates falling linearly to 0."""

    def __init__(self, rates: Floats, shape: tuple[int, ...]) -> None:
        self.rates = rates
        self.weights: Floats = np.zeros((*shape, rates.size), dtype=np.float32)
        self.first, self.second = np.zeros_like(self.weights), np.zeros_like(self.weights)

    def ascend(self, gradient: Floats, step: int, steps: Integers) -> None:
        """Take a step uphill with the first runs; ``steps`` is how many each has in all."""
        active = np.s_[:, :, : steps.size]
        self.first[active] += (1.0 - _MOMENTS[0]) * (gradient - self.first[active])
        self.second[active] += (1.0 - _MOMENTS[1]) * (gradient**2 - self.second[active])
        mean = self.first[active] / (1.0 - _MOMENTS[0] ** (step + 1))
        spread = np.sqrt(self.second[active] / (1.0 - _MOMENTS[1] ** (step + 1)))
        remaining = (1.0 - step / steps).astype(np.float32)
        self.weights[active] += self.rates * remaining[:, None] * mean / (spread + _SMALL)


def _advantage(reward: Floats, penalty: Floats, drawn: Floats, K: int, recipe: Recipe) -> Floats:
    """How much better each response is than its baseline; all shapes (T, b, A, C, H)."""
    if recipe.normalise:
        return np.asarray(_normalised(reward, drawn, K) - _centred(penalty, drawn, K))
    if K == 1:
        return _against_the_others(reward - penalty, drawn)
    return np.asarray(_centred(reward - penalty, drawn, K) * (K / (K - 1)))


def _count_responses(probability: Floats, places: Floats) -> Floats:
    """How often each response is drawn, shape (T, b, A, C, H), from uniforms (T, b, K)."""
    below = probability.cumsum(axis=2)
    below[:, :, -1] = 2.0
    at_most = (places[:, :, :, None, None, None] < below[:, :, None]).sum(axis=2)
    return np.asarray(np.diff(at_most, axis=2, prepend=0), dtype=np.float32)


def _centred(values: Floats, drawn: Floats, K: int) -> Floats:
    """Less the group's mean."""
    return np.asarray(values - (drawn * values).sum(axis=2, keepdims=True) / K)


def _normalised(values: Floats, drawn: Floats, K: int) -> Floats:
    """Less the group's mean, over its standard deviation; 0 where all are equal."""
    centred = _centred(values, drawn, K)
    variance = (drawn * centred**2).sum(axis=2, keepdims=True) / K
    return np.asarray(centred / (np.sqrt(variance) + _DEVIATION))


def _against_the_others(values: Floats, drawn: Floats) -> Floats:
    """Less the mean of the step's other rollouts, one of each prompt."""
    own = (drawn * values).sum(axis=2, keepdims=True)
    count = drawn.sum(axis=(1, 2), keepdims=True)
    others = (own.sum(axis=1, keepdims=True) - own) / np.maximum(count - 1.0, 1.0)
    return np.asarray(values - others)
