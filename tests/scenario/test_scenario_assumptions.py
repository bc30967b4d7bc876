"""Ranges and ``unknown``: the middle that is taken, what is listed, and checks at both ends."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
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
from rlhf_budget.scenario import assumptions, load_scenario
from rlhf_budget.scenario.assumptions import Assumption, middle
from rlhf_budget.scenario.keys import KEYS

positive = st.floats(min_value=5e-324, max_value=1.7e308)
numbers = st.floats(min_value=-1.7e308, max_value=1.7e308)


@unhurried
@given(positive, positive)
def test_the_middle_of_positive_ends_is_the_geometric_mean(one, other):
    low, high = sorted((one, other))
    assert low <= middle(low, high) <= high
    assert math.log(middle(low, high)) == pytest.approx(
        (math.log(low) + math.log(high)) / 2, rel=1e-9, abs=1e-9
    )


@unhurried
@given(numbers, numbers)
def test_the_middle_lies_between(one, other):
    low, high = sorted((one, other))
    assert low <= middle(low, high) <= high


def test_the_middle_of_other_ends_is_the_arithmetic_mean():
    assert middle(0.0, 3.0) == 1.5
    assert middle(-1.0, 3.0) == 1.0


def test_a_range():
    read = scenario(costs={"label": {"low": 1, "high": 25}}, sources={"costs.label": "two vendors"})
    assert read.costs.label == 5.0
    assert read.assumed == (
        Assumption("costs.label", "range", 5.0, 1.0, 25.0, source="two vendors"),
    )
    assert read.inputs()["costs"]["label"] == 5.0


RANGES = {
    "objective.kl_coefficient": (0.0, 0.1),
    "objective.reward_range": (1.0, 4.0),
    "objective.failure_probability": (0.01, 0.04),
    "bound.prompt_variance": (0.01, 0.04),
    "bound.rollout_variance": (0.0, 0.04),
    "costs.prompt": (0.0, 0.04),
    "costs.prompt.acquisition": (1.0, 4.0),
    "costs.prompt.prefill": (1.0, 4.0),
    "costs.rollout": (0.01, 0.04),
    "costs.label": (1.0, 4.0),
    "costs.fixed": (0.0, 100.0),
    "reward_model.coverage": (1.0, 4.0),
    "reward_model.error": (0.01, 0.04),
    "reward_model.error.floor": (0.0, 0.04),
    "reward_model.error.scale": (2.0, 8.0),
    "reward_model.error.exponent": (0.5, 0.8),
    "reward_model.existing_labels": (0, 7),
    "log_ratio.kl": (4.0, 16.0),
    "log_ratio.std": (4.0, 16.0),
}


@pytest.mark.parametrize("key", RANGES)
def test_constants_that_may_be_a_range(key):
    low, high = RANGES[key]
    read = load_scenario(replaced(key, {"low": low, "high": high}))
    value = middle(low, high)
    assert read.assumed == (
        Assumption(key, "range", round(value) if KEYS[key].kind == "whole" else value, low, high),
    )
    for end in (low, high):
        assert read.with_values({key: end}).assumed == ()


def test_ranges_of_everything_else():
    rollout = {"tokens": {"low": 100, "high": 900}, "scoring": {"low": 0, "high": 1}, "train": True}
    costs = {
        "prompt": {"existing": {"low": 10, "high": 1000}, "tokens": {"low": 100, "high": 400}},
        "rollout": rollout,
        "gpu": {name: {"low": value, "high": value * 4} for name, value in GPU.items()},
    }
    read = scenario(costs=costs)
    assert read.costs.prompt.existing == 100
    assert read.costs.rollout == pytest.approx(0.5 + (300 / 5000 + 500 / 8000) * 5 / 3600)
    assert len(read.assumed) == 8
    assert len({each.constant for each in read.assumed}) == 8
    sgd = {**SGD, "batch_size": {"low": 16, "high": 64}, "distance": {"low": 0, "high": 1}}
    read = scenario(bound={"policy": "sgd", "sgd": sgd})
    assert (read.bound.sgd.batch_size, read.bound.sgd.distance) == (32, 0.5)


def test_the_middle_of_a_whole_number_is_whole():
    read = scenario(bound={"policy": "finite_class", "candidates": {"low": 2, "high": 3}})
    assert read.bound.candidates == 2
    assert read.assumed[0].value == 2


@pytest.mark.parametrize("family", ["lognormal", "lomax", "gamma"])
def test_ranges_in_other_families(family):
    fields = {
        "lognormal": {"mu": {"low": -1, "high": 2}, "sigma": 1},
        "lomax": {"shape": {"low": 1.5, "high": 6}, "scale": 3},
        "gamma": {"shape": 2, "scale": {"low": 1, "high": 4}},
    }[family]
    assert len(load_scenario(replaced("log_ratio", {"family": family, **fields})).assumed) == 1


def test_kl_per_token_as_a_range():
    law = {"kl_per_token": {"low": 0.01, "high": 0.04}, "tokens": 600}
    read = load_scenario(replaced("log_ratio", law))
    assert read.log_ratio.kl == pytest.approx(12.0)
    assert read.assumed[0].constant == "log_ratio.kl_per_token"
    assert read.with_values({"log_ratio.kl_per_token": 0.01}).log_ratio.kl == 6.0


def test_chi2_as_a_range():
    read = scenario(reward_model={"coverage": None, "chi2": {"low": 3, "high": 48}})
    assert read.reward_model.coverage == math.sqrt(13)
    assert read.with_values({"reward_model.chi2": 48}).reward_model.coverage == 7.0


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"low": 1}, "costs.label.high"),
        ({"high": 1}, "costs.label.low"),
        ({"low": 2, "high": 1}, "costs.label"),
        ({"low": -1, "high": 1}, "costs.label.low"),
        ({"low": 0, "high": "1"}, "costs.label.high"),
        ({"low": 0, "high": True}, "costs.label.high"),
        ({"low": 0, "high": math.inf}, "costs.label.high"),
        ({"low": 0, "hihg": 1, "high": 2}, "costs.label.hihg"),
        ({}, "costs.label.low"),
        ("unknown", "costs.label"),
    ],
)
def test_ranges_that_are_none(value, key):
    assert key in {problem.key for problem in problems_of(replaced("costs.label", value))}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("budget", {"low": 1, "high": 2}),
        ("limits.prompts", {"low": 1, "high": 2}),
        ("current", {"prompts": {"low": 1, "high": 2}, "rollouts_per_prompt": 1}),
        ("bound.policy", {"low": "fixed", "high": "sgd"}),
        ("name", {"low": 1, "high": 2}),
    ],
)
def test_what_cannot_be_a_range(key, value):
    assert problems_of(replaced(key, value))


# --- unknown


def assumed(read):
    return {each.constant: each for each in read.assumed}


def test_unknown_coverage_of_a_gaussian():
    read = scenario(reward_model={"coverage": "unknown"}, sources={"reward_model": "nobody"})
    assert read.assumed == (
        Assumption(
            "reward_model.coverage", "unknown", math.exp(3), 1.0, math.exp(6), source="nobody"
        ),
    )
    assert read.reward_model.coverage == pytest.approx(math.exp(3), rel=1e-15)


def test_unknown_coverage_follows_the_kl():
    read = scenario(reward_model={"coverage": "unknown"})
    assert read.with_values({"log_ratio.kl": 4}).assumed[0].high == pytest.approx(math.exp(2))
    fixed = read.with_values({"reward_model.coverage": 2})
    assert fixed.assumed == ()
    assert fixed.reward_model.coverage == 2.0


@pytest.mark.parametrize(
    "law",
    [
        {"family": "exponential", "mean": 3.0},
        {"family": "half_normal", "scale": 3.0},
        {"family": "gamma", "shape": 2.5, "scale": 2.0},
        {"family": "weibull", "shape": 0.8, "scale": 3.0},
        {"family": "lognormal", "mu": 1.0, "sigma": 0.5},
        {"family": "lomax", "shape": 3.0, "scale": 5.0},
        {"family": "empirical", "samples": [1.0, -2.0, 6.0]},
    ],
    ids=lambda law: law["family"],
)
def test_unknown_coverage_of_other_families_uses_the_mean_of_the_tail(law):
    values = replaced("log_ratio", law)
    values["reward_model"] = {**BASE["reward_model"], "coverage": "unknown"}
    read = load_scenario(values)
    expected = math.exp(tail_of(read.log_ratio).excess(0.0) / 2)
    assert read.assumed[0].high == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("law", [None, BASE["log_ratio"]])
def test_unknown_coverage_without_a_penalty_is_a_problem(law):
    problem = the_problem(
        patched(
            objective={"kl_coefficient": 0},
            log_ratio=law,
            reward_model={"coverage": "unknown"},
        )
    )
    assert problem.key == "reward_model.coverage"
    assert "needs log_ratio" in problem.allowed


def test_unknown_coverage_at_a_kl_beyond_numbers():
    problem = the_problem(patched(log_ratio={"kl": 1500}, reward_model={"coverage": "unknown"}))
    assert "beyond the largest number" in problem.allowed


def test_unknown_constants_scale_with_the_reward_range():
    changes = {
        "bound": {"prompt_variance": "unknown", "rollout_variance": "unknown"},
        "reward_model": {**BASE["reward_model"], "error": "unknown"},
    }
    ranges = {
        "bound.prompt_variance": assumptions.PROMPT_VARIANCE_RANGE,
        "bound.rollout_variance": assumptions.ROLLOUT_VARIANCE_RANGE,
        "reward_model.error.floor": assumptions.ERROR_FLOOR_RANGE,
        "reward_model.error.scale": assumptions.ERROR_SCALE_RANGE,
    }
    objectives = ({"kl_coefficient": 0.1, "reward_range": R} for R in (1, 10))
    one, ten = (
        assumed(load_scenario({**BASE, **changes, "objective": objective}))
        for objective in objectives
    )
    assert set(one) == {*ranges, "reward_model.error.exponent"}
    for key, (low, high) in ranges.items():
        assert (one[key].low, one[key].high) == (low, high)
        assert (ten[key].low, ten[key].high) == pytest.approx((100 * low, 100 * high))
        assert one[key].kind == "unknown"
    exponent = "reward_model.error.exponent"
    assert (one[exponent].low, one[exponent].high) == assumptions.ERROR_EXPONENT_RANGE
    assert one[exponent] == ten[exponent]


def test_one_part_of_an_unknown_error_can_be_set():
    read = load_scenario(replaced("reward_model.error", "unknown"))
    part = read.with_values({"reward_model.error.scale": 3})
    assert part.reward_model.error.scale == 3.0
    assert set(assumed(part)) == {"reward_model.error.floor", "reward_model.error.exponent"}
    assert part.reward_model.error.floor == read.reward_model.error.floor
    whole = read.with_values({"reward_model.error": {"scale": 3, "exponent": 1}})
    assert whole.assumed == ()
    written = load_scenario(
        replaced("reward_model.error", {"floor": "unknown", "scale": 3, "exponent": 1})
    )
    assert set(assumed(written)) == {"reward_model.error.floor"}


def test_unknown_kl():
    read = scenario(log_ratio={"kl": "unknown"}, reward_model={"coverage": "unknown"})
    low, high = assumptions.KL_RANGE
    assert read.log_ratio.kl == middle(low, high)
    assert assumed(read)["reward_model.coverage"].high == math.exp(middle(low, high) / 2)
    at_high = read.with_values({"log_ratio.kl": high})
    assert assumed(at_high)["reward_model.coverage"].high == math.exp(high / 2)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("log_ratio", "kl: unknown"),
        ("reward_model.chi2", "coverage: unknown"),
        ("log_ratio.std", "a number above 0"),
        ("objective.kl_coefficient", "a number >= 0"),
        ("costs.prompt", "a number >= 0"),
        ("reward_model.existing_labels", "a whole number >= 0"),
    ],
)
def test_what_cannot_be_unknown(key, hint):
    values = replaced(key, "unknown")
    values["reward_model"].pop("coverage") if key.endswith("chi2") else None
    problem = the_problem(values)
    assert problem.key == key
    assert hint in problem.allowed


def test_documented_ranges_satisfy_their_own_keys():
    read = load_scenario(
        {
            **BASE,
            "log_ratio": {"kl": "unknown"},
            "bound": {"prompt_variance": "unknown", "rollout_variance": "unknown"},
            "reward_model": {"coverage": "unknown", "error": "unknown"},
        }
    )
    for each in read.assumed:
        at_low = read.with_values({each.constant: each.low})
        at_high = read.with_values({each.constant: each.high})
        assert each.constant not in assumed(at_low) | assumed(at_high)
        assert each.low <= each.value <= each.high


# --- both ends are checked


@pytest.mark.parametrize(
    ("changes", "key", "end"),
    [
        pytest.param(
            {
                "reward_model": {"coverage": "unknown"},
                "objective": {"kl_coefficient": {"low": 0, "high": 1}},
            },
            "reward_model.coverage",
            "low end of objective.kl_coefficient, 0",
            id="no-kl-at-zero-penalty",
        ),
        pytest.param(
            {
                "reward_model": {"coverage": "unknown"},
                "log_ratio": {"kl": {"low": 1, "high": 2000}},
            },
            "reward_model.coverage",
            "high end of log_ratio.kl, 2000",
            id="coverage-beyond-numbers",
        ),
        pytest.param(
            {
                "reward_model": {
                    "coverage": None,
                    "label_policy": "current",
                    "existing_labels": {"low": 0, "high": 1},
                }
            },
            "reward_model.coverage",
            "high end of reward_model.existing_labels, 1",
            id="coverage-needed-with-existing-labels",
        ),
        pytest.param(
            {
                "log_ratio": {
                    "family": "lognormal",
                    "kl": None,
                    "mu": {"low": 0, "high": 1000},
                    "sigma": 1,
                }
            },
            "log_ratio",
            "high end of log_ratio.mu, 1000",
            id="mean-not-finite",
        ),
    ],
)
def test_both_ends_of_a_range_are_checked(changes, key, end):
    problem = the_problem(patched(**changes))
    assert problem.key == key
    assert end in problem.found
