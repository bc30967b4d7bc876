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
    adam = _Adam(np.asarray(recipe.learning_rates, dtype=np.float32), lockstep.rewards.shape)
    scene = prompts, given, recipe
    _climb(adam, lockstep, order, rollouts_per_prompt, scene, random)
    trained = np.empty_like(adam.weights.transpose(2, 3, 0, 1))
    trained[longest_first] = adam.weights.transpose(2, 3, 0, 1)
    return trained


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """A part of a run that changes on its way."""

    run: Run
    """Prompts of this part, its clip threshold and its reward model."""
    rollouts_per_prompt: int
    """K of this part."""
    rate_after: float
    """The learning rate at its end, as a share of the first; it falls linearly."""


def train_in_phases(
    prompts: Prompts,
    order: Integers,
    phases: Sequence[Phase],
    recipe: Recipe,
    given: Floats,
    random: np.random.Generator,
) -> Floats:
    """Train one run whose groups or reward model change on its way; parameters as of ``train``.

    Returns
    -------
    ndarray
        θ, shape (H, T, d).
    """
    shape = order.shape[0], prompts.features.shape[2], 1
    adam = _Adam(np.asarray(recipe.learning_rates, dtype=np.float32), shape)
    seen, rate = 0, 1.0
    for phase in phases:
        lockstep = _Lockstep.of([phase.run], prompts, order.shape[0])
        rates = rate, phase.rate_after
        K, scene = phase.rollouts_per_prompt, (prompts, given, recipe)
        _climb(adam, lockstep, order[:, seen:], K, scene, random, rates)
        seen, rate = seen + phase.run.prompts, phase.rate_after
    return adam.weights[:, :, 0].transpose(2, 0, 1)


def _climb(
    adam: _Adam,
    lockstep: _Lockstep,
    order: Integers,
    rollouts_per_prompt: int,
    scene: tuple[Prompts, Floats, Recipe],
    random: np.random.Generator,
    rates: tuple[float, float] = (1.0, 0.0),
) -> None:
    """Make the visits of all runs; the learning rate falls between two shares of its own."""
    prompts, given, recipe = scene
    b = recipe.prompts_per_step(rollouts_per_prompt)
    steps = -(-lockstep.prompts // b)
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
        adam.ascend(gradient, rates[0] + (rates[1] - rates[0]) * step / steps[:active])


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
    # How often each response is drawn, from uniforms.
    below = probability.cumsum(axis=2)
    below[:, :, -1] = 2.0
    at_most = (batch.places[:, :, :, None, None, None] < below[:, :, None]).sum(axis=2)
    counts = np.asarray(np.diff(at_most, axis=2, prepend=0), dtype=np.float32)
    drawn = counts * batch.present[:, None, :, None]
    push = drawn * _advantage(reward, recipe.kl_coefficient * ratio, drawn, K, recipe)
    push -= probability * push.sum(axis=2, keepdims=True)
    each = np.swapaxes(batch.features, 2, 3) @ push.reshape(T, b, A, C * H)
    seen = batch.present.sum(axis=0).astype(np.float32)
    return np.asarray(each.sum(axis=1).reshape(T, d, C, H) / (K * seen[:, None]))


class _Adam:
    """Adam (Kingma and Ba 2015)."""

    def __init__(self, rates: Floats, shape: tuple[int, ...]) -> None:
        self.rates = rates
        self.weights: Floats = np.zeros((*shape, rates.size), dtype=np.float32)
        self.first, self.second = np.zeros_like(self.weights), np.zeros_like(self.weights)
        self.steps = 0

    def ascend(self, gradient: Floats, share: Floats) -> None:
        """Take a step uphill with the first runs, each at a share of its learning rates."""
        self.steps += 1
        active = np.s_[:, :, : share.size]
        self.first[active] += (1.0 - _MOMENTS[0]) * (gradient - self.first[active])
        self.second[active] += (1.0 - _MOMENTS[1]) * (gradient**2 - self.second[active])
        mean = self.first[active] / (1.0 - _MOMENTS[0] ** self.steps)
        spread = np.sqrt(self.second[active] / (1.0 - _MOMENTS[1] ** self.steps))
        rates = self.rates * share.astype(np.float32)[:, None]
        self.weights[active] += rates * mean / (spread + _SMALL)


def _advantage(reward: Floats, penalty: Floats, drawn: Floats, K: int, recipe: Recipe) -> Floats:
    """How much better each response is than its baseline; all shapes (T, b, A, C, H)."""
    if recipe.normalise:
        # Over the group's standard deviation; 0 where all are equal.
        centred = _centred(reward, drawn, K)
        variance = (drawn * centred**2).sum(axis=2, keepdims=True) / K
        normalised = centred / (np.sqrt(variance) + _DEVIATION)
        return np.asarray(normalised - _centred(penalty, drawn, K))
    if K == 1:
        # Less the mean of the step's other rollouts, one of each prompt.
        values = reward - penalty
        own = (drawn * values).sum(axis=2, keepdims=True)
        count = drawn.sum(axis=(1, 2), keepdims=True)
        others = (own.sum(axis=1, keepdims=True) - own) / np.maximum(count - 1.0, 1.0)
        return np.asarray(values - others)
    return np.asarray(_centred(reward - penalty, drawn, K) * (K / (K - 1)))


def _centred(values: Floats, drawn: Floats, K: int) -> Floats:
    """Less the group's mean."""
    return np.asarray(values - (drawn * values).sum(axis=2, keepdims=True) / K)
