"""What a calibration of the coverage finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf_budget.calibrate.estimates import Calibration

CONSTANT = "reward_model.coverage"
"""The key path that both kinds of coverage estimate."""


@dataclass(frozen=True, slots=True)
class RidgeEffect:
    """Coverage under one ridge."""

    ridge: float
    """Ridge added to the training moment, in units of its mean eigenvalue."""
    coverage: float | None
    """Coverage with that ridge; None where the training moment cannot be inverted."""


@dataclass(frozen=True)
class CoverageConstants(Calibration):
    """Coverage of the current policy by the reward model's training data."""

    command: ClassVar[str] = "calibrate coverage"

    pareto_shape: float | None = None
    """``k̂`` of the largest importance weights; None for features, or without a tail to fit."""
    ridges: tuple[RidgeEffect, ...] = ()
    """What ridges of several sizes do to a coverage of features."""
