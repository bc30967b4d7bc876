"""What the families with a density have in common."""

from __future__ import annotations

import math

import numpy as np

from rlhf_budget.bound.tails.elementary import INFINITY, SMALLEST, Number

LARGEST_BELOW_ONE = math.nextafter(1.0, 0.0)


class Parametric:
    """Dispatch and limits common to the families with a density on ``(0, ∞)``.

    A family gives its formulas as ``_survival``, ``_excess`` and, for ``0 < p < 1``, ``_inverse``.
    """

    def survival(self, t: Number) -> Number:
        """See :class:`~rlhf_budget.bound.tails.Tail`."""
        if isinstance(t, np.ndarray):
            with np.errstate(all="ignore"):
                return self._survival(t)
        return self._survival(float(t))

    def excess(self, t: Number) -> Number:
        """See :class:`~rlhf_budget.bound.tails.Tail`; never negative."""
        if isinstance(t, np.ndarray):
            with np.errstate(all="ignore"):
                return np.maximum(self._excess(t), 0.0)
        return max(self._excess(float(t)), 0.0)

    def inverse_survival(self, p: Number) -> Number:
        """See :class:`~rlhf_budget.bound.tails.Tail`; infinite at ``p = 0``."""
        if isinstance(p, np.ndarray):
            with np.errstate(all="ignore"):
                inside = self._inverse(np.clip(p, SMALLEST, LARGEST_BELOW_ONE))
                return np.where(p >= 1.0, 0.0, np.where(p > 0.0, inside, INFINITY))
        if p >= 1.0:
            return 0.0
        return self._inverse(float(p)) if p > 0.0 else INFINITY

    def _survival(self, t: Number) -> Number:
        raise NotImplementedError

    def _excess(self, t: Number) -> Number:
        raise NotImplementedError

    def _inverse(self, p: Number) -> Number:
        raise NotImplementedError


def require_positive(**parameters: float) -> None:
    """Refuse parameters that are not positive and finite."""
    for name, value in parameters.items():
        if not 0.0 < value < INFINITY:
            raise ValueError(f"{name} must be a positive finite number, found {value!r}")


def require_finite_mean(mean: float) -> None:
    """Refuse a law whose mean is not positive and finite."""
    if not 0.0 < mean < INFINITY:
        raise ValueError(f"the mean of |log-ratio| must be positive and finite, found {mean!r}")
