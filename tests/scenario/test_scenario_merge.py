from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenario_helpers import unhurried

from rlhf_budget.scenario.merge import merge_patch, merge_scenario, patch_for, path_of

# RFC 7396, appendix A
RFC_CASES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

names = st.sampled_from("abc")
json_values = st.recursive(
    st.none() | st.integers(0, 3) | st.text("xy", max_size=1),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(("target", "patch", "expected"), RFC_CASES)
def test_examples_of_rfc_7396(target, patch, expected):
    assert merge_patch(target, patch) == expected


def rfc_pseudocode(target, patch):
    """Section 2 of the RFC, word for word, on values that may be changed."""
    if isinstance(patch, dict):
        if not isinstance(target, dict):
            target = {}
        for name, value in patch.items():
            if value is None:
                if name in target:
                    del target[name]
            else:
                target[name] = rfc_pseudocode(target.get(name), value)
        return target
    return patch


@unhurried
@given(json_values, json_values)
def test_merge_is_rfc_7396_and_changes_nothing(target, patch):
    before = copy.deepcopy((target, patch))
    merged = merge_patch(target, patch)
    assert (target, patch) == before
    assert merged == rfc_pseudocode(copy.deepcopy(target), copy.deepcopy(patch))


@unhurried
@given(
    st.dictionaries(names, json_values, max_size=3), st.dictionaries(names, json_values, max_size=3)
)
def test_scenarios_merge_by_rfc_7396_where_nothing_is_displaced(target, patch):
    assert merge_scenario(target, patch) == merge_patch(target, patch)


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        pytest.param(
            {"log_ratio": {"family": "gaussian", "kl": 12, "std": 5}},
            {"log_ratio": {"family": "exponential", "mean": 3}},
            {"log_ratio": {"family": "exponential", "mean": 3}},
            id="family-drops-the-fields-of-the-other",
        ),
        pytest.param(
            {"log_ratio": {"family": "gamma", "shape": 2, "scale": 4}},
            {"log_ratio": {"family": "half_normal"}},
            {"log_ratio": {"family": "half_normal", "scale": 4}},
            id="family-keeps-the-fields-that-both-have",
        ),
        pytest.param(
            {"log_ratio": {"family": "gamma", "shape": 2, "scale": 4}},
            {"log_ratio": {"scale": 5}},
            {"log_ratio": {"family": "gamma", "shape": 2, "scale": 5}},
            id="no-family-in-the-patch",
        ),
        pytest.param(
            {"log_ratio": {"family": "gamma", "shape": 2, "scale": 4}},
            {"log_ratio": {"family": None, "kl": 3}},
            {"log_ratio": {"kl": 3}},
            id="family-deleted-is-gaussian",
        ),
        pytest.param(
            {"bound": {"policy": "pac_bayes", "posterior_kl": 3, "prompt_variance": 0.1}},
            {"bound": {"policy": "finite_class", "candidates": 3}},
            {"bound": {"policy": "finite_class", "candidates": 3, "prompt_variance": 0.1}},
            id="policy-keeps-the-variances",
        ),
        pytest.param(
            {"bound": {"policy": "sgd", "sgd": {"learning_rate": 1}}},
            {"bound": {"policy": "fixed"}},
            {"bound": {"policy": "fixed"}},
            id="policy-drops-sgd",
        ),
        pytest.param(
            {"bound": {"policy": "finite_class", "candidates": 3}},
            {"bound": {"policy": None}},
            {"bound": {}},
            id="policy-deleted-is-fixed",
        ),
        pytest.param(
            {"bound": {"policy": "finite_class", "candidates": 3}},
            {"bound": {"concentration": "prompt_mean"}},
            {
                "bound": {
                    "policy": "finite_class",
                    "candidates": 3,
                    "concentration": "prompt_mean",
                }
            },
            id="concentration-displaces-nothing",
        ),
        pytest.param(
            {"reward_model": {"coverage": 4}},
            {"reward_model": {"chi2": 8}},
            {"reward_model": {"chi2": 8}},
            id="chi2-displaces-coverage",
        ),
        pytest.param(
            {"reward_model": {"chi2": 8}},
            {"reward_model": {"coverage": 4}},
            {"reward_model": {"coverage": 4}},
            id="coverage-displaces-chi2",
        ),
        pytest.param(
            {"reward_model": {"chi2": 8}},
            {"reward_model": {"coverage": None}},
            {"reward_model": {"chi2": 8}},
            id="a-deletion-displaces-nothing",
        ),
        pytest.param(
            {"limits": {"rollouts_per_prompt": {"min": 1, "max": 8}}},
            {"limits": {"rollouts_per_prompt": {"choices": [4]}}},
            {"limits": {"rollouts_per_prompt": {"choices": [4]}}},
            id="choices-displace-min-and-max",
        ),
        pytest.param(
            {"limits": {"rollouts_per_prompt": {"choices": [4]}}},
            {"limits": {"rollouts_per_prompt": {"max": 8}}},
            {"limits": {"rollouts_per_prompt": {"max": 8}}},
            id="max-displaces-choices",
        ),
        pytest.param(
            {"costs": {"prompt": 0.1}},
            {"costs": {"prompt": {"existing": 3}}},
            {"costs": {"prompt": {"existing": 3}}},
            id="mapping-displaces-number",
        ),
        pytest.param(
            {"costs": {"rollout": {"tokens": 600}}},
            {"costs": {"rollout": 0.1}},
            {"costs": {"rollout": 0.1}},
            id="number-displaces-mapping",
        ),
        pytest.param(
            {"costs": {"rollout": {"low": 1, "high": 2}}},
            {"costs": {"rollout": {"tokens": 600}}},
            {"costs": {"rollout": {"tokens": 600}}},
            id="mapping-displaces-range",
        ),
        pytest.param(
            {"reward_model": {"error": {"scale": 1, "exponent": 1}}},
            {"reward_model": {"error": {"low": 1, "high": 2}}},
            {"reward_model": {"error": {"low": 1, "high": 2}}},
            id="range-displaces-mapping",
        ),
        pytest.param(
            {"costs": {"label": {"low": 1, "high": 2}}},
            {"costs": {"label": {"high": 3}}},
            {"costs": {"label": {"low": 1, "high": 3}}},
            id="one-end-of-a-range",
        ),
        pytest.param(
            {"reward_model": "verifiable"},
            {"reward_model": {"coverage": 2}},
            {"reward_model": {"coverage": 2}},
            id="mapping-displaces-verifiable",
        ),
        pytest.param(
            {"log_ratio": {"kl_per_token": 0.02, "tokens": 600}},
            {"log_ratio": {"kl": 3}},
            {"log_ratio": {"kl": 3}},
            id="kl-displaces-kl-per-token",
        ),
        pytest.param(
            {"costs": {"prompt": {"prefill": 0.1, "existing": 3}}},
            {"costs": {"prompt": {"tokens": 512}}},
            {"costs": {"prompt": {"tokens": 512, "existing": 3}}},
            id="tokens-displace-prefill",
        ),
        pytest.param(
            {"costs": {"prompt": {"tokens": 512}}},
            {"costs": {"prompt": {"prefill": 0.1}}},
            {"costs": {"prompt": {"tokens": 512, "prefill": 0.1}}},
            id="prefill-leaves-tokens-for-training",
        ),
    ],
)
def test_displacement(target, patch, expected):
    before = copy.deepcopy((target, patch))
    assert merge_scenario(target, patch) == expected
    assert (target, patch) == before


def test_nulls_of_named_scenarios_are_kept_for_later():
    base = {"scenarios": {"a": {"log_ratio": None}, "b": {"budget": 1}, "c": {"budget": 2}}}
    patch = {"scenarios": {"a": {"budget": 3}, "b": None, "c": {"budget": None}}}
    assert merge_scenario({}, base) == base
    assert merge_scenario(base, patch) == {
        "scenarios": {"a": {"log_ratio": None, "budget": 3}, "c": {"budget": None}}
    }
    assert merge_scenario(base, {"scenarios": None}) == {}


def test_named_scenarios_displace_each_others_keys():
    base = {"scenarios": {"a": {"reward_model": {"chi2": 3}}}}
    patch = {"scenarios": {"a": {"reward_model": {"coverage": 2}}}}
    assert merge_scenario(base, patch) == patch


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("costs.prompt.existing", ("costs", "prompt", "existing")),
        ("sources.costs.label", ("sources", "costs.label")),
        ("sources", ("sources",)),
        ("checks.bound.total.max", ("checks", "bound.total", "max")),
        ("checks.bound.total", ("checks", "bound.total")),
    ],
)
def test_paths_of_keys(key, path):
    assert path_of(key) == path


def test_patch_for_a_path():
    assert patch_for(("a", "b.c"), 1) == {"a": {"b.c": 1}}
