from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conftest import scenario_mapping
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln

from rlhf_budget import Allocation, ScenarioError, evaluate, load_scenario, plan
from rlhf_budget.bound.groups import informative_share, informative_shares, textbook_rollouts
from rlhf_budget.scenario.sections.limits import Groups

HARD = {"mean": 0.177, "correlation": 0.33}


def beta_binomial(p: float, ρ: float, K: int) -> float:
    """The formula of docs/theory.md as it is printed there."""
    a, b = p * (1 - ρ) / ρ, (1 - p) * (1 - ρ) / ρ
    equal = math.exp(betaln(a + K, b) - betaln(a, b)) + math.exp(betaln(a, b + K) - betaln(a, b))
    return 1.0 - equal


@given(st.floats(0.01, 0.99), st.floats(1e-3, 0.95), st.integers(2, 200))
def test_the_share_is_the_beta_binomials(p: float, ρ: float, K: int) -> None:
    found = informative_shares(Groups(p, ρ), K)
    assert found[K] == pytest.approx(beta_binomial(p, ρ, K), rel=1e-9, abs=1e-11)
    assert found.shape == (K + 1,)
    assert (np.diff(found[1:]) >= 0).all()


def test_the_published_shares() -> None:
    """A transformer's first policy: the beta-binomial shares beside those that were seen."""
    shares = informative_shares(Groups(**HARD), 16)
    assert shares[[2, 4, 8, 16]] == pytest.approx([0.196, 0.357, 0.489, 0.596], abs=0.003)


def test_small_shares_keep_their_digits() -> None:
    share = informative_shares(Groups(1e-9, 0.0), 4)[4]
    assert float(share) == pytest.approx(-math.expm1(4 * math.log1p(-1e-9)), rel=1e-12)


def test_the_share_is_that_of_simulated_groups() -> None:
    generator = np.random.default_rng(5)
    p, ρ, K = 0.3, 0.25, 6
    rates = generator.beta(p * (1 - ρ) / ρ, (1 - p) * (1 - ρ) / ρ, 400_000)
    wins = generator.binomial(K, rates)
    seen = np.mean((wins > 0) & (wins < K))
    assert float(informative_shares(Groups(p, ρ), K)[K]) == pytest.approx(seen, abs=4 * 0.5 / 632)


@pytest.mark.parametrize(("ratio", "expected"), [(0.05, 8), (10.0, 16)])
def test_the_rule_takes_the_groups_that_learned_best(ratio: float, expected: int) -> None:
    """The measured best groups of docs/theory.md's transformer, at cheap and at dear prompts."""
    assert (
        textbook_rollouts(Groups(**HARD), ratio, {K: K for K in (1, 2, 4, 8, 16, 32)}) == expected
    )


def grouped(**changes: Any) -> dict[str, Any]:
    bound = {"concentration": "hoeffding", "policy": "fixed"}
    return scenario_mapping(reward_model="verifiable", groups=HARD, bound=bound, **changes)


def test_the_sampling_term_is_divided_by_the_share() -> None:
    allocation = Allocation(500, 8, 0, 12.0)
    plain = evaluate(load_scenario(grouped() | {"groups": None}), allocation)
    silent = evaluate(load_scenario(grouped()), allocation)
    share = informative_share(load_scenario(grouped()), 8)
    assert silent.sampling == pytest.approx(plain.sampling / share)
    assert silent.kl_clipping == plain.kl_clipping


def test_rewards_of_a_reward_model_change_nothing() -> None:
    assert informative_share(load_scenario(scenario_mapping()), 3) == 1.0


def test_a_lone_rollout_teaches_nothing() -> None:
    with pytest.raises(ScenarioError, match="2 at least"):
        evaluate(load_scenario(grouped()), Allocation(500, 1, 0, None))


def test_guarantees_leave_silent_groups_out() -> None:
    found = plan(load_scenario(grouped()))
    assert found.guarantee < found.bound.total
    assert found.groups is not None
    assert found.groups.informative_share == informative_share(
        found.scenario, found.allocation.rollouts_per_prompt
    )
    least = found.groups.least
    assert least.rollouts_per_informative_group <= found.groups.rollouts_per_informative_group
    assert [entry.total for entry in found.guarantees] == sorted(
        entry.total for entry in found.guarantees
    )


def test_the_textbook_rule_is_the_optimum_at_a_single_price() -> None:
    mapping = grouped(objective={"kl_coefficient": 0.0}, costs={"prompt": 0.05, "rollout": 1.0})
    found = plan(load_scenario(mapping | {"budget": 1e7}))
    assert found.closed_form.rollouts_per_prompt == found.allocation.rollouts_per_prompt == 8


def test_group_size_and_epochs() -> None:
    """K is the group size times epochs, and silent groups are those of the group size."""
    limits = {"group_size": {"choices": [4, 8]}, "epochs": {"max": 3}}
    scenario = load_scenario(grouped(limits=limits))
    assert scenario.limits.group_sizes == {4: 4, 8: 8, 12: 4, 16: 8, 24: 8}
    shares = informative_shares(Groups(**HARD), 8)
    assert informative_share(scenario, 12) == shares[4]
    assert informative_share(scenario, 16) == shares[8]
    found = plan(scenario)
    assert found.schedule is not None
    made = found.schedule.group_size * found.schedule.epochs
    assert made == found.allocation.rollouts_per_prompt
    assert load_scenario(scenario.inputs()).limits == scenario.limits


def test_epochs_of_a_pool_bind() -> None:
    """A pool without a price for more: the money goes into epochs until their limit."""
    mapping = grouped(
        budget=1200.0,
        objective={"kl_coefficient": 0.0},
        costs={"prompt": {"acquisition": 0, "existing": 7473, "prefill": 0}, "rollout": 0.0002},
        limits={"prompts": {"max": 7473}, "group_size": 8, "epochs": {"max": 16}},
    )
    found = plan(load_scenario(mapping))
    assert found.allocation.rollouts_per_prompt == 128
    assert "limits.epochs.max" in found.binding
