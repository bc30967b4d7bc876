"""Constants of a scenario, with intervals, from the logs that teams already have."""

from __future__ import annotations

from rlhf_budget.calibrate.agreement.calibration import (
    AgreementConstants,
    agreement,
    agreement_from_files,
    read_agreement,
)
from rlhf_budget.calibrate.costs.calibration import CostConstants, PastRun, costs, read_runs
from rlhf_budget.calibrate.coverage.calibration import coverage
from rlhf_budget.calibrate.coverage.densities import read_logprobs
from rlhf_budget.calibrate.coverage.features import read_features
from rlhf_budget.calibrate.coverage.results import CoverageConstants
from rlhf_budget.calibrate.estimates import Calibration, Estimate, Source
from rlhf_budget.calibrate.into.edit import ScenarioEdit, describe_sources, edit_scenario
from rlhf_budget.calibrate.logs.fields import FieldNames
from rlhf_budget.calibrate.reward_model.calibration import RewardModelConstants, reward_model
from rlhf_budget.calibrate.reward_model.loss_log import read_losses
from rlhf_budget.calibrate.rollouts.calibration import priced, rollouts, rollouts_from_files
from rlhf_budget.calibrate.rollouts.results import RolloutConstants, RolloutOptions

__all__ = [
    "AgreementConstants",
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
    "agreement",
    "agreement_from_files",
    "costs",
    "coverage",
    "describe_sources",
    "edit_scenario",
    "priced",
    "read_agreement",
    "read_features",
    "read_logprobs",
    "read_losses",
    "read_runs",
    "reward_model",
    "rollouts",
    "rollouts_from_files",
]
