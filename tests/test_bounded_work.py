"""No legal scenario keeps the planner busy, whatever its numbers: evaluations are counted, not
seconds."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mutated import FILES, mutated

from rlhf_budget import load_scenario, plan
from rlhf_budget.bound.terms import BoundFunction
from rlhf_budget.errors import RlhfBudgetError
from rlhf_budget.optimum.problem import MonotoneSum
from rlhf_budget.planning.advice import advise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_POINTS, MOST_EXACT = 2_500_000, 12_000
"""Points in whole arrays, and points one by one: about a second together."""


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()

    def counting(owner: Any, name: str, kind: str, size: Callable[..., int]) -> None:
        original = getattr(owner, name)

        def wrapper(self: Any, *args: Any) -> Any:
            counted[kind] += size(*args)
            return original(self, *args)

        monkeypatch.setattr(owner, name, wrapper)

    counting(MonotoneSum, "sampling", "points", lambda group, row, x, side: x.size)
    counting(BoundFunction, "sampling_and_clipping", "exact", lambda *_: 1)
    counting(BoundFunction, "least", "exact", lambda *_: 1)
    return counted


@pytest.mark.parametrize("path", FILES[-2:], ids=lambda path: path.stem)
def test_files_that_once_hung(path: Any, counts: Counter[str]) -> None:
    found = plan(load_scenario(path))
    assert counts["points"] < 100_000
    assert counts["exact"] < 1_000
    assert found.near_optimal is not None
    assert not found.near_optimal.approximate


@given(seed=st.integers(0, 10**9), slack=st.sampled_from([0.9, 1.0, 1.0 + 1e-9, 1.05, 2.0]))
@example(seed=84, slack=1.0)
@example(seed=334, slack=1.0)
@example(seed=422, slack=1.0)
@example(seed=286, slack=1.0)
@example(seed=1329, slack=1.0)
@example(seed=1574, slack=1.0)
@settings(max_examples=60)
def test_any_legal_scenario_is_planned_with_bounded_work(
    seed: int, slack: float, counts: Counter[str]
) -> None:
    counts.clear()
    try:
        scenario = load_scenario(mutated(random.Random(seed)))
        found = plan(scenario)
    except RlhfBudgetError:
        return
    assert counts["points"] <= MOST_POINTS
    assert counts["exact"] <= MOST_EXACT
    counts.clear()
    advise(found)
    assert counts["points"] <= MOST_POINTS
    assert counts["exact"] <= MOST_EXACT
    counts.clear()
    try:
        plan(scenario, target_bound=found.bound.total * slack)
    except RlhfBudgetError:
        return
    assert counts["points"] <= MOST_POINTS
    assert counts["exact"] <= MOST_EXACT
