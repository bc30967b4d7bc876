from __future__ import annotations

from typing import Any

import pytest
from conftest import scenario_mapping

from rlhf_budget import Allocation, evaluate, load_scenario, plan
from rlhf_budget.planning.advice import PRECISION, Advice, advise

CURRENT = {"prompts": 3000, "rollouts_per_prompt": 8, "labels": 20000}


def advised(**changes: Any) -> Advice:
    return advise(plan(load_scenario(scenario_mapping(**changes))))


def test_the_same_bound_costs_less() -> None:
    found = plan(load_scenario(scenario_mapping(current=CURRENT)))
    cheaper = advise(found).cheaper
    assert cheaper is not None
    assert found.current is not None
    assert cheaper.bound == found.current.bound.total
    again = plan(found.scenario, target_bound=cheaper.bound)
    assert cheaper.cost == again.cost.total
    assert cheaper.saving == pytest.approx(found.current.cost.total - again.cost.total)
    assert cheaper.saving > 0


def test_nothing_is_saved_against_the_plan_itself() -> None:
    best = plan(load_scenario(scenario_mapping())).allocation
    same = {name: getattr(best, name) for name in ("prompts", "rollouts_per_prompt", "labels")}
    assert advised(current=same).cheaper is None
    assert advised().cheaper is None


def test_buying_nothing_uses_what_is_owned() -> None:
    costs = {
        "prompt": {"acquisition": 5.0, "existing": 400, "prefill": 0.0},
        "rollout": 0.02,
        "label": 1.5,
    }
    found = advised(costs=costs).buy_nothing
    assert found is not None
    owned = evaluate(load_scenario(scenario_mapping()), Allocation(400, 64, 0, None))
    assert found.bound == pytest.approx(owned.total)
    assert found.cost == pytest.approx(400 * 64 * 0.02)
    assert advised().buy_nothing is None


def test_a_wrong_guess_is_judged_against_the_best_there() -> None:
    mapping = scenario_mapping(
        current=CURRENT, sources={"reward_model.error.exponent": "guess: flat"}
    )
    scenario = load_scenario(mapping)
    found = plan(scenario)
    guesses = advise(found).wrong_guesses
    assert sorted(guess.value for guess in guesses) == [0.4, 1.6]
    for guess in guesses:
        there = scenario.with_values({guess.constant: guess.value})
        best = plan(there).bound.total
        kept = evaluate(there, found.allocation).total
        assert guess.plan_excess == pytest.approx(kept / best - 1.0, abs=PRECISION)
        assert guess.plan_excess >= 0
        assert guess.current_excess is not None
    assert advise(found).measure_first == "reward_model.error.exponent"


def test_a_wrong_price_keeps_the_money_and_the_split() -> None:
    scenario = load_scenario(scenario_mapping(sources={"costs.label": "guess"}))
    found = plan(scenario)
    dear = next(g for g in advise(found).wrong_guesses if g.value == 3.0)
    there = scenario.with_values({"costs.label": 3.0})
    n, m = found.allocation.prompts, found.allocation.labels
    costs = [
        5.0 * s * n + 0.02 * s * n * found.allocation.rollouts_per_prompt + 3.0 * s * m
        for s in (0.0, 1.0)
    ]
    share = found.cost.total / costs[1]
    followed = Allocation(
        int(share * n),
        found.allocation.rollouts_per_prompt,
        int(share * m),
        found.allocation.clip_threshold,
    )
    expected = evaluate(there, followed).total / plan(there).bound.total - 1.0
    assert dear.plan_excess == pytest.approx(expected, abs=1e-5)


def test_without_guesses_there_is_nothing_to_judge() -> None:
    assert advised().wrong_guesses == ()
    assert advised().measure_first is None
    scenario = load_scenario(scenario_mapping(sources={"costs.label": "guess"}))
    assert advise(plan(scenario, target_bound=0.45)).wrong_guesses == ()


def test_in_a_run_under_way_only_the_rest_is_bought_at_other_prices() -> None:
    behind = {"prompts": 4000, "rollouts_per_prompt": 16, "labels": 9000, "cost": 35000}
    sources = {"costs.prompt.acquisition": "guess", "costs.label": "guess"}
    found = plan(load_scenario(scenario_mapping(progress=behind, sources=sources)))
    guesses = advise(found).wrong_guesses
    assert len(guesses) == 4
    # Of the same split of the money for the rest, never far from the best rest.
    assert all(-1e-9 < guess.plan_excess < 0.01 for guess in guesses)
    assert advise(found).buy_nothing is None


def test_a_wrong_tail_leaves_a_wrong_threshold_which_is_the_first_to_measure() -> None:
    """Prompts, rollouts and labels may be near the best there, and the bound far from it."""
    scenario = load_scenario(scenario_mapping(sources={"log_ratio.kl": "guess"}))
    found = plan(scenario)
    worst = advise(found).wrong_guesses[0]
    there = scenario.with_values({"log_ratio.kl": worst.value})
    kept, best = evaluate(there, found.allocation).total, plan(there).bound.total
    assert kept > 1.01 * best
    assert worst.moves
    assert advise(found).measure_first == "log_ratio.kl"
