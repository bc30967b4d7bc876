from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from conftest import scenario_mapping

from rlhf_budget import ScenarioError, load_scenario, plan
from rlhf_budget.cli.app import run
from rlhf_budget.planning.saved import saved_allocation
from rlhf_budget.report.underway import course, underway

if TYPE_CHECKING:
    from pathlib import Path

HALF = {"prompts": 1500, "rollouts_per_prompt": 16, "labels": 6000, "cost": 17000}


def planned(**changes: Any) -> Any:
    return plan(load_scenario(scenario_mapping(**changes)))


def test_behind_and_to_come_add_up() -> None:
    found = planned(progress=HALF)
    (table,) = underway(found).parts
    for title, _, *cells in ((row.cells[0], row, *row.cells[1:]) for row in table.rows):  # type: ignore[union-attr]
        if title != "rollouts per prompt":
            assert cells[0] + cells[1] == pytest.approx(cells[2]), title
    assert underway(planned()).parts == ()
    assert course(planned()) == ""


def test_the_verdict_is_to_stay_where_the_old_plan_is_as_good() -> None:
    whole = planned()
    a = whole.allocation
    n, K, m = a.prompts // 2, a.rollouts_per_prompt, a.labels // 2
    spent = n * (5.0 + 0.02 * K) + 1.5 * m
    behind = {"prompts": n, "rollouts_per_prompt": K, "labels": m, "cost": spent}
    old = {"prompts": a.prompts, "rollouts_per_prompt": K, "labels": a.labels}
    assert course(planned(progress=behind, current=old)).startswith("Stay: ")


def test_a_run_at_its_end_is_done() -> None:
    whole = planned()
    a = whole.allocation
    behind = {"prompts": a.prompts, "rollouts_per_prompt": a.rollouts_per_prompt}
    behind |= {"labels": a.labels, "cost": whole.cost.budget}
    old = {key: behind[key] for key in ("prompts", "rollouts_per_prompt", "labels")}
    assert course(planned(progress=behind, current=old)).startswith("Done: ")


def test_money_that_the_old_plan_leaves_is_told() -> None:
    whole = planned()
    a = whole.allocation
    old = {"prompts": a.prompts, "labels": a.labels, "rollouts_per_prompt": a.rollouts_per_prompt}
    behind = {**old, "cost": whole.cost.total}
    richer = planned(progress=behind, current=old, budget=2 * whole.cost.budget)
    assert course(richer).startswith("Change: ")
    assert " USD unspent" in course(richer)


def test_groups_that_differ_are_said_to_count_as_equal_ones() -> None:
    behind = {"prompts": 100, "rollouts_per_prompt": 3.2, "labels": 0, "cost": 1000}
    assert "Groups behind differ" in underway(planned(progress=behind)).parts[-1].text  # type: ignore[union-attr]
    whole = planned(progress={**behind, "rollouts_per_prompt": 4})
    assert len(underway(whole).parts) == 1


def test_the_verdict_is_to_change_where_that_gains() -> None:
    old = {"prompts": 5000, "rollouts_per_prompt": 1, "labels": 6000}
    found = planned(progress=HALF, current=old)
    assert found.current is not None
    assert not found.current.violations
    assert course(found).startswith("Change: the old plan ends at a bound of ")
    assert found.current.allocation.rollouts == 1500 * 16 + 3500


def test_an_old_plan_that_is_too_dear_by_now_is_told_with_its_money() -> None:
    old = {"prompts": 6000, "rollouts_per_prompt": 16, "labels": 20000}
    found = planned(progress=HALF, current=old)
    assert found.current is not None
    over = found.current.cost.total - 50000
    assert f"costs {over:,.0f} USD more than there is" in course(found)


def test_the_verdict_is_to_stop_where_no_prompt_is_worth_it() -> None:
    costs = {"prompt": 500.0, "rollout": 20.0, "label": 1.5}
    behind = {"prompts": 9000, "rollouts_per_prompt": 16, "labels": 100, "cost": 40000}
    text = course(planned(progress=behind, costs=costs))
    assert text.startswith("Stop generating: buy ")
    assert "--against" in text


def test_the_old_plan_comes_from_a_saved_one(tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    saved.write_text(json.dumps({"schema_version": 1, **planned().to_dict()}))
    a = planned().allocation
    assert saved_allocation(str(saved)) == {
        "prompts": a.prompts,
        "rollouts_per_prompt": a.rollouts_per_prompt,
        "labels": a.labels,
        "clip_threshold": a.clip_threshold,
    }
    saved.write_text("{}")
    with pytest.raises(ScenarioError, match="plan --format json"):
        saved_allocation(str(saved))


COMMANDS = {
    "plan scenario.yaml": "4,097 more prompts",
    "plan scenario.yaml --explain": "fixed is what was spent so far",
    "plan scenario.yaml --target-bound 0.5": "more prompts",
    "plan scenario.yaml -f json": '"to_come"',
    "plan scenario.yaml -f csv": "to_come.prompts",
    "plan scenario.yaml -f markdown": "| prompts | 1,500 | 4,097 |",
    "compare scenario.yaml other=scenario.yaml": "4,097 more prompts",
    "check scenario.yaml --max-bound 0.5": "4,097 more prompts",
    "sweep scenario.yaml --over budget=4000:60000 --points 4": "is what was spent so far",
    "export scenario.yaml --trainer verl": "4,097 more prompts",
    "report scenario.yaml -o page.html": "",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_run_under_way(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(scenario_mapping(progress=HALF)))
    assert run(command.split()) == 0
    told = " ".join(capsys.readouterr().out.replace("\n# ", " ").split())
    assert COMMANDS[command] in told
    if "page.html" in command:
        assert "4,097 more prompts" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("simulate scenario.yaml --worlds 1", "worlds begin at the beginning"),
        ("plan scenario.yaml --proof proof.json", "the checker does not know"),
    ],
)
def test_what_takes_no_run_under_way_says_why(
    command: str,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(scenario_mapping(progress=HALF)))
    assert run(command.split()) == 2
    assert why in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "proof.json").exists()
