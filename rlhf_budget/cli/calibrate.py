"""``rlhf-budget calibrate rollouts``, and how every calibration is printed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_budget.cli import options
from rlhf_budget.cli.output import Answer, deliver, send

if TYPE_CHECKING:
    from rlhf_budget.calibrate.estimates import Calibration, Estimate
    from rlhf_budget.calibrate.rollouts import RolloutConstants
    from rlhf_budget.report.document import Document, Section


class CalibrateFormat(StrEnum):
    """How constants are printed."""

    YAML = "yaml"
    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    CSV = "csv"


class TrainerName(StrEnum):
    """Whose format a log has."""

    TRL = "trl"
    VERL = "verl"
    OPENRLHF = "openrlhf"
    OPEN_INSTRUCT = "open-instruct"
    NEMO_RL = "nemo-rl"


class EngineChoice(StrEnum):
    """Where the aggregates run."""

    DUCKDB = "duckdb"
    SPARK = "spark"


FormatOption = Annotated[
    CalibrateFormat | None,
    typer.Option("--format", "-f", help="How to print; default yaml, or by --output's suffix."),
]
Level = Annotated[float, typer.Option(help="Level of the intervals, between 0 and 1.")]
Strict = Annotated[bool, typer.Option("--strict", help="Make rows that cannot be used an error.")]
IncludeUnreliable = Annotated[
    bool, typer.Option("--include-unreliable", help="Write unreliable values too.")
]
Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Files, patterns or directories.", show_default=False),
]

calibrate_app = typer.Typer(
    help="Estimate a scenario's constants from logs, as YAML that pastes into a scenario.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@calibrate_app.callback()
def _calibrate() -> None:
    """Keep ``rollouts`` a sub-command even where it is the only one."""


def _field(role: str) -> Any:
    return typer.Option(metavar="NAME", help=f"Field with {role}.", show_default=False)


@calibrate_app.command()
def rollouts(
    paths: Paths,
    trainer: Annotated[
        TrainerName | None, typer.Option(help="Whose format it is; recognised by default.")
    ] = None,
    prompt_field: Annotated[str | None, _field("the prompt or its id")] = None,
    reward_field: Annotated[
        str | None, _field("the reward; or NAME=WEIGHT,NAME=WEIGHT of several")
    ] = None,
    log_ratio_field: Annotated[str | None, _field("the sequence log-ratio, nats")] = None,
    policy_logprob_field: Annotated[
        str | None, _field("the policy's sequence log-probability")
    ] = None,
    reference_logprob_field: Annotated[
        str | None, _field("the reference's sequence log-probability")
    ] = None,
    behaviour_logprob_field: Annotated[
        str | None, _field("the sampling policy's sequence log-probability")
    ] = None,
    tokens_field: Annotated[str | None, _field("the completion's tokens")] = None,
    step_field: Annotated[str | None, _field("the training step")] = None,
    last_steps: Annotated[
        str, typer.Option(metavar="SHARE", help="Last steps to use: a share, or a number of steps.")
    ] = "20%",
    metrics: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The trainer's own log: trainer_state.json or JSONL."),
    ] = None,
    kl_per_token: Annotated[
        float | None, typer.Option(metavar="X", help="KL per token, nats, where rows hold none.")
    ] = None,
    kl_coefficient: Annotated[
        float | None,
        typer.Option(metavar="X", help="Take the variances of reward - X * log-ratio."),
    ] = None,
    reward_range: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Least and largest possible reward."),
    ] = None,
    engine: Annotated[
        EngineChoice, typer.Option(help="Where the aggregates run.")
    ] = EngineChoice.DUCKDB,
    level: Level = 0.95,
    strict: Strict = False,
    include_unreliable: IncludeUnreliable = False,
    format_: FormatOption = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Variances, informative groups and the log-ratio from rollout logs.

    Reads .jsonl, .jsonl.gz, .json, .csv and .parquet of TRL, verl, OpenRLHF, Open-Instruct,
    NeMo-RL, or any with the fields named.
    """
    from rlhf_budget.calibrate import FieldNames, RolloutOptions, rollouts_from_files

    found = rollouts_from_files(
        paths,
        trainer=None if trainer is None else trainer.value,
        fields=FieldNames(
            prompt=prompt_field,
            reward=reward_field,
            log_ratio=log_ratio_field,
            policy_logprob=policy_logprob_field,
            reference_logprob=reference_logprob_field,
            behaviour_logprob=behaviour_logprob_field,
            tokens=tokens_field,
            step=step_field,
        ),
        metrics=metrics,
        options=RolloutOptions(
            last_steps, kl_coefficient, kl_per_token, reward_range, level, strict
        ),
        engine=engine.value,
    )
    send_calibration(
        found,
        format_,
        output,
        include_unreliable=include_unreliable,
        quiet=quiet,
        sections=_rollout_sections(found),
    )


def send_calibration(
    calibration: Calibration,
    format_: CalibrateFormat | None,
    output: str | None,
    *,
    include_unreliable: bool,
    quiet: bool,
    sections: tuple[Section, ...] = (),
) -> None:
    """Print the result of any calibration, or write it to a file whole or not at all.

    ``sections`` are those that only this calibration has, for table and markdown.
    """
    chosen = format_ or _by_suffix(output)
    if chosen is CalibrateFormat.YAML:
        from rlhf_budget.calibrate.yaml_fragment import fragment_yaml

        text = fragment_yaml(calibration, include_unreliable=include_unreliable)
        deliver(text, output, quiet=quiet)
        return
    answer = Answer(
        command=calibration.command,
        document=lambda: calibration_document(calibration, sections),
        data=lambda: calibration.to_dict(include_unreliable=include_unreliable),
        rows=lambda: [_csv_row(estimate) for estimate in calibration.estimates],
    )
    send(answer, options.Format(chosen.value), output, quiet=quiet)


def _by_suffix(output: str | None) -> CalibrateFormat:
    suffixes = {
        ".json": CalibrateFormat.JSON,
        ".md": CalibrateFormat.MARKDOWN,
        ".markdown": CalibrateFormat.MARKDOWN,
        ".csv": CalibrateFormat.CSV,
    }
    return suffixes.get(Path(output or "").suffix.lower(), CalibrateFormat.YAML)


def _csv_row(estimate: Estimate) -> dict[str, Any]:
    row = estimate.to_dict()
    low, high = row.pop("interval") or (None, None)
    return {**row, "low": low, "high": high}


def calibration_document(calibration: Calibration, sections: tuple[Section, ...] = ()) -> Document:
    """Arrange any calibration for reading: what was read, estimates, its own parts, warnings."""
    from rlhf_budget.report.document import Column, Document, Paragraph, Row, Section, Table

    columns = (
        Column("constant"),
        Column("value", "significant"),
        Column(f"{100 * calibration.level:g} % interval", "significant"),
        Column("unit"),
        Column("status"),
        Column("remark"),
    )
    rows = tuple(
        Row((e.constant, e.value, e.interval, e.unit, e.status, e.note), format="significant")
        for e in calibration.estimates
    )
    warnings = tuple(
        Paragraph(warning.message, "warning", warning.code) for warning in calibration.warnings
    )
    parts = (
        Section("Constants", (Table(columns, rows),)),
        *sections,
        Section("Warnings", warnings),
    )
    return Document(
        f"rlhf-budget {calibration.command}",
        Paragraph(_what_was_read(calibration)),
        tuple(section for section in parts if section.parts),
    )


def _what_was_read(calibration: Calibration) -> str:
    source = calibration.source
    skipped = ", ".join(f"{skip.count} {skip.reason}" for skip in source.skipped)
    steps = f", steps {source.steps[0]} to {source.steps[1]}" if source.steps else ""
    return (
        f"{source.rows_used} of {source.rows_read} rows used"
        f"{f' (not used: {skipped})' if skipped else ''}{steps}."
    )


def _rollout_sections(found: RolloutConstants) -> tuple[Section, ...]:
    from rlhf_budget.report.document import Column, Row, Section, Table

    sections = []
    if found.groups is not None:
        columns = (
            Column("rollouts per prompt", "integer"),
            Column("informative groups", "percent"),
            Column("interval", "percent"),
            Column("rollouts per informative group", "significant"),
        )
        rows = tuple(
            Row(
                (
                    group.rollouts_per_prompt,
                    group.informative_share,
                    group.interval,
                    group.rollouts_per_informative_group,
                )
            )
            for group in found.groups
        )
        sections.append(Section("Groups whose rewards are not all equal", (Table(columns, rows),)))
    if found.tail is not None:
        columns = (
            Column("family"),
            Column("parameters"),
            Column("log-likelihood", "significant"),
            Column("KS distance", "significant"),
        )
        rows = tuple(
            Row(
                (
                    fit.family,
                    ", ".join(f"{name} {value:.4g}" for name, value in fit.parameters),
                    fit.log_likelihood,
                    fit.ks_distance,
                ),
                emphasis=fit.chosen,
            )
            for fit in found.tail.fits
        )
        sections.append(
            Section("Fits of the log-ratio's tail, best first", (Table(columns, rows),))
        )
    return tuple(sections)
