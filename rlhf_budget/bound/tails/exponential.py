"""Exponential magnitudes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf_budget.bound.tails.elementary import Number, exp, log
from rlhf_budget.bound.tails.parametric import Parametric, require_positive


@dataclass(frozen=True)
class Exponential(Parametric):
    """``|l|`` exponential."""

    family: ClassVar[str] = "exponential"
    mean: float
    """Mean of the absolute log-ratio in nats."""

    def __post_init__(self) -> None:
        require_positive(mean=self.mean)

    def _survival(self, t: Number) -> Number:
        return exp(-t / self.mean)

    def _excess(self, t: Number) -> Number:
        return self.mean * exp(-t / self.mean)

    def _inverse(self, p: Number) -> Number:
        return -self.mean * log(p)
