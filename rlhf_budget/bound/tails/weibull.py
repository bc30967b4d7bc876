"""Weibull magnitudes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from rlhf_budget.bound.tails.elementary import Number, exp, log, log_quotient, where
from rlhf_budget.bound.tails.incomplete_gamma import upper_gamma
from rlhf_budget.bound.tails.parametric import Parametric, require_finite_mean, require_positive


@dataclass(frozen=True)
class Weibull(Parametric):
    """``|l|`` Weibull: ``(|l| / scale)^shape`` is exponential."""

    family: ClassVar[str] = "weibull"
    shape: float
    """Shape ``k``; below 1 the tail is heavier than exponential."""
    scale: float
    """Scale in nats: the threshold that a share ``1/e`` exceeds."""

    def __post_init__(self) -> None:
        require_positive(shape=self.shape, scale=self.scale)
        require_finite_mean(self._mean)

    @cached_property
    def _mean(self) -> float:
        # The gamma function itself overflows for shapes below 0.0059.
        return exp(math.log(self.scale) + math.lgamma(1.0 + min(1.0 / self.shape, 1e300)))

    def _power(self, t: Number) -> Number:
        return exp(self.shape * log_quotient(t, self.scale))

    def _survival(self, t: Number) -> Number:
        return exp(-self._power(t))

    def _excess(self, t: Number) -> Number:
        power = self._power(t)
        excess = self._mean * upper_gamma(1.0 / self.shape, power)
        # Where the power underflows nothing has been lost below t.
        return where(power < 1e-290, self._mean - t, excess)

    def _inverse(self, p: Number) -> Number:
        return self.scale * exp(log(-log(p)) / self.shape)
