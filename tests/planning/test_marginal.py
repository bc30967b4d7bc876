from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import scenario_mapping

from rlhf_budget import Scenario, load_scenario
from rlhf_budget.optimum.certified import optimise
from rlhf_budget.planning.marginal import marginal, sensitivity
from rlhf_budget.scenario.leaves import positive_leaves

CASES = json.loads((Path(__file__).parents[1] / "reference" / "cases.json").read_text())
SMOOTH = [case for case in CASES if case["scenario"]["name"] != "tiny-budget"]


def total(scenario: Scenario) -> float:
    return optimise(scenario).bound.total


@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case["scenario"]["name"])
def test_marginal_value_is_the_slope_of_the_frontier(case: dict[str, Any]) -> None:
    # A tenfold and finer money, so that whole labels and prompts do not show.
    scenario = load_scenario(case["scenario"])
    optimum = optimise(scenario)
    budget = float(case["scenario"]["budget"])
    step = 0.01 * budget
    ends = [total(scenario.with_values({"budget": budget + side})) for side in (step, -step)]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert marginal(optimum).bound_per_currency == pytest.approx(slope, rel=0.03, abs=1e-15)


@pytest.mark.parametrize(
    "name",
    [
        "written-prompts",
        "lomax-tail",
        "label-cap",
        "prompt-pool-cap",
        "owned-prompt-pool",
        "fresh-labels",
        "finite-class",
        "pac-bayes",
        "sgd",
        "bernstein",
        "prompt-mean",
        "verifiable-grpo",
        "finished-reward-model",
    ],
)
def test_elasticities_are_those_of_planning_anew(name: str) -> None:
    mapping = next(case["scenario"] for case in CASES if case["scenario"]["name"] == name)
    scenario = load_scenario(load_scenario(mapping).inputs())
    optimum = optimise(scenario)
    slope = marginal(optimum).bound_per_currency
    found = {entry.constant: entry.elasticity for entry in sensitivity(optimum, slope)}
    assert set(found) == {path for path, _ in positive_leaves(scenario)}
    for path, value in positive_leaves(scenario):
        if path in {"bound.candidates", "bound.sgd.batch_size"}:
            continue
        step = 0.01 if "existing" not in path else 0.001
        if path == "reward_model.coverage" and value * (1 - step) < 1:
            continue
        ends = []
        for side in (step, -step):
            changed = value * (1 + side)
            whole = path.endswith(("existing", "existing_labels"))
            ends.append((changed := round(changed) if whole else changed, changed))
        totals = [total(scenario.with_values({path: end})) for end, _ in ends]
        width = (ends[0][0] - ends[1][0]) / value
        expected = (totals[0] - totals[1]) / optimum.bound.total / width
        assert found[path] == pytest.approx(expected, rel=0.01, abs=1e-3), path


def test_money_that_buys_nothing_is_worth_nothing() -> None:
    limits = {"prompts": {"max": 100}, "rollouts_per_prompt": 2, "labels": {"max": 10}}
    optimum = optimise(load_scenario(scenario_mapping(limits=limits)))
    assert marginal(optimum).bound_per_currency == 0.0


@pytest.mark.parametrize(
    "path",
    [
        "log_ratio.kl",
        "objective.kl_coefficient",
        "reward_model.error.scale",
        "reward_model.error.floor",
        "bound.prompt_variance",
    ],
)
def test_a_constant_of_almost_nothing_moves_nothing(path: str) -> None:
    name = "bernstein" if path.startswith("bound.") else "written-prompts"
    mapping = next(case["scenario"] for case in CASES if case["scenario"]["name"] == name)
    optimum = optimise(load_scenario(mapping, set_values=[f"{path}=1e-320"]))
    found = {entry.constant: entry.elasticity for entry in sensitivity(optimum, 0.0)}
    assert found[path] == 0.0


def test_an_elasticity_stays_finite_where_a_slope_would_not() -> None:
    mapping = next(case["scenario"] for case in CASES if case["scenario"]["name"] == "prompt-mean")
    tiny = {**mapping, "groups": {"mean": 1e-300, "correlation": 0.0}}
    tiny |= {"reward_model": "verifiable", "limits": {"labels": 0}}
    optimum = optimise(load_scenario(tiny))
    found = {entry.constant: entry.elasticity for entry in sensitivity(optimum, 0.0)}
    # The share of groups that teach is K times the mean, which all of the bound is divided by.
    assert found["groups.mean"] == pytest.approx(-1.0, rel=1e-4)
