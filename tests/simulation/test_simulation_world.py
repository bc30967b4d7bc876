"""Worlds: laws, ranges and the path of checkpoints."""

from __future__ import annotations

import numpy as np
import pytest

from rlhf_budget.simulation.evaluation.world import WorldSpec, build_world, path_strengths, tilt


def world(seed=0, **spec):
    return build_world(WorldSpec(**spec), np.random.default_rng(seed))


@pytest.mark.parametrize("kind", ["density", "features"])
@pytest.mark.parametrize("reward_range", [1.0, 7.0])
def test_laws_sum_to_one_and_rewards_stay_in_the_range(kind, reward_range):
    made = world(coverage_kind=kind, reward_range=reward_range)
    assert made.prompt_law.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(made.reference.sum(axis=1), 1.0)
    assert 0.0 <= made.reward.min() < made.reward.max() <= reward_range


def test_features_are_centred_under_the_reference():
    made = world()
    means = np.einsum("xy,xyd->xd", made.reference, made.features)
    np.testing.assert_allclose(means, 0.0, atol=1e-12)


def test_reward_is_linear_in_the_features_where_coverage_is_measured_on_them():
    made = world(coverage_kind="features")
    gains = (made.reward - made.offset[:, None]).ravel()
    flat = made.features.reshape(gains.size, -1)
    fitted = flat @ np.linalg.lstsq(flat, gains, rcond=None)[0]
    np.testing.assert_allclose(fitted, gains, atol=1e-12)


def test_reward_is_not_linear_otherwise():
    made = world(coverage_kind="density")
    gains = (made.reward - made.offset[:, None]).ravel()
    flat = made.features.reshape(gains.size, -1)
    residual = gains - flat @ np.linalg.lstsq(flat, gains, rcond=None)[0]
    assert residual.std() > 0.1 * gains.std()


def test_verifiable_rewards_are_nothing_or_everything():
    assert set(np.unique(world(verifiable=True, reward_range=2.0).reward)) == {0.0, 2.0}


def test_balanced_world_is_a_fair_coin_for_every_prompt():
    made = world(balanced=True)
    np.testing.assert_allclose(made.offset, 0.5)


def test_reference_is_spread_towards_the_log_ratio_wanted():
    near, far = (world(mean_log_ratio=wanted, kl_coefficient=0.02) for wanted in (3.0, 9.0))
    distances = []
    for made in (near, far):
        best = tilt(made.log_reference, made.reward, 0.02)
        distances.append(
            np.einsum("x,xy,xy->", made.prompt_law, np.exp(best), np.abs(best - made.log_reference))
        )
    assert distances == pytest.approx([3.0, 9.0], rel=0.2)


@pytest.mark.parametrize("checkpoints", [1, 2, 3, 4, 10, 21])
def test_path_contains_the_kl_optimal_policy(checkpoints):
    strengths, named = path_strengths(checkpoints)
    assert len(strengths) == checkpoints
    assert strengths[named] == 1.0
    assert list(strengths) == sorted(set(strengths))


def test_tilting_survives_tiny_temperatures():
    made = world()
    policy = np.exp(tilt(made.log_reference, made.reward, 1e-6))
    assert np.isfinite(policy).all()
    np.testing.assert_allclose(policy.sum(axis=1), 1.0)
