"""Labels and the reward model fitted to them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from rlhf_budget.simulation.evaluation import reward_fit
from rlhf_budget.simulation.evaluation.world import WorldSpec, build_world


def world(**spec):
    return build_world(WorldSpec(**spec), np.random.default_rng(3))


def labels(made, count, seed=0):
    return reward_fit.draw_labels(made, made.reference, count, np.random.default_rng(seed))


def test_labels_follow_the_law_of_pairs_and_of_preferences():
    made, total = world(), 4_000_000
    drawn = labels(made, total)
    first, second = np.triu_indices(made.reference.shape[1], k=1)
    chance = 2 * made.prompt_law[:, None] * made.reference[:, first] * made.reference[:, second]
    error = np.sqrt(total * chance.ravel()) + 1.0
    assert (np.abs(drawn.compared - total * chance.ravel()) < 5 * error).all()
    gap = made.reward[:, first] - made.reward[:, second]
    preferred = 1 / (1 + np.exp(-5.0 * gap.ravel()))
    error = np.sqrt(drawn.compared * 0.25) + 1.0
    assert (np.abs(drawn.preferred - drawn.compared * preferred) < 5 * error).all()


@pytest.mark.parametrize("count", [0, 1, 30, 3000, 10**12])
def test_newton_finds_the_penalised_maximum_likelihood(count):
    drawn = labels(world(), count)

    def loss(weights):
        logits = drawn.differences @ weights
        data = drawn.compared * np.logaddexp(0, logits) - drawn.preferred * logits
        return data.sum() + 0.5 * weights @ weights

    fitted = reward_fit.fit_weights(drawn)
    if count <= 3000:
        other = minimize(loss, np.zeros(4), method="BFGS", tol=1e-10).x
        np.testing.assert_allclose(fitted, other, atol=1e-4)
    assert all(
        loss(fitted) <= loss(fitted + step) for step in 1e-2 * np.vstack([np.eye(4), -np.eye(4)])
    )


def test_separable_labels_do_not_run_away():
    drawn = labels(world(), 5)
    certain = reward_fit.Labels(drawn.differences, drawn.compared, drawn.compared)
    assert np.abs(reward_fit.fit_weights(certain)).max() < 10.0


def test_many_labels_recover_a_linear_reward():
    made = world(coverage_kind="features")
    weights = reward_fit.fit_weights(labels(made, 10**9))
    learned = reward_fit.reward_from_weights(made, weights)
    np.testing.assert_allclose(learned, made.reward, atol=1e-3)


def test_no_labels_teach_the_offset_alone():
    made = world()
    learned = reward_fit.reward_from_weights(made, reward_fit.fit_weights(labels(made, 0)))
    np.testing.assert_array_equal(learned, np.tile(made.offset[:, None], (1, 8)))


@pytest.mark.parametrize("kind", ["density", "features"])
def test_learned_rewards_stay_in_the_range(kind):
    made = world(coverage_kind=kind)
    learned = reward_fit.reward_from_weights(made, np.full(4, 40.0))
    assert learned.min() >= -1e-12
    assert learned.max() <= 1.0 + 1e-12


def test_shrinking_keeps_the_error_linear():
    made = world(coverage_kind="features")
    error = reward_fit.reward_from_weights(made, np.full(4, 40.0)) - made.reward
    flat = made.features.reshape(error.size, -1)
    fitted = flat @ np.linalg.lstsq(flat, error.ravel(), rcond=None)[0]
    np.testing.assert_allclose(fitted, error.ravel(), atol=1e-12)


def test_a_finished_reward_model_has_the_error_wanted():
    made = world(misspecification=0.0)
    learned = reward_fit.finished_reward(made, made.reference, 1e-4, np.random.default_rng(1))
    wrong = np.einsum("x,xy,xy->", made.prompt_law, made.reference, (learned - made.reward) ** 2)
    assert wrong == pytest.approx(1e-4, rel=0.05)
