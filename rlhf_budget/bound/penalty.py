"""A certified chord table of the clipping penalty.

Best clipping makes the KL part of the bound a function of one scalar, ``H(s) = min_τ 2τs +
E(|ℓ| − τ)₊`` with ``s = S₁``. As a minimum of lines in s it is concave, so a chord between two of
its points lies below it (a certified lower bound), and the line of any one τ lies above it
(docs/theory.md, chord table).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.bound.tails import Tail

    Floats = NDArray[np.float64]

KNOTS = 128
"""Points of a table, half of them evenly and half geometrically spaced in τ."""
LEAST_KNOTS = 16
"""Points of each range of a table, however many share it."""


class PenaltyTable(NamedTuple):
    """Points of H for s; exact at the knots, bracketing between them."""

    width: float
    """Sum of the widths of the ranges of s that it was made for."""
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
    tail: Tail,
    least_clip: float,
    most_clip: float,
    least: Floats,
    most: Floats,
    former: PenaltyTable | None = None,
) -> PenaltyTable:
    """Tabulate H for ``s`` in ranges, with τ in ``[least_clip, most_clip]`` (nats).

    Each problem that shares the table has a range, from ``least`` to ``most``, shape (ranges,);
    between ranges the table is valid, but coarse. With the ``former`` table, which this one
    sharpens, the ranges' own ends are found sooner.
    """
    hull = np.array([least.min(), most.max()])
    best = [float(tail.inverse_survival(2.0 * s)) if 2.0 * s < 1.0 else 0.0 for s in hull.tolist()]
    ends = np.array([min(max(threshold, least_clip), most_clip) for threshold in best])
    low, high = ends[1:], ends[:1]
    if least.size > 1 and former is not None:
        # Any threshold makes a knot, so those of the ranges' ends need not be exact.
        low, high = (np.interp(s, former.slopes, former.thresholds) for s in (most, least))
    inside = _grid(tail, low, high)
    slopes = np.concatenate((hull, 0.5 * tail.survival(inside)))
    thresholds = np.concatenate((ends, inside))
    values = 2.0 * thresholds * slopes + tail.excess(thresholds)
    order = np.argsort(slopes, kind="stable")
    order = order[(slopes[order] >= hull[0]) & (slopes[order] <= hull[1])]
    width = float((most - least).sum())
    return PenaltyTable(width, slopes[order], values[order], thresholds[order])


def _grid(tail: Tail, low: Floats, high: Floats) -> Floats:
    """Thresholds in ranges: evenly and geometrically spaced; every atom where they are few."""
    knots = max(LEAST_KNOTS, KNOTS // low.size)
    magnitudes = getattr(tail, "magnitudes", None)
    if magnitudes is not None:
        first = magnitudes.searchsorted(low.min())
        atoms: Floats = magnitudes[first : magnitudes.searchsorted(high.max(), side="right")]
        most = 8 * knots * low.size
        return atoms if atoms.size <= most else atoms[:: math.ceil(atoms.size / most)]
    wide = low < high
    low, high, points = low[wide], high[wide], low[~wide]
    if not low.size:
        return points
    # As NumPy's linspace and geomspace, whose checks take longer than these few numbers.
    share = np.linspace(0.0, 1.0, knots // 2)[:, None]
    even, start = low + (high - low) * share, np.maximum(low, 1e-6 * high)
    geometric = np.minimum(start * (high / start) ** share, high)
    return np.concatenate((points, even.ravel(), geometric.ravel()))
