"""What an informative group costs at each size, in rollouts and at a scenario's prices."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_budget.calibrate import RolloutOptions, priced, rollouts_from_files
from rlhf_budget.calibrate.rollouts.groups import least_costly
from rlhf_budget.scenario.load import load_scenario
from rlhf_budget.scenario.template import template

DATA = Path(__file__).parents[1] / "data"


def found():
    path = str(DATA / "field" / "08-n-correct-of-k")
    return rollouts_from_files([path], options=RolloutOptions("100%"))


def test_money_is_prompt_and_rollouts_over_the_share(tmp_path):
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(template("verifiable"))
    costs = load_scenario(str(scenario)).costs
    prompt = costs.prompt.acquisition + costs.prompt.prefill
    groups = priced(found(), str(scenario)).groups
    for group in groups:
        K = group.rollouts_per_prompt
        expected = (prompt + K * costs.rollout) / group.informative_share
        assert group.money_per_informative_group == pytest.approx(expected)
    best = least_costly(groups)
    assert best.money_per_informative_group == min(g.money_per_informative_group for g in groups)


def test_without_prices_the_least_is_in_rollouts():
    groups = found().groups
    assert all(group.money_per_informative_group is None for group in groups)
    best = least_costly(groups)
    assert best.rollouts_per_informative_group == min(
        group.rollouts_per_informative_group for group in groups
    )
