"""One test for each rule: what is allowed, what is not, and what the report says."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scenario_helpers import (
    BASE,
    GPU,
    SGD,
    patched,
    problems_of,
    replaced,
    scenario,
    the_problem,
    unhurried,
)

from rlhf_budget.bound.tails import tail_of
from rlhf_budget.errors import ScenarioError
from rlhf_budget.scenario import Scenario, load_scenario, load_scenarios
from rlhf_budget.scenario.keys import KEYS

# --- defaults


def test_defaults():
    plain = load_scenario(BASE)
    assert plain.name == "scenario"
    assert plain.currency == "USD"
    assert plain.inputs() == {
        "budget": 50000.0,
        "objective": {"kl_coefficient": 0.05, "reward_range": 1.0, "failure_probability": 0.05},
        "bound": {"concentration": "hoeffding", "policy": "fixed"},
        "costs": {
            "prompt": {"acquisition": 0.002, "existing": 0, "prefill": 0.0},
            "rollout": 0.01,
            "label": 1.5,
            "fixed": 0.0,
        },
        "reward_model": {
            "coverage": 4.0,
            "coverage_kind": "density",
            "error": {"floor": 0.02, "scale": 8.0, "exponent": 0.8},
            "existing_labels": 0,
            "label_policy": "behaviour",
        },
        "log_ratio": {"family": "gaussian", "kl": 12.0},
        "limits": {
            "prompts": {"min": 1},
            "rollouts_per_prompt": {"min": 1, "max": 256},
            "labels": {"min": 0},
            "clip_threshold": {"min": 0.0},
        },
    }
    assert plain.current is None
    assert plain.assumed == ()
    assert (plain.sources, plain.checks, plain.scenarios) == ({}, {}, {})


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"objective": None}, "objective.kl_coefficient"),
        ({"costs": {"prompt": None}}, "costs.prompt"),
        ({"costs": {"rollout": None}}, "costs.rollout"),
        ({"costs": {"label": None}}, "costs.label"),
        ({"reward_model": None}, "reward_model"),
        ({"reward_model": {"coverage": None}}, "reward_model.coverage"),
        ({"reward_model": {"error": None}}, "reward_model.error"),
        ({"reward_model": {"error": {"scale": None}}}, "reward_model.error.scale"),
        ({"reward_model": {"error": {"exponent": None}}}, "reward_model.error.exponent"),
        ({"log_ratio": None}, "log_ratio"),
        ({"log_ratio": {"kl": None}}, "log_ratio.kl"),
    ],
)
def test_required_keys(changes, missing):
    problem = the_problem(patched(**changes))
    assert (problem.key, problem.found) == (missing, "nothing")


def test_a_budget_is_required_on_demand_only():
    without = patched(budget=None)
    assert load_scenario(without).budget is None
    with pytest.raises(ScenarioError, match="budget: found nothing"):
        load_scenario(without, budget_required=True)


def test_an_empty_scenario_names_everything_that_it_needs():
    with pytest.raises(ScenarioError) as caught:
        load_scenario({}, budget_required=True)
    assert {problem.key for problem in caught.value.problems} == {
        "budget",
        "objective.kl_coefficient",
        "costs.prompt",
        "costs.rollout",
        "reward_model",
        "log_ratio",
    }


# --- numbers

NUMBERS = {
    "budget": (0, -1),
    "objective.kl_coefficient": (-0.1,),
    "objective.reward_range": (0, -1),
    "objective.failure_probability": (0, 1, 1.5),
    "bound.prompt_variance": (-0.1,),
    "bound.rollout_variance": (-0.1,),
    "costs.prompt": (-1,),
    "costs.prompt.acquisition": (-1,),
    "costs.prompt.prefill": (-1,),
    "costs.rollout": (-1,),
    "costs.label": (-1,),
    "costs.fixed": (-1,),
    "reward_model.coverage": (0.99,),
    "reward_model.error": (-0.1,),
    "log_ratio.kl": (0, -1),
    "log_ratio.std": (0, -1),
}
WHOLES = {
    "costs.prompt.existing": (-1, 3.5),
    "reward_model.existing_labels": (-1, 3.5),
    "limits.prompts": (0, 3.5, 2e12),
    "limits.prompts.min": (0, 3.5, 2e12),
    "limits.prompts.max": (0, 3.5),
    "limits.rollouts_per_prompt": (0, 3.5, 1025),
    "limits.rollouts_per_prompt.min": (0, 3.5, 1025),
    "limits.rollouts_per_prompt.max": (0, 3.5, 1025),
    "limits.labels": (-1, 3.5, 2e12),
    "limits.labels.max": (-1, 3.5),
}
NOT_NUMBERS = (True, False, "5", "5%", "1,000", [1], {"value": 1}, math.nan, math.inf, 10**400)


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in (NUMBERS | WHOLES).items() for value in values],
)
def test_numbers_out_of_range(key, value):
    problem = the_problem(replaced(key, value))
    assert problem.key == key
    assert "number" in problem.allowed


@pytest.mark.parametrize("key", NUMBERS | WHOLES)
@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: str(value)[:12])
def test_what_is_no_number(key, value):
    keys = {problem.key for problem in problems_of(replaced(key, value))}
    assert keys <= {key, f"{key}.value"}


def test_numbers_of_the_policies():
    for values in (
        {"policy": "finite_class", "candidates": 0},
        {"policy": "finite_class", "candidates": 1.5},
        {"policy": "pac_bayes", "posterior_kl": -1},
        {"policy": "sgd", "sgd": {**SGD, "batch_size": 0}},
        {"policy": "sgd", "sgd": {**SGD, "learning_rate": 0}},
        {"policy": "sgd", "sgd": {**SGD, "prior_std": 0}},
        {"policy": "sgd", "sgd": {**SGD, "distance": -1}},
    ):
        assert the_problem(patched(bound=values)).key.startswith("bound.")


@pytest.mark.parametrize("value", [31000, 3.1e4])
def test_whole_numbers_may_be_written_as_floats(value):
    existing = scenario(costs={"prompt": {"acquisition": 5, "existing": value}}).costs.prompt
    assert existing.existing == 31000
    assert type(existing.existing) is int


def test_numbers_of_numpy():
    np = pytest.importorskip("numpy")
    values = patched(
        budget=np.float64(5e4),
        limits={"prompts": {"max": np.int64(100)}, "rollouts_per_prompt": {"choices": [4]}},
        log_ratio={"family": "empirical", "kl": None, "samples": np.array([1.0, 2.0])},
    )
    read = load_scenario(values)
    assert read.log_ratio.samples == (1.0, 2.0)
    assert type(read.budget) is float
    assert type(read.limits.prompts.max) is int


def test_the_reward_range_may_be_an_interval():
    assert scenario(objective={"reward_range": [-2, 3]}).objective.reward_range == 5.0


@pytest.mark.parametrize("value", [[1, 0], [1, 1], [0], [0, 1, 2], ["a", 1], [True, 2], []])
def test_intervals_that_are_none(value):
    problem = the_problem(patched(objective={"reward_range": value}))
    assert problem.allowed == "[low, high], two numbers with low < high"


def test_an_interval_too_wide():
    assert the_problem(patched(objective={"reward_range": [-1.7e308, 1.7e308]}))


def test_a_range_of_a_reward_range_hints_at_the_interval():
    problem = the_problem(patched(objective={"reward_range": {"low": 0, "high": 1}}))
    assert problem.key == "objective.reward_range.low"
    assert "[low, high]" in problem.allowed


# --- words and structure


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("bound.concentration", "bernstien", "bernstein"),
        ("bound.concentration", "prompt-mean", "prompt_mean"),
        ("bound.policy", "pacbayes", "pac_bayes"),
        ("reward_model.coverage_kind", "feature", "features"),
        ("reward_model.label_policy", "behavior", "behaviour"),
        ("log_ratio.family", "log_normal", "lognormal"),
    ],
)
def test_misspelt_words(key, value, meant):
    problem = the_problem(replaced(key, value))
    assert problem.key == key
    assert problem.allowed.endswith(f"did you mean {meant}?")


@pytest.mark.parametrize("value", [5, True, ["fixed"], {"fixed": 1}])
def test_what_is_no_word(value):
    assert problems_of(replaced("bound.policy", value))[-1].key.startswith("bound.policy")


@pytest.mark.parametrize(
    ("key", "listed"),
    [
        ("objective", "a mapping of kl_coefficient, reward_range, failure_probability"),
        ("bound", "a mapping of concentration"),
        ("costs", "a mapping of prompt"),
        ("log_ratio", "a mapping of family"),
        ("limits", "a mapping of prompts"),
        ("current", "a mapping of prompts"),
        ("sources", "a mapping"),
        ("checks", "a mapping"),
        ("scenarios", "a mapping"),
        ("costs.gpu", "a mapping of hourly_rate"),
        ("reward_model", "or the word verifiable"),
    ],
)
@pytest.mark.parametrize("value", [5, "text", [1]])
def test_sections_are_mappings(key, listed, value):
    problem = next(each for each in problems_of(replaced(key, value)) if each.key == key)
    assert listed in problem.allowed


@pytest.mark.parametrize("key", ["name", "currency"])
@pytest.mark.parametrize("value", ["", "  ", 5, True, ["a"]])
def test_texts(key, value):
    assert the_problem(replaced(key, value)).key == key


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("budgets", "budget"),
        ("costs.lable", "label"),
        ("costs.prompt.exisitng", "existing"),
        ("reward_model.label-policy", "label_policy"),
        ("reward_model.error.exponant", "exponent"),
        ("log_ratio.sigma2", "sigma"),
        ("limits.prompts.maximum", "max"),
        ("kl_coefficient", "objective.kl_coefficient"),
        ("objective.beta", "objective.kl_coefficient"),
        ("limits.K", "limits.rollouts_per_prompt"),
        ("reward_model.verifiable", "reward_model: verifiable"),
        ("costs.label.hgih", "high"),
        ("current.prompt", "prompts"),
    ],
)
def test_unknown_keys_suggest_the_nearest(key, meant):
    problem = next(each for each in problems_of(replaced(key, 1)) if each.key == key)
    assert problem.found == f"unknown key '{key.rpartition('.')[2]}'"
    assert problem.allowed.endswith(f"did you mean {meant}?")


def test_an_unknown_key_like_none_lists_what_there_is():
    problem = the_problem(patched(bound={"zzz": 1}))
    assert problem.allowed.startswith("one of concentration, policy,")
    assert "did you mean" not in problem.allowed


# --- bound


def test_bernstein_needs_both_variances():
    keys = {problem.key for problem in problems_of(patched(bound={"concentration": "bernstein"}))}
    assert keys == {"bound.prompt_variance", "bound.rollout_variance"}
    one = {"concentration": "bernstein", "prompt_variance": 0.03}
    assert the_problem(patched(bound=one)).key == "bound.rollout_variance"
    scenario(bound={**one, "rollout_variance": 0})


@pytest.mark.parametrize(
    "policy", [{"policy": "pac_bayes", "posterior_kl": 3}, {"policy": "sgd", "sgd": SGD}]
)
def test_bernstein_goes_with_fixed_and_finite_class_only(policy):
    variances = {"prompt_variance": 0.03, "rollout_variance": 0.05}
    problem = the_problem(patched(bound={"concentration": "bernstein", **variances, **policy}))
    assert problem.key == "bound.concentration"
    assert "the policies fixed and finite_class only" in problem.allowed
    scenario(bound={"concentration": "prompt_mean", **variances, **policy})


@pytest.mark.parametrize(
    ("policy", "needed"),
    [("finite_class", "candidates"), ("pac_bayes", "posterior_kl"), ("sgd", "sgd")],
)
def test_policies_need_their_constants(policy, needed):
    problem = the_problem(patched(bound={"policy": policy}))
    assert (problem.key, problem.found) == (f"bound.{needed}", "nothing")
    assert f"with policy {policy}" in problem.allowed


@pytest.mark.parametrize(
    "constants",
    [{"candidates": 3}, {"posterior_kl": 3.0}, {"sgd": SGD}],
    ids=lambda each: str(*each),
)
def test_constants_need_their_policy(constants):
    (name,) = constants
    problem = the_problem(patched(bound=constants))
    assert problem.key == f"bound.{name}"
    assert problem.found == f"{name} with policy fixed"


def test_the_variances_are_legal_with_every_concentration():
    variances = {"prompt_variance": 0.03, "rollout_variance": 0.05}
    assert scenario(bound=variances).bound.prompt_variance == 0.03


@pytest.mark.parametrize("value", [[], 3, [1, 0], [1, -2], [1, "2"], [1, True], [1, math.nan]])
def test_eigenvalues_are_positive_numbers(value):
    sgd = {**SGD, "hessian_eigenvalues": value}
    problem = the_problem(patched(bound={"policy": "sgd", "sgd": sgd}))
    assert problem.key == "bound.sgd.hessian_eigenvalues"


def test_the_entry_that_is_wrong_is_named():
    sgd = {**SGD, "hessian_eigenvalues": [1, -2]}
    problem = the_problem(patched(bound={"policy": "sgd", "sgd": sgd}))
    assert problem.found == "-2 as entry 2"


def test_eigenvalues_are_equally_many():
    sgd = {**SGD, "gradient_noise_eigenvalues": [1]}
    problem = the_problem(patched(bound={"policy": "sgd", "sgd": sgd}))
    assert problem.key == "bound.sgd.gradient_noise_eigenvalues"
    assert problem.found == "1 eigenvalues beside 2 of the Hessian"


def test_sgd():
    sgd = scenario(bound={"policy": "sgd", "sgd": SGD}).bound.sgd
    assert sgd.hessian_eigenvalues == (4.0, 1.0)
    assert sgd.distance == 0.0
    keys = {problem.key for problem in problems_of(patched(bound={"policy": "sgd", "sgd": {}}))}
    assert keys == {f"bound.sgd.{name}" for name in SGD}


# --- costs


def test_costs_from_tokens():
    costs = scenario(
        costs={
            "prompt": {"acquisition": 5, "existing": 31000, "tokens": 512},
            "rollout": {"tokens": 600, "scoring": 0.0001, "train": True},
            "gpu": GPU,
        }
    ).costs
    assert costs.prompt.prefill == pytest.approx(512 / 20000 * 2.5 / 3600, rel=1e-15)
    seconds = 600 / 2500 + (512 + 600) / 4000
    assert costs.rollout == pytest.approx(0.0001 + seconds * 2.5 / 3600, rel=1e-15)
    assert costs.derived == {"costs.rollout", "costs.prompt.prefill"}


def test_a_rollout_that_is_not_trained_on():
    costs = scenario(costs={"rollout": {"tokens": 600}, "gpu": GPU}).costs
    assert costs.rollout == pytest.approx(600 / 2500 * 2.5 / 3600, rel=1e-15)
    assert costs.derived == {"costs.rollout"}


def test_a_written_prefill_is_used_in_place_of_tokens():
    prompt = {"prefill": 0.25, "tokens": 512}
    rollout = {"tokens": 600, "train": True}
    costs = scenario(costs={"prompt": prompt, "rollout": rollout, "gpu": GPU}).costs
    assert costs.prompt.prefill == 0.25
    assert costs.derived == {"costs.rollout"}


def test_training_needs_the_length_of_a_prompt():
    costs = {"rollout": {"tokens": 600, "train": True}, "gpu": GPU}
    problem = the_problem(patched(costs=costs))
    assert problem.key == "costs.prompt.tokens"
    assert "train is true" in problem.allowed


def test_tokens_need_a_gpu():
    costs = {"prompt": {"tokens": 5}, "rollout": {"tokens": 600}}
    problem = the_problem(patched(costs=costs))
    assert problem.key == "costs.gpu"


@pytest.mark.parametrize("speed", ["prefill", "decode", "train"])
def test_a_gpu_needs_the_speeds_that_are_used(speed):
    name = f"{speed}_tokens_per_second"
    slow = {key: value for key, value in GPU.items() if key != name}
    costs = {"prompt": {"tokens": 5}, "rollout": {"tokens": 600, "train": True}, "gpu": slow}
    problem = the_problem(patched(costs=costs))
    assert (problem.key, problem.found) == (f"costs.gpu.{name}", "nothing")


def test_a_gpu_is_checked_as_a_whole():
    gpu = {"hourly_rate": -1, "decode_tokens_per_second": 0, "speed": 3}
    costs = {"prompt": {"tokens": 5}, "rollout": {"tokens": 600}, "gpu": gpu}
    assert {problem.key for problem in problems_of(patched(costs=costs))} == {
        "costs.gpu.hourly_rate",
        "costs.gpu.decode_tokens_per_second",
        "costs.gpu.speed",
        "costs.gpu.prefill_tokens_per_second",
    }


def test_an_unused_gpu_is_fine():
    assert scenario(costs={"gpu": {"hourly_rate": 2}}).costs.derived == frozenset()


def test_a_price_beyond_numbers():
    gpu = {**GPU, "decode_tokens_per_second": 1e-300}
    costs = {"rollout": {"tokens": 1e10}, "gpu": gpu}
    assert the_problem(patched(costs=costs)).found == "a price beyond the largest number"


@pytest.mark.parametrize("value", ["yes", 1, 0, "true"])
def test_train_is_true_or_false(value):
    costs = {"rollout": {"tokens": 600, "train": value}, "gpu": GPU}
    problem = the_problem(patched(costs=costs))
    assert (problem.key, problem.allowed) == ("costs.rollout.train", "true or false")


def test_a_label_has_a_price_where_labels_can_be_bought():
    free_of_it = [
        {"reward_model": "verifiable"},
        {"reward_model": {"error": 0.01}},
        {"limits": {"labels": 0}},
        {"limits": {"labels": {"max": 0}}},
    ]
    for changes in free_of_it:
        assert scenario(costs={"label": None}, **changes).costs.label is None
        assert scenario(**changes).costs.label == 1.5


# --- reward model


def test_chi2_is_resolved_to_coverage():
    model = scenario(reward_model={"coverage": None, "chi2": 15.0}).reward_model
    assert model.coverage == 4.0


def test_coverage_and_chi2_exclude_each_other():
    problems = problems_of(patched(reward_model={"coverage": 0.5, "chi2": -1}))
    assert [problem.key for problem in problems] == [
        "reward_model.chi2",
        "reward_model.coverage",
        "reward_model.chi2",
    ]


def test_coverage_is_not_needed_where_all_labels_are_current():
    current = {"coverage": None, "label_policy": "current"}
    assert scenario(reward_model=current).reward_model.coverage is None
    problem = the_problem(patched(reward_model={**current, "existing_labels": 5}))
    assert problem.key == "reward_model.coverage"
    assert "label_policy: current and no labels, neither existing nor" in problem.allowed
    assert scenario(reward_model={"label_policy": "current"}).reward_model.coverage == 4.0


def test_verifiable():
    read = scenario(reward_model="verifiable")
    assert read.reward_model == "verifiable"
    assert read.inputs()["reward_model"] == "verifiable"


@pytest.mark.parametrize("value", ["verifyable", "unknown", 3, [1]])
def test_other_reward_models(value):
    assert the_problem(patched(reward_model=value)).key == "reward_model"


def test_a_finished_reward_model():
    assert scenario(reward_model={"error": 0.015}).reward_model.error == 0.015


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"reward_model": "verifiable", "limits": {"labels": 5}}, "limits.labels"),
        ({"reward_model": "verifiable", "limits": {"labels": {"min": 5}}}, "limits.labels.min"),
        ({"reward_model": {"error": 0.01}, "limits": {"labels": {"min": 5}}}, "limits.labels.min"),
    ],
)
def test_labels_that_cannot_be_bought_cannot_be_asked_for(changes, key):
    problem = the_problem(patched(**changes))
    assert problem.key == key
    assert "no labels are bought" in problem.allowed


# --- log-ratio

FAMILIES = {
    "gaussian": {"kl": 12.0},
    "exponential": {"mean": 12.0},
    "half_normal": {"scale": 9.0},
    "gamma": {"shape": 2.5, "scale": 4.0},
    "weibull": {"shape": 0.8, "scale": 10.0},
    "lognormal": {"mu": 2.0, "sigma": 0.8},
    "lomax": {"shape": 2.5, "scale": 15.0},
    "empirical": {"samples": [1.0, -2.0, 3]},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_families(family):
    read = load_scenario(replaced("log_ratio", {"family": family, **FAMILIES[family]}))
    assert read.log_ratio.family == family
    assert tail_of(read.log_ratio).family == family
    assert tail_of(read.log_ratio) is tail_of(read.log_ratio)


@pytest.mark.parametrize("family", FAMILIES)
def test_families_need_their_fields_and_no_others(family):
    keys = {problem.key for problem in problems_of(replaced("log_ratio", {"family": family}))}
    assert keys == {f"log_ratio.{name}" for name in FAMILIES[family]}
    foreign = "mu" if family != "lognormal" else "kl"
    problem = the_problem(
        replaced("log_ratio", {"family": family, **FAMILIES[family], foreign: 1.0})
    )
    assert problem.key == f"log_ratio.{foreign}"
    assert f"for family {family}: " in problem.allowed


def test_the_default_family_is_gaussian():
    assert load_scenario(replaced("log_ratio", {"kl": 3})).log_ratio.family == "gaussian"


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("exponential", {"mean": 0}),
        ("half_normal", {"scale": 0}),
        ("gamma", {"shape": 0}),
        ("gamma", {"scale": -1}),
        ("weibull", {"shape": 0}),
        ("weibull", {"scale": 0}),
        ("lognormal", {"sigma": 0}),
        ("lomax", {"shape": 1}),
        ("lomax", {"scale": 0}),
        ("empirical", {"samples": []}),
        ("empirical", {"samples": [1, "2"]}),
        ("empirical", {"samples": [1, math.inf]}),
    ],
)
def test_fields_out_of_range(family, changes):
    values = {"family": family, **FAMILIES[family], **changes}
    (name,) = changes
    assert the_problem(replaced("log_ratio", values)).key == f"log_ratio.{name}"


@pytest.mark.parametrize(
    "values",
    [
        {"family": "lognormal", "mu": 800, "sigma": 1},
        {"family": "lognormal", "mu": 0, "sigma": 1e200},
        {"family": "lognormal", "mu": -800, "sigma": 1},
        {"family": "weibull", "shape": 1e-3, "scale": 1},
        {"family": "gamma", "shape": 1e8, "scale": 1e305},
        {"family": "lomax", "shape": math.nextafter(1, 2), "scale": 1e300},
    ],
)
def test_the_mean_of_a_tail_is_positive_and_finite(values):
    problem = the_problem(replaced("log_ratio", values))
    assert (problem.key, problem.allowed) == ("log_ratio", "a tail with a finite mean above 0")


def test_kl_per_token():
    law = load_scenario(replaced("log_ratio", {"kl_per_token": 0.02, "tokens": 600})).log_ratio
    assert law.kl == 12.0


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"kl_per_token": 0.02}, "log_ratio.tokens"),
        ({"tokens": 600}, "log_ratio.kl_per_token"),
        ({"kl": 12, "kl_per_token": 0.02, "tokens": 600}, "log_ratio.kl"),
        ({"kl_per_token": 1e200, "tokens": 1e200}, "log_ratio.kl_per_token"),
        ({"kl_per_token": 0, "tokens": 600}, "log_ratio.kl_per_token"),
    ],
)
def test_kl_per_token_goes_with_tokens_and_without_kl(values, key):
    assert the_problem(replaced("log_ratio", values)).key == key


def test_samples_and_file_exclude_each_other():
    values = {"family": "empirical", "samples": [1], "file": "nowhere.csv"}
    assert the_problem(replaced("log_ratio", values)).key == "log_ratio.file"


def test_log_ratio_may_be_left_out_without_a_penalty():
    read = scenario(objective={"kl_coefficient": 0}, log_ratio=None)
    assert read.log_ratio is None
    assert "log_ratio" not in read.inputs()
    assert scenario(objective={"kl_coefficient": 0}).log_ratio.kl == 12.0


# --- limits and the allocation to beat


def test_a_plain_number_fixes_a_decision():
    limits = scenario(
        limits={"prompts": 1e3, "rollouts_per_prompt": 8, "labels": 0, "clip_threshold": 10}
    ).limits
    assert (limits.prompts.min, limits.prompts.max) == (1000, 1000)
    assert (limits.rollouts_per_prompt.min, limits.rollouts_per_prompt.max) == (8, 8)
    assert (limits.labels.min, limits.labels.max) == (0, 0)
    assert (limits.clip_threshold.min, limits.clip_threshold.max) == (10.0, 10.0)


@pytest.mark.parametrize("name", ["prompts", "rollouts_per_prompt", "labels", "clip_threshold"])
def test_min_is_not_above_max(name):
    problem = the_problem(patched(limits={name: {"min": 5, "max": 3}}))
    assert (problem.key, problem.found) == (f"limits.{name}", "min 5 above max 3")
    scenario(limits={name: {"min": 5, "max": 5}})


def test_a_min_above_the_default_max():
    problem = the_problem(patched(limits={"rollouts_per_prompt": {"min": 300}}))
    assert problem.found == "min 300 above max 256 (the default)"
    scenario(limits={"rollouts_per_prompt": {"min": 300, "max": 1024}})


def test_choices_are_sorted():
    limits = scenario(limits={"rollouts_per_prompt": {"choices": [16, 4.0, 8]}}).limits
    assert limits.rollouts_per_prompt.choices == (4, 8, 16)
    assert limits.rollouts_per_prompt.min is None
    assert limits.rollouts_per_prompt.max is None


@pytest.mark.parametrize("choices", [[], [4, 4], [0], [4.5], [1025], ["4"], [True], 4, "4, 8"])
def test_choices_are_distinct_positive_whole_numbers(choices):
    problem = the_problem(patched(limits={"rollouts_per_prompt": {"choices": choices}}))
    assert problem.key == "limits.rollouts_per_prompt.choices"


def test_choices_exclude_min_and_max():
    problem = the_problem(patched(limits={"rollouts_per_prompt": {"choices": [4], "max": 8}}))
    assert problem.found == "choices beside min or max"


def test_a_limit_beyond_the_cap_of_prompts_is_fine():
    assert scenario(limits={"prompts": {"max": 1e15}}).limits.prompts.max == 10**15


def test_current():
    current = scenario(current={"prompts": 3.1e4, "rollouts_per_prompt": 8}).current
    assert current.prompts == 31000
    assert current.labels == 0
    assert current.clip_threshold is None


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, {"current.prompts", "current.rollouts_per_prompt"}),
        ({"prompts": 0, "rollouts_per_prompt": 1}, {"current.prompts"}),
        ({"prompts": 1, "rollouts_per_prompt": 1, "labels": -1}, {"current.labels"}),
        ({"prompts": 1, "rollouts_per_prompt": 1.5}, {"current.rollouts_per_prompt"}),
        (
            {"prompts": 1, "rollouts_per_prompt": 1, "clip_threshold": -1},
            {"current.clip_threshold"},
        ),
    ],
)
def test_problems_of_current(values, keys):
    assert {problem.key for problem in problems_of(patched(current=values))} == keys


# --- sources, checks, scenarios


def test_sources():
    sources = {"costs.label": "vendor quote", "reward_model.chi2": "guess", "costs.label.low": "x"}
    assert scenario(sources=sources).sources == sources


@pytest.mark.parametrize(
    ("sources", "key", "hint"),
    [
        ({"costs.lable": "x"}, "sources.costs.lable", "did you mean costs.label?"),
        ({"label": "x"}, "sources.label", "the key path of a constant"),
        ({"costs": {"label": "x"}}, "sources.costs", "its whole path: 'costs.label'"),
        ({"costs.label": 5}, "sources.costs.label", "a text"),
        ({"budget.low": "x"}, "sources.budget.low", "the key path of a constant"),
    ],
)
def test_problems_of_sources(sources, key, hint):
    problem = the_problem(patched(sources=sources))
    assert problem.key == key
    assert hint in problem.allowed


def test_checks():
    checks = {"bound.total": {"max": 0.6}, "current.excess_relative": {"min": 0, "max": 0.05}}
    assert scenario(checks=checks).checks == checks


@pytest.mark.parametrize(
    ("checks", "key", "hint"),
    [
        ({"bound.totl": {"max": 1}}, "checks.bound.totl", "did you mean bound.total?"),
        ({"bound.total": 0.6}, "checks.bound.total", "a mapping of min, max or both"),
        ({"bound.total": {}}, "checks.bound.total", "a mapping of min, max or both"),
        ({"bound.total": {"maximum": 1}}, "checks.bound.total.maximum", "min or max"),
        ({"bound.total": {"max": "5%"}}, "checks.bound.total.max", "a number"),
        ({"bound.total": {"min": 2, "max": 1}}, "checks.bound.total", "min <= max"),
        ({"bound.vacuous": {"max": 0}}, "checks.bound.vacuous", "a number of the plan"),
    ],
)
def test_problems_of_checks(checks, key, hint):
    problem = the_problem(patched(checks=checks))
    assert problem.key == key
    assert hint in problem.allowed


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"costs": {"lable": 1}}, "scenarios.a.costs.lable"),
        ({"costs": {"lable": None}}, "scenarios.a.costs.lable"),
        ({"extends": "b.yaml"}, "scenarios.a.extends"),
        ({"scenarios": {"b": {}}}, "scenarios.a.scenarios"),
        (3, "scenarios.a"),
    ],
)
def test_problems_of_named_scenarios(changes, key):
    values = {**BASE, "scenarios": {"a": changes}}
    assert the_problem(values).key == key


def test_named_scenarios_are_only_checked_for_their_keys():
    scenario(scenarios={"a": {"costs": {"label": -1}}})


# --- all at once, and from code


def test_all_problems_are_reported_at_once():
    values = {
        "budget": -1,
        "budjet": 1,
        "objective": {"kl_coefficient": True, "failure_probability": 2},
        "bound": {"policy": "finite_class", "candidates": 0, "concentration": "bernstein"},
        "costs": {"prompt": -1, "rollout": "1", "lable": 2},
        "reward_model": {"coverage": 0, "error": {"scale": 8}},
        "log_ratio": {"family": "lomax", "shape": 1},
        "limits": {"prompts": {"min": 3, "max": 2}},
        "current": {"prompts": 3},
        "sources": {"x": "y"},
        "checks": {"x": {"max": 1}},
        "scenarios": {"a": 1},
    }
    assert {problem.key for problem in problems_of(values)} == {
        "budget",
        "budjet",
        "objective.kl_coefficient",
        "objective.failure_probability",
        "bound.candidates",
        "bound.prompt_variance",
        "bound.rollout_variance",
        "costs.prompt",
        "costs.rollout",
        "costs.lable",
        "costs.label",
        "reward_model.coverage",
        "reward_model.error.exponent",
        "log_ratio.shape",
        "log_ratio.scale",
        "limits.prompts",
        "current.rollouts_per_prompt",
        "sources.x",
        "checks.x",
        "scenarios.a",
    }


def test_keyword_arguments_run_the_same_rules():
    assert Scenario(**BASE) == load_scenario(BASE)
    with pytest.raises(ScenarioError) as caught:
        Scenario(budget=-1, objective={"kl_coefficient": 0}, costs={"prompt": 1, "rollout": 1})
    assert {problem.key for problem in caught.value.problems} == {"budget", "reward_model"}
    with pytest.raises(ScenarioError, match="did you mean budget"):
        Scenario(**BASE, budgets=1)


def test_sections_of_one_scenario_serve_another():
    one = scenario(costs={"rollout": {"tokens": 600}, "gpu": GPU})
    other = Scenario(
        objective=one.objective,
        costs=one.costs,
        reward_model=one.reward_model,
        log_ratio=one.log_ratio,
        limits=one.limits,
        bound=one.bound,
        budget=one.budget,
    )
    assert other.inputs() == one.inputs()


# --- whatever is written

FULL = {
    **BASE,
    "name": "full",
    "currency": "EUR",
    "bound": {"policy": "sgd", "sgd": SGD, "prompt_variance": 0.1, "rollout_variance": "unknown"},
    "costs": {
        "prompt": {"acquisition": 5, "existing": 10, "tokens": 512},
        "rollout": {"tokens": 600, "scoring": 0.1, "train": True},
        "label": {"low": 1, "high": 4},
        "gpu": GPU,
    },
    "limits": {"prompts": {"max": 100}, "rollouts_per_prompt": {"choices": [4, 8]}, "labels": 10},
    "current": {"prompts": 3, "rollouts_per_prompt": 1, "labels": 1, "clip_threshold": 10},
    "sources": {"costs.label": "guess"},
    "checks": {"bound.total": {"max": 0.5}},
    "scenarios": {"a": {"costs": {"label": 3}}},
}
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["unknown", "verifiable", "gaussian", "sgd", "5%", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["low", "high", "min", "max", "kl", "tokens", "family", "x"]), inner
        )
    ),
    max_leaves=6,
)


@unhurried
@given(st.sampled_from(list(KEYS)).filter(lambda key: key != "extends"), anything)
@example("log_ratio", {"family": ["gaussian"]})
@example("reward_model.error", {"low": None, "high": {}})
@example("costs.prompt.tokens", {"low": 0, "high": 1})
def test_anything_anywhere_loads_or_is_reported(key, value):
    for base in (BASE, FULL):
        with contextlib.suppress(ScenarioError):
            load_scenarios(replaced(key, value, base))
        with contextlib.suppress(ScenarioError):
            load_scenario(base).with_values({key: value})
