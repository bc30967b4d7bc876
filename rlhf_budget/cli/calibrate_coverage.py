"""``rlhf-budget calibrate coverage``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlhf_budget.cli import (
    calibrate_output,
    options,
)

if TYPE_CHECKING:
    from rlhf_budget.calibrate.coverage.calibration import CoverageConstants
    from rlhf_budget.report.document import Section


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
    """How far the reward model's training data are from the current policy.

    From features of a linear reward head (--training, --current), or from log-probabilities of
    whole responses.

    For example: rlhf-budget calibrate coverage --training old.npy --current now.npy
    """
    found = _found(
        paths or [],
        (training, current),
        (policy_logprob_field, behaviour_logprob_field),
        ridge=ridge,
        seed=seed,
        level=level,
        strict=strict,
    )
    return calibrate_output.Found(found, _sections(found))


def _found(
    paths: list[str],
    features: tuple[str | None, str | None],
    fields: tuple[str | None, str | None],
    *,
    ridge: float | None,
    seed: int,
    level: float,
    strict: bool,
) -> CoverageConstants:
    from rlhf_budget import calibrate
    from rlhf_budget.calibrate import Source

    training, current = features
    if not paths and training is not None and current is not None:
        trained = calibrate.read_features(Path(training))
        now = calibrate.read_features(Path(current))
        rows = len(trained) + len(now)
        source = Source(files=(training, current), rows_read=rows, rows_used=rows)
        return calibrate.coverage(
            training=trained, current=now, ridge=ridge, level=level, seed=seed, source=source
        )
    if not paths or training is not None or current is not None:
        raise typer.BadParameter(
            "give --training FILE and --current FILE, or PATH... of rollouts with log-probabilities"
        )
    policy, behaviour, source = calibrate.read_logprobs(
        paths, policy_field=fields[0], behaviour_field=fields[1], strict=strict
    )
    return calibrate.coverage(
        policy_logprobs=policy, behaviour_logprobs=behaviour, level=level, source=source
    )


def _sections(found: CoverageConstants) -> tuple[Section, ...]:
    from rlhf_budget.report.document import Column, Row, Section, Table

    if not found.ridges:
        return ()
    columns = (Column("ridge", "plain"), Column("coverage", "significant"))
    rows = tuple(Row((effect.ridge, effect.coverage)) for effect in found.ridges)
    return (Section("Effect of the ridge", (Table(columns, rows),)),)
