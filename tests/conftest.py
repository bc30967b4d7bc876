"""One scenario factory, and hypothesis without deadlines and with fixed examples."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from rlhf_budget import load_scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlhf_budget import Scenario

settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("steady")

BASE: dict[str, Any] = {
    "name": "base",
    "budget": 50000.0,
    "objective": {"kl_coefficient": 0.05, "reward_range": 1.0, "failure_probability": 0.05},
    "bound": {"concentration": "hoeffding", "policy": "fixed"},
    "costs": {"prompt": 5.0, "rollout": 0.02, "label": 1.5},
    "reward_model": {
        "coverage": 2.0,
        "error": {"floor": 0.02, "scale": 8.0, "exponent": 0.8},
    },
    "log_ratio": {"family": "gaussian", "kl": 12.0},
    "limits": {"rollouts_per_prompt": {"min": 1, "max": 64}},
}


def scenario_mapping(**changes: Any) -> dict[str, Any]:
    """Return the base scenario with top-level keys replaced; None removes a key."""
    mapping = copy.deepcopy(BASE) | changes
    return {key: value for key, value in mapping.items() if value is not None}


@pytest.fixture
def make_scenario() -> Callable[..., Scenario]:
    """Return a function that builds a scenario from changes to the base."""

    def make(**changes: Any) -> Scenario:
        return load_scenario(scenario_mapping(**changes))

    return make
