"""The tails of many draws at once: one row for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.bound.tails.gaussian import Gaussian

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget.bound.tails import Tail

    Floats = NDArray[np.float64]


class StackedTails:
    """Survival and excess of S tails at the same thresholds; equal tails are evaluated once."""

    def __init__(self, tails: Sequence[Tail]) -> None:
        numbers: dict[Tail, int] = {}
        self._row = np.array([numbers.setdefault(tail, len(numbers)) for tail in tails])
        self.distinct = tuple(numbers)
        gaussian = [tail for tail in self.distinct if isinstance(tail, Gaussian)]
        self._together: Gaussian | None = None
        if len(gaussian) == len(self.distinct) > 1:
            # One law whose parameters are columns, so that its formulas broadcast over thresholds;
            # made past the checks, which every one of them has passed.
            self._together = object.__new__(Gaussian)
            for name in ("kl", "std"):
                column = np.array([getattr(tail, name) for tail in gaussian])[:, None]
                object.__setattr__(self._together, name, column)

    def survival(self, t: Floats) -> Floats:
        """``P(|ℓ| > t)`` of every draw at thresholds of shape (T,) in nats, shape (S, T)."""
        return self._each("survival", t)

    def excess(self, t: Floats) -> Floats:
        """``E(|ℓ| − t)₊`` in nats, shapes as for :meth:`survival`."""
        return self._each("excess", t)

    def _each(self, function: str, t: Floats) -> Floats:
        if self._together is not None:
            rows: Floats = getattr(self._together, function)(t)
        else:
            rows = np.stack([getattr(tail, function)(t) for tail in self.distinct])
        found: Floats = rows[self._row]
        return found
