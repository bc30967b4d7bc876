"""Choosing on some replicates and judging on the others.

Each half of the replicates judges what the other half chose (the learning rate of every
allocation, and the grid's best cell with its rate), and the two verdicts are averaged: every
replicate judges, and none judges its own choice. Shapes: W worlds, E allocations, H learning
rates, T replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Qualities by replicates that did not choose, reward units."""

    quality: Floats
    """Of each allocation in each world, shape (W, E)."""
    rates: Integers
    """Index of each allocation's best learning rate by all replicates, shape (E,)."""
    best: Floats
    """Of the best allocation, chosen on average over the worlds, shape (W,)."""
    best_index: int
    """Which it is by all replicates."""


def judge(quality: Floats) -> Judged:
    """Choose learning rates and the best allocation by J*, shape (W, E, H, T), T >= 2; judge them.

    Choices are made for the family, by the mean over its worlds: with a handful of replicates a
    choice in each world would mostly be a choice of noise.
    """
    half = quality.shape[-1] // 2
    halves = (slice(None, half), slice(half, None))
    judged = np.zeros(quality.shape[:2])
    best = np.zeros(quality.shape[0])
    everyone = np.arange(quality.shape[1])
    for choosing, judging in (halves, halves[::-1]):
        means = quality[..., choosing].mean(axis=(0, -1))
        rates = means.argmax(axis=1)
        seen = quality[..., judging].mean(axis=-1)[:, everyone, rates]
        judged += 0.5 * seen
        best += 0.5 * seen[:, int(means.max(axis=1).argmax())]
    whole = quality.mean(axis=(0, -1))
    return Judged(judged, whole.argmax(axis=1), best, int(whole.max(axis=1).argmax()))
