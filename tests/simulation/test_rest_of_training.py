"""Runs that change on their way, and the study of docs/underway.md in few worlds."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rlhf_budget.optimum.case import prepare
from rlhf_budget.simulation.training.study import training_protocol
from rlhf_budget.simulation.training.trainer import Phase, Recipe, Run, train, train_in_phases
from rlhf_budget.simulation.training.trials import set_stage
from rlhf_budget.simulation.training.world import TrainingSpec, draw_prompts, draw_world

STUDY = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "underway.py"))
SPEC = TrainingSpec(responses=6, features=4)
RECIPE = Recipe(kl_coefficient=0.05, normalise=False, learning_rates=(0.02, 0.1), step=32)


@pytest.fixture(scope="module")
def truth():
    protocol = training_protocol(STUDY["to_train"](STUDY["PRICES"]["between"]), 2, rules=())
    laws, piloting = np.random.SeedSequence(3).spawn(2)
    return set_stage(protocol, laws, piloting)[1]


def test_two_like_halves_are_the_whole() -> None:
    random = np.random.default_rng(1)
    world = draw_world(SPEC, random)
    pool = draw_prompts(world, 96, random)
    weights = random.standard_normal((3, 4)).astype(np.float32)
    order = np.stack([random.permutation(96) for _ in range(3)])
    whole, half = Run(96, 2.0, weights), Run(48, 2.0, weights)
    given = pool.level + 0 * pool.reward

    def seeded() -> np.random.Generator:
        return np.random.default_rng(7)

    once = train(pool, order, 4, [whole], RECIPE, given, seeded())[0]
    alone = train_in_phases(pool, order, [Phase(whole, 4, 0.0)], RECIPE, given, seeded())
    halves = [Phase(half, 4, 0.5), Phase(half, 4, 0.0)]
    np.testing.assert_array_equal(alone, once)
    np.testing.assert_allclose(
        train_in_phases(pool, order, halves, RECIPE, given, seeded()), once, atol=1e-6
    )
    other = [halves[0], replace(halves[1], rollouts_per_prompt=16)]
    changed = train_in_phases(pool, order, other, RECIPE, given, seeded())
    assert np.abs(changed - once).max() > 1e-3


def test_both_arms_share_the_first_part_and_keep_the_budget(truth) -> None:
    prices = prepare(truth).prices
    for wrong in STUDY["GUESSES"]:
        guess = STUDY["guessed"](truth, *wrong)
        stay, change, _, in_time = STUDY["stay_or_change"](truth, guess)
        assert stay.phases[0] == change.phases[0]
        assert in_time.labels == change.labels
        (n, m), K = stay.before, stay.plan.rollouts_per_prompt
        spent = prices.cost(n, K, m).total
        assert spent <= 0.5 * truth.budget + 1.0
        for half in (stay, change):
            rest = prices.cost(*half.after).total
            assert spent + rest <= truth.budget * (1 + 1e-9)
        assert spent + prices.cost(*change.after).total > 0.99 * truth.budget


def test_who_guessed_right_has_nothing_to_change(truth) -> None:
    stay, change, *_ = STUDY["stay_or_change"](truth, truth)
    assert stay.plan.rollouts_per_prompt == change.after[1]
    assert stay.after[0] == pytest.approx(change.after[0], rel=0.02, abs=2)
    assert stay.labels == pytest.approx(change.labels, rel=0.02, abs=2)


def test_a_guess_moves_the_plan_as_it_should(truth) -> None:
    def labels(key: str, by: float) -> int:
        guess = STUDY["guessed"](truth, key, by)
        return int(STUDY["stay_or_change"](truth, guess)[0].plan.labels)

    assert labels("reward_model.coverage", 3.0) > labels("reward_model.coverage", 1 / 3)
    assert labels("costs.label", 1 / 3) > labels("costs.label", 3.0)


def test_a_world_tries_every_guess_and_the_table_tells_them() -> None:
    protocol = training_protocol(
        STUDY["to_train"](STUDY["PRICES"]["between"]), 2, rules=(), size=0.2
    )
    records = [STUDY["try_rest"](protocol, np.random.SeedSequence(s)) for s in (1, 2)]
    guesses = len(STUDY["GUESSES"])
    assert records[0].quality.shape == (1 + 4 * guesses, 3, 2)
    assert np.isfinite(records[0].quality).all()
    lines = STUDY["table"](STUDY["gather"]([records])).splitlines()
    assert len(lines) == 2 + guesses + 3 + 2
    assert all("% of 2 (" in line for line in lines[2:-2])
