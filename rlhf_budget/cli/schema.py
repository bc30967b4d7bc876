"""``rlhf-budget schema``."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from rlhf_budget.cli import options  # noqa: TC001 - Typer evaluates annotations at run time
from rlhf_budget.cli.output import deliver

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Subject(StrEnum):
    """What a schema describes."""

    SCENARIO = "scenario"
    PLAN = "plan"
    COMPARE = "compare"
    CHECK = "check"
    SWEEP = "sweep"
    CALIBRATE = "calibrate"
    SIMULATE = "simulate"


_SCHEMAS = {
    Subject.SCENARIO: ("rlhf_budget.scenario.schema", "scenario_schema"),
    Subject.PLAN: ("rlhf_budget.report.schema", "plan_schema"),
    Subject.COMPARE: ("rlhf_budget.report.several_schema", "compare_schema"),
    Subject.CHECK: ("rlhf_budget.report.several_schema", "check_schema"),
    Subject.SWEEP: ("rlhf_budget.report.several_schema", "sweep_schema"),
    Subject.CALIBRATE: ("rlhf_budget.calibrate.schema", "calibrate_schema"),
    Subject.SIMULATE: ("rlhf_budget.simulation.schema", "simulate_schema"),
}
"""Subject -> module and function that makes its schema."""


def schema(
    of: Annotated[
        Subject, typer.Option("--of", help="The scenario file, or the JSON that a command prints.")
    ] = Subject.SCENARIO,
    output: options.Output = None,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Print a JSON Schema: of scenario files, or of a command's JSON."""
    from rlhf_budget.report.data import json_text

    module, function = _SCHEMAS[of]
    make: Callable[[], dict[str, Any]] = getattr(import_module(module), function)
    deliver(json_text(make()), output, quiet=quiet)
