"""Scenarios: reading them from YAML, checking them, and their resolved form."""

from __future__ import annotations

from rlhf_budget.scenario.load import load_scenario, load_scenarios
from rlhf_budget.scenario.models import Scenario
from rlhf_budget.scenario.template import PRESETS, Preset, template

__all__ = ["PRESETS", "Preset", "Scenario", "load_scenario", "load_scenarios", "template"]
