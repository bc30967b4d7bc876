"""Estimates, the checkpoints that are judged, and the bound in a world."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from coverage_grid import KINDS, coverage_grid

from rlhf_budget.bound.results import Allocation
from rlhf_budget.simulation.evaluation import checkpoints, trials
from rlhf_budget.simulation.evaluation.trials import Entry, Protocol, judge, try_world
from rlhf_budget.simulation.evaluation.world import WorldSpec, build_world

PROTOCOL = Protocol(
    spec=WorldSpec(),
    concentration="hoeffding",
    policy="finite_class",
    failure_probability=0.05,
    confidence=math.log(4 / 0.05),
    confidence_growth=0.0,
    existing_labels=0,
    labels_on_current=False,
    replicates=50,
)


def world_with_path():
    world = build_world(WorldSpec(), np.random.default_rng(2))
    path = checkpoints.train_path(world, world.reward)
    truth = checkpoints.exact_truth(world, world.reward, world.reference, path, 2.0)
    return world, path, truth, checkpoints.estimated_objective(world, world.reward, path, 2.0)


@pytest.mark.parametrize(("n", "K"), [(1, 1), (7, 1), (7, 5), (400, 3)])
def test_estimates_have_the_mean_and_variance_of_nested_sampling(n, K):
    world, path, truth, summand = world_with_path()
    drawn = trials.draw_estimates(
        world,
        path,
        summand,
        Allocation(n, K, 0, 2.0),
        replicates=6_000,
        random=np.random.default_rng(4),
    )
    variance = truth.prompt_variance / n + truth.rollout_variance / (n * K)
    errors = np.abs(drawn.mean(axis=0) - truth.expected_estimate) / np.sqrt(variance / 6_000)
    assert errors.max() < 4.5
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.08)


def test_estimates_do_not_depend_on_how_they_are_blocked(monkeypatch):
    world, path, _, summand = world_with_path()

    def draw():
        return trials.draw_estimates(
            world,
            path,
            summand,
            Allocation(50, 2, 0, 2.0),
            replicates=10,
            random=np.random.default_rng(4),
        )

    whole = draw()
    monkeypatch.setattr(trials, "_BLOCK", 1)
    np.testing.assert_array_equal(whole, draw())


def test_a_trillion_prompts_are_no_trouble():
    world, path, truth, summand = world_with_path()
    drawn = trials.draw_estimates(
        world,
        path,
        summand,
        Allocation(10**12, 1024, 0, 2.0),
        replicates=3,
        random=np.random.default_rng(4),
    )
    np.testing.assert_allclose(drawn, np.tile(truth.expected_estimate, (3, 1)), atol=1e-5)


def test_fixed_judges_the_named_checkpoint_whatever_the_estimates():
    judged = judge("fixed", np.random.default_rng(0).random((3, 10)), 9, WorldSpec())
    np.testing.assert_array_equal(judged.weights, np.tile(np.eye(10)[4], (3, 1)))
    assert not judged.complexity.any()


def test_finite_class_judges_the_best_estimate_and_pays_for_the_choice():
    judged = judge("finite_class", np.array([[0.1, 0.3, 0.2], [0.5, 0.3, 0.2]]), 9, WorldSpec())
    np.testing.assert_array_equal(judged.weights, [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(judged.complexity, math.log(3))


def test_pac_bayes_averages_over_the_posterior_and_pays_its_divergence():
    estimates = np.array([[0.1, 0.3, 0.2], [0.2, 0.2, 0.2]])
    judged = judge("pac_bayes", estimates, 100, WorldSpec())
    posterior = np.exp(10 * estimates)
    posterior /= posterior.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(judged.weights, posterior)
    divergence = (posterior * np.log(3 * posterior)).sum(axis=1)
    np.testing.assert_allclose(judged.complexity, divergence, atol=1e-12)


def test_equal_allocations_have_equal_outcomes_and_others_do_not():
    allocations = (Allocation(50, 2, 100, 2.0), Allocation(50, 2, 100, 2.0))
    other = Allocation(51, 2, 100, 2.0)
    entries = tuple(Entry("plan", a, None) for a in (*allocations, other))
    first, second, third = try_world(PROTOCOL, entries, np.random.SeedSequence(11)).outcomes
    assert first == second
    assert first != third


@pytest.mark.parametrize(
    ("on_current", "behaviour"), [(False, "reference"), (True, "reference"), (False, "earlier")]
)
def test_labels_come_from_the_policy_that_is_meant(on_current, behaviour):
    spec = WorldSpec(behaviour=behaviour)
    protocol = replace(PROTOCOL, spec=spec, labels_on_current=on_current, existing_labels=100)
    world = build_world(spec, np.random.default_rng(2))
    policies = trials.label_policies(world, np.random.default_rng(3))
    random = (np.random.default_rng(4), np.random.default_rng(5))
    lesson = trials.train_reward(protocol, world, policies, 300, random)
    new = policies["current" if on_current else behaviour]
    np.testing.assert_allclose(lesson.training, 0.25 * policies[behaviour] + 0.75 * new)


def test_more_labels_make_a_better_reward_model():
    entries = tuple(Entry("plan", Allocation(50, 1, m, 2.0), None) for m in (0, 300, 100_000))
    record = try_world(PROTOCOL, entries, np.random.SeedSequence(1))
    errors = [outcome.reward_error for outcome in record.outcomes]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2 * errors[2]


@pytest.fixture(scope="module")
def grid():
    return coverage_grid(worlds=2, replicates=30, seed=5)


def test_the_grid_has_every_kind_in_every_cell(grid):
    assert len(KINDS) == 8
    assert len(grid.cells) == 3 * 3 * 3 * 2 * 2 * 8


def test_the_bound_holds_in_every_cell_of_the_grid(grid):
    failing = [cell for cell in grid.cells if cell.interval[1] < 0.95]
    assert failing == []


def test_the_bound_is_nowhere_below_its_quantile_on_average(grid):
    assert min(cell.looseness for cell in grid.cells) > 1.0


def test_both_inequalities_hold_in_every_world_of_the_grid(grid):
    assert all(i.coverage_above_kl and i.fresh_labels for i in grid.inequalities)
