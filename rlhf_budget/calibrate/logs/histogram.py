"""A mergeable histogram of ``|l|`` in logarithmic bins, with counts and sums.

Bin ``b`` holds ``exp(b·w) <= |l| < exp((b+1)·w)`` with ``w = RESOLUTION`` (0.1 %). Survival and
excess are exact at bin edges (docs/theory.md, section 6) and where a bin holds one sample; inside
other bins the samples are taken as uniform around their mean. At most some 40,000 bins can exist,
so nothing grows with rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable

    import narwhals as nw

    from rlhf_budget.calibrate.logs.engine import Engine
    from rlhf_budget.scenario import units

RESOLUTION = 0.001
"""Width of a bin in ``ln|l|``."""
SMALLEST = 1e-12
"""Smaller ``|l|``, in nats, counts as zero."""
ZERO_BIN = -30_000
"""Index of the bin of zeros: below every other index."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LogHistogram:
    """Distribution of ``|l|`` in nats per sequence."""

    bins: tuple[int, ...]
    """Indices of the occupied bins, ascending."""
    counts: tuple[int, ...]
    """Samples in each."""
    sums: tuple[float, ...]
    """Sum of ``|l|`` in each, nats."""
    largest: units.Nats
    """Largest ``|l|``; 0 without samples."""

    @classmethod
    def from_bins(
        cls, rows: Iterable[tuple[int, int, float]], largest: float = math.inf
    ) -> LogHistogram:
        """Build from (index, count, sum) rows in any order; equal indices are added."""
        merged: dict[int, tuple[int, float]] = {}
        for index, count, total in rows:
            old_count, old_total = merged.get(index, (0, 0.0))
            merged[index] = (old_count + count, old_total + total)
        bins = tuple(sorted(merged))
        return cls(
            bins, tuple(merged[b][0] for b in bins), tuple(merged[b][1] for b in bins), largest
        )

    @classmethod
    def from_samples(cls, samples: FloatArray) -> LogHistogram:
        """Build from samples of ``l`` or ``|l|``, shape (n,)."""
        magnitudes = np.abs(np.asarray(samples, dtype=float))
        indices = np.full(len(magnitudes), ZERO_BIN)
        positive = magnitudes >= SMALLEST
        indices[positive] = np.floor(np.log(magnitudes[positive]) / RESOLUTION).astype(int)
        bins, inverse = np.unique(indices, return_inverse=True)
        counts = np.bincount(inverse, minlength=len(bins))
        sums = np.bincount(inverse, weights=magnitudes, minlength=len(bins))
        largest = float(magnitudes.max(initial=0.0))
        rows = zip(bins.tolist(), counts.tolist(), sums.tolist(), strict=True)
        return cls.from_bins(rows, largest)

    def merge(self, other: LogHistogram) -> LogHistogram:
        """Return the histogram of both sets of samples."""
        mine = zip(self.bins, self.counts, self.sums, strict=True)
        theirs = zip(other.bins, other.counts, other.sums, strict=True)
        return self.from_bins([*mine, *theirs], max(self.largest, other.largest))

    @property
    def samples(self) -> units.Count:
        """Number of samples."""
        return sum(self.counts)

    @property
    def mean(self) -> units.Nats:
        """Mean of ``|l|``."""
        return math.fsum(self.sums) / self.samples

    def survival(self, t: float) -> float:
        """Return the share of samples with ``|l| > t`` (t in nats)."""
        position, inside = self._locate(t)
        above = int(self._counts_above[position])
        if inside is not None:
            above_inside, _ = self._inside(inside, t)
            return (above + above_inside) / self.samples
        return above / self.samples

    def excess(self, t: float) -> float:
        """Return the mean of ``(|l| − t)₊`` in nats (t in nats)."""
        position, inside = self._locate(t)
        total = self._sums_above[position] - t * self._counts_above[position]
        if inside is not None:
            total += self._inside(inside, t)[1]
        return max(0.0, float(total) / self.samples)

    def quantile(self, share: float) -> float:
        """Return the smallest t with at least that share of samples at or below it, in nats."""
        wanted = max(1, math.ceil(share * self.samples - 1e-9))
        below = self.samples - self._counts_above
        index = int(np.searchsorted(below[1:], wanted))
        low, high = self._span(index)
        rank = wanted - int(below[index])
        return low + (high - low) * (rank - 0.5) / self.counts[index]

    def edges(self) -> tuple[FloatArray, FloatArray]:
        """Return lower and upper edges of the occupied bins in nats, each of shape (bins,)."""
        indices = np.asarray(self.bins, dtype=float)
        low = np.exp(indices * RESOLUTION)
        high = np.exp((indices + 1) * RESOLUTION)
        zero = indices == ZERO_BIN
        return np.where(zero, 0.0, low), np.where(zero, SMALLEST, high)

    @cached_property
    def _counts_above(self) -> NDArray[np.int64]:
        counts = np.asarray(self.counts, dtype=np.int64)
        return np.append(np.cumsum(counts[::-1])[::-1], 0)

    @cached_property
    def _sums_above(self) -> FloatArray:
        return np.append(np.cumsum(np.asarray(self.sums)[::-1])[::-1], 0.0)

    def _locate(self, t: float) -> tuple[int, int | None]:
        """Return the first bin wholly above t, and the occupied bin around t if there is one."""
        index = ZERO_BIN if t < SMALLEST else math.floor(math.log(t) / RESOLUTION)
        position = int(np.searchsorted(self.bins, index))
        if position < len(self.bins) and self.bins[position] == index:
            return position + 1, position
        return position, None

    def _span(self, position: int) -> tuple[float, float]:
        """Range on which the samples of a bin are taken as uniform: as wide as their mean lets."""
        index, count = self.bins[position], self.counts[position]
        middle = self.sums[position] / count
        if count == 1 or index == ZERO_BIN:
            return middle, middle
        reach = min(
            middle - math.exp(index * RESOLUTION), math.exp((index + 1) * RESOLUTION) - middle
        )
        reach = max(reach, 0.0)
        return middle - reach, middle + reach

    def _inside(self, position: int, t: float) -> tuple[float, float]:
        """Count above t, and sum of ``(|l| − t)₊``, of one bin's samples."""
        low, high = self._span(position)
        count = self.counts[position]
        if t < low:
            return count, count * ((low + high) / 2 - t)
        if t >= high:
            return 0.0, 0.0
        share = (high - t) / (high - low)
        return count * share, count * share * (high - t) / 2


def tail_bins(rows: nw.LazyFrame[Any], engine: Engine) -> LogHistogram:
    """Return the histogram of ``|l|`` of the rows that have a log-ratio."""
    import narwhals as nw

    magnitude = nw.col("log_ratio").abs()
    table = (
        rows.filter(~nw.col("log_ratio").is_null())
        .with_columns(magnitude=magnitude)
        .with_columns(
            positive=nw.when(nw.col("magnitude") < SMALLEST).then(1.0).otherwise(magnitude),
        )
        .with_columns(logarithm=(nw.col("positive").log() / RESOLUTION).floor())
        .with_columns(
            bin=nw.when(nw.col("magnitude") < SMALLEST)
            .then(float(ZERO_BIN))
            .otherwise(nw.col("logarithm"))
        )
        .group_by("bin")
        .agg(
            nw.len().alias("row"),
            nw.col("magnitude").sum(),
            nw.col("magnitude").max().alias("largest"),
        )
    )
    records = engine.fetch(table)
    largest = max((float(record["largest"]) for record in records), default=0.0)
    return LogHistogram.from_bins(
        ((int(r["bin"]), int(r["row"]), float(r["magnitude"])) for r in records), largest
    )
