"""Informative groups: how often K rewards of one prompt are not all equal.

A group-normalised trainer learns nothing from a group whose rewards are all equal. With mean p and
intraclass correlation ρ of a two-valued reward, ``a = p(1−ρ)/ρ`` and ``b = (1−p)(1−ρ)/ρ``, the
beta-binomial gives the informative share (docs/theory.md, section 6)

    1 − B(a+K, b)/B(a, b) − B(a, b+K)/B(a, b).

The mean p alone would not do: rollouts of one prompt are alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.calibrate.moments import Moments, Sums, linearise
from rlhf_budget.scenario.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rlhf_budget.scenario import units

GROUP_SIZES = (2, 4, 8, 16, 32)
"""Rollouts per prompt that are reported."""

_NO_CORRELATION = 1e-9
_FULL_CORRELATION = 1 - 1e-12


@dataclass(frozen=True, slots=True)
class GroupShare(Record):
    """Informative groups at one number of rollouts per prompt."""

    rollouts_per_prompt: units.RolloutsPerPrompt
    """K, the size of the groups."""
    informative_share: units.Share
    """Share of groups whose rewards are not all equal."""
    interval: tuple[units.Share, units.Share]
    """Its interval."""
    rollouts_per_informative_group: units.RealRollouts | None
    """Rollouts that one informative group costs, K/share; None where the share is 0."""
    money_per_informative_group: units.Money | None = None
    """Its prompts and rollouts at a scenario's prices; None without prices, or a share of 0."""


def informative_share(mean: float, correlation: float, rollouts_per_prompt: int) -> float:
    """Return the beta-binomial share of groups whose two-valued rewards are not all equal.

    ``mean`` is the share p of the higher reward, in [0, 1]; ``correlation`` is ρ in [0, 1], at 0 of
    which rollouts are independent.
    """
    K = rollouts_per_prompt
    if not 0 < mean < 1 or correlation >= _FULL_CORRELATION:
        return 0.0
    if correlation <= _NO_CORRELATION:
        return 1 - mean**K - (1 - mean) ** K
    strength = (1 - correlation) / correlation
    a, b = mean * strength, (1 - mean) * strength
    # B(a+K, b)/B(a, b) is this product; it keeps digits where gamma functions cancel.
    all_high = math.exp(sum(math.log((a + i) / (strength + i)) for i in range(K)))
    all_low = math.exp(sum(math.log((b + i) / (strength + i)) for i in range(K)))
    return min(1.0, max(0.0, 1 - all_high - all_low))


def with_prices(
    groups: tuple[GroupShare, ...], prompt: float, rollout: float
) -> tuple[GroupShare, ...]:
    """Return the groups with the money for one informative group, ``(prompt + K·rollout)/share``.

    Prices of a prompt and of a rollout are in currency.
    """
    return tuple(
        group
        if group.informative_share <= 0
        else replace(
            group,
            money_per_informative_group=(prompt + group.rollouts_per_prompt * rollout)
            / group.informative_share,
        )
        for group in groups
    )


def least_costly(groups: tuple[GroupShare, ...]) -> GroupShare | None:
    """Return the size at which an informative group costs least: money, else rollouts."""

    def cost(group: GroupShare) -> float:
        money, rollouts = group.money_per_informative_group, group.rollouts_per_informative_group
        known = rollouts if money is None else money
        return math.inf if known is None else known

    best = min(groups, key=cost, default=None)
    return None if best is None or cost(best) == math.inf else best


def correlation_of(mean: float, share: float, rollouts_per_prompt: int) -> float | None:
    """Return the ρ at which a share of groups is informative; None unless 0 < mean < 1.

    The share falls from that of independent rollouts to 0 as rollouts of one prompt become alike. A
    larger one counts as independent.
    """
    from scipy.optimize import brentq

    if not 0 < mean < 1:
        return None
    if share >= informative_share(mean, 0.0, rollouts_per_prompt):
        return 0.0
    if share <= 0:
        return 1.0
    return float(
        brentq(lambda rho: informative_share(mean, rho, rollouts_per_prompt) - share, 0.0, 1.0)
    )


def group_shares(
    moments: Moments,
    *,
    centre: float,
    low: float,
    high: float,
    level: float,
    sizes: Iterable[int] = GROUP_SIZES,
) -> tuple[GroupShare, ...]:
    """Return informative shares with intervals for a reward that is either ``low`` or ``high``.

    ``moments`` are sums over prompts of ``variance.FEATURES``; ``centre`` was subtracted from group
    means.
    """
    from scipy.special import ndtri

    def mean_and_correlation(sums: Sums) -> Sums:
        groups, variance, mean, mean_squared, variance_over_size = sums
        total = (mean_squared - mean * mean / groups) / (groups - 1)
        between, within = total - variance_over_size / groups, variance / groups
        share = (centre + mean / groups - low) / (high - low)
        return np.array([share, between / (between + within)])

    values, covariance = linearise(moments, mean_and_correlation)
    mean, correlation = float(values[0]), float(np.clip(values[1], 0.0, 1.0))
    reach = float(ndtri((1 + level) / 2))
    return tuple(_one_size(mean, correlation, covariance, K, reach) for K in sizes)


def _one_size(
    mean: float, correlation: float, covariance: Sums, K: int, reach: float
) -> GroupShare:
    share = informative_share(mean, correlation, K)
    cost = K / share if share > 0 else None
    if not 0 < share < 1:
        return GroupShare(K, share, (share, share), cost)
    slopes = np.array(
        [
            _slope(lambda x: informative_share(x, correlation, K), mean),
            _slope(lambda x: informative_share(mean, x, K), correlation),
        ]
    )
    error = math.sqrt(max(float(slopes @ covariance @ slopes), 0.0))
    logit, logit_error = math.log(share / (1 - share)), error / (share * (1 - share))
    low, high = (1 / (1 + math.exp(-(logit + side * reach * logit_error))) for side in (-1, 1))
    return GroupShare(K, share, (low, high), cost)


def _slope(function: Callable[[float], float], x: float) -> float:
    low, high = max(0.0, x - 1e-5), min(1.0, x + 1e-5)
    return float((function(high) - function(low)) / (high - low))
