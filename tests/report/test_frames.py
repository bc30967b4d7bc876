"""Data frames and notebook tables of comparisons, sweeps and checks."""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from conftest import scenario_mapping

from rlhf_budget import (
    Entry,
    MissingExtraError,
    check,
    check_many,
    compare,
    listed,
    load_scenario,
    requirement,
    sweep,
)
from rlhf_budget.report import frames

if TYPE_CHECKING:
    from rlhf_budget import Scenario


@pytest.fixture
def scenario() -> Scenario:
    return load_scenario(scenario_mapping())


def test_a_comparison_has_a_row_for_each_column(scenario: Scenario) -> None:
    found = compare({"people": scenario, "model": scenario.with_values({"costs.label": 0.2})})
    frame = found.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["name"]) == ["people", "model"]
    for at, column in enumerate(found.columns):
        assert column.plan is not None
        assert frame["bound.total"][at] == column.plan.bound.total
        assert frame["allocation.prompts"][at] == column.plan.allocation.prompts
        assert bool(frame["certificate.proved"][at]) is True
    shown = found._repr_html_()
    assert "<table>" in shown
    assert "model" in shown


def test_a_sweep_has_a_row_for_each_value_also_without_a_plan(scenario: Scenario) -> None:
    found = sweep(scenario, listed("budget", [1, 1e4]))
    frame = found.to_frame("pandas")
    assert list(frame["value"]) == [1.0, 1e4]
    assert list(frame["status"]) == ["infeasible", "optimal"]
    assert math.isnan(frame["bound.total"][0])
    assert found.points[1].planned is not None
    assert frame["bound.total"][1] == found.points[1].planned.optimum.bound.total
    words = sweep(scenario, listed("bound.concentration", ["hoeffding", "prompt_mean"])).to_frame()
    assert list(words["value"]) == ["hoeffding", "prompt_mean"]
    assert "10,000" in found._repr_html_()


def test_a_check_has_a_row_for_each_gate(scenario: Scenario) -> None:
    rules = [requirement("bound.total<=0.1"), requirement("allocation.prompts>=1")]
    found = check(scenario, rules)
    frame = found.to_frame()
    assert list(frame["key"]) == ["certificate.proved", "bound.total", "allocation.prompts"]
    assert list(frame["passed"]) == [True, False, True]
    assert list(frame["value"]) == [1.0, found.plan.bound.total, found.plan.allocation.prompts]
    assert "FAILED" in found._repr_html_()
    entries = [Entry("a", scenario), Entry("b", scenario.with_values({"budget": 1}))]
    several = check_many(entries, rules)
    assert list(several.to_frame()["name"]) == ["a", "a", "a", "b"]
    assert list(several.to_frame()["status"]) == ["optimal"] * 3 + ["infeasible"]
    assert "No allocation fits" in several._repr_html_()


def test_another_package_makes_its_own_frame(scenario: Scenario) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = sweep(scenario, listed("budget", [1e4, 1e5])).to_frame("pyarrow")
    assert isinstance(table, pyarrow.Table)
    assert table.column("value").to_pylist() == [1e4, 1e5]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there: set[str] = set()

    def find(name: str) -> Any:
        return name if name in there else None

    monkeypatch.setattr(frames, "find_spec", find)
    with pytest.raises(MissingExtraError, match=r"narwhals.*\[calibrate\].*pandas or polars"):
        frames.frame([{"a": 1}])
    there.add("narwhals")
    with pytest.raises(MissingExtraError, match="and polars"):
        frames.frame([{"a": 1}], "polars")
    with pytest.raises(ValueError, match="'excel' is none of pandas, polars, pyarrow"):
        frames.frame([{"a": 1}], "excel")
    assert importlib.util.find_spec("narwhals")
