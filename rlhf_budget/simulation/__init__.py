"""Worlds where the true error is known: they show whether the bound holds and the plan wins."""

from __future__ import annotations

from rlhf_budget.simulation.evaluation.results import Simulation
from rlhf_budget.simulation.evaluation.study import simulate
from rlhf_budget.simulation.evaluation.world import WorldSpec

__all__ = ["Simulation", "WorldSpec", "simulate"]
