"""Attribution: Shapley values over the groups that differ, and their fallback."""

from __future__ import annotations

import math
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from conftest import scenario_mapping
from hypothesis import given
from hypothesis import strategies as st

from rlhf_budget import load_scenario, plan
from rlhf_budget.studies.attribution import GROUPS, Attribution, attribute, changed_keys, shapley

if TYPE_CHECKING:
    from rlhf_budget import Plan


def planned(**changes: Any) -> Plan:
    return plan(load_scenario(scenario_mapping(**changes)))


def contributions(attribution: Attribution) -> dict[str, float]:
    return {part.group: part.contribution for part in attribution.groups}


def test_all_seven_groups_in_their_order() -> None:
    found = attribute(planned(), planned(budget=60000.0))
    assert tuple(part.group for part in found.groups) == GROUPS
    assert [part.changed for part in found.groups if part.changed] == [("budget",)]


@pytest.mark.parametrize(
    ("group", "changes"),
    [
        ("budget", {"budget": 80000.0}),
        ("costs", {"costs": {"prompt": 5.0, "rollout": 0.02, "label": 0.2}}),
        ("objective", {"objective": {"kl_coefficient": 0.01}}),
        ("bound", {"bound": {"concentration": "prompt_mean", "policy": "fixed"}}),
        ("log_ratio", {"log_ratio": {"family": "gaussian", "kl": 6.0}}),
        ("limits", {"limits": {"rollouts_per_prompt": 4}}),
    ],
)
def test_a_difference_in_one_group_is_all_that_groups(group: str, changes: dict[str, Any]) -> None:
    base, other = planned(), planned(**changes)
    found = attribute(base, other)
    assert found.method == "shapley"
    assert found.total == other.bound.total - base.bound.total != 0.0
    expected = dict.fromkeys(GROUPS, 0.0) | {group: found.total}
    assert contributions(found) == expected
    assert found.residual == 0.0


def test_three_groups_equal_the_average_over_all_orders() -> None:
    changes: dict[str, Any] = {
        "budget": 90000.0,
        "objective": {"kl_coefficient": 0.02},
        "reward_model": {"coverage": 3.0, "error": {"floor": 0.02, "scale": 8.0, "exponent": 0.8}},
    }
    base, other = planned(), planned(**changes)
    found = attribute(base, other)
    value = {
        frozenset(some): planned(**{name: changes[name] for name in some}).bound.total
        for some in [s for r in range(4) for s in permutations(changes, r)]
    }
    for name in changes:
        brute = math.fsum(
            value[frozenset(order[: order.index(name) + 1])]
            - value[frozenset(order[: order.index(name)])]
            for order in permutations(changes)
        ) / math.factorial(3)
        assert contributions(found)[name] == pytest.approx(brute, abs=1e-12)
    total = math.fsum(contributions(found).values()) + found.residual
    assert total == pytest.approx(found.total, abs=1e-12)
    assert abs(found.residual) < 1e-12


def test_a_mixture_that_cannot_be_planned_is_told() -> None:
    # The cheap scenario's budget does not buy the dear one's least number of prompts.
    dear = planned(limits={"prompts": {"min": 5000}})
    cheap = planned(budget=300.0)
    found = attribute(dear, cheap)
    assert found.method == "one_at_a_time"
    parts = {part.group: part for part in found.groups}
    assert parts["limits"].planned
    assert not parts["budget"].planned
    assert parts["budget"].contribution == 0.0
    total = math.fsum(contributions(found).values()) + found.residual
    assert total == pytest.approx(found.total, abs=1e-12)


def test_an_illegal_mixture_is_told_too() -> None:
    curve = planned()
    verifiable = planned(
        reward_model="verifiable", costs={"prompt": 5.0, "rollout": 0.02}, budget=40000.0
    )
    found = attribute(curve, verifiable)
    assert found.method == "one_at_a_time"
    assert not next(part for part in found.groups if part.group == "costs").planned


def test_changed_keys_name_leaves() -> None:
    one = {"budget": 1.0, "costs": {"label": 1.0, "prompt": {"prefill": 0.0}}, "reward_model": "x"}
    other = {"budget": 1.0, "costs": {"label": 2.0, "prompt": {"prefill": 0.1}}, "reward_model": {}}
    found = changed_keys(one, other)
    assert found["costs"] == ("costs.label", "costs.prompt.prefill")
    assert found["reward_model"] == ("reward_model",)
    assert found["budget"] == found["limits"] == ()


@given(st.lists(st.floats(-1e3, 1e3), min_size=8, max_size=8))
def test_shapley_values_add_up(numbers: list[float]) -> None:
    names = ("a", "b", "c")
    subsets = [frozenset(n for i, n in enumerate(names) if mask >> i & 1) for mask in range(8)]
    values = dict(zip(subsets, numbers, strict=True))
    found = shapley(names, values)
    assert math.fsum(found.values()) == pytest.approx(numbers[7] - numbers[0], abs=1e-9)


def test_a_player_that_changes_nothing_gets_nothing() -> None:
    values = {frozenset(): 1.0, frozenset("a"): 3.0, frozenset("b"): 1.0, frozenset("ab"): 3.0}
    assert shapley(("a", "b"), values) == {"a": 2.0, "b": 0.0}
