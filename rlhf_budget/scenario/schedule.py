"""Group size and epochs: which numbers of rollouts per prompt a trainer can make.

A trainer draws groups of one size and visits every prompt once an epoch, so that a prompt has
``group size * epochs`` rollouts in all (K).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST = 1024
"""Rollouts per prompt never exceed this."""


def group_sizes(
    rollouts: Mapping[str, Any],
    group_size: Mapping[str, Any] | None,
    epochs: Mapping[str, Any] | None,
) -> dict[int, int]:
    """Return every number of rollouts per prompt that the limits allow, with its group size.

    Limits are ``min`` and ``max``, or ``choices``: of the rollouts per prompt over all epochs, of
    those drawn together (None: one epoch, so that groups are all rollouts), and of the visits to
    each prompt (None: as many as fit). Where several group sizes give the same number, the largest
    is taken: its groups are seldom silent and its epochs fewest.

    Returns
    -------
    dict
        Rollouts per prompt, ascending -> group size; empty where no product is allowed.
    """
    allowed = _numbers(rollouts)
    if group_size is None:
        return {K: K for K in allowed}
    visits = epochs or {}
    least, most = visits.get("min", 1), visits.get("max") or LARGEST
    wanted = set(allowed)
    made = {
        size * count: size
        for size in _numbers(group_size)
        for count in range(least, min(most, LARGEST // size) + 1)
        if size * count in wanted
    }
    return dict(sorted(made.items()))


def _numbers(limits: Mapping[str, Any]) -> tuple[int, ...]:
    if limits.get("choices") is not None:
        return tuple(limits["choices"])
    return tuple(range(limits.get("min") or 1, (limits.get("max") or LARGEST) + 1))
