"""Intervals against SciPy's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rlhf_budget.simulation.statistics import clopper_pearson, mean_interval


@pytest.mark.parametrize(
    ("successes", "trials"),
    [(0, 1), (1, 1), (22, 50), (0, 10_000), (10_000, 10_000), (9_500, 10_000)],
)
def test_clopper_pearson_is_the_exact_interval(successes, trials):
    exact = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert clopper_pearson(successes, trials) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_mean_interval_is_students():
    values = np.random.default_rng(0).normal(size=12)
    expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    estimate = mean_interval(values)
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.interval == pytest.approx(expected)


def test_one_world_has_no_interval():
    assert mean_interval([3.0]).interval is None
    assert mean_interval([3.0]).to_dict() == {"mean": 3.0, "interval": None}
