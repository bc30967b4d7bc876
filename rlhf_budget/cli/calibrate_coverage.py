"""``rlhf-budget calibrate coverage``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlhf_budget.cli import calibrate_output, options


def coverage(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH...]",
            help="Rollouts of the current policy with log-probabilities; not with --training.",
            show_default=False,
        ),
    ] = None,
    training: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Features of the training data: .npy or .parquet."),
    ] = None,
    current: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Features of rollouts of the current policy."),
    ] = None,
    ridge: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Added to the training moment, in units of its mean eigenvalue; by default 0 "
            "where that can be inverted, else 1e-6.",
        ),
    ] = None,
    policy_logprob_field: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Field with log p(response) under the current policy."),
    ] = None,
    behaviour_logprob_field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Field with log p(response) under the policy whose responses were labelled.",
        ),
    ] = None,
    seed: options.Seed = 0,
    *,
    level: float,
    strict: bool,
) -> calibrate_output.Found:
    """How far a reward model's data are from the current policy.

    From features of a linear reward head (--training, --current), or from log-probabilities of
    whole responses.

    For example: rlhf-budget calibrate coverage --training old.npy --current now.npy
    """
    from rlhf_budget import calibrate

    if not paths and training is not None and current is not None:
        trained, now = (calibrate.read_features(Path(file)) for file in (training, current))
        rows = len(trained) + len(now)
        source = calibrate.Source(files=(training, current), rows_read=rows, rows_used=rows)
        found = calibrate.coverage(
            training=trained, current=now, ridge=ridge, level=level, seed=seed, source=source
        )
    elif paths and training is None and current is None:
        policy, behaviour, source = calibrate.read_logprobs(
            paths,
            policy_field=policy_logprob_field,
            behaviour_field=behaviour_logprob_field,
            strict=strict,
        )
        found = calibrate.coverage(
            policy_logprobs=policy, behaviour_logprobs=behaviour, level=level, source=source
        )
    else:
        raise typer.BadParameter(
            "give --training FILE and --current FILE, or PATH... of rollouts with log-probabilities"
        )
    if not found.ridges:
        return calibrate_output.Found(found)
    effects = [(effect.ridge, effect.coverage) for effect in found.ridges]
    ridges = calibrate_output.section(
        "Effect of the ridge", {"ridge": "plain", "coverage": "significant"}, effects
    )
    return calibrate_output.Found(found, (ridges,))
