"""Loading scenarios from files, standard input and mappings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rlhf_budget.errors import Problem, ScenarioError
from rlhf_budget.scenario.keys import KEYS
from rlhf_budget.scenario.layers import read_written
from rlhf_budget.scenario.models import Scenario
from rlhf_budget.scenario.overrides import apply_settings, select_scenario
from rlhf_budget.scenario.reading import place_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rlhf_budget.scenario.written import Written


def load_scenario(
    source: str | Path | Mapping[str, Any],
    *,
    scenario: str | None = None,
    set_values: Sequence[str] = (),
    budget_required: bool = False,
) -> Scenario:
    """Load a scenario.

    Parameters
    ----------
    source
        Path of a YAML file, ``-`` for standard input, or a mapping in the form of a file.
    scenario
        Name of one of the file's ``scenarios`` to apply.
    set_values
        Settings ``KEY=YAML`` to apply last, such as ``costs.label=0.2``.
    budget_required
        Report a missing budget along with everything else. Without it the scenario has the budget
        None, which will do for a target.

    Returns
    -------
    Scenario
        The scenario, every constant resolved.

    Raises
    ------
    ScenarioError
        With everything that is wrong, each problem at its file, line and key.
    FileAccessError
        When a file cannot be read.
    """
    written = read_written(source)
    return _finished(written, scenario, set_values, budget_required=budget_required)


def load_scenarios(
    source: str | Path | Mapping[str, Any],
    *,
    set_values: Sequence[str] = (),
    budget_required: bool = False,
) -> dict[str | None, Scenario]:
    """Load a file and all of its named ``scenarios``, reading it once.

    Parameters and exceptions are those of ``load_scenario``; the settings apply to every scenario.

    Returns
    -------
    dict
        Name of the scenario -> scenario, in the order of the file; the file itself, without any of
        them, first, under None.
    """
    written = read_written(source)
    named = written.values.get("scenarios")
    scenarios: dict[str | None, Scenario] = {}
    problems: list[Problem] = []
    for name in (None, *(named if isinstance(named, dict) else ())):
        try:
            scenario = _finished(written, name, set_values, budget_required=budget_required)
        except ScenarioError as error:
            problems.extend(error.problems)
        else:
            scenarios[name] = scenario
    if problems:
        raise ScenarioError(tuple(dict.fromkeys(problems)))
    return scenarios


def _finished(
    written: Written, scenario: str | None, set_values: Sequence[str], *, budget_required: bool
) -> Scenario:
    if scenario is not None:
        written = select_scenario(written, scenario)
    written = apply_settings(written, set_values)
    if budget_required and "budget" not in written.values:
        file, line = place_of(written.places, ("budget",))
        key = KEYS["budget"]
        problem = Problem("budget", "nothing", f"{key.allowed}: {key.description}", file, line)
        written = replace(written, problems=(*written.problems, problem))
    return Scenario.from_written(written)
