"""Prices from past runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

from rlhf_budget.calibrate import PastRun, costs, read_runs
from rlhf_budget.errors import CalibrationError, LogError

DATA = Path(__file__).parents[1] / "data" / "reward_model"


def runs(prompts, groups, money, **more):
    return [PastRun(n, k, y, **more) for n, k, y in zip(prompts, groups, money, strict=True)]


def prices(found):
    return found.estimate("costs.prompt").value, found.estimate("costs.rollout").value


def test_two_runs_are_solved_exactly():
    found = costs(runs([1000, 1000], [2, 10], [7.0, 23.0]))
    assert prices(found) == pytest.approx((0.003, 0.002))
    assert all(e.interval is None and "two runs" in e.note for e in found.estimates)
    assert [r.residual for r in found.residuals] == pytest.approx([0.0, 0.0], abs=1e-9)


def test_prices_equal_non_negative_least_squares():
    generator = np.random.default_rng(0)
    n, k = generator.integers(500, 5000, 9), generator.integers(1, 17, 9)
    money = 0.0002 * n + 0.003 * n * k + generator.normal(0, 20, 9)
    expected = optimize.nnls(np.column_stack([n, n * k]).astype(float), money)[0]
    assert prices(costs(runs(n, k, money))) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-12)


def test_intervals_cover():
    generator = np.random.default_rng(1)
    covered = np.zeros(2)
    for _ in range(120):
        n, k = generator.integers(500, 5000, 8), generator.integers(2, 17, 8)
        found = costs(runs(n, k, 0.01 * n + 0.002 * n * k + generator.normal(0, 3, 8)))
        for column, truth in enumerate((0.01, 0.002)):
            low, high = found.estimates[column].interval
            assert 0.0 <= low <= found.estimates[column].value <= high
            covered[column] += low <= truth <= high
    assert (covered / 120 >= 0.90).all()
    assert (covered / 120 <= 0.99).all()


def test_a_price_held_at_zero_says_so():
    found = costs(runs([1000, 1000, 1000], [2, 4, 8], [1.0, 4.0, 10.0]))
    prompt = found.estimate("costs.prompt")
    assert prompt.value == 0.0
    assert "held at 0" in prompt.note
    assert prompt.interval[0] == 0.0
    assert [e.status for e in found.estimates] == ["unreliable", "unreliable"]
    assert found.fragment() == {}


def test_published_runs_are_fitted_apart():
    past, source = read_runs([DATA / "run_costs.csv"], hourly_rate=2.0)
    found = costs(past, source=source)
    assert found.names == ("Qwen-1.5B MATH", "Qwen-7B MATH", "DS-1.5B MATH")
    assert len(found.estimates) == 6
    assert found.fragment() == {}
    assert "--run" in found.estimates[0].note
    chosen, source = read_runs([DATA / "run_costs.csv"], hourly_rate=2.0, name="DS-1.5B MATH")
    assert (source.rows_read, source.rows_used, source.skipped[0].count) == (6, 2, 4)
    single = costs(chosen, source=source)
    rollout = (38.40 - 7.07) * 4 * 2.0 / (75_000 * 14)
    assert single.fragment()["costs"]["rollout"] == pytest.approx(rollout)
    assert prices(costs(past, name="DS-1.5B MATH")) == prices(single)


def test_lengths_price_tokens():
    n, k, tokens = [100, 100, 200], [4, 8, 4], [100.0, 300.0, 500.0]
    money = [0.5 * a + 0.001 * a * b * t for a, b, t in zip(n, k, tokens, strict=True)]
    past = [PastRun(*row[:3], tokens=row[3]) for row in zip(n, k, money, tokens, strict=True)]
    found = costs(past)
    mean = sum(a * b * t for a, b, t in zip(n, k, tokens, strict=True)) / (400 + 800 + 800)
    assert prices(found) == pytest.approx((0.5, 0.001 * mean))
    assert "tokens a rollout" in found.estimate("costs.rollout").note


def test_equal_groups_cannot_tell_the_prices_apart():
    found = costs(runs([100, 200, 300], [8, 8, 8], [1.0, 2.0, 3.0]))
    assert {e.status for e in found.estimates} == {"unavailable"}
    assert "same rollouts per prompt" in found.estimates[0].note


@pytest.mark.parametrize(
    "past",
    [
        [],
        [PastRun(10, 2, 1.0)],
        [PastRun(10, 2, 1.0), PastRun(0, 2, 1.0)],
        [PastRun(10, 2, 1.0), PastRun(10, 4, -1.0)],
        [PastRun(10, 2, 1.0), PastRun(10, 4, 2.0, tokens=5.0)],
    ],
)
def test_runs_that_give_no_price(past):
    with pytest.raises(CalibrationError):
        costs(past)


def test_tables(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("prompts,rollouts_per_prompt,hours,gpus\n10,2,1,\n10,4,2,3\n10,x,1,1\n")
    past, source = read_runs([path], hourly_rate=5.0)
    assert [run.money for run in past] == [5.0, 30.0]
    assert source.skipped[0].reason == "unusable-run"
    with pytest.raises(LogError):
        read_runs([path], hourly_rate=5.0, strict=True)
    with pytest.raises(CalibrationError, match="--hourly-rate"):
        read_runs([path])
    with pytest.raises(CalibrationError, match="there are"):
        read_runs([DATA / "run_costs.csv"], hourly_rate=1.0, name="other")
    path.write_text("a,b\n1,2\n")
    with pytest.raises(CalibrationError, match="prompts"):
        read_runs([path])
