"""Normal log-ratios of mean 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf_budget.bound.tails.elementary import (
    ROOT_HALF,
    Number,
    erfc,
    integral_of_erfc,
    upper_normal_quantile,
)
from rlhf_budget.bound.tails.parametric import Parametric, require_positive


@dataclass(frozen=True)
class HalfNormal(Parametric):
    """``|l| = scale·|Z|`` with ``Z`` standard normal."""

    family: ClassVar[str] = "half_normal"
    scale: float
    """Root mean square of the log-ratio in nats."""

    def __post_init__(self) -> None:
        require_positive(scale=self.scale)

    def _survival(self, t: Number) -> Number:
        return erfc(t * (ROOT_HALF / self.scale))

    def _excess(self, t: Number) -> Number:
        return (self.scale / ROOT_HALF) * integral_of_erfc(t * (ROOT_HALF / self.scale))

    def _inverse(self, p: Number) -> Number:
        return self.scale * upper_normal_quantile(0.5 * p)
