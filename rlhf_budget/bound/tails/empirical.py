"""Observed log-ratios."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.bound.tails.elementary import FloatArray, Number


@dataclass(frozen=True, eq=False, repr=False)
class Empirical:
    """The law that puts the same weight on each of ``N`` observed log-ratios.

    The survival is a step function; the excess is exact and linear between samples.
    """

    family: ClassVar[str] = "empirical"
    samples: InitVar[Sequence[float] | FloatArray]
    """Log-ratios in nats, of either sign and in any order; at least one, all finite."""
    magnitudes: FloatArray = field(init=False)
    """Sorted absolute log-ratios in nats, read-only, shape ``(N,)``."""
    _excesses: FloatArray = field(init=False)
    """Excess in nats at each magnitude, read-only, shape ``(N,)``."""

    def __post_init__(self, samples: Sequence[float] | FloatArray) -> None:
        values = np.asarray(samples, dtype=np.float64)
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"samples must be a list of at least one, found shape {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError("samples must be finite numbers")
        magnitudes = np.sort(np.abs(values))
        # Summing what each gap between samples contributes cancels nothing, whereas the textbook
        # sum(samples above) - count·t loses all its digits where samples lie close together.
        above = np.arange(magnitudes.size - 1, 0, -1) / magnitudes.size
        gaps = np.diff(magnitudes) * above
        excesses = np.zeros_like(magnitudes)
        excesses[:-1] = np.cumsum(gaps[::-1], dtype=np.longdouble)[::-1]
        magnitudes.setflags(write=False)
        excesses.setflags(write=False)
        object.__setattr__(self, "magnitudes", magnitudes)
        object.__setattr__(self, "_excesses", excesses)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Empirical):
            return NotImplemented
        return self is other or np.array_equal(self.magnitudes, other.magnitudes)

    def __hash__(self) -> int:
        return hash((self.magnitudes.size, float(self.magnitudes[-1]), self.excess(0.0)))

    def __repr__(self) -> str:
        return f"Empirical(<{self.magnitudes.size} samples>)"

    def samples_above(self, t: float) -> int:
        """Count the samples whose magnitude strictly exceeds ``t`` nats."""
        return self.magnitudes.size - int(self.magnitudes.searchsorted(t, side="right"))

    def survival(self, t: Number) -> Number:
        """Share of the samples whose magnitude strictly exceeds a threshold."""
        if isinstance(t, np.ndarray):
            below = self.magnitudes.searchsorted(t, side="right")
            return (self.magnitudes.size - below) / self.magnitudes.size
        return self.samples_above(t) / self.magnitudes.size

    def excess(self, t: Number) -> Number:
        """Mean over the samples of what their magnitude exceeds a threshold by."""
        size = self.magnitudes.size
        if isinstance(t, np.ndarray):
            # At and beyond the largest sample its own line, cut off there, is already 0.
            cut = np.minimum(t, self.magnitudes[-1])
            following = np.minimum(self.magnitudes.searchsorted(cut, side="right"), size - 1)
            distances = self.magnitudes[following] - cut
            result: FloatArray = self._excesses[following] + (size - following) / size * distances
            return result
        above = self.samples_above(t)
        if above == 0:
            return 0.0
        distance = float(self.magnitudes[size - above]) - float(t)
        return float(self._excesses[size - above]) + above / size * distance

    def inverse_survival(self, p: Number) -> Number:
        """Least threshold that at most a given share of the samples exceeds.

        It is the order statistic that exactly ``k`` samples may exceed, ``k`` the largest with
        ``k/N <= p``.
        """
        size = self.magnitudes.size
        # The product may round across an integer, so k is set by the quotients that survival gives.
        if isinstance(p, np.ndarray):
            shares = np.clip(p, 0.0, 1.0)
            counts = np.floor(shares * size).astype(np.int64)
            counts += (counts + 1) / size <= shares
            counts -= counts / size > shares
            return np.where(counts < size, self.magnitudes[np.maximum(size - counts - 1, 0)], 0.0)
        share = min(max(p, 0.0), 1.0)
        above = int(share * size)
        above += (above + 1) / size <= share
        above -= above / size > share
        return float(self.magnitudes[size - above - 1]) if above < size else 0.0
