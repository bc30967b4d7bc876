"""``rlhf-budget simulate``."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from rlhf_budget.cli import options  # noqa: TC001 - Typer evaluates annotations at run time
from rlhf_budget.cli.errors import INTERRUPTED
from rlhf_budget.cli.output import Answer, notice, progress, send


class Study(StrEnum):
    """What is tried."""

    TRAINING = "training"
    EVALUATION = "evaluation"


class Constants(StrEnum):
    """Whose constants the bound uses."""

    TRUE = "true"
    SCENARIO = "scenario"


def simulate(
    file: options.ScenarioFile,
    scenario: options.ScenarioName = None,
    set_: options.SetValues = None,
    study: Annotated[
        Study,
        typer.Option(
            help="training: which allocation trains the best policy; evaluation: does the bound "
            "hold, how loose is it."
        ),
    ] = Study.TRAINING,
    worlds: Annotated[int, typer.Option(min=1, help="Random worlds to try.")] = 50,
    replicates: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="In each world: trainings of an allocation (4 by default, at least 2), or "
            "estimates (200).",
            show_default=False,
        ),
    ] = None,
    constants: Annotated[
        Constants,
        typer.Option(
            help="Of the evaluation: whose constants the bound uses, each world's own or the "
            "scenario's."
        ),
    ] = Constants.TRUE,
    seed: options.Seed = 0,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes to use; all processors by default.", show_default=False
        ),
    ] = None,
    format_: options.FormatOption = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Try the plan and its rivals in worlds where the truth is known.

    Ctrl-C prints what is done so far.

    For example: rlhf-budget simulate scenario.yaml --worlds 10
    """
    from rlhf_budget import simulation
    from rlhf_budget.report.simulation_document import simulation_document, simulation_rows
    from rlhf_budget.report.training_document import training_document, training_rows
    from rlhf_budget.scenario import load_scenario

    loaded = load_scenario(file, scenario=scenario, set_values=set_ or ())
    try:
        with progress("Trying worlds", worlds, quiet=quiet) as on_world:
            found = simulation.simulate(
                loaded,
                study=study.value,
                worlds=worlds,
                replicates=replicates,
                seed=seed,
                constants=constants.value,
                jobs=jobs or _processors(),
                on_world=on_world,
            )
    except KeyboardInterrupt:
        notice("Interrupted before the first world was tried.", quiet=quiet)
        raise
    answer = Answer(
        command="simulate",
        document=lambda: (
            training_document(found)
            if isinstance(found, simulation.TrainingStudy)
            else simulation_document(found)
        ),
        data=found.to_dict,
        rows=lambda: (
            training_rows(found)
            if isinstance(found, simulation.TrainingStudy)
            else simulation_rows(found)
        ),
    )
    send(answer, format_, output, quiet=quiet)
    if found.interrupted:
        done, asked = found.worlds.completed, found.worlds.requested
        notice(f"Interrupted after {done} of {asked} worlds.", quiet=quiet)
        raise typer.Exit(INTERRUPTED)


def _processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
