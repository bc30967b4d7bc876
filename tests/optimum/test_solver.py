"""Branch and bound on toy problems that know nothing of what they mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_budget.optimum.search import (
    WORST,
    Boxes,
    Candidate,
    Effort,
    first_boxes,
    minimise,
    refine,
    split,
    within_reach,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tables:
    """Falling and rising parts as tables of shape (groups, rows, xs)."""

    falling: Any
    rising: Any
    reaching: Any
    calls: list[int]

    def fall(self, group: Integers, row: Integers, x: Integers) -> Floats:
        values: Floats = self.falling[group, row, x]
        return values

    def rise(self, group: Integers, row: Integers, x: Integers) -> Floats:
        values: Floats = self.rising[group, row, x]
        return values

    rise_above = rise

    def attainable(self, group: Integers, row: Integers, x: Integers) -> Floats:
        return self.fall(group, row, x) + self.rise(group, row, x)

    def reach(self, group: Integers, row: Integers) -> Integers:
        reached: Integers = self.reaching[group, row]
        return reached

    def exact(self, group: int, row: int, x: int) -> Candidate:
        self.calls.append(group)
        if x > self.reaching[group, row]:
            return WORST
        value = float(self.falling[group, row, x] + self.rising[group, row, x])
        return Candidate(value, (x, row))

    def focused(self, boxes: Boxes) -> Self:
        return self


def monotone(random: np.random.Generator, groups: int, rows: int, width: int) -> Tables:
    """Random tables with jumps and flat stretches; many a row reaches less than the first."""
    shape = (groups, rows, width + 1)
    sparse = random.random(shape) < 0.4
    steps = random.exponential(1.0, shape) * sparse
    falling = 50 + np.flip(np.flip(steps, (1, 2)).cumsum(1).cumsum(2), (1, 2)) / 3
    steps = random.exponential(1.0, shape) * (random.random(shape) < 0.3)
    rising = steps.cumsum(1).cumsum(2) / 3
    reaching = np.sort(random.integers(-1, width + 1, (groups, rows)), axis=1)[:, ::-1]
    return Tables(falling, rising, reaching, [])


def whole(groups: int, rows: int, width: int, first: int = 1) -> Boxes:
    group = np.arange(groups)
    zero = np.zeros(groups, dtype=np.int64)
    return Boxes(group, zero, zero + rows - 1, zero + first, zero + width)


def least(problem: Tables, group: int, first: int = 1) -> float:
    total = problem.falling[group] + problem.rising[group]
    x = np.arange(total.shape[1])
    feasible = (x[None, :] <= problem.reaching[group][:, None]) & (x >= first)
    return float(total[feasible].min()) if feasible.any() else math.inf


@given(
    seed=st.integers(0, 10**6),
    groups=st.integers(1, 5),
    rows=st.integers(1, 12),
    width=st.integers(1, 150),
)
@settings(max_examples=120)
def test_it_finds_the_least_sum_of_every_group(
    seed: int, groups: int, rows: int, width: int
) -> None:
    problem = monotone(np.random.default_rng(seed), groups, rows, width)
    found = minimise(problem, whole(groups, rows, width), groups, tolerance=1e-6)
    assert len(found) == groups
    for group, search in enumerate(found):
        best = least(problem, group)
        if math.isinf(best):
            assert search.best == WORST
            continue
        assert search.best.value <= best * (1 + 1e-9)
        assert best * (1 - 1.1e-10) <= search.lower_bound <= best
        x, row = search.best.tie
        assert x <= problem.reaching[group, row]


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 12), width=st.integers(1, 150))
@settings(max_examples=60)
def test_the_boxes_that_it_closes_prove_the_optimum(seed: int, rows: int, width: int) -> None:
    problem = monotone(np.random.default_rng(seed), 2, rows, width)
    closed: list[Boxes] = []
    found = minimise(problem, whole(2, rows, width), 2, tolerance=1e-6, record=closed.append)
    covered = np.zeros((2, rows, width + 1), dtype=int)
    for boxes in closed:
        for group, first, last, low, high in zip(*boxes, strict=True):
            covered[group, first : last + 1, low : high + 1] += 1
            bound = problem.falling[group, last, high] + problem.rising[group, first, low]
            assert bound >= found[group].best.value * (1 - 1.1e-10)
    assert covered.max() <= 1
    feasible = np.arange(width + 1)[None, None, 1:] <= problem.reaching[:, :, None]
    assert (covered[:, :, 1:] == 1)[feasible].all()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_groups_together_are_as_groups_alone(seed: int) -> None:
    problem = monotone(np.random.default_rng(seed), 4, 5, 60)
    together = minimise(problem, whole(4, 5, 60), 4, tolerance=1e-6)
    for group, search in enumerate(together):
        only = Tables(
            problem.falling[[group]], problem.rising[[group]], problem.reaching[[group]], []
        )
        (alone,) = minimise(only, whole(1, 5, 60), 1, tolerance=1e-6)
        assert search.best == alone.best
        assert search.lower_bound == pytest.approx(alone.lower_bound, rel=1e-9)


def test_ties_take_the_smaller_decision() -> None:
    flat = np.full((1, 3, 21), 2.0)
    problem = Tables(flat, flat, np.full((1, 3), 20), [])
    (found,) = minimise(problem, whole(1, 3, 20), 1, tolerance=1e-6)
    assert found.best.value == 4.0
    assert Candidate(1.0, (2, 9)) < Candidate(1.0, (3, 0)) < WORST


def test_a_group_without_boxes_has_no_candidate() -> None:
    problem = monotone(np.random.default_rng(1), 2, 2, 9)
    boxes = whole(2, 2, 9).select(np.array([False, True]))
    empty, other = minimise(problem, boxes, 2, tolerance=1e-6)
    assert empty.best == WORST
    assert empty.evaluations == 0
    assert other.best.value == pytest.approx(least(problem, 1))


def test_ranges_may_start_at_zero() -> None:
    problem = monotone(np.random.default_rng(3), 1, 3, 400)
    (found,) = minimise(problem, whole(1, 3, 400, first=0), 1, tolerance=1e-6)
    assert found.best.value == pytest.approx(least(problem, 0, first=0), rel=1e-9)


def test_an_expensive_search_stops_at_the_tolerance() -> None:
    problem, boxes = monotone(np.random.default_rng(5), 1, 30, 3000), whole(1, 30, 3000)
    (rough,) = minimise(problem, boxes, 1, tolerance=0.05, effort=Effort(0, 10**9))
    best = least(problem, 0)
    assert rough.lower_bound <= best <= rough.best.value
    assert rough.best.value <= best * 1.06
    (stopped,) = minimise(problem, boxes, 1, tolerance=1e-12, effort=Effort(0, 0))
    assert stopped.lower_bound <= best <= stopped.best.value
    assert stopped.evaluations < rough.evaluations + 1000


class Counted(Tables):
    """An analytic problem of 10¹² points: ``10⁶/x·(1 + 1/(row + 1)) + 10⁻⁶·x·(row + 1)``."""

    def fall(self, group: Integers, row: Integers, x: Integers) -> Floats:
        return 1e6 / x * (1 + 1 / (row + 1))

    def rise(self, group: Integers, row: Integers, x: Integers) -> Floats:
        return 1e-6 * x * (row + 1.0)

    rise_above = rise

    def reach(self, group: Integers, row: Integers) -> Integers:
        return np.full(row.shape, 10**12)

    def exact(self, group: int, row: int, x: int) -> Candidate:
        return Candidate(1e6 / x * (1 + 1 / (row + 1)) + 1e-6 * x * (row + 1.0), (x, row))


def test_a_trillion_points_take_few_evaluations() -> None:
    (found,) = minimise(Counted(0, 0, 0, []), whole(1, 200, 10**12), 1, tolerance=1e-6)
    # For row r the best x is 10⁶·√((1 + 1/(r + 1))/(r + 1)), the least value 2√(r + 2).
    assert found.best.value == pytest.approx(2 * math.sqrt(2), rel=1e-9)
    assert found.best.tie in {(1414213, 0), (1414214, 0)}
    assert found.lower_bound <= found.best.value
    assert found.lower_bound >= 2 * math.sqrt(2) * (1 - 2e-10)
    assert found.evaluations < 50_000


@given(
    low=st.integers(1, 10**12),
    extra=st.integers(0, 10**12),
    rows=st.integers(1, 300),
    parts=st.sampled_from([(10, 14), (3, 3), (1, 8)]),
)
@settings(max_examples=80)
def test_splitting_loses_and_doubles_nothing(
    low: int, extra: int, rows: int, parts: tuple[int, int]
) -> None:
    one = Boxes(*np.array([[0], [0], [rows - 1], [low], [low + extra]]))
    children = split(one, *parts)
    if parts[0] == 1:
        rows = (
            1 if (children.row_low == 0).all() and (children.row_high == rows - 1).all() else rows
        )
    area = sum(
        (int(b) - int(a) + 1) * (int(d) - int(c) + 1)
        for a, b, c, d in zip(*children[1:], strict=True)
    )
    height = int(children.row_high.max()) + 1
    assert area == height * (extra + 1)
    assert int(children.low.min()) == low
    assert int(children.high.max()) == low + extra
    assert (children.low <= children.high).all()
    assert (children.row_low <= children.row_high).all()


def test_refining_makes_boxes_smaller_until_they_are_points() -> None:
    boxes = Boxes(*np.array([[0], [0], [5], [1], [40]]))
    for _ in range(20):
        boxes = refine(boxes)
    assert boxes.group.size == 6 * 40
    assert (boxes.low == boxes.high).all()
    points = set(zip(boxes.row_low.tolist(), boxes.low.tolist(), strict=True))
    assert points == {(row, x) for row in range(6) for x in range(1, 41)}


def test_boxes_are_cut_at_what_their_first_row_reaches() -> None:
    problem = Tables(0, 0, np.array([[9, 4, 0]]), [])
    boxes = Boxes(*np.array([[0, 0, 0, 0], [0, 1, 1, 2], [2, 1, 2, 2], [1, 1, 5, 1], [20] * 4]))
    cut = within_reach(problem, boxes)
    assert cut.high.tolist() == [9, 4]
    assert first_boxes(problem, boxes).high.max() == 9
