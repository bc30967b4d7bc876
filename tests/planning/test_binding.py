from __future__ import annotations

from typing import Any

import pytest
from conftest import scenario_mapping

from rlhf_budget import load_scenario
from rlhf_budget.bound.results import Allocation
from rlhf_budget.optimum.certified import TOLERANCE, least_cost, optimise
from rlhf_budget.planning.binding import binding, violations
from rlhf_budget.planning.questions import answers


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, ()),
        ({"prompts": {"max": 3000}}, ("limits.prompts.max",)),
        ({"prompts": {"min": 8000}}, ("limits.prompts.min",)),
        ({"labels": {"max": 5000}}, ("limits.labels.max",)),
        ({"labels": 20000}, ("limits.labels.min",)),
        ({"rollouts_per_prompt": {"max": 8}}, ("limits.rollouts_per_prompt.max",)),
        ({"rollouts_per_prompt": {"min": 90}}, ("limits.rollouts_per_prompt.min",)),
        ({"rollouts_per_prompt": {"choices": [1, 16]}}, ("limits.rollouts_per_prompt.choices",)),
        ({"clip_threshold": {"max": 9.0}}, ("limits.clip_threshold.max",)),
        ({"clip_threshold": {"min": 40.0}}, ("limits.clip_threshold.min",)),
        ({"prompts": {"max": 900000}, "labels": {"max": 10**6}}, ()),
    ],
)
def test_limits_that_cost_something(limits: dict[str, Any], expected: tuple[str, ...]) -> None:
    optimum = optimise(load_scenario(scenario_mapping(limits=limits)))
    assert answers([binding(optimum)], TOLERANCE)[0] == expected


def test_the_edge_of_the_pool_binds() -> None:
    costs = {
        "prompt": {"acquisition": 50.0, "existing": 4000, "prefill": 0.001},
        "rollout": 0.02,
        "label": 1.5,
    }
    limits = {"rollouts_per_prompt": {"max": 1024}}
    optimum = optimise(load_scenario(scenario_mapping(costs=costs, limits=limits)))
    assert optimum.allocation.prompts == 4000
    assert answers([binding(optimum)], TOLERANCE)[0] == ("costs.prompt.existing",)


def test_limits_bind_the_least_cost_too() -> None:
    scenario = load_scenario(scenario_mapping(limits={"prompts": {"max": 3000}}))
    optimum = least_cost(scenario, 0.41)
    assert answers([binding(optimum)], TOLERANCE)[0] == ("limits.prompts.max",)


def test_violations_name_every_broken_limit() -> None:
    limits = {
        "prompts": {"min": 10, "max": 20},
        "rollouts_per_prompt": {"choices": [4, 8]},
        "labels": {"max": 5},
        "clip_threshold": {"min": 3.0},
    }
    scenario = load_scenario(scenario_mapping(limits=limits))
    assert violations(scenario.limits, Allocation(15, 4, 5, 3.0)) == ()
    assert violations(scenario.limits, Allocation(30, 5, 6, 1.0)) == (
        "limits.rollouts_per_prompt.choices",
        "limits.prompts.max",
        "limits.labels.max",
        "limits.clip_threshold.min",
    )
