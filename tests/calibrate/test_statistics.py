"""Variance components, histogram, fits and informative groups against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from rlhf_budget.calibrate.logs.histogram import LogHistogram
from rlhf_budget.calibrate.moments import Moments
from rlhf_budget.calibrate.rollouts import variance
from rlhf_budget.calibrate.rollouts.groups import informative_share
from rlhf_budget.calibrate.rollouts.tail_fits import fit_tails


def moments_of(groups, centre=0.0):
    rows = np.array(
        [
            [1, y.var(ddof=1), y.mean() - centre, (y.mean() - centre) ** 2, y.var(ddof=1) / len(y)]
            for y in groups
        ]
    )
    products = tuple(tuple(row) for row in (rows.T @ rows).tolist())
    return Moments(variance.FEATURES, len(rows), tuple(rows.sum(axis=0).tolist()), products)


def test_equal_groups_give_the_classical_analysis_of_variance():
    rng = np.random.default_rng(1)
    groups = [rng.normal(rng.normal(0, 0.4), 1.0, 6) for _ in range(25)]
    data = np.array(groups)
    within = ((data - data.mean(axis=1, keepdims=True)) ** 2).sum() / (25 * 5)
    between = (6 * data.mean(axis=1).var(ddof=1) - within) / 6
    found = variance.components(moments_of(groups, 0.1), 0.95)
    assert found.within.value == pytest.approx(within, rel=1e-12)
    assert found.between.value == pytest.approx(max(0.0, between), rel=1e-10)
    assert found.groups == 25


def test_equal_groups_give_the_components_of_statsmodels():
    pytest.importorskip("statsmodels")
    import warnings

    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    rng = np.random.default_rng(3)
    data = rng.normal(0, 0.7, (40, 1)) + rng.normal(0, 1.0, (40, 8))
    frame = pd.DataFrame({"reward": data.ravel(), "prompt": np.repeat(np.arange(40), 8)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = MixedLM.from_formula("reward ~ 1", frame, groups=frame["prompt"]).fit(reml=True)
    found = variance.components(moments_of(list(data)), 0.95)
    # For equal groups the restricted likelihood and the analysis of variance agree.
    assert found.within.value == pytest.approx(fitted.scale, rel=1e-4)
    assert found.between.value == pytest.approx(float(fitted.cov_re.iloc[0, 0]), rel=1e-3)


def test_unequal_groups_follow_the_stated_formulas():
    rng = np.random.default_rng(2)
    groups = [rng.normal(rng.normal(), 1.0, k) for k in rng.integers(2, 12, 30)]
    spreads = np.array([y.var(ddof=1) for y in groups])
    means = np.array([y.mean() for y in groups])
    noise = np.mean([s / len(y) for s, y in zip(spreads, groups, strict=True)])
    found = variance.components(moments_of(groups), 0.95)
    assert found.within.value == pytest.approx(spreads.mean(), rel=1e-12)
    assert found.between.value == pytest.approx(means.var(ddof=1) - noise, rel=1e-10)


def test_a_negative_estimate_becomes_zero_with_an_interval():
    groups = [np.array([0.0, 1.0]) for _ in range(10)]
    found = variance.components(moments_of(groups), 0.95)
    assert found.between.value == 0
    assert found.between.interval[0] == 0


@pytest.mark.parametrize(("K", "share"), [(4, 0.335), (8, 0.457), (16, 0.555), (32, 0.635)])
def test_golden_informative_shares(K, share):
    assert round(informative_share(0.806, 0.411, K), 3) == share


@given(mean=st.floats(0.01, 0.99), correlation=st.floats(1e-3, 0.99), K=st.integers(1, 64))
@settings(max_examples=100, deadline=None)
def test_informative_share_is_scipys_beta_binomial(mean, correlation, K):
    strength = (1 - correlation) / correlation
    law = betabinom(K, mean * strength, (1 - mean) * strength)
    expected = 1 - law.pmf(0) - law.pmf(K) if K > 1 else 0.0
    assert informative_share(mean, correlation, K) == pytest.approx(expected, abs=1e-9)


def test_independent_rollouts_are_the_limit():
    assert informative_share(0.5, 0.0, 8) == pytest.approx(1 - 2 / 256)
    assert informative_share(0.5, 1e-10, 8) == pytest.approx(1 - 2 / 256)
    assert informative_share(1.0, 0.2, 8) == 0
    assert informative_share(0.5, 1.0, 8) == 0


LAWS = {
    "exponential": lambda rng: rng.exponential(2.0, 40_000),
    "normal": lambda rng: rng.normal(5, 3, 40_000),
    "lomax": lambda rng: 3 * rng.pareto(2.5, 40_000),
    "tiny": lambda rng: 1e-7 * rng.lognormal(0, 2, 40_000),
}


@pytest.mark.parametrize("law", LAWS)
def test_histogram_within_one_percent_of_exact_values(law):
    samples = LAWS[law](np.random.default_rng(5))
    magnitudes = np.abs(samples)
    histogram = LogHistogram.from_samples(samples)
    for t in np.quantile(magnitudes, [0.0, 0.1, 0.5, 0.9, 0.99, 0.999]) * 1.0003:
        assert histogram.survival(t) == pytest.approx(np.mean(magnitudes > t), rel=0.01)
        exact = np.maximum(magnitudes - t, 0).mean()
        assert histogram.excess(t) == pytest.approx(exact, rel=0.01)
    assert histogram.mean == pytest.approx(magnitudes.mean(), rel=1e-12)
    assert histogram.largest == magnitudes.max()
    assert histogram.survival(histogram.largest) == 0
    assert histogram.excess(2 * histogram.largest) == 0
    for share in (0.5, 0.9, 0.99):
        assert histogram.quantile(share) == pytest.approx(
            np.quantile(magnitudes, share, method="inverted_cdf"), rel=0.001
        )


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_histograms_merge(first, second):
    merged = LogHistogram.from_samples(np.array(first)).merge(
        LogHistogram.from_samples(np.array(second))
    )
    whole = LogHistogram.from_samples(np.array(first + second))
    assert merged.bins == whole.bins
    assert merged.counts == whole.counts
    assert merged.sums == pytest.approx(whole.sums)
    assert merged.largest == whole.largest


@pytest.mark.parametrize(
    ("family", "draw", "parameters"),
    [
        ("exponential", lambda r: r.exponential(2.0, 20_000), {"mean": 2.0}),
        ("half_normal", lambda r: r.normal(0, 1.5, 20_000), {"scale": 1.5}),
        ("gamma", lambda r: r.gamma(3.0, 2.0, 20_000), {"shape": 3.0, "scale": 2.0}),
        ("weibull", lambda r: 2 * r.weibull(0.7, 20_000), {"shape": 0.7, "scale": 2.0}),
        ("lognormal", lambda r: r.lognormal(0.5, 0.8, 20_000), {"mu": 0.5, "sigma": 0.8}),
        ("lomax", lambda r: 3 * r.pareto(3.0, 20_000), {"shape": 3.0, "scale": 3.0}),
        ("gaussian", lambda r: r.normal(3, 2.5, 20_000), {"kl": 3.0, "std": 2.5}),
    ],
)
def test_the_true_family_is_chosen_and_its_parameters_found(family, draw, parameters):
    samples = draw(np.random.default_rng(9))
    mean = samples.mean() if family == "gaussian" else np.abs(samples).mean()
    signed = samples if family == "gaussian" else np.abs(samples)
    fits = fit_tails(LogHistogram.from_samples(samples), mean, signed.std(ddof=1), 1.0)
    best = fits[0]
    assert best.family == family
    assert [fit.chosen for fit in fits] == [True] + [False] * (len(fits) - 1)
    for (name, value), error in zip(best.parameters, best.standard_errors, strict=True):
        assert value == pytest.approx(parameters[name], abs=4 * error)
    assert best.ks_distance < 0.02


def test_log_likelihood_is_that_of_the_density():
    samples = np.random.default_rng(1).exponential(2.0, 5000)
    fits = fit_tails(LogHistogram.from_samples(samples), samples.mean(), samples.std(), 1.0)
    fit = next(fit for fit in fits if fit.family == "exponential")
    exact = -5000 * (math.log(samples.mean()) + 1)
    assert fit.log_likelihood == pytest.approx(exact, abs=0.5)
    assert fit.standard_errors[0] == pytest.approx(samples.mean() / math.sqrt(5000), rel=0.01)


def test_zeros_alone_have_no_fit():
    assert fit_tails(LogHistogram.from_samples(np.zeros(10)), 0.0, 0.0, 1.0) == ()
