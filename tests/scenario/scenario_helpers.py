"""A scenario that is right, and ways to make it wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import settings

from rlhf_budget.errors import Problem, ScenarioError
from rlhf_budget.scenario import Scenario, load_scenario
from rlhf_budget.scenario.merge import merge_patch

BASE: dict[str, Any] = {
    "budget": 50000,
    "objective": {"kl_coefficient": 0.05},
    "costs": {"prompt": 0.002, "rollout": 0.01, "label": 1.5},
    "reward_model": {"coverage": 4.0, "error": {"floor": 0.02, "scale": 8.0, "exponent": 0.8}},
    "log_ratio": {"family": "gaussian", "kl": 12.0},
}

GPU = {
    "hourly_rate": 2.5,
    "prefill_tokens_per_second": 20000,
    "decode_tokens_per_second": 2500,
    "train_tokens_per_second": 4000,
}

SGD = {
    "learning_rate": 1e-3,
    "batch_size": 64,
    "hessian_eigenvalues": [4.0, 1.0],
    "gradient_noise_eigenvalues": [2.0, 0.5],
    "prior_std": 0.1,
}


unhurried = settings(deadline=None)
"""Busy machines miss deadlines that say nothing about the code."""


def patched(**changes: Any) -> dict[str, Any]:
    """Return the base scenario with a merge patch applied."""
    result: dict[str, Any] = merge_patch(copy.deepcopy(BASE), changes)
    return result


def replaced(key: str, value: Any, base: dict[str, Any] = BASE) -> dict[str, Any]:
    """Return a scenario with the value at one key path replaced whole."""
    result = copy.deepcopy(base)
    node = result
    *above, last = key.split(".")
    for name in above:
        if not isinstance(node.get(name), dict):
            node[name] = {}
        node = node[name]
    node[last] = value
    return result


def scenario(**changes: Any) -> Scenario:
    return load_scenario(patched(**changes))


def problems_of(values: dict[str, Any]) -> tuple[Problem, ...]:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(values)
    return caught.value.problems


def the_problem(values: dict[str, Any]) -> Problem:
    problems = problems_of(values)
    assert len(problems) == 1, problems
    return problems[0]
