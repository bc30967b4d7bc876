"""How far each constant that is not known moves the plan, and its picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import scenario_mapping

from rlhf_budget import Robustness, ScenarioError, load_scenario, plan, plan_robustly
from rlhf_budget.cli.app import run
from rlhf_budget.planning.swings import swings
from rlhf_budget.report.charts import rendered
from rlhf_budget.report.plan_chart import plan_chart

if TYPE_CHECKING:
    from rlhf_budget import Scenario

UNSURE = {
    "log_ratio": {"family": "gaussian", "kl": {"low": 3, "high": 18}},
    "reward_model": {
        "coverage": 1.5,
        "error": {"floor": 0.02, "scale": {"low": 4, "high": 16}, "exponent": 0.8},
    },
    "sources": {"reward_model.coverage": "guess", "costs.label": "guess: a vendor's price"},
}


def unsure(**changes: Any) -> Scenario:
    return load_scenario(scenario_mapping(**(UNSURE | changes)))


def test_ends_are_plans_of_their_own() -> None:
    scenario = unsure()
    found = swings(plan(scenario))
    by_name = {swing.constant: swing for swing in found.constants}
    assert {name: swing.kind for name, swing in by_name.items()} == {
        "log_ratio.kl": "range",
        "reward_model.error.scale": "range",
        "reward_model.coverage": "guess",
        "costs.label": "guess",
    }
    for name, swing in by_name.items():
        if swing.kind == "range":
            # 5 and 95 % of a law of which the range is a central 95 %.
            low, high = (3.0, 18.0) if name == "log_ratio.kl" else (4.0, 16.0)
            ratio = (high / low) ** (1.644854 / 3.92)
            middle = (low * high) ** 0.5
            assert (swing.low.value, swing.high.value) == pytest.approx(
                (middle / ratio, middle * ratio), rel=1e-6
            )
        for end in (swing.low, swing.high):
            if end.bound is None:
                continue
            single = plan(scenario.with_values({name: end.value}))
            assert end.bound == pytest.approx(single.bound.total, rel=1e-6)
            assert end.allocation == single.allocation
    assert by_name["costs.label"].low.value == 0.75
    assert by_name["costs.label"].high.value == 3.0
    # Half of a coverage of 1.5 is no coverage.
    assert by_name["reward_model.coverage"].low == (0.75, None, None)
    widths = [swing.width for swing in found.constants]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0
    assert found.bound == plan(scenario).bound.total


def test_of_a_robust_plan_the_middle_is_the_plan_for_the_middle() -> None:
    robust = plan_robustly(unsure(), Robustness("cvar", 0.9, draws=8))
    assert swings(robust) == swings(plan(unsure()))


def test_where_all_is_known_it_says_what_to_add(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ScenarioError, match="low"):
        swings(plan(load_scenario(scenario_mapping())))
    file, picture = tmp_path / "known.json", tmp_path / "plan.svg"
    file.write_text(json.dumps(scenario_mapping()), encoding="utf-8")
    assert run(["plan", str(file), "--plot", str(picture)]) == 2
    assert "unknown" in capsys.readouterr().err
    assert not picture.exists()


def test_the_picture_shows_every_constant_and_decision() -> None:
    found = plan(unsure())
    chart = plan_chart(found, swings(found))
    picture = rendered(chart, "svg", ppi=72).decode()
    for text in (
        "log_ratio.kl: 3.46 to 15.6 nats",
        "costs.label: 0.75 to 3 (guess)",
        "labels to buy",
        "rollouts per prompt",
        "No plan: reward_model.coverage at 0.75.",
    ):
        assert text in picture, text
    spec = chart.to_dict()
    bound, prompts = (spec["hconcat"][index]["layer"][0]["data"]["values"] for index in (0, 1))
    by_end = {(row["constant"], row["end"]): row for row in bound}
    label = next(swing for swing in swings(found).constants if swing.constant == "costs.label")
    row = by_end["costs.label: 0.75 to 3 (guess)", "upper end"]
    assert (row["middle"], row["value"]) == (found.bound.total, label.high.bound)
    assert {row["middle"] for row in prompts} == {found.allocation.prompts}


def test_without_labels_there_is_no_panel_of_them() -> None:
    scenario = unsure(reward_model="verifiable", sources={})
    found = plan(scenario)
    titles = [
        panel["layer"][0]["encoding"]["x"]["title"]
        for panel in plan_chart(found, swings(found)).to_dict()["hconcat"]
    ]
    assert titles == ["bound (reward units)", "prompts", "rollouts per prompt"]


def test_the_command_writes_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture = tmp_path / "unsure.json", tmp_path / "plan.png"
    file.write_text(json.dumps(scenario_mapping(**UNSURE)), encoding="utf-8")
    assert run(["plan", str(file), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in capsys.readouterr().err
    assert run(["plan", str(file), "--plot", str(picture), "--target-bound", "0.5"]) == 2
    assert run(["plan", str(file), "--plot", str(tmp_path / "plan.gif")]) != 0
    assert Path(picture).exists()
