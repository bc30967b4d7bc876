from __future__ import annotations

from typing import Any

import pytest
from conftest import scenario_mapping
from hypothesis import given, settings
from hypothesis import strategies as st
from test_optimum import enumerated, small_scenarios

from rlhf_budget import InfeasibleError, load_scenario
from rlhf_budget.optimum.certified import optimise
from rlhf_budget.optimum.near_optimal import WITHIN, near_optimal


@given(small_scenarios(), st.sampled_from([0.0, WITHIN, 0.05, 0.4]))
@settings(max_examples=40)
def test_the_hull_is_that_of_enumeration(mapping: dict[str, Any], within: float) -> None:
    everything = enumerated(mapping)
    if not everything:
        return
    optimum = optimise(load_scenario(mapping))
    threshold = optimum.bound.total * (1.0 + within)
    near = [entry for entry in everything if entry[0] <= threshold]
    found = near_optimal(optimum, within)
    assert found.within == within
    prompts, rollouts, labels = (sorted({entry[at] for entry in near}) for at in (2, 3, 4))
    assert found.prompts == (prompts[0], prompts[-1])
    assert found.rollouts_per_prompt == (rollouts[0], rollouts[-1])
    assert found.labels == (labels[0], labels[-1])
    assert found.least_cost == pytest.approx(float(min(entry[1] for entry in near)), rel=1e-9)


def test_the_ends_of_a_large_hull_are_near_optimal_and_the_next_are_not() -> None:
    scenario = load_scenario(scenario_mapping())
    optimum = optimise(scenario)
    found, threshold = near_optimal(optimum), optimum.bound.total * (1.0 + WITHIN)

    def best(**limits: Any) -> float:
        fixed = {"rollouts_per_prompt": {"max": 64}} | limits
        try:
            return optimise(load_scenario(scenario_mapping(limits=fixed))).bound.total
        except InfeasibleError:
            return float("inf")

    for decision in ("prompts", "rollouts_per_prompt", "labels"):
        low, high = getattr(found, decision)
        assert best(**{decision: low}) <= threshold
        assert best(**{decision: high}) <= threshold
        assert low == 1 or best(**{decision: low - 1}) > threshold
        if decision != "rollouts_per_prompt" or high < 64:
            assert best(**{decision: high + 1}) > threshold
