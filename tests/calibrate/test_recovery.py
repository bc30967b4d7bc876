"""Recovery: intervals from synthetic logs with known constants cover them in 90 to 99 %.

Repetitions run on the sums over prompts that the aggregates deliver (test_engines.py shows that
these are the frame's); benchmarks/calibrate_coverage.py repeats it with more settings.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import expon, norm

from rlhf_budget.calibrate.logs.histogram import LogHistogram
from rlhf_budget.calibrate.moments import Moments, mean_of_rows
from rlhf_budget.calibrate.rollouts import tail_summary, variance
from rlhf_budget.calibrate.rollouts.groups import group_shares, informative_share

REPETITIONS = 400
LEVEL = 0.95


def moments_of(per_prompt):
    sums = per_prompt.sum(axis=0)
    names = tuple(str(i) for i in range(per_prompt.shape[1]))
    products = tuple(tuple(row) for row in (per_prompt.T @ per_prompt).tolist())
    return Moments(names, len(per_prompt), tuple(sums.tolist()), products)


def reward_moments(rewards, sizes):
    """Sums over prompts of one group each; rewards has shape (prompts, largest size)."""
    used = np.arange(rewards.shape[1]) < sizes[:, None]
    mean = np.where(used, rewards, 0).sum(axis=1) / sizes
    square = np.where(used, (rewards - mean[:, None]) ** 2, 0).sum(axis=1)
    spread = square / (sizes - 1)
    return moments_of(np.column_stack([np.ones(len(sizes)), spread, mean, mean**2, spread / sizes]))


def equal(prompts, size):
    return lambda rng: np.full(prompts, size)


def unequal(prompts, low, high):
    return lambda rng: rng.integers(low, high + 1, prompts)


def normal(between, within):
    def draw(rng, sizes):
        prompts, most = len(sizes), sizes.max()
        effects = rng.normal(0, math.sqrt(between), (prompts, 1))
        return effects + rng.normal(0, math.sqrt(within), (prompts, most)), sizes

    return draw, between, within


def skewed(scale):
    def draw(rng, sizes):
        effects = rng.exponential(scale, (len(sizes), 1))
        return effects + rng.exponential(1.0, (len(sizes), sizes.max())), sizes

    return draw, scale**2, 1.0


def binary(mean, correlation):
    strength = (1 - correlation) / correlation

    def draw(rng, sizes):
        rates = rng.beta(mean * strength, (1 - mean) * strength, (len(sizes), 1))
        return (rng.random((len(sizes), sizes.max())) < rates).astype(float), sizes

    total = mean * (1 - mean)
    return draw, total * correlation, total * (1 - correlation)


def dynamic(correlation):
    """More rollouts where the prompt is hard or easy: sizes depend on the prompt."""
    strength = (1 - correlation) / correlation

    def draw(rng, sizes):
        rates = rng.beta(strength / 2, strength / 2, (len(sizes), 1))
        sizes = np.where(np.abs(rates[:, 0] - 0.5) < 0.2, 4, 16)
        return (rng.random((len(sizes), 16)) < rates).astype(float), sizes

    return draw, 0.25 * correlation, 0.25 * (1 - correlation)


SETTINGS = {
    "normal, equal": (equal(60, 8), normal(0.09, 0.25)),
    "normal, small between": (equal(80, 8), normal(0.0025, 0.25)),
    "normal, unequal": (unequal(80, 2, 16), normal(0.09, 0.25)),
    "binary, equal": (equal(100, 8), binary(0.806, 0.411)),
    "binary, unequal": (unequal(150, 2, 16), binary(0.2, 0.4)),
    "binary, sizes by prompt": (equal(150, 16), dynamic(0.4)),
    "skewed, equal": (equal(100, 8), skewed(0.5)),
    "skewed, unequal": (unequal(300, 2, 16), skewed(0.5)),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_variances_and_correlation_are_covered(name):
    sizes_of, (draw, between, within) = SETTINGS[name]
    rng = np.random.default_rng(20261124)
    covered = np.zeros(3)
    for _ in range(REPETITIONS):
        rewards, sizes = draw(rng, sizes_of(rng))
        found = variance.components(reward_moments(rewards, sizes), LEVEL)
        truths = (
            (found.between, between),
            (found.within, within),
            (found.correlation, between / (between + within)),
        )
        covered += [part.interval[0] <= truth <= part.interval[1] for part, truth in truths]
    assert np.all(covered >= 0.90 * REPETITIONS), covered
    assert np.all(covered <= 0.99 * REPETITIONS), covered


def normal_log_ratios(rng, prompts, size, mean=4.0, between=1.0, within=4.0):
    effects = rng.normal(mean, math.sqrt(between), (prompts, 1))
    return effects + rng.normal(0, math.sqrt(within), (prompts, size))


def normal_survival(t):
    spread = math.sqrt(5.0)
    return float(norm.sf((t - 4) / spread) + norm.cdf((-t - 4) / spread))


def exponential_log_ratios(rng, prompts, size):
    """Signs by prompt, magnitudes exponential with mean 2 and independent."""
    magnitudes = rng.exponential(2.0, (prompts, size))
    return magnitudes * np.where(rng.random((prompts, size)) < 0.8, 1, -1)


@pytest.mark.parametrize(
    ("draw", "mean", "survival"),
    [
        (normal_log_ratios, 4.0, normal_survival),
        (exponential_log_ratios, 1.2, lambda t: float(expon.sf(t / 2))),
    ],
    ids=["normal, prompts differ", "exponential"],
)
def test_mean_kl_and_tail_survival_are_covered(draw, mean, survival):
    rng = np.random.default_rng(7)
    points = (2.0, 5.0, 8.0)
    covered = np.zeros(1 + len(points))
    for _ in range(REPETITIONS):
        log_ratios = draw(rng, 150, 8)
        histogram = LogHistogram.from_samples(log_ratios.ravel())
        measured = tail_summary.thresholds(histogram)
        rows = np.full(len(log_ratios), log_ratios.shape[1])
        above = [(np.abs(log_ratios) > t).sum(axis=1) for t in measured]
        moments = moments_of(np.column_stack([rows, log_ratios.sum(axis=1), *above]).astype(float))
        _, _, interval = mean_of_rows(moments, LEVEL, 1, 0)
        effects = tail_summary.design_effects(moments, (2, 3, 4))
        summary = tail_summary.TailSummary(histogram, (), effects, LEVEL)
        covered[0] += interval[0] <= mean <= interval[1]
        for index, t in enumerate(points, start=1):
            low, high = summary.survival_interval(t)
            covered[index] += low <= survival(t) <= high
    assert np.all(covered >= 0.90 * REPETITIONS), covered
    assert np.all(covered <= 0.99 * REPETITIONS), covered


def test_informative_shares_are_covered():
    rng = np.random.default_rng(11)
    draw, _, _ = binary(0.7, 0.3)
    covered = np.zeros(3)
    for _ in range(200):
        rewards, sizes = draw(rng, np.full(120, 8))
        shares = group_shares(
            reward_moments(rewards, sizes),
            centre=0.0,
            low=0.0,
            high=1.0,
            level=LEVEL,
            sizes=(4, 8, 32),
        )
        truths = [informative_share(0.7, 0.3, share.rollouts_per_prompt) for share in shares]
        covered += [
            share.interval[0] <= truth <= share.interval[1]
            for share, truth in zip(shares, truths, strict=True)
        ]
    assert np.all(covered >= 0.90 * 200), covered
    assert np.all(covered <= 0.995 * 200), covered
