"""``rlhf-budget calibrate progress``."""

from __future__ import annotations

from typing import Annotated

import typer

from rlhf_budget.cli import calibrate_output


def progress(
    paths: calibrate_output.Paths,
    prompt_field: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Field that holds the prompt or its id.")
    ] = None,
    reward_field: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Field that holds the reward.")
    ] = None,
    step_field: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Field that holds the training step.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The trainer's own log: which rewards and steps count."),
    ] = None,
    labels: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Labels bought so far.")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(min=0.0, metavar="H", help="Hours that the run has taken.")
    ] = None,
    hourly_rate: Annotated[
        float | None, typer.Option(min=0.0, metavar="X", help="Price of one GPU hour.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, metavar="N", help="GPUs of the run.")] = 1,
    other_costs: Annotated[
        float,
        typer.Option(min=0.0, metavar="X", help="Money spent besides: labels, prompts, fixed."),
    ] = 0.0,
    *,
    level: float,
    strict: bool,
) -> calibrate_output.Found:
    """What a run has used so far, from its dumps of rollouts.

    That is the scenario's progress. All steps count. Money is hours x GPUs x hourly rate and other
    costs, or left for you to write.

    For example: rlhf-budget calibrate progress runs/grpo --into scenario.yaml
    """
    if (hours is None) != (hourly_rate is None):
        raise typer.BadParameter("--hours and --hourly-rate need each other.")
    if other_costs and hours is None:
        raise typer.BadParameter("--other-costs goes with --hours and --hourly-rate.")
    from rlhf_budget.calibrate.logs.fields import FieldNames
    from rlhf_budget.calibrate.progress.calibration import Spending, progress_from_files

    found = progress_from_files(
        paths,
        fields=FieldNames(prompt=prompt_field, reward=reward_field, step=step_field),
        metrics=metrics,
        spending=Spending(labels, hours, hourly_rate, gpus, other_costs),
        level=level,
        strict=strict,
    )
    return calibrate_output.Found(found, ())
