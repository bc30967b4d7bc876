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
    from rlhf_budget.simulation import WorldSpec, simulate
    from rlhf_budget.studies.comparison import Comparison, Entry, compare, load_entries
    from rlhf_budget.studies.gates import Check, Rule, check, check_many, requirement
    from rlhf_budget.studies.sweeps import Over, Sweep, listed, parse_over, spaced, sweep

__version__ = "0.2.0.dev0"

__all__ = [
    "Allocation",
    "Bound",
    "CalibrationError",
    "Check",
    "Comparison",
    "Entry",
    "FileAccessError",
    "InfeasibleError",
    "LogError",
    "MissingExtraError",
    "Over",
    "Plan",
    "RlhfBudgetError",
    "Robustness",
    "Rule",
    "Scenario",
    "ScenarioError",
    "Sweep",
    "TrainerError",
    "UnreachableTargetError",
    "WorldSpec",
    "__version__",
    "check",
    "check_many",
    "compare",
    "evaluate",
    "listed",
    "load_entries",
    "load_scenario",
    "parse_over",
    "plan",
    "plan_many",
    "plan_robustly",
    "report",
    "requirement",
    "simulate",
    "spaced",
    "sweep",
    "with_information",
]

_HOME = {
    "Allocation": "bound.results",
    "Bound": "bound.results",
    "Check": "studies.gates",
    "Comparison": "studies.comparison",
    "Entry": "studies.comparison",
    "Over": "studies.sweeps",
    "Plan": "planning.results",
    "Robustness": "planning.uncertainty",
    "Rule": "studies.gates",
    "Scenario": "scenario",
    "Sweep": "studies.sweeps",
    "WorldSpec": "simulation",
    "check": "studies.gates",
    "check_many": "studies.gates",
    "compare": "studies.comparison",
    "evaluate": "bound.terms",
    "listed": "studies.sweeps",
    "load_entries": "studies.comparison",
    "load_scenario": "scenario",
    "parse_over": "studies.sweeps",
    "plan": "planning.planner",
    "plan_many": "planning.planner",
    "plan_robustly": "planning.planner",
    "report": "report",
    "requirement": "studies.gates",
    "simulate": "simulation",
    "spaced": "studies.sweeps",
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
