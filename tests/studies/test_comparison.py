"""Comparison: columns, names, differences, the best, and what is shown."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from conftest import scenario_mapping
from report_helpers import check_snapshot

from rlhf_budget import ScenarioError, load_scenario, plan
from rlhf_budget.planning.results import Notice
from rlhf_budget.report.comparison_document import comparison_document
from rlhf_budget.report.markdown import markdown
from rlhf_budget.report.terminal import show
from rlhf_budget.studies.comparison import Comparison, Entry, compare, load_entries

if TYPE_CHECKING:
    from pathlib import Path

CHEAP = {"cheap-labels": {"costs": {"label": 0.2}}}


def three(**changes: Any) -> Comparison:
    scenarios = {
        "base": load_scenario(scenario_mapping(**changes)),
        "cheap labels": load_scenario(
            scenario_mapping(costs={"prompt": 5.0, "rollout": 0.02, "label": 0.2})
        ),
        "two": load_scenario(scenario_mapping(budget=80000.0, objective={"kl_coefficient": 0.02})),
    }
    return compare(scenarios)


def with_infeasible() -> Comparison:
    poor = load_scenario(scenario_mapping(budget=1.0))
    return compare({"base": load_scenario(scenario_mapping()), "poor": poor})


def told(comparison: Comparison) -> Comparison:
    """With one fixed warning, so that snapshots do not depend on what warnings say."""
    notice = (Notice("some-warning", "What is doubtful, and what to do."),)
    columns = tuple(
        replace(column, outcome=replace(column.plan, warnings=notice))
        for column in comparison.columns
        if column.plan is not None
    )
    return replace(comparison, columns=columns)


def shown(comparison: Comparison, width: int) -> str:
    text = io.StringIO()
    show(comparison_document(comparison), text, width=width)
    return text.getvalue()


def test_columns_have_the_plans_of_plan() -> None:
    found = three()
    base = plan(load_scenario(scenario_mapping()))
    assert found.reference.plan is not None
    assert found.reference.plan.to_dict() == base.to_dict()
    assert (found.baseline, found.feasible) == ("base", True)


def test_values_cover_every_number_and_say_by_how_much() -> None:
    found = three()
    values = {value.key: value for value in found.differences[0].values}
    assert {"allocation.rollouts", "bound.clipped_share", "cost.unspent"} <= set(values)
    assert "bound.vacuous" not in values
    bound = values["bound.total"]
    assert bound.baseline is not None
    assert bound.value is not None
    assert bound.absolute == bound.value - bound.baseline < 0
    assert bound.relative == pytest.approx(bound.absolute / bound.baseline)


def test_the_best_has_the_least_and_all_that_are_the_same() -> None:
    best = {entry.key: entry.names for entry in three().best}
    assert best["bound.total"] == ("two",)
    assert best["bound.irreducible"] == ("base", "cheap labels", "two")


def test_the_baseline_can_be_chosen() -> None:
    scenarios = {name: load_scenario(scenario_mapping(name=name)) for name in ("a", "b")}
    found = compare(scenarios, baseline="b")
    assert [difference.name for difference in found.differences] == ["a"]
    with pytest.raises(ScenarioError, match="one of a, b"):
        compare(scenarios, baseline="c")


def test_infeasible_columns_are_kept_without_a_difference() -> None:
    found = with_infeasible()
    assert [c["status"] for c in found.to_dict()["columns"]] == ["optimal", "infeasible"]
    assert found.differences == ()
    assert found.to_dict()["columns"][1]["error"]["code"] == "infeasible"
    assert not found.feasible
    assert "Infeasible: poor." in shown(found, 100)


def test_an_infeasible_baseline_leaves_no_differences() -> None:
    poor = load_scenario(scenario_mapping(budget=1.0))
    found = compare({"poor": poor, "base": load_scenario(scenario_mapping())})
    assert found.differences == ()
    assert found.best[0].names == ("base",)


def test_currencies_and_names_must_agree() -> None:
    euro = load_scenario(scenario_mapping(currency="EUR"))
    dollar = load_scenario(scenario_mapping())
    with pytest.raises(ScenarioError, match="EUR, USD"):
        compare({"a": euro, "b": dollar})
    with pytest.raises(ScenarioError, match="2 columns called 'a'"):
        compare([Entry("a", dollar, "x.yaml"), Entry("a", dollar, "y.yaml")])
    with pytest.raises(ScenarioError, match="no scenario"):
        compare({})


def write(path: Path, **changes: Any) -> str:
    mapping = {key: value for key, value in scenario_mapping(**changes).items() if key != "name"}
    path.write_text(yaml.safe_dump(mapping))
    return str(path)


def test_files_name_their_columns(tmp_path: Path) -> None:
    file = write(tmp_path / "first.yaml", scenarios=CHEAP)
    entries = load_entries([file, f"other={file}"])
    assert [entry.name for entry in entries] == [
        "first",
        "first:cheap-labels",
        "other",
        "other:cheap-labels",
    ]
    assert [entry.name for entry in load_entries([file])] == ["first", "cheap-labels"]
    assert entries[3].file_scenario == "cheap-labels"
    assert entries[3].scenario.costs.label == 0.2


def test_a_file_with_an_equals_sign_in_its_name_is_a_file(tmp_path: Path) -> None:
    file = write(tmp_path / "a=b.yaml")
    assert [entry.name for entry in load_entries([file])] == ["a=b"]


# --- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 200])
def test_snapshots(width: int) -> None:
    text = shown(told(three()), width)
    assert max(map(len, text.splitlines())) <= width
    check_snapshot(f"compare-{width}.txt", text)


def test_markdown_snapshot() -> None:
    check_snapshot("compare.md", markdown(comparison_document(told(three()))))


def test_nothing_is_cut_where_columns_do_not_fit() -> None:
    wide, narrow = shown(three(), 200), shown(three(), 40)
    assert set(re.findall(r"[\d,.]{4,}", wide)) <= set(re.findall(r"[\d,.]{4,}", narrow))


def test_reference_same_and_best_are_marked() -> None:
    text = shown(three(), 200)
    assert "base (ref)" in text
    assert re.search(r"cost +same", text)
    assert re.search(r"total .* \* 0\.", text)


def test_equal_scenarios_are_the_same_everywhere() -> None:
    scenario = load_scenario(scenario_mapping())
    text = shown(compare({"a": scenario, "b": scenario}), 100)
    assert "no constant differs" in text
    assert "* 0." not in text


def test_json_has_no_numbers_that_are_none() -> None:
    text = json.dumps(three().to_dict(), allow_nan=False)
    assert "NaN" not in text


def test_notebooks_and_scripts_get_one_row_a_column() -> None:
    rows = with_infeasible().rows()
    assert [row["name"] for row in rows] == ["base", "poor"]
    assert rows[1]["status"] == "infeasible"


def test_labels_of_a_run_under_way_are_totals() -> None:
    progress = {"prompts": 500, "rollouts_per_prompt": 8, "labels": 600}
    base = load_scenario(scenario_mapping())
    under_way = load_scenario(scenario_mapping(progress=progress))
    assert "labels to buy" not in shown(compare({"a": under_way, "b": base}), 100)
    assert shown(compare({"a": under_way, "b": base}), 100).count("labels in all") == 2
    assert "labels to buy" in shown(compare({"a": base}), 100)


def test_other_reward_ranges_are_ranked_by_shares() -> None:
    narrow, wide = (
        load_scenario(scenario_mapping(objective={"kl_coefficient": 0.05, "reward_range": width}))
        for width in (1.0, 4.0)
    )
    found = compare({"narrow": narrow, "wide": wide})
    first, second = (column.plan for column in found.columns)
    assert first is not None
    assert second is not None
    assert first.bound.total < second.bound.total < 4 * first.bound.total
    assert found.best[0].names == ("wide",)
    text = shown(found, 100)
    assert "lowest bound as a share: wide" in text
    assert "cannot be ranked" in text
    share = second.bound.total / 4 / first.bound.total - 1
    line = next(line for line in text.splitlines() if re.match(r"  bound  +-", line))
    assert f"({share * 100:.1f} %)" in line
