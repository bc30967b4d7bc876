"""Silent groups: of rewards that are 0 or 1, groups with equal rewards teach a trainer nothing.

The rewards of a prompt are Bernoulli with a success rate that varies between prompts as a beta law
with mean p and intraclass correlation ρ, so their count in a group is beta-binomial
(docs/theory.md, silent groups).
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.bound.results import GroupShare, GroupSize, LeastGeneration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.scenario.models import Scenario
    from rlhf_budget.scenario.sections.limits import Groups


LEAST_SHARE = 1e-6
"""Of groups behind."""


def informative_shares(groups: Groups, largest: int) -> NDArray[np.float64]:
    """Shares of groups of 0, 1, …, ``largest`` rollouts whose rewards are not all equal.

    ``1 − B(a+K, b)/B(a, b) − B(a, b+K)/B(a, b)`` with ``a = p(1−ρ)/ρ`` and ``b = (1−p)(1−ρ)/ρ``,
    summed over the rollout that is the first to differ: positive parts only, so that a small share
    keeps its digits and the shares rise with the size exactly. A ρ of 0 is the binomial law. Shape
    (largest + 1,), 0 for groups of 0 and 1.
    """
    p, ρ = groups.mean, groups.correlation
    before = np.arange(1, largest)
    spread = (1.0 - ρ) + before * ρ
    seen = np.arange(largest - 1)
    ones = np.cumprod((p * (1.0 - ρ) + seen * ρ) / ((1.0 - ρ) + seen * ρ))
    zeros = np.cumprod(((1.0 - p) * (1.0 - ρ) + seen * ρ) / ((1.0 - ρ) + seen * ρ))
    differs_next = (ones * (1.0 - p) + zeros * p) * (1.0 - ρ) / spread
    return np.concatenate(((0.0, 0.0), np.cumsum(differs_next)))[: largest + 1]


def informative_share(scenario: Scenario, rollouts_per_prompt: int) -> float:
    """Share of the groups of an allocation that teach, 1 where rewards are not 0 or 1.

    Groups are of the group size that ``limits`` give to this number of rollouts, else of all of
    them.
    """
    if scenario.groups is None:
        return 1.0
    size = scenario.limits.group_sizes.get(rollouts_per_prompt, rollouts_per_prompt)
    return float(informative_shares(scenario.groups, size)[-1])


def shares_of(scenario: Scenario, rollouts: Sequence[int]) -> tuple[float, ...]:
    """:func:`informative_share` of many numbers of rollouts, all of them allowed."""
    if scenario.groups is None:
        return (1.0,) * len(rollouts)
    sizes = scenario.limits.group_sizes
    shares = informative_shares(scenario.groups, max(sizes.values()))
    return tuple(shares[[sizes[K] for K in rollouts]].tolist())


def past_share(scenario: Scenario) -> float:
    """Share of the groups behind in a run that teach; between whole sizes, interpolated."""
    groups, behind = scenario.groups, scenario.progress
    if groups is None or behind is None or behind.prompts == 0:
        return 1.0
    K = behind.rollouts_per_prompt
    size = scenario.limits.group_sizes.get(round(K), K)
    shares = informative_shares(groups, math.ceil(size))
    # Groups of one taught nothing; a share above 0 keeps their bound finite.
    return max(float(np.interp(size, np.arange(shares.size), shares)), LEAST_SHARE)


def textbook_rollouts(groups: Groups, price_ratio: float, sizes: dict[int, int]) -> int:
    """The allowed K that minimises ``(c_p + K·c_r)(1 + K^−½)²/share²`` (docs/theory.md).

    ``price_ratio`` is ``c_p/c_r``; ``sizes`` holds the allowed rollouts per prompt -> group size.
    """
    shares = informative_shares(groups, max(sizes.values()))

    def value(K: int) -> float:
        share = float(shares[sizes[K]])
        return (price_ratio + K) * (1.0 + K**-0.5) ** 2 / share**2 if share > 0 else math.inf

    return min(sizes, key=value)


def group_share(scenario: Scenario, allocation: Allocation) -> GroupShare | None:
    """Which share of the plan's groups teach, and where the least is generated for one that does.

    Among the group sizes that the limits allow (docs/theory.md, silent groups).
    """
    groups, sizes = scenario.groups, scenario.limits.group_sizes
    if groups is None:
        return None
    shares = informative_shares(groups, max(sizes.values()))
    generated = {size: _over(size, float(shares[size])) for size in sizes.values()}
    least = min(generated, key=lambda size: (generated[size], size))
    size = sizes[allocation.rollouts_per_prompt]
    return GroupShare(
        groups.mean,
        groups.correlation,
        float(shares[size]),
        generated[size],
        LeastGeneration(least, generated[least]),
        tuple(GroupSize(near, float(shares[near])) for near in _beside(size, generated)),
    )


def _beside(size: int, sizes: Iterable[int]) -> list[int]:
    below, above = [s for s in sizes if s < size], [s for s in sizes if s > size]
    return ([max(below)] if below else []) + ([min(above)] if above else [])


def _over(size: int, share: float) -> float:
    # A share may be too small for its inverse: the largest float stands for "never".
    return min(size / share, sys.float_info.max) if share > 0 else sys.float_info.max
