"""Constants of a scenario, with intervals, from the logs that teams already have."""

from __future__ import annotations

from rlhf_budget.calibrate.estimates import Calibration, Estimate
from rlhf_budget.calibrate.fields import FieldNames
from rlhf_budget.calibrate.rollouts import (
    RolloutConstants,
    RolloutOptions,
    rollouts,
    rollouts_from_files,
)

__all__ = [
    "Calibration",
    "Estimate",
    "FieldNames",
    "RolloutConstants",
    "RolloutOptions",
    "rollouts",
    "rollouts_from_files",
]
