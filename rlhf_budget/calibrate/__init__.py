"""Constants of a scenario, with intervals, from the logs that teams already have."""

from __future__ import annotations

from rlhf_budget.calibrate.costs import CostConstants, PastRun, costs
from rlhf_budget.calibrate.coverage import CoverageConstants, coverage
from rlhf_budget.calibrate.coverage_data import read_features, read_logprobs
from rlhf_budget.calibrate.estimates import Calibration, Estimate, Source
from rlhf_budget.calibrate.fields import FieldNames
from rlhf_budget.calibrate.into import ScenarioEdit, describe_sources, edit_scenario
from rlhf_budget.calibrate.loss_log import read_losses
from rlhf_budget.calibrate.reward_model import RewardModelConstants, reward_model
from rlhf_budget.calibrate.rollouts import (
    RolloutConstants,
    RolloutOptions,
    rollouts,
    rollouts_from_files,
)
from rlhf_budget.calibrate.run_log import read_runs

__all__ = [
    "Calibration",
    "CostConstants",
    "CoverageConstants",
    "Estimate",
    "FieldNames",
    "PastRun",
    "RewardModelConstants",
    "RolloutConstants",
    "RolloutOptions",
    "ScenarioEdit",
    "Source",
    "costs",
    "coverage",
    "describe_sources",
    "edit_scenario",
    "read_features",
    "read_logprobs",
    "read_losses",
    "read_runs",
    "reward_model",
    "rollouts",
    "rollouts_from_files",
]
