"""Normal log-ratios."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from rlhf_budget.bound.tails.elementary import (
    INFINITY,
    ROOT_HALF,
    ROOT_PI,
    Number,
    each,
    erfc,
    exp,
    integral_of_erfc,
    log,
    upper_normal_quantile,
)
from rlhf_budget.bound.tails.parametric import Parametric, require_positive


@dataclass(frozen=True)
class Gaussian(Parametric):
    """``l ~ N(kl, std²)``: a sum over tokens whose mean is the KL divergence that trainers log.

    For one prompt an exactly Gaussian log-ratio has ``std = √(2 kl)`` (docs/theory.md, section 4).
    """

    family: ClassVar[str] = "gaussian"
    kl: float
    """Mean of the log-ratio in nats, at least 0."""
    std: float
    """Standard deviation of the log-ratio in nats."""

    def __post_init__(self) -> None:
        require_positive(std=self.std)
        if not 0.0 <= self.kl < INFINITY:
            raise ValueError(f"kl must be a finite number of at least 0, found {self.kl!r}")

    def _survival(self, t: Number) -> Number:
        root_half = ROOT_HALF / self.std
        return 0.5 * (erfc((t - self.kl) * root_half) + erfc((t + self.kl) * root_half))

    def _excess(self, t: Number) -> Number:
        root_half = ROOT_HALF / self.std
        above = integral_of_erfc((t - self.kl) * root_half)
        below = integral_of_erfc((t + self.kl) * root_half)
        return (self.std * ROOT_HALF) * (above + below)

    def _inverse(self, p: Number) -> Number:
        return each(self._inverse_of_one, p)

    def _inverse_of_one(self, p: float) -> float:
        """Newton's method on the logarithm of the survival, kept in a bracket by bisection."""
        log_p = math.log(p)
        # Newton doubles the digits, so one step from here on reaches the rounding error.
        close = max(1e-9 * (1.0 - p), 4e-16)
        # The survival lies between its upper part alone and, as that part is the larger, twice it.
        low = max(0.0, self.kl + self.std * upper_normal_quantile(p))
        high = max(0.0, self.kl + self.std * upper_normal_quantile(0.5 * p))
        t = low if low > 0.0 else high
        for _ in range(100):
            survival = self._survival(t)
            difference = log(survival) - log_p
            if difference > 0.0:
                low = t
            else:
                high = t
            height = self._height(t)
            following = t + self.std * (difference * survival / height) if height > 0.0 else high
            if abs(difference) <= close:
                return max(following, 0.0)
            if not low < following < high:
                following = 0.5 * (low + high)
            if following in (low, high):
                break
            t = following
        return high

    def _height(self, t: float) -> float:
        """Density of ``|l|`` at ``t`` in units of ``1/std``."""
        above = (t - self.kl) / self.std
        below = (t + self.kl) / self.std
        both = exp(-0.5 * above * above) + exp(-0.5 * below * below)
        return both * ROOT_HALF / ROOT_PI
