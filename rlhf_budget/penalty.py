"""A certified chord table of the clipping penalty.

Best clipping makes the KL part of the bound a function of one scalar, ``H(s) = min_τ 2τs +
E(|ℓ| − τ)₊`` with ``s = S₁``. As a minimum of lines in s it is concave, so a chord between two of
its points lies below it (a certified lower bound), and the line of any one τ lies above it
(docs/theory.md, chord table).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.tails import Tail

    Floats = NDArray[np.float64]

KNOTS = 128
"""Points of a table, half of them evenly and half geometrically spaced in τ."""


@dataclass(frozen=True, slots=True, eq=False)
class PenaltyTable:
    """Points of H for s within ``[least, most]``; exact at the knots, bracketing between them."""

    least: float
    """Smallest s covered."""
    most: float
    """Largest s covered."""
    slopes: Floats
    """``s`` at each knot, ascending, shape (knots,)."""
    values: Floats
    """``H`` at each knot."""
    thresholds: Floats
    """A τ that attains H at each knot, nats."""

    def lower(self, s: Floats) -> Floats:
        """Chords: never above H."""
        return np.interp(s, self.slopes, self.values)

    def upper(self, s: Floats) -> Floats:
        """Lines of the two nearest knots' τ: never below H."""
        right = np.clip(np.searchsorted(self.slopes, s), 0, self.slopes.size - 1)
        left = np.maximum(right - 1, 0)
        lines = [
            self.values[at] + 2.0 * self.thresholds[at] * (s - self.slopes[at])
            for at in (left, right)
        ]
        return np.minimum(lines[0], lines[1])


def penalty_table(
    tail: Tail, least_clip: float, most_clip: float, least: float, most: float
) -> PenaltyTable:
    """Tabulate H for ``s`` in ``[least, most]``, with τ in ``[least_clip, most_clip]`` (nats)."""
    ends = np.array([_best(tail, s, least_clip, most_clip) for s in (least, most)])
    inside = _grid(tail, float(ends[1]), float(ends[0]))
    slopes = np.concatenate(([least, most], 0.5 * tail.survival(inside)))
    thresholds = np.concatenate((ends, inside))
    values = 2.0 * thresholds * slopes + tail.excess(thresholds)
    order = np.argsort(slopes, kind="stable")
    order = order[(slopes[order] >= least) & (slopes[order] <= most)]
    return PenaltyTable(least, most, slopes[order], values[order], thresholds[order])


def _best(tail: Tail, s: float, least_clip: float, most_clip: float) -> float:
    threshold = float(tail.inverse_survival(2.0 * s)) if 2.0 * s < 1.0 else 0.0
    return min(max(threshold, least_clip), most_clip)


def _grid(tail: Tail, low: float, high: float) -> Floats:
    """Thresholds between two: evenly and geometrically spaced; every atom where they are few."""
    magnitudes = getattr(tail, "magnitudes", None)
    if magnitudes is not None:
        first, last = np.searchsorted(magnitudes, [low, high])
        atoms = magnitudes[first : last + 1]
        return atoms if atoms.size <= 8 * KNOTS else atoms[:: math.ceil(atoms.size / (8 * KNOTS))]
    if not low < high:
        return np.array([low])
    even = np.linspace(low, high, KNOTS // 2)
    return np.concatenate((even, np.geomspace(max(low, 1e-6 * high), high, KNOTS // 2)))
