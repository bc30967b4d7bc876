"""The path of checkpoints that a training run leaves, and what is exactly true of each.

Shapes: M checkpoints, P prompts, A responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.bound import terms as bound
from rlhf_budget.bound.inequalities import INEQUALITIES
from rlhf_budget.simulation.evaluation.world import tilt

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.simulation.evaluation.world import CoverageKind, World

    Floats = NDArray[np.float64]


_MOST_COVERAGE = 1e200
"""Stands for an infinite C², so that sums, their squares and JSON stay finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Candidate policies, in the order of training."""

    policies: Floats
    """π, shape (M, P, A)."""
    log_ratios: Floats
    """ℓ = ln π − ln π_ref, shape (M, P, A), nats."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is exactly true of each checkpoint; every field but ``reward_error`` has shape (M,)."""

    objective: Floats
    """J* = E[r* − βℓ]."""
    expected_estimate: Floats
    """E Ĵ = E[r̂ − βℓ^τ]."""
    reward_bias: Floats
    """E(r̂ − r*)."""
    clipping_bias: Floats
    """β·E(ℓ − ℓ^τ)."""
    coverage: Floats
    """C of the checkpoint against the labels' law."""
    reward_error: float
    """L: mean squared error of r̂ on the labels' law."""
    excess: Floats
    """E(|ℓ| − τ)₊, nats; 0 where nothing is clipped."""
    mean_log_ratio: Floats
    """E|ℓ|, nats."""
    prompt_variance: Floats
    """Variance between prompts of the mean of r̂ − βℓ^τ."""
    rollout_variance: Floats
    """Mean variance within a prompt of r̂ − βℓ^τ."""


def train_path(world: World, learned_reward: Floats) -> Path:
    """Checkpoints from the reference to KL-optimal for the learned reward, and beyond."""
    strengths = np.array(world.spec.strengths)[:, None, None]
    log_policies = tilt(world.log_reference, strengths * learned_reward, world.spec.temperature)
    return Path(np.exp(log_policies), log_policies - world.log_reference)


def clip(log_ratios: Floats, clip_threshold: float | None) -> Floats:
    """``ℓ^τ``; a threshold of None clips nothing."""
    if clip_threshold is None:
        return log_ratios
    return np.clip(log_ratios, -clip_threshold, clip_threshold)


def estimated_objective(
    world: World, learned_reward: Floats, path: Path, clip_threshold: float | None
) -> Floats:
    """``r̂ − βℓ^τ``, the summand of Ĵ, shape (M, P, A)."""
    penalty = world.spec.kl_coefficient * clip(path.log_ratios, clip_threshold)
    return learned_reward - penalty


def exact_truth(
    world: World,
    learned_reward: Floats,
    training: Floats,
    path: Path,
    clip_threshold: float | None,
) -> Truth:
    """Sum over all prompts and responses: exact up to rounding.

    r̂ and the policy of D_train have shape (P, A); τ is in nats, None where β = 0.
    """
    beta = world.spec.kl_coefficient
    joint = world.prompt_law[:, None] * path.policies
    ratios, clipped = path.log_ratios, clip(path.log_ratios, clip_threshold)
    summand = estimated_objective(world, learned_reward, path, clip_threshold)
    prompt_means = np.einsum("mxy,mxy->mx", path.policies, summand)
    overall = np.einsum("x,mx->m", world.prompt_law, prompt_means)
    wrong = learned_reward - world.reward
    # No coverage is needed where the reward is known: nothing was trained.
    covered = np.ones(path.policies.shape[0])
    if not world.spec.verifiable:
        covered = coverage(world, path.policies, training, world.spec.coverage_kind)
    return Truth(
        objective=_mean(joint, world.reward - beta * ratios),
        expected_estimate=overall,
        reward_bias=_mean(joint, wrong),
        clipping_bias=beta * _mean(joint, ratios - clipped),
        coverage=covered,
        reward_error=float(np.einsum("x,xy,xy->", world.prompt_law, training, wrong**2)),
        excess=_mean(joint, np.abs(ratios - clipped)),
        mean_log_ratio=_mean(joint, np.abs(ratios)),
        prompt_variance=np.einsum(
            "x,mx->m", world.prompt_law, (prompt_means - overall[:, None]) ** 2
        ),
        rollout_variance=_mean(joint, (summand - prompt_means[..., None]) ** 2),
    )


def _mean(joint: Floats, values: Floats) -> Floats:
    mean: Floats = np.einsum("mxy,mxy->m", joint, np.broadcast_to(values, joint.shape))
    return mean


# --- coverage ------------------------------------------------------------------------------------


def coverage(world: World, policies: Floats, training: Floats, kind: CoverageKind) -> Floats:
    """C of policies, shape (M, P, A), against a training policy, (P, A): shape (M,), at least 1.

    ``density``: ``C² = 1 + χ² = Σ ρπ²/π_train``. ``features``: the largest generalised eigenvalue
    of ``(E_θ φφᵀ, E_train φφᵀ)`` (docs/theory.md, feature coverage).
    """
    square = _feature_coverage if kind == "features" else _density_coverage
    squares = np.array([square(world, policy, training) for policy in policies])
    covered: Floats = np.sqrt(np.clip(squares, 1.0, _MOST_COVERAGE))
    return covered


def _density_coverage(world: World, policy: Floats, training: Floats) -> float:
    """``C² = Σ ρπ²/π_train``; infinite where the labels' law misses a response."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(policy > 0, policy / training, 0.0)
        return float(np.einsum("x,xy->", world.prompt_law, policy * ratio))


def second_moments(world: World, policy: Floats) -> Floats:
    """``E φφᵀ`` under a policy, shape (d, d)."""
    weighted = (world.prompt_law[:, None] * policy)[..., None] * world.features
    moments: Floats = np.einsum("xyi,xyj->ij", weighted, world.features)
    return moments


def _feature_coverage(world: World, policy: Floats, training: Floats) -> float:
    """Largest ``v`` with ``E_θ φφᵀ w = v·E_train φφᵀ w``, by Cholesky whitening."""
    try:
        root = np.linalg.cholesky(second_moments(world, training))
    except np.linalg.LinAlgError:
        return np.inf
    whitened = np.linalg.solve(root, np.linalg.solve(root, second_moments(world, policy)).T)
    return float(np.linalg.eigvalsh(0.5 * (whitened + whitened.T))[-1])


@dataclass(frozen=True, slots=True)
class Inequalities:
    """Whether two inequalities of docs/theory.md hold in one world, computed exactly."""

    coverage_above_kl: bool
    """``C² ≥ e^KL`` of every checkpoint against the labels' law."""
    fresh_labels: bool
    """``C²(w) ≤ C₀²/(1 + w(C₀² − 1))`` for labels on each checkpoint, both coverage kinds."""


_SHARES = (0.1, 0.5, 0.9)
_ROUNDING = 1e-9


def check_inequalities(world: World, training: Floats, path: Path) -> Inequalities:
    """Check Jensen's floor and the fresh-label inequality against the policy of D_train, (P, A)."""
    policies = path.policies
    density = coverage(world, policies, training, "density")
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = np.where(policies > 0, policies * (np.log(policies) - np.log(training)), 0.0)
    divergence = np.einsum("x,mxy->m", world.prompt_law, gaps)  # KL(D_θ ‖ D_train), nats
    unbounded = density**2 >= 0.99 * _MOST_COVERAGE
    above = unbounded | (2.0 * np.log(density) >= divergence - _ROUNDING)
    fresh = all(
        _fresh_labels_hold(world, policies, training, share, kind)
        for share in _SHARES
        for kind in ("density", "features")
    )
    return Inequalities(bool(above.all()), fresh)


def fresh_coverage(before: float, share: float) -> float:
    """Evaluate the bound's own C after a share of fresh labels on the current policy."""
    constants = bound.Constants(
        label_kind="current",
        shape=INEQUALITIES["prompt_mean"].shape,
        kl_coefficient=0.0,
        reward_range=1.0,
        confidence=0.0,
        confidence_growth=0.0,
        prompt_variance=0.0,
        rollout_variance=0.0,
        coverage=before,
        error_floor=0.0,
        error_scale=0.0,
        error_exponent=1.0,
        existing_labels=1.0 - share,
    )
    return float(bound.coverage(constants, share))


def _fresh_labels_hold(
    world: World, policies: Floats, training: Floats, share: float, kind: CoverageKind
) -> bool:
    before = coverage(world, policies, training, kind)
    for policy, old in zip(policies, before, strict=True):
        mixture = (1.0 - share) * training + share * policy
        new = float(coverage(world, policy[None], mixture, kind)[0])
        if new > fresh_coverage(float(old), share) * (1.0 + _ROUNDING):
            return False
    return True
