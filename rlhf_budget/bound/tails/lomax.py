"""Lomax (shifted Pareto) magnitudes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf_budget.bound.tails.elementary import Number, exp, expm1, log, log1p
from rlhf_budget.bound.tails.parametric import Parametric, require_finite_mean, require_positive


@dataclass(frozen=True)
class Lomax(Parametric):
    """``|l|`` Lomax (Pareto from 0 on): survival ``(1 + t / scale)^(-shape)``."""

    family: ClassVar[str] = "lomax"
    shape: float
    """Tail exponent, above 1 so that the mean is finite."""
    scale: float
    """Scale in nats; the mean is ``scale / (shape - 1)``."""

    def __post_init__(self) -> None:
        require_positive(shape=self.shape, scale=self.scale)
        if self.shape <= 1.0:
            raise ValueError(f"shape must exceed 1 for a finite mean, found {self.shape!r}")
        require_finite_mean(self.scale / (self.shape - 1.0))

    def _survival(self, t: Number) -> Number:
        return exp(-self.shape * log1p(t / self.scale))

    def _excess(self, t: Number) -> Number:
        above_one = self.shape - 1.0
        return self.scale / above_one * exp(-above_one * log1p(t / self.scale))

    def _inverse(self, p: Number) -> Number:
        return self.scale * expm1(-log(p) / self.shape)
