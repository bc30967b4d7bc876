"""The sections of a scenario: the resolved form of each, and its reading from the forms written.

Every ``read_`` function notes what is wrong with its section and returns the resolved values:
ranges and ``unknown`` at their middle, GPU tokens as money, ``chi2`` as coverage, and so on. They
are to be used only when nothing wrong was noted.
"""

from __future__ import annotations

from rlhf_budget.scenario.sections.bound import read_bound
from rlhf_budget.scenario.sections.costs import read_costs
from rlhf_budget.scenario.sections.limits import (
    read_current,
    read_groups,
    read_limits,
    read_progress,
)
from rlhf_budget.scenario.sections.log_ratio import mean_absolute, read_log_ratio
from rlhf_budget.scenario.sections.objective import read_objective
from rlhf_budget.scenario.sections.reward_model import CURVE, VERIFIABLE, read_reward_model

__all__ = [
    "CURVE",
    "VERIFIABLE",
    "mean_absolute",
    "read_bound",
    "read_costs",
    "read_current",
    "read_groups",
    "read_limits",
    "read_log_ratio",
    "read_objective",
    "read_progress",
    "read_reward_model",
]
