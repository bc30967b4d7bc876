from __future__ import annotations

import pytest
from scenario_helpers import patched, problems_of, scenario, the_problem

GROUPS = {"mean": 0.4, "correlation": 0.2}


def test_groups_are_read() -> None:
    found = scenario(groups=GROUPS)
    assert (found.groups.mean, found.groups.correlation) == (0.4, 0.2)
    assert found.inputs()["groups"] == GROUPS
    assert found.limits.rollouts_per_prompt.min == 2
    assert scenario().groups is None


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"mean": 0}, "groups.mean"),
        ({"mean": 1}, "groups.mean"),
        ({"correlation": 1}, "groups.correlation"),
        ({"correlation": -0.1}, "groups.correlation"),
        ({"mean": None}, "groups.mean"),
        ({"mean": {"low": 0.1, "high": 0.2}}, "groups.mean"),
    ],
)
def test_wrong_groups(changes, key) -> None:
    assert key in [problem.key for problem in problems_of(patched(groups=GROUPS | changes))]


def test_lone_rollouts_with_groups() -> None:
    one = patched(groups=GROUPS, limits={"rollouts_per_prompt": 1})
    assert the_problem(one).key == "limits.rollouts_per_prompt"
    choices = patched(groups=GROUPS, limits={"rollouts_per_prompt": {"choices": [1]}})
    assert the_problem(choices).key == "limits.rollouts_per_prompt.choices"
    current = patched(groups=GROUPS, current={"prompts": 5, "rollouts_per_prompt": 1})
    assert the_problem(current).key == "current.rollouts_per_prompt"
    left = scenario(groups=GROUPS, limits={"rollouts_per_prompt": {"choices": [1, 4, 8]}})
    assert left.limits.rollouts_per_prompt.choices == (4, 8)


def test_epochs_need_a_group_size() -> None:
    assert the_problem(patched(limits={"epochs": 3})).key == "limits.epochs"


def test_no_product_is_allowed() -> None:
    limits = {"group_size": 7, "rollouts_per_prompt": {"choices": [8, 16]}}
    assert the_problem(patched(limits=limits)).key == "limits.group_size"


def test_the_product_may_go_beyond_the_default_limit() -> None:
    limits = {"group_size": 64, "epochs": {"max": 16}}
    assert max(scenario(limits=limits).limits.group_sizes) == 1024
    assert max(scenario(limits={"group_size": 64}).limits.group_sizes) == 256


def test_choices_displace_ends_of_group_sizes() -> None:
    base = scenario(limits={"group_size": {"min": 2, "max": 8}})
    assert base.with_values({"limits.group_size.choices": [4]}).limits.group_size.choices == (4,)
