"""Plan prompts, rollouts, preference labels and the KL clip threshold of an RLHF run.

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlhf_budget.bound.results import Allocation, Bound
    from rlhf_budget.bound.terms import evaluate
    from rlhf_budget.errors import (
        CalibrationError,
        FileAccessError,
        InfeasibleError,
        LogError,
        MissingExtraError,
        RlhfBudgetError,
        ScenarioError,
        TrainerError,
        UnreachableTargetError,
    )
    from rlhf_budget.planning.planner import plan, plan_many, plan_robustly, with_information
    from rlhf_budget.planning.results import Plan
    from rlhf_budget.planning.uncertainty import Robustness
    from rlhf_budget.report import report
    from rlhf_budget.scenario import Scenario, load_scenario
    from rlhf_budget.simulation import simulate
    from rlhf_budget.studies.comparison import compare
    from rlhf_budget.studies.gates import check
    from rlhf_budget.studies.sweeps import sweep

__version__ = "0.2.0.dev0"

__all__ = [
    "Allocation",
    "Bound",
    "CalibrationError",
    "FileAccessError",
    "InfeasibleError",
    "LogError",
    "MissingExtraError",
    "Plan",
    "RlhfBudgetError",
    "Robustness",
    "Scenario",
    "ScenarioError",
    "TrainerError",
    "UnreachableTargetError",
    "__version__",
    "check",
    "compare",
    "evaluate",
    "load_scenario",
    "plan",
    "plan_many",
    "plan_robustly",
    "report",
    "simulate",
    "sweep",
    "with_information",
]

_HOME = {
    "Allocation": "bound.results",
    "Bound": "bound.results",
    "Plan": "planning.results",
    "Robustness": "planning.uncertainty",
    "Scenario": "scenario",
    "check": "studies.gates",
    "compare": "studies.comparison",
    "evaluate": "bound.terms",
    "load_scenario": "scenario",
    "plan": "planning.planner",
    "plan_many": "planning.planner",
    "plan_robustly": "planning.planner",
    "report": "report",
    "simulate": "simulation",
    "sweep": "studies.sweeps",
    "with_information": "planning.planner",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"{__name__}.{_HOME.get(name, 'errors')}")
    # The room of reports is the function too: see its docstring.
    value = home if name == "report" else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
