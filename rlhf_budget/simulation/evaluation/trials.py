"""One world tried: labels drawn, a reward model fitted, checkpoints estimated, the bound judged.

Shapes: T replicates, M checkpoints, P prompts, A responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rlhf_budget.bound import terms as bound
from rlhf_budget.bound.inequalities import INEQUALITIES
from rlhf_budget.simulation.evaluation import checkpoints, reward_fit
from rlhf_budget.simulation.evaluation.world import WorldSpec, build_world, tilt

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.simulation.evaluation.checkpoints import Inequalities, Path, Truth
    from rlhf_budget.simulation.evaluation.world import World

    Floats = NDArray[np.float64]

PolicyKind = Literal["fixed", "finite_class", "pac_bayes"]

EARLIER_STRENGTH = 0.5
_BLOCK = 4_000_000
"""Counts held in memory at once."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is the same in every world of a study."""

    spec: WorldSpec
    """The family of worlds."""
    concentration: str
    """Which concentration inequality is judged."""
    policy: PolicyKind
    """Where it is judged: at a checkpoint named beforehand, at the shipped one, or averaged."""
    failure_probability: float
    """δ."""
    confidence: float
    """Λ without the policy's complexity and its growth with the sample, nats."""
    confidence_growth: float
    """Coefficient of ``ln n`` in Λ."""
    existing_labels: int
    """N₀, labels of the behaviour policy that every allocation has."""
    labels_on_current: bool
    """Whether new labels are bought on the current policy, not the behaviour policy."""
    replicates: int
    """T, estimates Ĵ of each checkpoint."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The bound and its three terms, reward units."""

    total: float
    """Their sum."""
    sampling: float
    """``S(n, K, τ)``."""
    reward_shift: float
    """``C·√L``."""
    kl_clipping: float
    """``β·E(|ℓ| − τ)₊``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An allocation that is tried."""

    name: str
    """Such as ``plan`` or ``k8``."""
    allocation: Allocation
    """The four decisions."""
    claimed: Claim | None
    """The bound by the scenario's constants; None: by each world's own."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One allocation in one world; means are over replicates."""

    covered: int
    """Replicates whose error is within the bound."""
    error: float
    """Mean of ``|Ĵ − J*|``, reward units."""
    error_quantile: float
    """Its (1 − δ)-quantile."""
    quality: float
    """Mean J* of the checkpoint with the best Ĵ."""
    bound: Terms
    """Mean bound."""
    sampling_error: float
    """Mean of ``|Ĵ − EĴ|``."""
    reward_bias: float
    """Mean of ``|E(r̂ − r*)|``."""
    clipping_bias: float
    """Mean of ``β|E(ℓ − ℓ^τ)|``."""
    coverage: float
    """Mean C."""
    reward_error: float
    """L of the fitted reward model."""
    mean_log_ratio: float
    """Mean E|ℓ|, nats."""
    prompt_variance: float
    """Mean σ_p² of the clipped objective."""
    rollout_variance: float
    """Mean σ_r² of the clipped objective."""


@dataclass(frozen=True, slots=True)
class WorldRecord:
    """All allocations in one world."""

    outcomes: tuple[Outcome, ...]
    """In the order of the entries."""
    inequalities: Inequalities
    """Checked at the first allocation."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A reward model and where it was trained."""

    reward: Floats
    """r̂, shape (P, A)."""
    training: Floats
    """Policy of D_train, shape (P, A)."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Which checkpoints the bound speaks of."""

    weights: Floats
    """Share of each checkpoint, shape (T, M)."""
    complexity: Floats
    """``ln M`` or ``KL(Q‖P)``, shape (T,), nats."""


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """The bound in each replicate; every field is a scalar or has shape (T,)."""

    sampling: Floats
    """``S(n, K, τ)``."""
    reward_shift: Floats
    """``C·√L``."""
    kl_clipping: Floats
    """``β·E(|ℓ| − τ)₊``."""

    @property
    def total(self) -> Floats:
        """Sum of the terms."""
        return self.sampling + self.reward_shift + self.kl_clipping


def try_world(
    protocol: Protocol, entries: tuple[Entry, ...], seed: np.random.SeedSequence
) -> WorldRecord:
    """Try every allocation in one world.

    Each sees the same world and the same streams of randomness, so that equal allocations have
    equal outcomes.
    """
    own, pilot, existing, bought, rollouts = seed.spawn(5)
    world = build_world(protocol.spec, np.random.default_rng(own))
    policies = label_policies(world, np.random.default_rng(pilot))
    outcomes, inequalities = [], None
    for entry in entries:
        allocation, τ = entry.allocation, entry.allocation.clip_threshold
        sources = np.random.default_rng(existing), np.random.default_rng(bought)
        lesson = train_reward(protocol, world, policies, allocation.labels, sources)
        path = checkpoints.train_path(world, lesson.reward)
        if inequalities is None:
            inequalities = checkpoints.check_inequalities(world, lesson.training, path)
        truth = checkpoints.exact_truth(world, lesson.reward, lesson.training, path, τ)
        estimates = draw_estimates(
            world,
            path,
            checkpoints.estimated_objective(world, lesson.reward, path, τ),
            allocation,
            replicates=protocol.replicates,
            random=np.random.default_rng(rollouts),
        )
        judged = judge(protocol.policy, estimates, allocation.prompts, world.spec)
        claim = entry.claimed or claim_in_world(protocol, allocation, truth, judged)
        outcomes.append(summarise(protocol, truth, estimates, judged, claim))
    if inequalities is None:
        message = "a study needs at least one allocation"
        raise ValueError(message)
    return WorldRecord(tuple(outcomes), inequalities)


# --- labels and reward model ---------------------------------------------------------------------


def label_policies(world: World, random: np.random.Generator) -> dict[str, Floats]:
    """Policies that may have written the labelled responses, each of shape (P, A).

    The earlier and the current policy follow a reward model of ``pilot_labels`` reference labels,
    half way and all the way to its KL-optimal policy.
    """
    pilot = reward_fit.draw_labels(world, world.reference, world.spec.pilot_labels, random)
    reward = reward_fit.reward_from_weights(world, reward_fit.fit_weights(pilot))
    temperature = world.spec.temperature
    earlier = np.exp(tilt(world.log_reference, EARLIER_STRENGTH * reward, temperature))
    return {
        "reference": world.reference,
        "earlier": earlier,
        "mixture": 0.5 * world.reference + 0.5 * earlier,
        "current": np.exp(tilt(world.log_reference, reward, temperature)),
    }


def train_reward(
    protocol: Protocol,
    world: World,
    policies: dict[str, Floats],
    labels: int,
    random: tuple[np.random.Generator, np.random.Generator],
) -> Lesson:
    """Buy m labels and fit the reward model, or take the one that there is.

    The policies are those of :func:`label_policies`; existing and new labels each have a source of
    randomness.
    """
    behaviour = policies[world.spec.behaviour]
    if world.spec.verifiable:
        return Lesson(world.reward, behaviour)
    if world.spec.finished_error is not None:
        error = world.spec.finished_error
        return Lesson(reward_fit.finished_reward(world, behaviour, error, random[1]), behaviour)
    fresh = policies["current"] if protocol.labels_on_current else behaviour
    old = reward_fit.draw_labels(world, behaviour, protocol.existing_labels, random[0])
    new = reward_fit.draw_labels(world, fresh, labels, random[1])
    weights = reward_fit.fit_weights(old + new)
    share = labels / max(1, protocol.existing_labels + labels)
    training = (1.0 - share) * behaviour + share * fresh
    return Lesson(reward_fit.reward_from_weights(world, weights), training)


def draw_estimates(
    world: World,
    path: Path,
    summand: Floats,
    allocation: Allocation,
    *,
    replicates: int,
    random: np.random.Generator,
) -> Floats:
    """Draw Ĵ of every checkpoint, replicate by replicate: shape (T, M).

    The n prompts of a replicate are shared by all checkpoints; each answers them with K rollouts of
    its own. Sums of the summand ``r̂ − βℓ^τ``, shape (M, P, A), need only counts, so prompts and
    responses are multinomial draws: exactly the law of n·K single rollouts, at a price that does
    not grow with n and K.
    """
    n, K = allocation.prompts, allocation.rollouts_per_prompt
    answered = K * random.multinomial(n, world.prompt_law, size=replicates)
    checkpoints_count = summand.shape[0]
    block = max(1, _BLOCK // (replicates * summand[0].size))
    estimates = np.empty((replicates, checkpoints_count))
    for start in range(0, checkpoints_count, block):
        part = slice(start, start + block)
        counts = random.multinomial(answered, path.policies[part, None])
        estimates[:, part] = np.einsum("mtxy,mxy->tm", counts, summand[part]) / (n * K)
    return estimates


def judge(kind: PolicyKind, estimates: Floats, prompts: int, spec: WorldSpec) -> Judged:
    """Say which checkpoints the bound speaks of in each replicate.

    ``fixed``: the one named beforehand. ``finite_class``: the shipped one, of M. ``pac_bayes``:
    all, by ``Q ∝ e^{λĴ}`` with ``λ = √n/R`` against a uniform prior. Estimates Ĵ have shape (T, M).
    """
    replicates, M = estimates.shape
    if kind == "pac_bayes":
        tilted = np.sqrt(prompts) / spec.reward_range * estimates
        tilted -= tilted.max(axis=1, keepdims=True)
        weights = np.exp(tilted)
        weights /= weights.sum(axis=1, keepdims=True)
        entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-300)), axis=1)
        return Judged(weights, np.maximum(0.0, np.log(M) - entropy))
    chosen = np.full(replicates, spec.named)
    if kind == "finite_class":
        chosen = estimates.argmax(axis=1)
    complexity = np.log(M) if kind == "finite_class" else 0.0
    return Judged(np.eye(M)[chosen], np.full(replicates, complexity))


# --- the bound -----------------------------------------------------------------------------------


def claim_in_world(
    protocol: Protocol, allocation: Allocation, truth: Truth, judged: Judged
) -> Claim:
    """Evaluate the bound with the world's own constants, in each replicate.

    They are averaged by the weights of the checkpoints that it speaks of.
    """
    beta, R = protocol.spec.kl_coefficient, protocol.spec.reward_range
    constants = bound.Constants(
        label_kind="none",
        shape=INEQUALITIES[protocol.concentration].shape,
        kl_coefficient=beta,
        reward_range=R,
        confidence=protocol.confidence + judged.complexity,
        confidence_growth=protocol.confidence_growth,
        prompt_variance=judged.weights @ truth.prompt_variance,
        rollout_variance=judged.weights @ truth.rollout_variance,
        coverage=judged.weights @ truth.coverage,
        error_floor=truth.reward_error,
        error_scale=0.0,
        error_exponent=1.0,
        existing_labels=0.0,
    )
    n, K = float(allocation.prompts), float(allocation.rollouts_per_prompt)
    s0, s1 = bound.sampling_shape(constants, n, K)
    sampling = s0 + (R + 2.0 * beta * (allocation.clip_threshold or 0.0)) * s1
    return Claim(
        np.asarray(sampling),
        np.asarray(bound.reward_shift(constants, 0.0)),
        beta * (judged.weights @ truth.excess),
    )


def summarise(
    protocol: Protocol, truth: Truth, estimates: Floats, judged: Judged, claim: Claim
) -> Outcome:
    """Compare estimates and bound with the truth, replicate by replicate."""
    weights = judged.weights

    def average(values: Floats) -> Floats:
        averages: Floats = np.sum(weights * values, axis=1)
        return averages

    errors = np.abs(average(estimates - truth.objective))
    delta = protocol.failure_probability
    return Outcome(
        covered=int(np.sum(errors <= claim.total)),
        error=float(errors.mean()),
        error_quantile=float(np.quantile(errors, 1.0 - delta, method="inverted_cdf")),
        quality=float(truth.objective[estimates.argmax(axis=1)].mean()),
        bound=Terms(
            *(
                float(np.mean(term))
                for term in (claim.total, claim.sampling, claim.reward_shift, claim.kl_clipping)
            )
        ),
        sampling_error=float(np.abs(average(estimates - truth.expected_estimate)).mean()),
        reward_bias=float(np.abs(average(truth.reward_bias)).mean()),
        clipping_bias=float(np.abs(average(truth.clipping_bias)).mean()),
        coverage=float(average(truth.coverage).mean()),
        reward_error=truth.reward_error,
        mean_log_ratio=float(average(truth.mean_log_ratio).mean()),
        prompt_variance=float(average(truth.prompt_variance).mean()),
        rollout_variance=float(average(truth.rollout_variance).mean()),
    )
