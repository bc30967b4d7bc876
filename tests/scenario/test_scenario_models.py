"""The resolved form: inputs that load back, values set later, copies."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario_helpers import BASE, GPU, patched, replaced, scenario

from rlhf_budget.bound.tails import tail_of
from rlhf_budget.errors import ScenarioError
from rlhf_budget.scenario import load_scenario

amounts = st.floats(min_value=0, max_value=1e9)
positive = st.floats(min_value=1e-6, max_value=1e6)
counts = st.integers(min_value=0, max_value=10**9)


def uncertain(numbers):
    ends = st.tuples(numbers, numbers).map(sorted)
    return numbers | ends.map(lambda pair: {"low": pair[0], "high": pair[1]})


def mapping(required, optional=None):
    return st.fixed_dictionaries(required, optional=optional or {})


objectives = mapping(
    {"kl_coefficient": positive},
    {
        "reward_range": uncertain(positive) | st.just([-1, 2]),
        "failure_probability": st.floats(1e-9, 0.999),
    },
)
bounds = mapping(
    {"concentration": st.sampled_from(["hoeffding", "prompt_mean"])},
    {
        "prompt_variance": uncertain(amounts) | st.just("unknown"),
        "rollout_variance": uncertain(amounts) | st.just("unknown"),
    },
) | mapping({"policy": st.just("finite_class"), "candidates": st.integers(1, 1000)})
costs = mapping(
    {
        "prompt": uncertain(amounts)
        | mapping({"acquisition": amounts}, {"existing": counts, "tokens": positive}),
        "rollout": uncertain(amounts)
        | mapping({"tokens": positive}, {"scoring": amounts, "train": st.just(False)}),
        "label": uncertain(amounts),
        "gpu": st.just(GPU),
    },
    {"fixed": amounts},
)
reward_models = (
    st.just("verifiable")
    | mapping(
        {
            "coverage": uncertain(st.floats(1, 1e6)),
            "error": uncertain(amounts)
            | st.just("unknown")
            | mapping({"scale": amounts, "exponent": positive}, {"floor": uncertain(amounts)}),
        },
        {"existing_labels": counts, "coverage_kind": st.just("features")},
    )
    | mapping({"error": st.just("unknown"), "label_policy": st.just("current")})
    | mapping({"chi2": amounts, "error": amounts})
)
log_ratios = (
    mapping({"kl": uncertain(positive) | st.just("unknown")}, {"std": positive})
    | mapping({"kl_per_token": st.floats(1e-3, 1), "tokens": st.floats(1, 1e3)})
    | mapping({"family": st.just("lomax"), "shape": st.floats(1.5, 9), "scale": positive})
    | mapping({"family": st.just("empirical"), "samples": st.lists(st.floats(-9, 9), min_size=1)})
)
limits = mapping(
    {},
    {
        "prompts": st.integers(1, 10**9) | mapping({}, {"max": st.integers(1, 10**15)}),
        "rollouts_per_prompt": st.integers(1, 1024)
        | mapping({"choices": st.lists(st.integers(1, 1024), min_size=1, unique=True)}),
        "labels": st.just(0) | mapping({}, {"max": counts}),
        "clip_threshold": amounts,
    },
)
scenarios = mapping(
    {
        "objective": objectives,
        "costs": costs,
        "reward_model": reward_models,
        "log_ratio": log_ratios,
    },
    {"budget": positive, "bound": bounds, "limits": limits},
)


@settings(max_examples=150, deadline=None)
@given(scenarios)
def test_inputs_load_back_to_the_same_constants(values):
    before = copy.deepcopy(values)
    read = load_scenario(values)
    assert values == before
    inputs = read.inputs()
    assert json.loads(json.dumps(inputs, allow_nan=False)) == inputs
    again = load_scenario(inputs)
    assert again.inputs() == inputs
    assert again.assumed == ()
    for name in ("objective", "bound", "costs", "reward_model", "log_ratio", "limits", "budget"):
        assert getattr(again, name) == getattr(read, name)


def test_inputs_hold_the_constants_alone():
    read = scenario(
        name="x", sources={"budget": "x"}, current={"prompts": 3, "rollouts_per_prompt": 1}
    )
    assert list(read.inputs()) == [
        "budget",
        "objective",
        "bound",
        "costs",
        "reward_model",
        "log_ratio",
        "limits",
    ]
    assert "budget" not in scenario(budget=None).inputs()


def test_prices_from_tokens_appear_as_numbers():
    inputs = scenario(costs={"rollout": {"tokens": 600}, "gpu": GPU}).inputs()
    assert set(inputs["costs"]) == {"prompt", "rollout", "label", "fixed"}
    assert isinstance(inputs["costs"]["rollout"], float)


# --- values set later


def test_with_values_leaves_the_original_alone():
    read = scenario()
    other = read.with_values({"costs.label": 0.2, "budget": 7})
    assert (other.costs.label, other.budget) == (0.2, 7.0)
    assert (read.costs.label, read.budget) == (1.5, 50000.0)


def test_with_values_takes_any_form():
    read = scenario()
    assert read.with_values({"costs.label": {"low": 1, "high": 4}}).costs.label == 2.0
    assert read.with_values({"reward_model": "verifiable"}).reward_model == "verifiable"
    assert read.with_values({"reward_model.chi2": 8}).reward_model.coverage == 3.0
    assert read.with_values({"log_ratio.kl": None, "log_ratio.kl_per_token": 2,
                             "log_ratio.tokens": 3}).log_ratio.kl == 6.0  # fmt: skip
    assert read.with_values({"budget": None}).budget is None
    assert read.with_values({"sources.costs.label": "x"}).sources == {"costs.label": "x"}


def test_with_values_by_leaves_of_inputs():
    costs = {"prompt": {"tokens": 5}, "rollout": {"tokens": 600, "train": True}, "gpu": GPU}
    read = scenario(costs=costs, reward_model={"coverage": None, "chi2": 3})
    changed = read.with_values(
        {"costs.prompt.prefill": 0.5, "costs.rollout": 0.25, "reward_model.coverage": 7.0}
    )
    assert (changed.costs.prompt.prefill, changed.costs.rollout) == (0.5, 0.25)
    assert changed.costs.derived == frozenset()
    assert changed.reward_model.coverage == 7.0


def test_problems_of_with_values_name_no_file(tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(BASE))
    read = load_scenario(path)
    for key, value in (("costs.label", -1), ("costs.lable", 1), ("bound.policy", "sgd")):
        with pytest.raises(ScenarioError) as caught:
            read.with_values({key: value})
        problem = caught.value.problems[0]
        assert (problem.file, problem.line) == (None, None)


def test_with_values_keeps_the_tail_that_is_the_same():
    read = scenario()
    assert tail_of(read.with_values({"budget": 7}).log_ratio) is tail_of(read.log_ratio)
    assert tail_of(read.with_values({"log_ratio.kl": 7}).log_ratio).kl == 7.0


def test_is_written():
    read = load_scenario(
        patched(bound={"policy": "fixed"}, sources={"costs.label": "x"}), set_values=["name=x"]
    )
    for key in ("bound.policy", "bound", "costs.prompt", "sources.costs.label", "name"):
        assert read.is_written(key)
    for key in ("bound.concentration", "costs.prompt.acquisition", "limits", "costs.fixed"):
        assert not read.is_written(key)
    assert not read.with_values({"bound.policy": None}).is_written("bound.policy")


# --- objects


def test_scenarios_are_frozen_and_compare_by_value():
    read = scenario()
    with pytest.raises(FrozenInstanceError):
        read.budget = 3.0
    with pytest.raises(FrozenInstanceError):
        read.costs.label = 3.0
    assert read == scenario()
    assert read != scenario(budget=3)


def test_scenarios_can_be_sent_to_other_processes():
    read = scenario(log_ratio={"family": "empirical", "kl": None, "samples": [1, 2]})
    tail_of(read.log_ratio)
    for other in (pickle.loads(pickle.dumps(read)), copy.deepcopy(read)):
        assert other == read
        assert other.with_values({"budget": 3}).budget == 3.0


def test_copies_do_not_keep_the_tail_of_other_constants():
    law = scenario().log_ratio
    assert tail_of(law).kl == 12.0
    assert tail_of(law.model_copy(update={"kl": 3.0})).kl == 3.0
    assert tail_of(law).kl == 12.0


def test_the_standard_deviation_of_a_gaussian():
    assert tail_of(scenario(log_ratio={"kl": 8}).log_ratio).std == 4.0
    assert tail_of(scenario(log_ratio={"kl": 8, "std": 5}).log_ratio).std == 5.0


def test_a_short_repr():
    assert repr(scenario()) == "Scenario('scenario', budget=50000.0, currency='USD')"
    many = load_scenario(replaced("log_ratio", {"family": "empirical", "samples": [1.0] * 999}))
    assert "samples" not in repr(many.log_ratio)


def test_loading_imports_nothing_heavy():
    code = (
        "import sys; from rlhf_budget.scenario import load_scenario, template;"
        f"load_scenario({BASE!r}); template();"
        "print(sorted({'numpy', 'scipy', 'pydantic', 'rich', 'typer', 'rlhf_budget.bound.tails'}"
        " & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


def test_sections_of_another_scenario_are_taken_as_it_wrote_them():
    tokens = {"family": "gaussian", "kl_per_token": {"low": 0.01, "high": 0.04}, "tokens": 600}
    coverage = replaced("reward_model.coverage", {"low": 2, "high": 8})
    one, other = load_scenario(coverage), load_scenario(replaced("log_ratio", tokens))
    mixed = one.with_sections(other, ["log_ratio"])
    whole = load_scenario(coverage | {"log_ratio": tokens})
    assert mixed.inputs() == whole.inputs()
    assert set(mixed.assumed) == set(whole.assumed)
    changes = {"log_ratio.kl_per_token": 0.03, "reward_model.coverage": 3}
    assert mixed.with_values(changes).inputs() == whole.with_values(changes).inputs()
