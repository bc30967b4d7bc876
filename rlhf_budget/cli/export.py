"""``rlhf-budget export``."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rlhf_budget.cli import options  # noqa: TC001 - Typer evaluates annotations at run time
from rlhf_budget.cli.output import check_suffix, deliver
from rlhf_budget.report.export.trainers import SUFFIXES, TRAINERS

if TYPE_CHECKING:
    TrainerName = str
else:
    # Typer offers the members of an enumeration; a type checker cannot follow one made here.
    TrainerName = StrEnum("TrainerName", {name.upper(): name for name in TRAINERS})


def export(
    file: options.ScenarioFile,
    trainer: Annotated[TrainerName, typer.Option(help="Whose options to write.")],
    devices: Annotated[int, typer.Option(min=1, help="Training processes, one a GPU.")] = 1,
    prompts_per_step: Annotated[
        int | None,
        typer.Option(min=1, help="Prompts of an optimiser step; default about 64."),
    ] = None,
    scenario: options.ScenarioName = None,
    set_: options.SetValues = None,
    target_bound: options.TargetBound = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Write the plan as a trainer's own options: group size, steps, KL coefficient, lengths.

    What the trainer cannot do is said in the comments.

    For example: rlhf-budget export scenario.yaml --trainer trl-grpo --devices 8
    """
    from rlhf_budget.planning import planner
    from rlhf_budget.report.export.text import export as written
    from rlhf_budget.scenario import load_scenario

    check_suffix(output, *SUFFIXES[TRAINERS[str(trainer)].form], ".txt")
    loaded = load_scenario(
        file, scenario=scenario, set_values=set_ or (), budget_required=target_bound is None
    )
    found = planner.plan(loaded, target_bound=target_bound)
    text = written(found, str(trainer), prompts_per_step=prompts_per_step, devices=devices)
    deliver(text, output, quiet=quiet)
