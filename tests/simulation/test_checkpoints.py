"""Exact sums against plain Monte Carlo and against other algebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import eigh

from rlhf_budget.simulation.evaluation import checkpoints, reward_fit, trials
from rlhf_budget.simulation.evaluation.world import WorldSpec, build_world

THRESHOLD = 2.0


def study(kind="density", seed=0, **spec):
    """A world with a learned reward, its labels' law, path and exact truth."""
    random = np.random.default_rng(seed)
    world = build_world(WorldSpec(coverage_kind=kind, **spec), random)
    policies = trials.label_policies(world, random)
    drawn = reward_fit.draw_labels(world, policies["mixture"], 300, random)
    learned = reward_fit.reward_from_weights(world, reward_fit.fit_weights(drawn))
    path = checkpoints.train_path(world, learned)
    training = policies["mixture"]
    truth = checkpoints.exact_truth(world, learned, training, path, THRESHOLD)
    return world, learned, training, path, truth


def sample(world, policy, size, random):
    """Draw prompts and responses one by one."""
    xs = random.choice(world.prompt_law.size, size=size, p=world.prompt_law)
    uniform = random.random(size)
    ys = (policy.cumsum(axis=1)[xs] < uniform[:, None]).sum(axis=1)
    return xs, np.minimum(ys, policy.shape[1] - 1)


def close(exact, values, *, errors=5.0):
    return abs(exact - values.mean()) <= errors * values.std() / np.sqrt(values.size) + 1e-12


@pytest.mark.parametrize("index", [0, 2, 4, 9])
def test_exact_sums_equal_plain_monte_carlo(index):
    world, learned, training, path, truth = study()
    random = np.random.default_rng(7)
    xs, ys = sample(world, path.policies[index], 200_000, random)
    ratios = path.log_ratios[index, xs, ys]
    clipped = np.clip(ratios, -THRESHOLD, THRESHOLD)
    gain, true = learned[xs, ys], world.reward[xs, ys]
    assert close(truth.objective[index], true - 0.05 * ratios)
    assert close(truth.expected_estimate[index], gain - 0.05 * clipped)
    assert close(truth.reward_bias[index], gain - true)
    assert close(truth.clipping_bias[index], 0.05 * (ratios - clipped))
    assert close(truth.excess[index], np.maximum(np.abs(ratios) - THRESHOLD, 0.0))
    assert close(truth.mean_log_ratio[index], np.abs(ratios))
    weights = path.policies[index, xs, ys] / training[xs, ys]
    assert close(truth.coverage[index] ** 2, weights)


def test_reward_error_equals_plain_monte_carlo_on_the_labels_law():
    world, learned, training, _, truth = study()
    xs, ys = sample(world, training, 200_000, np.random.default_rng(8))
    assert close(truth.reward_error, (learned - world.reward)[xs, ys] ** 2)


@pytest.mark.parametrize("index", [0, 2, 9])
def test_variance_components_equal_plain_monte_carlo(index):
    world, learned, _, path, truth = study()
    summand = checkpoints.estimated_objective(world, learned, path, THRESHOLD)[index]
    random = np.random.default_rng(9)
    xs = random.choice(world.prompt_law.size, size=100_000, p=world.prompt_law)
    cumulative = path.policies[index].cumsum(axis=1)[xs]
    a, b = (
        summand[xs, np.minimum((cumulative < random.random(xs.size)[:, None]).sum(axis=1), 7)]
        for _ in range(2)
    )
    mean = truth.expected_estimate[index]
    assert close(truth.prompt_variance[index], (a - mean) * (b - mean))
    assert close(truth.rollout_variance[index], 0.5 * (a - b) ** 2)


@pytest.mark.parametrize("kind", ["density", "features"])
def test_the_error_is_split_into_its_three_parts(kind):
    *_, truth = study(kind)
    rest = truth.reward_bias + truth.clipping_bias
    np.testing.assert_allclose(truth.expected_estimate - truth.objective, rest, atol=1e-12)


@pytest.mark.parametrize("kind", ["density", "features"])
@pytest.mark.parametrize("seed", range(5))
def test_the_two_bias_terms_are_bounds(kind, seed):
    *_, truth = study(kind, seed)
    shift = truth.coverage * np.sqrt(truth.reward_error)
    assert (np.abs(truth.reward_bias) <= shift * (1 + 1e-9)).all()
    assert (np.abs(truth.clipping_bias) <= 0.05 * truth.excess * (1 + 1e-9)).all()


def test_feature_coverage_is_the_largest_generalised_eigenvalue():
    world, _, training, path, truth = study("features")
    for policy, coverage in zip(path.policies, truth.coverage, strict=True):
        pair = (checkpoints.second_moments(world, p) for p in (policy, training))
        largest = eigh(*pair, eigvals_only=True)[-1]
        assert coverage**2 == pytest.approx(max(1.0, largest), rel=1e-9)


def test_kl_optimal_summand_is_constant_within_a_prompt():
    world, learned, training, path, _ = study()
    unclipped = checkpoints.exact_truth(world, learned, training, path, 1e9)
    named = world.spec.named
    assert unclipped.rollout_variance[named] < 1e-25
    assert unclipped.rollout_variance[named - 2] > 1e-6


@pytest.mark.parametrize("kind", ["density", "features"])
@pytest.mark.parametrize("seed", range(6))
def test_jensen_floor_and_fresh_label_inequality_hold_exactly(kind, seed):
    world, _, training, path, _ = study(kind, seed, kl_coefficient=0.02)
    assert checkpoints.check_inequalities(world, training, path) == checkpoints.Inequalities(
        coverage_above_kl=True, fresh_labels=True
    )


def test_fresh_labels_are_exact_for_features_above_one():
    world, _, training, path, truth = study("features")
    index = int(truth.coverage.argmax())
    policy, before = path.policies[index], truth.coverage[index]
    mixture = 0.7 * training + 0.3 * policy
    after = checkpoints.coverage(world, policy[None], mixture, "features")[0]
    assert after == pytest.approx(checkpoints.fresh_coverage(before, 0.3), rel=1e-9)


def test_a_response_that_was_never_labelled_keeps_numbers_finite():
    world, _, training, path, _ = study()
    missing = training.copy()
    missing[:, 0] = 0.0
    assert np.isfinite(checkpoints.coverage(world, path.policies, missing, "density")).all()
