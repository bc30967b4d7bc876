"""The training study: worlds, trainers, reward models, pilots, judging and the study whole."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jsonschema import Draft202012Validator
from scipy.special import expit

from rlhf_budget import Allocation, Scenario, ScenarioError, load_scenario
from rlhf_budget.optimum.case import prepare
from rlhf_budget.report.data import json_text, with_header
from rlhf_budget.report.schema import output_schema
from rlhf_budget.scenario.template import template
from rlhf_budget.simulation import simulate
from rlhf_budget.simulation.rivals import is_feasible
from rlhf_budget.simulation.training import pilot, reward_model, trainer, trials
from rlhf_budget.simulation.training.judging import judge
from rlhf_budget.simulation.training.scale import grid, halves, scaled, world_scale
from rlhf_budget.simulation.training.study import study_training, training_protocol
from rlhf_budget.simulation.training.trainer import Recipe, Run, train
from rlhf_budget.simulation.training.world import (
    TrainingSpec,
    draw_prompts,
    draw_world,
    log_policy,
    true_objective,
)

SPEC = TrainingSpec(responses=6, features=4)


def scenario(**changes):
    written = {
        "name": "test",
        "budget": 20,
        "objective": {"kl_coefficient": 0.05},
        "bound": {"policy": "pac_bayes", "posterior_kl": 17},
        "costs": {"prompt": 0.02, "rollout": 0.01, "label": 0.2},
        "reward_model": {
            "label_policy": "current",
            "error": {"scale": 8.0, "exponent": 0.8},
        },
        "log_ratio": {"family": "gaussian", "kl": 3.0},
        "limits": {"rollouts_per_prompt": {"choices": [1, 4, 16]}},
    }
    return Scenario(**(written | changes))


VERIFIABLE = {
    "reward_model": "verifiable",
    "objective": {"kl_coefficient": 0},
    "log_ratio": None,
    "costs": {"prompt": 0.02, "rollout": 0.01},
}


def stage_of(spec, prompts=1024, seed=0):
    random = np.random.default_rng(seed)
    world = draw_world(spec, random)
    pool, fresh = (draw_prompts(world, count, random) for count in (prompts, 512))
    given = pool.reward if spec.verifiable else np.broadcast_to(pool.level, pool.reward.shape)
    return trials.Stage(world, pool, fresh, given, pool.log_reference)


def quality(*allocations, made=None, **spec):
    """Mean J* of allocations in three worlds, each at its best learning rate."""
    protocol = training_protocol(made or scenario(), 8)
    changed = replace(protocol.spec, **spec)
    recipe = Recipe(changed.kl_coefficient, normalise=False, learning_rates=(0.06, 0.25, 1.0))
    protocol = replace(protocol, spec=changed, recipe=recipe)
    means = []
    for seed in range(3):
        stage = stage_of(protocol.spec, seed=seed)
        child = np.random.SeedSequence(seed)
        means.append(trials.train_allocations(protocol, stage, allocations, child).mean(axis=-1))
    return np.mean(means, axis=0).max(axis=1)


# --- a simulator that ignores a decision ---------------------------------------------------------


def test_more_rollouts_train_better():
    few, many = quality(Allocation(128, 2, 400, None), Allocation(128, 16, 400, None))
    assert many > few + 0.02


def test_more_labels_train_better():
    few, many = quality(Allocation(512, 8, 20, None), Allocation(512, 8, 400, None))
    assert many > few + 0.02


def test_more_prompts_train_better():
    few, many = quality(Allocation(64, 4, 400, None), Allocation(1024, 4, 400, None))
    assert many > few + 0.02


def test_clipping_everything_trains_worse():
    clipped, free = quality(
        Allocation(1024, 8, 400, 0.0), Allocation(1024, 8, 400, None), kl_coefficient=0.3
    )
    assert free > clipped + 0.02


def ignoring_rollouts(real):
    return lambda pool, order, _, *rest: real(pool, order, 1, *rest)


def ignoring_prompts(real):
    def mutant(pool, order, K, runs, *rest):
        return real(pool, order, K, [replace(run, prompts=64) for run in runs], *rest)

    return mutant


def ignoring_the_threshold(real):
    def mutant(pool, order, K, runs, *rest):
        return real(pool, order, K, [replace(run, clip_threshold=None) for run in runs], *rest)

    return mutant


def ignoring_labels(real):
    return lambda labels, existing, bought: real(labels, existing, [20] * len(bought))


@pytest.mark.parametrize(
    ("name", "mutant", "killer"),
    [
        ("train", ignoring_rollouts, test_more_rollouts_train_better),
        ("fit_reward_models", ignoring_labels, test_more_labels_train_better),
        ("train", ignoring_prompts, test_more_prompts_train_better),
        ("train", ignoring_the_threshold, test_clipping_everything_trains_worse),
    ],
)
def test_a_simulator_that_ignores_a_decision_is_caught(name, mutant, killer, monkeypatch):
    monkeypatch.setattr(trials, name, mutant(getattr(trials, name)))
    with pytest.raises(AssertionError):
        killer()


# --- worlds --------------------------------------------------------------------------------------


def test_rewards_are_in_their_range_and_features_are_standard():
    random = np.random.default_rng(1)
    prompts = draw_prompts(draw_world(TrainingSpec(reward_range=2.0), random), 2000, random)
    assert prompts.reward.min() >= 0.0
    assert prompts.reward.max() <= 2.0
    assert prompts.features.std() == pytest.approx(1.0, abs=0.01)
    assert np.exp(prompts.log_reference).sum(axis=1) == pytest.approx(np.ones(2000), abs=1e-5)


def test_verifiable_rewards_have_the_difficulties_asked_for():
    random = np.random.default_rng(1)
    spec = TrainingSpec(verifiable=True, difficulties=(0.3,))
    prompts = draw_prompts(draw_world(spec, random), 4000, random)
    assert set(np.unique(prompts.reward)) == {0.0, 1.0}
    assert prompts.reward.mean() == pytest.approx(0.3, abs=0.01)


def test_the_true_objective_is_what_rollouts_earn():
    stage = stage_of(SPEC, prompts=2)
    θ = np.array([0.5, -1.0, 0.3, 0.2])
    exact = float(true_objective(stage.world, stage.fresh, θ))
    log_probability = log_policy(stage.fresh, θ)
    random = np.random.default_rng(2)
    asked = random.integers(512, size=200_000)
    cumulative = np.exp(log_probability).cumsum(axis=1)
    drawn = (random.random(asked.size)[:, None] > cumulative[asked]).sum(axis=1).clip(max=5)
    ratio = (log_probability - stage.fresh.log_reference)[asked, drawn]
    earned = stage.fresh.reward[asked, drawn] - SPEC.kl_coefficient * ratio
    assert earned.mean() == pytest.approx(exact, abs=5 * float(earned.std()) / asked.size**0.5)


# --- trainers ------------------------------------------------------------------------------------


def one_step(spec, recipe, K, clip, replicates=4000, prompts=3):
    """Gradients of many replicates of one step, and the exact one without clipping."""
    stage = stage_of(spec, prompts=prompts)
    random = np.random.default_rng(3)
    θ = random.standard_normal(spec.features).astype(np.float32)
    w = random.standard_normal(spec.features).astype(np.float32)
    batch = trainer._Batch(
        features=np.broadcast_to(stage.pool.features, (replicates, *stage.pool.features.shape)),
        log_reference=stage.pool.log_reference[None, ..., None, None],
        given=stage.given[None, ..., None, None],
        places=random.random((replicates, prompts, K), dtype=np.float32),
        present=np.ones((prompts, 1), dtype=bool),
    )
    weights = np.broadcast_to(w[None, :, None], (replicates, spec.features, 1))
    runs = trainer._Lockstep(np.array([prompts]), np.array([[clip]], dtype=np.float32), weights)
    now = np.broadcast_to(θ[None, :, None, None], (replicates, spec.features, 1, 1))
    found = trainer._gradient(batch, runs, now, recipe)[:, :, 0, 0]
    φ, log_probability = stage.pool.features, log_policy(stage.pool, θ)
    π = np.exp(log_probability)
    ratio = np.clip(log_probability - stage.pool.log_reference, -clip, clip)
    value = stage.given + φ @ w - recipe.kl_coefficient * ratio
    mean_φ = np.einsum("na,nad->nd", π, φ)
    exact = np.einsum("na,na,nad->d", π, value, φ - mean_φ[:, None]) / prompts
    return found, exact


@pytest.mark.parametrize(("K", "clip"), [(1, np.inf), (2, np.inf), (5, np.inf), (4, 0.4)])
def test_leave_one_out_gradients_are_unbiased(K, clip):
    found, exact = one_step(SPEC, Recipe(0.3, normalise=False), K, clip)
    error = found.std(axis=0) / found.shape[0] ** 0.5
    assert np.all(np.abs(found.mean(axis=0) - exact) < 5 * error)


def test_a_silent_group_teaches_a_normalised_trainer_nothing():
    stage = stage_of(replace(SPEC, verifiable=True), prompts=64)
    silent = np.ones_like(stage.pool.reward)
    order = np.arange(64)[None]
    random = np.random.default_rng(0)
    θ = train(stage.pool, order, 4, [Run(64, None, None)], Recipe(0.0, True), silent, random)
    assert np.abs(θ).max() == 0.0


def test_groups_of_one_teach_a_normalised_trainer_nothing():
    stage = stage_of(replace(SPEC, verifiable=True), prompts=64)
    order, random = np.arange(64)[None], np.random.default_rng(0)
    recipe = Recipe(0.0, normalise=True)
    θ = train(stage.pool, order, 1, [Run(64, None, None)], recipe, stage.given, random)
    assert np.abs(θ).max() == 0.0


@pytest.mark.parametrize("unit", ["rollouts", "prompts"])
def test_runs_in_lockstep_are_trained_as_they_would_be_alone(unit):
    stage = stage_of(SPEC, prompts=100)
    weights = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
    runs = [Run(33, None, weights), Run(100, 1.0, weights), Run(100, None, weights)]
    recipe = Recipe(0.05, normalise=False, step=32, step_unit=unit)
    order = np.stack([np.random.default_rng(t).permutation(100) for t in range(2)])

    def trained(chosen):
        return train(stage.pool, order, 4, chosen, recipe, stage.given, np.random.default_rng(7))

    together = trained(runs)
    assert together.shape == (3, 3, 2, 4)
    for index in (1, 2):
        assert trained([runs[index]])[0] == pytest.approx(together[index], abs=1e-5)


def test_a_step_takes_a_fixed_number_of_rollouts_or_of_prompts():
    assert Recipe(0.0, True, step=64).prompts_per_step(16) == 4
    assert Recipe(0.0, True, step=64).prompts_per_step(100) == 1
    assert Recipe(0.0, True, step=64, step_unit="prompts").prompts_per_step(16) == 64


# --- reward models and pilots --------------------------------------------------------------------


def test_reward_models_find_the_taste_of_the_annotators():
    stage = stage_of(replace(SPEC, visible=1.0, sharpness=0.1), prompts=2000)
    random = np.random.default_rng(5)
    labels = reward_model.draw_comparisons(
        stage.world, stage.pool, stage.pool.log_reference, (2, 20_000), random
    )
    weights = reward_model.fit_reward_models(labels, 0, (100, 20_000))
    directions = weights / np.linalg.norm(weights, axis=-1, keepdims=True)
    likeness = directions @ stage.world.taste
    assert likeness[:, 1].min() > 0.8
    assert likeness[:, 1].min() > likeness[:, 0].min()


def test_reward_models_are_at_the_minimum_of_their_loss():
    stage = stage_of(SPEC)
    labels = reward_model.draw_comparisons(
        stage.world, stage.pool, stage.pool.log_reference, (3, 60), np.random.default_rng(5)
    )
    weights = reward_model.fit_reward_models(labels, 10, (0, 7, 50))
    for t in range(3):
        for c, used in enumerate((10, 17, 60)):
            pairs, w = labels.differences[t, :used], weights[t, c]
            assert w - expit(-pairs @ w) @ pairs == pytest.approx(np.zeros(4), abs=1e-5)


def test_the_pilot_measures_what_the_world_has():
    spec = replace(SPEC, visible=1.0)
    stage = stage_of(spec, prompts=2000)
    size = pilot.PilotSize(1000, 4, existing_labels=0, labels=300, labels_on_current=False)
    recipe = Recipe(spec.kl_coefficient, normalise=False)
    found = pilot.run_pilot(
        stage.world, stage.pool, stage.given, size, recipe, np.random.default_rng(6)
    )
    ratio = found.log_probability - stage.pool.log_reference
    divergence = float((np.exp(found.log_probability) * ratio).sum(axis=1).mean())
    samples = np.array(found.constants["log_ratio"]["samples"])
    assert samples.mean() == pytest.approx(divergence, abs=6 * float(samples.std()) / 256**0.5)
    assert 1.0 <= found.constants["reward_model.coverage"] < 5.0
    curve = found.constants["reward_model.error"]
    error = curve["floor"] + curve["scale"] * 512 ** -curve["exponent"]
    assert 0.0 < error < 0.15


def test_the_components_of_groups_are_those_of_the_analysis_of_variance():
    random = np.random.default_rng(8)
    values = random.standard_normal((50, 1)) + 0.5 * random.standard_normal((50, 6))
    found = pilot.components(pilot.group_moments(values), 0.95)
    within = values.var(axis=1, ddof=1).mean()
    assert found.within.value == pytest.approx(within)
    assert found.between.value == pytest.approx(values.mean(axis=1).var(ddof=1) - within / 6)


# --- judging -------------------------------------------------------------------------------------


@given(arrays(np.float64, (3, 5, 2), elements=st.floats(-1, 1)))
@settings(deadline=None, max_examples=50)
def test_without_noise_nothing_is_better_than_the_best_on_average(quality):
    judged = judge(np.repeat(quality[..., None], 4, axis=-1))
    regret = (judged.best[:, None] - judged.quality).mean(axis=0)
    assert regret.min() == pytest.approx(0.0, abs=1e-12)
    assert regret[judged.best_index] == pytest.approx(0.0, abs=1e-12)


def test_pure_noise_chooses_nothing_that_judges_well():
    """The best of 40 on the same replicates would be two standard deviations above the mean."""
    noise = np.random.default_rng(0).standard_normal((400, 40, 3, 4))
    judged = judge(noise)
    assert abs(judged.best.mean()) < 4 * 0.5 / 400**0.5
    assert abs(judged.quality.mean()) < 0.02


def test_a_world_without_noise_has_regret_0_for_the_best_of_the_grid(monkeypatch):
    def without_noise(protocol, stage, allocations, seed):
        value = [np.log(a.prompts) + np.log(1 + a.labels) + 0.1 * a.rollouts_per_prompt
                 for a in allocations]  # fmt: skip
        shape = (len(value), len(protocol.recipe.learning_rates), protocol.replicates)
        return np.broadcast_to(np.array(value)[:, None, None], shape)

    monkeypatch.setattr(trials, "train_allocations", without_noise)
    found = study_training(scenario(), worlds=3)
    best = found.allocations[-1]
    assert best.name == "best-of-grid"
    assert best.regret.interval == (0.0, 0.0)
    assert best.rank == 1
    cells = [a for a in found.allocations if a.name in {"thirds", "labels-first"}]
    assert all(cell.rank > 1 or cell.regret.mean <= 0 for cell in cells)
    for trained in found.allocations:
        gap = best.quality.mean - trained.quality.mean
        assert trained.regret.mean == pytest.approx(gap)


# --- scale ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1e3, 1e6, 1e9])
def test_a_world_is_of_one_size_whatever_the_budget(budget):
    made = scenario(budget=budget)
    small = made.with_values(scaled(made, world_scale(made)))
    prompts, K, labels = halves(small)
    assert prompts * K == pytest.approx(2309, rel=0.01)
    assert prompts * K * labels == pytest.approx(400_000, rel=0.02)


def test_pools_limits_and_current_shrink_with_the_money():
    made = scenario(
        budget=1e5,
        costs={
            "prompt": {"acquisition": 1.0, "existing": 20_000, "prefill": 0.001},
            "rollout": 0.01,
            "label": 1.0,
            "fixed": 1000,
        },
        reward_model={
            "coverage": 2, "existing_labels": 10_000, "error": {"scale": 8, "exponent": 0.8}
        },
        limits={"prompts": {"max": 50_000}},
        current={"prompts": 20_000, "rollouts_per_prompt": 8, "labels": 5000},
    )  # fmt: skip
    scale = world_scale(made)
    small = made.with_values(scaled(made, scale))
    assert small.budget == pytest.approx(1e5 * scale)
    assert small.costs.fixed == pytest.approx(1000 * scale)
    assert small.costs.prompt.existing == round(20_000 * scale)
    assert small.costs.prompt.acquisition == 1.0
    assert small.reward_model.existing_labels == round(10_000 * scale)
    assert small.limits.prompts.max == round(50_000 * scale)
    assert small.current.labels == round(5000 * scale)


@given(
    label=st.floats(0.001, 10),
    prompt=st.floats(0, 1),
    most=st.sampled_from([1, 4, 64]),
)
@settings(deadline=None, max_examples=30)
def test_every_cell_of_the_grid_keeps_the_budget_and_the_limits(label, prompt, most):
    made = scenario(
        costs={"prompt": prompt, "rollout": 0.01, "label": label},
        limits={"rollouts_per_prompt": {"max": most}},
    )
    small = made.with_values(scaled(made, world_scale(made)))
    cells = grid(small)
    assert len(set(cells)) == len(cells) >= 1
    for n, K, m in cells:
        assert is_feasible(
            small, Allocation(n, K, m, prepare(small).bound.sampling_and_clipping(n, K)[2])
        )


def test_what_is_free_is_not_without_end_in_a_world():
    free = {"prompt": 0, "rollout": 0, "label": 0}
    made = scenario(costs=free, limits={"rollouts_per_prompt": 4, "prompts": {"max": 10**9}})
    small = made.with_values(scaled(made, world_scale(made)))
    assert small.limits.prompts.max <= 32_768
    assert small.limits.labels.max <= 4096
    assert all(n <= 32_768 and m <= 4096 for n, _, m in grid(small))


# --- the study -----------------------------------------------------------------------------------

STUDIES = {
    "reward model": {},
    "behaviour labels": {
        "reward_model": {
            "coverage": 2,
            "existing_labels": 30,
            "error": {"scale": 8, "exponent": 0.8},
        }
    },
    "finished": {"reward_model": {"coverage": 2, "error": 0.01}},
    "verifiable": VERIFIABLE,
    "verifiable with a penalty": {"reward_model": "verifiable"},
    "bernstein": {
        "bound": {"concentration": "bernstein", "prompt_variance": 0.1, "rollout_variance": 0.1}
    },
}


@pytest.mark.parametrize("kind", STUDIES)
def test_every_kind_of_scenario_is_tried_and_fits_its_schema(kind):
    made = scenario(**STUDIES[kind], current={"prompts": 300, "rollouts_per_prompt": 4})
    found = study_training(made, worlds=2, replicates=2)
    printed = json.loads(json_text(with_header("simulate", found.to_dict())))
    Draft202012Validator(output_schema("simulate")).validate(printed)
    names = [trained["name"] for trained in printed["allocations"]]
    assert names[0] == "plan"
    assert names[-2:] == ["current", "best-of-grid"]
    assert {"prompts-first", "labels-first", "thirds"} <= set(names)
    assert len([name for name in names if name.startswith("plan-")]) == 2
    assert printed["allocations"][0]["versus_plan"] is None
    clips = [check["threshold"] for check in printed["clipping"]]
    assert clips == ([] if kind == "verifiable" else ["plan", "2x plan", "4x plan"])


def test_the_result_does_not_depend_on_the_number_of_processes():
    texts = {
        json_text(study_training(scenario(), worlds=3, replicates=2, jobs=jobs).to_dict())
        for jobs in (1, 2)
    }
    assert len(texts) == 1


def test_another_seed_is_another_study():
    first, second = (study_training(scenario(), worlds=2, seed=seed) for seed in (0, 1))
    assert first.allocations != second.allocations


def test_an_interruption_keeps_the_worlds_that_are_done():
    def interrupt(done):
        if done == 1:
            raise KeyboardInterrupt

    found = study_training(scenario(), worlds=5, replicates=2, on_world=interrupt)
    assert found.interrupted
    assert (found.worlds.completed, found.worlds.requested) == (1, 5)
    assert found.allocations[0].quality.interval is None


def test_one_replicate_cannot_choose_and_judge():
    with pytest.raises(ScenarioError, match="replicates"):
        study_training(scenario(), worlds=1, replicates=1)


def test_a_budget_is_needed():
    with pytest.raises(ScenarioError, match="budget"):
        simulate(scenario(budget=None), worlds=1)


@pytest.mark.parametrize("preset", ["rlhf", "verifiable", "existing-reward-model"])
def test_the_presets_can_be_tried(preset, tmp_path):
    file = tmp_path / "scenario.yaml"
    file.write_text(template(preset))
    found = simulate(load_scenario(file), worlds=2, replicates=2)
    assert found.allocations[0].cost.total <= found.world.budget


# --- groups and epochs ---------------------------------------------------------------------------


def test_silent_groups_are_measured_and_planned_with_where_the_scenario_knows_of_them():
    made = scenario(**VERIFIABLE, groups={"mean": 0.5, "correlation": 0.9})
    protocol = training_protocol(made, 2)
    stage = stage_of(protocol.spec)
    random = np.random.default_rng(6)
    found = pilot.run_pilot(
        stage.world, stage.pool, stage.given, protocol.pilot, protocol.recipe, random
    )
    policy = np.exp(found.log_probability)
    success = (policy * stage.pool.reward).sum(axis=1)
    between = success.var() / (success.mean() * (1 - success.mean()))
    assert found.constants["groups"]["mean"] == pytest.approx(success.mean(), abs=0.05)
    assert found.constants["groups"]["correlation"] == pytest.approx(between, abs=0.1)
    aware = trials._planned_with(protocol.scenario, found.constants)
    assert aware.groups.mean == found.constants["groups"]["mean"]
    blind = protocol.scenario.with_values({"groups": None})
    assert trials._planned_with(blind, found.constants).groups is None


def test_epochs_come_back_to_the_same_prompts(monkeypatch):
    visited = []

    def watching(pool, order, K, runs, *rest):
        visited.append((K, [run.prompts for run in runs], order))
        return train(pool, order, K, runs, *rest)

    monkeypatch.setattr(trials, "train", watching)
    made = scenario(limits={"group_size": 4, "epochs": {"min": 1, "max": 3}})
    protocol = training_protocol(made, 2)
    once, thrice = (Allocation(100, K, 50, None) for K in (4, 12))
    trials.train_allocations(
        protocol, stage_of(protocol.spec), [once, thrice], np.random.SeedSequence(0)
    )
    (first, second) = visited
    assert first[:2] == (4, [100])
    assert second[:2] == (4, [300])
    assert np.array_equal(np.unique(second[2][0], return_counts=True)[1], np.full(100, 3))
