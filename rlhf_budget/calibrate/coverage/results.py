"""What a coverage calibration returns, of features and of densities alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf_budget.calibrate.estimates import Calibration, Choice
from rlhf_budget.errors import CalibrationError

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


def kind_choice(kind: str) -> tuple[Choice, ...]:
    """Return the word that goes with a coverage: what it was measured on."""
    return (Choice("reward_model.coverage_kind", kind, (CONSTANT,)),)


def require_level(level: float) -> None:
    """Raise CalibrationError unless a level is between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise CalibrationError(f"the level must be between 0 and 1, found {level:g}")
