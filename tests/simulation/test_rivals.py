"""Rivals keep the budget and the limits, and do what their names say."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_budget import Allocation, Scenario
from rlhf_budget.optimum.certified import optimise
from rlhf_budget.simulation.rivals import find_rivals, is_feasible

NAMES = ("prompts-first", "labels-first", "k8", "k16", "thirds")


def scenario(**changes):
    written = {
        "budget": 1000,
        "objective": {"kl_coefficient": 0.05},
        "costs": {"prompt": 0.02, "rollout": 0.01, "label": 0.5},
        "reward_model": {"coverage": 2.0, "error": {"scale": 8.0, "exponent": 0.8}},
        "log_ratio": {"family": "gaussian", "kl": 3.0},
    }
    return Scenario(**(written | changes))


def rivals_of(made):
    rivals, left_out = find_rivals(made, optimise(made).allocation)
    return {rival.name: rival.allocation for rival in rivals}, left_out


def test_every_rule_is_tried_and_spends_the_money():
    made = scenario()
    found, left_out = rivals_of(made)
    assert tuple(found) == NAMES
    assert left_out == ()
    for allocation in found.values():
        n, K, m = allocation.prompts, allocation.rollouts_per_prompt, allocation.labels
        spent = n * (Fraction("0.02") + K * Fraction("0.01")) + m * Fraction("0.5")
        assert 1000 - (Fraction("0.02") + K * Fraction("0.01")) < spent <= 1000


def test_rules_do_what_their_names_say():
    found, _ = rivals_of(scenario())
    plan = optimise(scenario()).allocation
    assert (found["prompts-first"].rollouts_per_prompt, found["prompts-first"].labels) == (1, 0)
    assert 0.89 * 1000 < found["labels-first"].labels * 0.5 <= 0.9 * 1000
    assert (found["k8"].rollouts_per_prompt, found["k8"].labels) == (8, plan.labels)
    assert (found["k16"].rollouts_per_prompt, found["k16"].labels) == (16, plan.labels)
    thirds = found["thirds"]
    parts = (thirds.prompts * 0.02, thirds.rollouts * 0.01, thirds.labels * 0.5)
    assert parts == pytest.approx((1000 / 3,) * 3, rel=1e-3)


def test_each_rival_is_clipped_at_its_own_best_threshold():
    found, _ = rivals_of(scenario())
    thresholds = {allocation.clip_threshold for allocation in found.values()}
    assert len(thresholds) == len(found)


def test_without_a_penalty_nothing_is_clipped():
    found, _ = rivals_of(scenario(objective={"kl_coefficient": 0}, log_ratio=None))
    assert all(allocation.clip_threshold is None for allocation in found.values())


def test_no_labels_are_bought_for_a_known_reward():
    found, _ = rivals_of(scenario(reward_model="verifiable"))
    assert all(allocation.labels == 0 for allocation in found.values())
    assert found["labels-first"] == found["prompts-first"]
    assert found["thirds"].prompts * 0.02 == pytest.approx(500, rel=1e-3)


def test_rules_that_the_limits_forbid_are_named():
    found, left_out = rivals_of(scenario(limits={"rollouts_per_prompt": {"choices": [4, 16]}}))
    assert left_out == ("k8",)
    assert found["prompts-first"].rollouts_per_prompt == 4


def test_prompts_first_keeps_the_least_rollouts_where_more_teach_nothing():
    made = scenario(bound={"concentration": "prompt_mean"})
    found, left_out = rivals_of(made)
    assert left_out == ()
    assert found["k8"].rollouts_per_prompt == 8


def test_current_is_tried_as_it_is():
    now = {"prompts": 90000, "rollouts_per_prompt": 8, "labels": 3, "clip_threshold": 1.5}
    made = scenario(current=now)
    found, _ = rivals_of(made)
    assert found["current"] == Allocation(90000, 8, 3, 1.5)
    assert not is_feasible(made, found["current"])


def test_current_without_a_threshold_gets_its_best():
    found, _ = rivals_of(scenario(current={"prompts": 100, "rollouts_per_prompt": 8}))
    assert found["current"].clip_threshold > 0


@settings(max_examples=60, deadline=None)
@given(
    budget=st.floats(0.5, 1e5),
    prompt=st.floats(0, 2),
    rollout=st.floats(0, 2),
    label=st.floats(0, 20),
    most=st.integers(1, 10_000),
    pool=st.integers(0, 500),
    concentration=st.sampled_from(["hoeffding", "prompt_mean"]),
)
def test_rivals_are_feasible(budget, prompt, rollout, label, most, pool, concentration):
    made = scenario(
        budget=budget,
        bound={"concentration": concentration},
        costs={
            "prompt": {"acquisition": prompt, "existing": pool, "prefill": 0.001},
            "rollout": rollout,
            "label": label,
        },
        limits={"prompts": {"max": most}, "labels": {"max": 50_000}},
    )
    rivals, _ = find_rivals(made, Allocation(1, 1, 0, 1.0))
    assert all(is_feasible(made, rival.allocation) for rival in rivals)
