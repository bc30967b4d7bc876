"""``rlhf-budget calibrate reward-model``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from rlhf_budget.cli import calibrate_output


class CurvatureChoice(StrEnum):
    """Which curvature turns excess loss into squared error."""

    AVERAGE = "average"
    WORST = "worst"


def reward_model(
    paths: calibrate_output.Paths,
    labels_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column with the number of labels.")
    ] = None,
    loss_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column with the evaluation loss, nats.")
    ] = None,
    labels_per_step: Annotated[
        float | None,
        typer.Option(metavar="N", help="Labels in one optimiser step, over all devices."),
    ] = None,
    agreement: Annotated[
        str | None,
        typer.Option(
            metavar="A",
            help="Share of pairs on which two independent annotators agree, or a preference set"
            " with repeated votes that tells it.",
        ),
    ] = None,
    logit_scale: Annotated[
        float, typer.Option(metavar="S", help="Logits of a preference per unit of reward.")
    ] = 1.0,
    curvature: Annotated[
        CurvatureChoice,
        typer.Option(help="average: an estimate, from --agreement; worst: a bound."),
    ] = CurvatureChoice.AVERAGE,
    reward_range: Annotated[
        tuple[float, float],
        typer.Option(metavar="LOW HIGH", help="Least and largest reward, for --curvature worst."),
    ] = (0.0, 1.0),
    *,
    level: float,
    strict: bool,
) -> calibrate_output.Found:
    """How a reward model's error falls with labels.

    From its evaluation losses: reads tables of labels and losses, and Hugging Face's
    trainer_state.json: one file gives its evaluations, several give one point each, a directory is
    searched for them. Preference pairs with score_chosen and score_rejected give the loss at their
    number of labels.

    For example: rlhf-budget calibrate reward-model runs/ --agreement 0.73
    """
    from rlhf_budget.calibrate import read_agreement, read_losses
    from rlhf_budget.calibrate import reward_model as calibrate_reward_model

    log = read_losses(
        paths,
        labels_field=labels_field,
        loss_field=loss_field,
        labels_per_step=_above_zero(labels_per_step, "--labels-per-step"),
        strict=strict,
    )
    found = calibrate_reward_model(
        log,
        agreement=None if agreement is None else read_agreement(agreement),
        logit_scale=logit_scale,
        curvature=curvature.value,
        reward_range=reward_range,
        level=level,
    )
    if found.curve is None:
        return calibrate_output.Found(found)
    rows = [(point.labels, point.loss, point.fitted) for point in found.curve.points]
    curve = calibrate_output.section(
        "Learning curve, nats per pair",
        {"labels": "integer", "loss": "significant", "fitted": "significant"},
        rows,
    )
    return calibrate_output.Found(found, (curve,))


def _above_zero(value: float | None, flag: str) -> float | None:
    if value is not None and not value > 0.0:
        raise typer.BadParameter(f"{flag}: {value:g} is not above 0.")
    return value
