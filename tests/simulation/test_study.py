"""Simulations whole: valid and wrong bounds, the JSON, processes and interruptions."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from rlhf_budget import Scenario, ScenarioError
from rlhf_budget.bound import terms as bound
from rlhf_budget.report.data import json_text, with_header
from rlhf_budget.report.schema import output_schema
from rlhf_budget.simulation import WorldSpec
from rlhf_budget.simulation.evaluation import study, trials
from rlhf_budget.simulation.evaluation.study import simulate

TIGHT = WorldSpec(kl_coefficient=0.0, verifiable=True, balanced=True, strengths=(0.0,), named=0)
"""A reward of 0 or 1 with mean ½ for every prompt: nothing is more random."""


def scenario(**changes):
    written = {
        "name": "test",
        "budget": 1000,
        "objective": {"kl_coefficient": 0.05},
        "costs": {"prompt": 0.02, "rollout": 0.01, "label": 0.5},
        "reward_model": {
            "coverage": 2.0,
            "error": {"scale": 8.0, "exponent": 0.8},
            "existing_labels": 50,
        },
        "log_ratio": {"family": "gaussian", "kl": 3.0},
    }
    return Scenario(**(written | changes))


def fair_coins(concentration):
    """A scenario for ``TIGHT`` worlds, K = 1."""
    return scenario(
        objective={"kl_coefficient": 0},
        log_ratio=None,
        reward_model="verifiable",
        bound={
            "concentration": concentration,
            "prompt_variance": 0.0,
            "rollout_variance": 0.25,
        },
        limits={"prompts": 20_001, "rollouts_per_prompt": 1},
    )


def codes(simulation):
    return [notice.code for notice in simulation.warnings]


# --- a wrong bound is caught ---------------------------------------------------------------------


@pytest.mark.parametrize("concentration", ["hoeffding", "prompt_mean", "bernstein"])
def test_the_bound_holds_in_tight_worlds(concentration):
    found = simulate(fair_coins(concentration), worlds=10, world=TIGHT)
    assert found.validity.holds
    assert "bound-violated" not in codes(found)


@pytest.mark.parametrize("concentration", ["prompt_mean", "bernstein"])
def test_ten_times_the_failure_probability_is_caught(concentration, monkeypatch):
    monkeypatch.setattr(
        study, "confidence", lambda settings, delta: bound.confidence(settings, 10 * delta)
    )
    found = simulate(fair_coins(concentration), worlds=10, world=TIGHT)
    assert found.validity.share == pytest.approx(0.90, abs=0.02)
    assert not found.validity.holds
    assert "bound-violated" in codes(found)


LARGE = {"prompts": 1_000_000, "rollouts_per_prompt": 4}
ONLY_LARGE = {
    "sampling": (fair_coins("prompt_mean"), TIGHT),
    "reward_shift": (
        scenario(
            budget=1e9,
            objective={"kl_coefficient": 0.0},
            log_ratio=None,
            reward_model={"coverage": 2.0, "error": 0.01},
            limits=LARGE,
        ),
        WorldSpec(kl_coefficient=0.0, finished_error=0.01),
    ),
    "kl_clipping": (
        scenario(budget=1e9, reward_model="verifiable", limits={**LARGE, "clip_threshold": 0.0}),
        WorldSpec(verifiable=True),
    ),
}


@pytest.mark.parametrize("term", ONLY_LARGE)
def test_a_term_left_out_is_caught_where_it_alone_is_large(term, monkeypatch):
    made, world = ONLY_LARGE[term]
    whole = simulate(made, worlds=5, replicates=40, world=world)
    assert whole.validity.holds
    shares = {check.term: check.bound for check in whole.terms}
    assert shares[term] > 0.7 * sum(shares.values())

    def without(*arguments):
        claim = trials_claim(*arguments)
        return replace(claim, **{term: np.zeros_like(getattr(claim, term))})

    trials_claim = trials.claim_in_world
    monkeypatch.setattr(trials, "claim_in_world", without)
    wrong = simulate(made, worlds=5, replicates=40, world=world)
    assert not wrong.validity.holds
    assert "bound-violated" in codes(wrong)


def test_constants_that_are_too_good_are_caught_and_blamed():
    made = scenario(
        budget=1e6,
        reward_model={"coverage": 1.0, "error": {"scale": 1e-9, "exponent": 1.0}},
        limits={"labels": {"max": 10}},
    )
    found = simulate(made, worlds=4, replicates=30, constants="scenario")
    assert not found.validity.holds
    notice = next(notice for notice in found.warnings if notice.code == "bound-violated")
    assert "scenario's constants" in notice.message
    assert simulate(made, worlds=4, replicates=30, constants="true").validity.holds


# --- every kind ----------------------------------------------------------------------------------

KINDS = {
    "fixed": {"policy": "fixed"},
    "finite_class": {"policy": "finite_class", "candidates": 4},
    "pac_bayes": {"policy": "pac_bayes", "posterior_kl": 1.0},
    "bernstein": {
        "concentration": "bernstein",
        "prompt_variance": 0.02,
        "rollout_variance": 0.05,
    },
}
MODELS = {
    "labels": {"coverage": 2.0, "error": {"scale": 8.0, "exponent": 0.8}},
    "fresh labels": {"label_policy": "current", "error": {"scale": 8.0, "exponent": 0.8}},
    "features": {
        "coverage": 2.0,
        "coverage_kind": "features",
        "error": {"scale": 8.0, "exponent": 0.8},
    },
    "finished": {"coverage": 2.0, "error": 0.01},
    "known": "verifiable",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", MODELS)
def test_every_kind_of_scenario_holds_and_prints_valid_json(kind, model):
    made = scenario(bound=KINDS[kind], reward_model=MODELS[model])
    found = simulate(made, worlds=2, replicates=10)
    assert found.validity.holds
    printed = json.loads(json_text(with_header("simulate", found.to_dict())))
    Draft202012Validator(output_schema("simulate")).validate(printed)
    assert [check["held"] for check in printed["world"]["inequalities"]] == [2, 2]


def test_the_schema_is_a_schema_and_rejects_what_is_missing():
    Draft202012Validator.check_schema(output_schema("simulate"))
    printed = with_header("simulate", simulate(scenario(), worlds=1, replicates=2).to_dict())
    del printed["validity"]["holds"]
    assert not Draft202012Validator(output_schema("simulate")).is_valid(printed)


def test_one_world_has_no_intervals_of_means():
    found = simulate(scenario(), worlds=1, replicates=5)
    assert found.allocations[0].error.interval is None
    assert found.allocations[1].versus_plan.plan_wins.of == 1


def test_rivals_are_paired_by_world():
    plan = simulate(scenario(), worlds=1, replicates=5).allocations[0].allocation
    same = {
        "prompts": plan.prompts,
        "rollouts_per_prompt": plan.rollouts_per_prompt,
        "labels": plan.labels,
        "clip_threshold": plan.clip_threshold,
    }
    found = simulate(scenario(current=same), worlds=3, replicates=20)
    versus = found.allocations[-1].versus_plan
    assert found.allocations[-1].name == "current"
    assert versus.error_difference.interval == (0.0, 0.0)
    assert versus.quality_difference.interval == (0.0, 0.0)
    assert versus.plan_wins.worlds == 0


def test_terms_add_up_to_the_bound_of_the_plan():
    found = simulate(scenario(), worlds=3, replicates=10)
    total = sum(term.bound for term in found.terms)
    assert total == pytest.approx(found.allocations[0].bound_total)


def test_the_scenario_bound_is_the_planner_s():
    made = scenario()
    found = simulate(made, worlds=2, replicates=5, constants="scenario")
    for tried in found.allocations:
        expected = bound.evaluate(made, tried.allocation).total
        assert tried.bound_total == pytest.approx(expected)


def test_seeds_decide_everything():
    first, again, other = (
        simulate(scenario(), worlds=2, replicates=5, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.to_dict() != other.to_dict()


def test_what_breaks_the_budget_or_is_forbidden_is_said():
    now = {"prompts": 10**6, "rollouts_per_prompt": 8, "labels": 0}
    made = scenario(current=now, limits={"rollouts_per_prompt": {"max": 4}})
    found = simulate(made, worlds=1, replicates=2)
    assert codes(found) == ["rivals-left-out", "current-not-feasible"]


def test_a_simulation_says_what_it_found():
    assert repr(simulate(scenario(), worlds=1, replicates=5)).startswith(
        "Simulation('test': the bound holds in 5 of 5 trials"
    )


# --- refusals ------------------------------------------------------------------------------------


def test_sgd_is_not_simulated():
    sgd = {
        "learning_rate": 1e-3,
        "batch_size": 64,
        "hessian_eigenvalues": [1.0],
        "gradient_noise_eigenvalues": [1.0],
        "prior_std": 0.1,
        "distance": 0.3,
    }
    with pytest.raises(ScenarioError, match="no gradient noise"):
        simulate(scenario(bound={"policy": "sgd", "sgd": sgd}))


def test_too_many_candidates_are_refused():
    with pytest.raises(ScenarioError, match="10,000 candidates"):
        simulate(scenario(bound={"policy": "finite_class", "candidates": 10**6}))


# --- processes and interruptions -----------------------------------------------------------------


def test_the_number_of_processes_changes_nothing():
    alone, together = (simulate(scenario(), worlds=3, replicates=10, jobs=jobs) for jobs in (1, 2))
    assert json_text(alone.to_dict()) == json_text(together.to_dict())


def test_an_interruption_keeps_what_is_done():
    def interrupt(done):
        if done == 2:
            raise KeyboardInterrupt

    found = simulate(scenario(), worlds=5, replicates=5, on_world=interrupt)
    assert found.interrupted
    assert (found.worlds.completed, found.worlds.requested) == (2, 5)
    assert found.validity.trials == 10


def test_an_interruption_before_the_first_world_is_passed_on(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "try_world", interrupt)
    with pytest.raises(KeyboardInterrupt):
        simulate(scenario(), worlds=5, replicates=5)


def test_progress_counts_worlds():
    seen = []
    simulate(scenario(), worlds=3, replicates=2, on_world=seen.append)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("penalty", [1e-6, 1e-3, 1e4])
def test_extreme_penalties_keep_every_number_finite(penalty):
    made = scenario(
        objective={"kl_coefficient": penalty},
        reward_model={"label_policy": "current", "error": {"scale": 8.0, "exponent": 1.0}},
    )
    found = simulate(made, worlds=2, replicates=5)
    json_text(found.to_dict())
    assert found.validity.holds
    assert [check.held for check in found.world.inequalities] == [2, 2]
