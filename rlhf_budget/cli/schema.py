"""``rlhf-budget schema``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from rlhf_budget.cli import options  # noqa: TC001 - Typer evaluates annotations at run time
from rlhf_budget.cli.output import check_suffix, deliver


class Subject(StrEnum):
    """What a schema describes."""

    SCENARIO = "scenario"
    PLAN = "plan"
    COMPARE = "compare"
    CHECK = "check"
    SWEEP = "sweep"
    CALIBRATE = "calibrate"
    SIMULATE = "simulate"


def schema(
    of: Annotated[
        Subject, typer.Option("--of", help="The scenario file, or the JSON that a command prints.")
    ] = Subject.SCENARIO,
    output: options.Output = None,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Print a JSON Schema: of scenario files, or of a command's JSON.

    For example: rlhf-budget schema --of plan
    """
    from rlhf_budget.report.data import json_text

    check_suffix(output, ".json")
    if of is Subject.SCENARIO:
        from rlhf_budget.scenario.schema import scenario_schema

        made = scenario_schema()
    else:
        from rlhf_budget.report.schema import output_schema

        made = output_schema(of.value)
    deliver(json_text(made), output, quiet=quiet)
