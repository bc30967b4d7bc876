"""Exact money: integer floors that no float rounding moves."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from conftest import scenario_mapping
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_budget import load_scenario
from rlhf_budget.optimum.certified import optimise
from rlhf_budget.optimum.money import Prices, exact, prices_of

MONEY = st.decimals(0, 1000, places=4, allow_nan=False).map(float)
MANY = 10**12


def prices(**changes: Any) -> Prices:
    return prices_of(load_scenario(scenario_mapping(**changes)))


def test_a_tenth_is_a_tenth() -> None:
    assert exact(0.1) == Fraction(1, 10)
    assert exact(1e-300) == Fraction(1, 10**300)
    assert exact(1e300) == 10**300


def test_three_tenths_buy_three_labels_for_a_tenth() -> None:
    # 0.3/0.1 is 2.9999999999999996 in floats.
    found = prices(budget=0.3, costs={"prompt": 0, "rollout": 0, "label": 0.1})
    assert found.labels_affordable(1, 1, MANY) == 3
    assert found.cost(1, 1, 3).unspent == 0.0


def test_a_price_derived_from_tokens_is_its_float_exactly() -> None:
    # The float nearest to a tenth is above it, so a thousand of them do not fit into a hundred.
    gpu = {"hourly_rate": 3600, "decode_tokens_per_second": 1000}
    costs = {"prompt": 0, "rollout": {"tokens": 100}, "label": 1.0, "gpu": gpu}
    scenario = load_scenario(scenario_mapping(budget=100, costs=costs))
    assert scenario.costs.rollout == 0.1
    assert prices_of(scenario).prompts_affordable(1, 0, MANY) == 999
    written = prices(budget=100, costs={"prompt": 0, "rollout": 0.1, "label": 1.0})
    assert written.prompts_affordable(1, 0, MANY) == 1000


@given(
    budget=MONEY,
    costs=st.tuples(MONEY, MONEY, MONEY, MONEY, MONEY),
    existing=st.integers(0, 40),
    K=st.integers(1, 9),
    n=st.integers(1, 60),
    m=st.integers(0, 60),
)
@settings(max_examples=150)
def test_what_is_affordable_is_exactly_that(
    budget: float, costs: tuple[float, ...], existing: int, K: int, n: int, m: int
) -> None:
    acquisition, prefill, rollout, label, fixed = costs
    prompt = {"acquisition": acquisition, "existing": existing, "prefill": prefill}
    found = prices(
        budget=budget + 0.001,
        costs={"prompt": prompt, "rollout": rollout, "label": label, "fixed": fixed},
    )
    a, p, r, c, f, B = (Fraction(str(x)) for x in (*costs, budget + 0.001))

    def total(prompts: int, labels: int) -> Fraction:
        return f + a * max(0, prompts - existing) + (p + r * K) * prompts + c * labels

    labels = found.labels_affordable(n, K, 10**6)
    if labels < 0:
        assert total(n, 0) > B
    else:
        assert total(n, labels) <= B
        assert labels == 10**6 or total(n, labels + 1) > B
    prompts = found.prompts_affordable(K, m, 10**6)
    if prompts < 0:
        assert total(0, m) > B
    else:
        assert total(prompts, m) <= B
        assert prompts == 10**6 or total(prompts + 1, m) > B
    cost = found.cost(n, K, m)
    assert cost.total == float(total(n, m))
    assert cost.unspent == float(B - total(n, m))
    assert cost.labels == float(c * m)
    assert cost.prompts == float(a * max(0, n - existing) + p * n)
    assert cost.rollouts == float(r * K * n)


def test_limits_cap_what_money_could_buy() -> None:
    free = prices(costs={"prompt": 0, "rollout": 0, "label": 0})
    assert free.labels_affordable(5, 5, 77) == 77
    assert free.prompts_affordable(5, 5, 88) == 88
    assert prices(budget=None).labels_affordable(5, 5, 77) == 77
    assert prices(budget=None).cost(1, 1, 1).unspent is None


def test_a_budget_read_from_the_report_suffices() -> None:
    third = Prices(3, 10, 0, 0, 0, 0, 1, 0)
    assert Fraction(third.to_currency_above(10)) >= Fraction(10, 3)
    assert math.nextafter(third.to_currency_above(10), 0) <= Fraction(10, 3)
    assert third.to_currency_above(9) == 3.0
    assert Prices(100, 1, 0, 0, 0, 0, 1, 0).to_currency_above(502) == 5.02


def test_money_beyond_floats_is_the_largest_float() -> None:
    huge = Prices(1, None, 0, 10**300, 0, 0, 0, 0)
    assert math.isfinite(huge.cost(10**12, 1, 0).total)


@pytest.mark.parametrize("budget", [10.0, 12.0, 17.5, 22.5, 27.0, 85.0])
@pytest.mark.parametrize(("tokens", "label"), [(50, 1.5), (100, 3.0), (100, 5.0), (50, 0.35)])
def test_prices_a_hair_off_whole_labels_lose_no_label(
    budget: float, tokens: int, label: float
) -> None:
    """Derived prices lie a rounding above round decimals: float counts of labels are then one off
    exactly where whole labels fit, and the search must not take that for a flat stretch."""
    gpu = {"hourly_rate": 3600, "decode_tokens_per_second": 1000}
    for scale, exponent in ((0.3, 0.6), (0.3, 2.0), (0.1, 1.0), (10.0, 1.0)):
        mapping = scenario_mapping(
            budget=budget,
            objective={"kl_coefficient": 0},
            costs={"prompt": 0, "rollout": {"tokens": tokens}, "label": label, "gpu": gpu},
            reward_model={
                "coverage": 1.0,
                "error": {"floor": 0.0, "scale": scale, "exponent": exponent},
            },
            limits={"rollouts_per_prompt": {"max": 2}},
        )
        scenario = load_scenario(mapping)
        found = optimise(scenario)
        best = best_by_levels_of_labels(scenario)
        assert found.bound.total <= best * (1 + 1e-12)
        assert found.certificate.lower_bound <= best * (1 + 1e-12)


def best_by_levels_of_labels(scenario: Any) -> float:
    from rlhf_budget.optimum.case import prepare

    case = prepare(scenario)
    best = math.inf
    for K in case.rollouts:
        n = 0
        while (m := case.prices.labels_affordable(n + 1, K, MANY)) >= 0:
            n = case.prices.prompts_affordable(K, m, MANY)
            best = min(best, case.bound.least(n, K) + case.bound.shift(m))
    return best
