"""Sweeps: values, equality with single plans, failures, pictures."""

from __future__ import annotations

import io
import itertools
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import scenario_mapping
from report_helpers import check_snapshot

from rlhf_budget import FileAccessError, ScenarioError, load_scenario, plan
from rlhf_budget.report.charts import sweep_chart, write_chart
from rlhf_budget.report.document import Table
from rlhf_budget.report.sweep_document import MOST_ROWS, sweep_document
from rlhf_budget.report.terminal import show
from rlhf_budget.studies.sweeps import (
    BATCH,
    MOST_DOUBLINGS,
    Over,
    Sweep,
    listed,
    parse_over,
    spaced,
    sweep,
)

if TYPE_CHECKING:
    from pathlib import Path

CURRENT = {"prompts": 2000, "rollouts_per_prompt": 8, "labels": 5000}


def swept(over: Over, **changes: Any) -> Sweep:
    return sweep(load_scenario(scenario_mapping(**changes)), over)


# --- values --------------------------------------------------------------------------------------


def test_ends_are_exact_and_steps_constant() -> None:
    log = spaced("budget", 1e3, 1e6, points=40)
    assert (log.scale, log.values[0], log.values[-1], len(log.values)) == ("log", 1e3, 1e6, 40)
    ratios = [float(b) / float(a) for a, b in itertools.pairwise(log.values)]
    assert np.ptp(ratios) < 1e-12
    linear = spaced("costs.label", 0.0, 1.0, points=11)
    assert (linear.scale, linear.values[-1]) == ("linear", 1.0)
    assert np.allclose(np.diff(np.array(linear.values, dtype=float)), 0.1)


def test_whole_keys_are_rounded_and_repeats_dropped() -> None:
    over = spaced("limits.rollouts_per_prompt", 1, 8, points=40)
    assert over.values == (1, 2, 3, 4, 5, 6, 7, 8)
    assert over.to_dict()["points"] == 8
    assert spaced("bound.candidates", 1, 100, points=3).values == (1, 10, 100)
    assert spaced("limits.prompts.max", 1, 3, points=3, scale="linear").values == (1, 2, 3)
    assert listed("limits.labels", [1.4, 3]).values == (1, 3)


def test_one_value_where_both_ends_meet() -> None:
    assert spaced("budget", 5.0, 5.0).values == (5.0,)


def test_lists_keep_their_order() -> None:
    over = parse_over("costs.label=3,0.2,1_000", points=40, scale=None)
    assert over.values == (3, 0.2, 1000)
    assert over.to_dict() == {
        "key": "costs.label", "scale": None, "from": None, "to": None, "points": 3
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "budget",
        "budget=",
        "=1:2",
        "budget=5:1",
        "budget=a:b",
        "budget=1:",
        "budget=[1]",
        "b=1:.inf",
    ],
)
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"FROM|is not|found"):
        parse_over(text, points=40, scale=None)


def test_a_log_scale_needs_positive_ends() -> None:
    with pytest.raises(ValueError, match="--scale linear"):
        spaced("costs.label", 0.0, 1.0, scale="log")


# --- plans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "over",
    [
        spaced("budget", 400.0, 5e5, points=7),
        spaced("log_ratio.kl", 2.0, 40.0, points=4),
        spaced("limits.rollouts_per_prompt", 1, 64, points=4),
        listed("bound.concentration", ["hoeffding", "prompt_mean"]),
    ],
    ids=lambda over: over.key,
)
def test_each_point_is_the_plan_of_its_value(over: Over) -> None:
    mapping = scenario_mapping(current=CURRENT)
    found = sweep(load_scenario(mapping), over)
    for point in found.points:
        single = plan(load_scenario(mapping, set_values=[f"{over.key}={point.value}"])).to_dict()
        entry = point.to_dict()
        for part in ("allocation", "bound", "cost", "marginal", "binding", "status"):
            assert entry[part] == single[part], (point.value, part)
        assert entry["warnings"] == [notice["code"] for notice in single["warnings"]]
        assert entry["certificate"]["proved"]


def test_batches_do_not_show() -> None:
    over = spaced("budget", 1e3, 1e6, points=BATCH + 3)
    told: list[int] = []
    whole = sweep(load_scenario(scenario_mapping()), over, on_points=told.append)
    assert told == [BATCH, BATCH + 3]
    tail = sweep(load_scenario(scenario_mapping()), Over("budget", over.values[-3:]))
    assert [p.to_dict()["bound"] for p in whole.points[-3:]] == [
        p.to_dict()["bound"] for p in tail.points
    ]


def test_failures_are_marked() -> None:
    found = swept(listed("budget", [-5, 1.0, 50000.0]))
    assert [point.status for point in found.points] == ["invalid", "infeasible", "optimal"]
    data = found.to_dict()
    assert data["summary"] == {"optimal": 1, "not_proved": 0, "infeasible": 1, "invalid": 1}
    assert data["points"][0]["error"]["problems"][0]["key"] == "budget"
    assert data["points"][1]["error"]["shortfall"] > 0
    assert data["points"][2]["error"] is None
    json.dumps(data, allow_nan=False)


def test_a_key_that_no_value_fits_is_an_error() -> None:
    with pytest.raises(ScenarioError, match="did you mean"):
        swept(listed("costs.lable", [1.0, 2.0]))


def test_over_the_budget_current_is_marked() -> None:
    found = swept(spaced("budget", 1e3, 1e6, points=5), current=CURRENT)
    assert found.current is not None
    assert found.to_dict()["current"]["allocation"]["prompts"] == 2000
    assert swept(listed("costs.label", [1.0]), current=CURRENT).current is None


# --- what is shown -------------------------------------------------------------------------------


def shown(found: Sweep, width: int) -> str:
    text = io.StringIO()
    show(sweep_document(found), text, width=width)
    return text.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_snapshots(width: int) -> None:
    found = swept(listed("budget", [1.0, 1e4, 1e5]), current=CURRENT)
    text = shown(found, width)
    assert max(map(len, text.splitlines())) <= width
    check_snapshot(f"sweep-{width}.txt", text)


def test_rows_for_csv_name_warnings_and_errors() -> None:
    rows = swept(listed("budget", [1.0, 1e5])).rows()
    assert rows[0]["status"] == "infeasible"
    assert "budget" in rows[0]["error"]
    assert rows[1]["key"] == "budget"


# --- pictures ------------------------------------------------------------------------------------


def test_the_chart_has_titles_units_and_the_mark() -> None:
    text = sweep_chart(swept(spaced("budget", 1e3, 1e6, points=5), current=CURRENT)).to_json()
    for words in (
        "budget (USD), log scale",
        "bound (reward units)",
        "share of the cost (%)",
        "twice the budget (%)",
        "the diamond is what is done now",
        "What to buy",
        "you are here",
    ):
        assert words in text, words


def test_decisions_are_steps_and_no_term_is_joined_across_jumps_of_k() -> None:
    found = swept(spaced("budget", 400, 5e5, points=30), current=CURRENT)
    chart = sweep_chart(found).to_dict()
    terms, decisions, money, doublings = chart["vconcat"]
    assert decisions["layer"][0]["mark"]["interpolate"] == "step"
    assert "interpolate" not in money["layer"][0]["mark"]
    assert terms["layer"][0]["encoding"]["detail"]["field"] == "run"
    drawn = [row for row in terms["layer"][0]["data"]["values"] if row["term"] == "sampling"]
    assert [row["run"] for row in drawn] == [
        point.optimum.allocation.rollouts_per_prompt for _, point in found.planned
    ]
    assert len({row["run"] for row in drawn}) > 1
    # Every panel says where the scenario's own budget is; three decisions of current are marked.
    for panel in (terms, decisions, money, doublings):
        marks = [layer["data"]["values"] for layer in panel["layer"] if "data" in layer]
        assert [{"at": 50000, "text": "you are here"}] in marks
    diamonds = next(each for each in decisions["layer"] if each["mark"].get("shape") == "diamond")
    assert {row["value"] for row in diamonds["data"]["values"]} == {2000, 8, 5000}


def test_budgets_below_what_a_run_has_spent_are_marked() -> None:
    behind = {"prompts": 1000, "rollouts_per_prompt": 8, "labels": 2000, "cost": 9000}
    found = swept(spaced("budget", 2000.0, 80000.0, points=6), progress=behind)
    assert [point.status for point in found.points][:2] == ["invalid", "invalid"]
    assert found.doublings
    assert min(each.budget for each in found.doublings) >= 9000


def test_what_a_doubling_buys_is_planned_through_the_own_budget() -> None:
    mapping = scenario_mapping()
    found = sweep(load_scenario(mapping), spaced("budget", 1e4, 1e8, points=3))
    assert 50000.0 in {each.budget for each in found.doublings}
    assert 1e4 <= found.doublings[0].budget < 2e4
    assert 5e7 < found.doublings[-1].budget <= 1e8
    for each in found.doublings[::4]:
        for budget, bound in ((each.budget, each.bound), (2 * each.budget, each.doubled)):
            single = plan(load_scenario(mapping, set_values=[f"budget={budget}"]))
            assert single.bound.total == bound
    assert found.enough is not None
    for each in found.doublings:
        little = 1.0 - each.doubled / each.bound < 0.05
        assert little == (each.budget >= found.enough)
    text = " ".join(shown(found, 80).split())
    assert "Doubling your 50,000 USD lowers it by" in text
    assert "on a doubling buys less than 5 %" in text
    early = " ".join(shown(swept(spaced("budget", 1e3, 1e4)), 80).split())
    assert "a doubling still buys" in early
    assert swept(listed("costs.label", [1.0])).doublings == ()


@pytest.mark.parametrize("ends", [(1e-300, 1e-299), (1e299, 1.7e308), (-5, 0), (7, 7)])
def test_no_range_of_budgets_is_too_odd_to_double(ends: tuple[float, float]) -> None:
    found = swept(listed("budget", [*ends, 1e5]))
    assert len(found.doublings) <= MOST_DOUBLINGS


def test_many_values_become_few_rows_of_round_numbers() -> None:
    found = swept(spaced("budget", 1234, 567890, points=40), current=CURRENT)
    table = sweep_document(found).sections[0].parts[0]
    assert isinstance(table, Table)
    assert len(table.rows) <= MOST_ROWS + 1
    values = [row.cells[0] for row in table.rows if row.cells[0] != "current"]
    assert (values[0], values[-1]) == (1234, 567890)
    assert all(float(f"{value:.3g}") == value for value in values[1:-1])
    assert "14 of 40 values" in shown(found, 80)
    assert len(shown(found, 80).splitlines()) <= 32
    # What a reader wrote is not rounded.
    listed_ = sweep_document(swept(listed("budget", [12345, 67890]))).sections[0].parts[0]
    assert isinstance(listed_, Table)
    assert [row.cells[0] for row in listed_.rows] == [12345, 67890]


def test_words_are_not_joined_by_lines() -> None:
    found = swept(listed("bound.concentration", ["hoeffding", "prompt_mean"]))
    text = sweep_chart(found).to_json()
    assert '"type": "line"' not in text
    assert '"type": "bar"' in text


@pytest.mark.parametrize(
    ("suffix", "start"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF")]
)
def test_pictures_are_written(tmp_path: Path, suffix: str, start: bytes) -> None:
    chart = sweep_chart(swept(spaced("budget", 1e3, 1e6, points=4)))
    path = tmp_path / f"picture.{suffix}"
    write_chart(chart, path)
    assert path.read_bytes().startswith(start)


def test_html_needs_no_network(tmp_path: Path) -> None:
    write_chart(sweep_chart(swept(listed("budget", [1e3, 1e6]))), tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert 'src="http' not in text


def test_other_endings_and_missing_directories_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "p.gif", tmp_path / "none" / "p.svg"):
        with pytest.raises(FileAccessError):
            write_chart(None, path)
