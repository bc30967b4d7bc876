"""How every calibration is printed and written into a scenario, and the options for it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_budget.cli import options
from rlhf_budget.cli.output import Answer, deliver, notice, send
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from rlhf_budget.calibrate.estimates import Calibration, Estimate
    from rlhf_budget.calibrate.into.edit import ScenarioEdit
    from rlhf_budget.report.document import Document, Section


class CalibrateFormat(StrEnum):
    """How constants are printed."""

    YAML = "yaml"
    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    CSV = "csv"


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
Into = Annotated[
    str | None,
    typer.Option(
        metavar="SCENARIO",
        help="Write the constants and their sources into a scenario file; all else in it stays.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Write without asking.")]
Plot = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Draw the fit: .svg, .png, .pdf or .html. Needs the extra [plot]."
    ),
]


def send_calibration(
    calibration: Calibration,
    format_: CalibrateFormat | None,
    output: str | None,
    *,
    include_unreliable: bool,
    quiet: bool,
    into: str | None = None,
    yes: bool = False,
    sections: tuple[Section, ...] = (),
) -> None:
    """Print the result of any calibration, or write it to a file whole or not at all.

    ``sections`` are those that only this calibration has, for table and markdown. With ``into``
    its constants go into that scenario file too, after the difference was shown; whatever is wrong
    with the file is told before anything is printed.
    """
    edit = None if into is None else _prepared(calibration, into, unreliable=include_unreliable)
    _print(calibration, format_, output, unreliable=include_unreliable, quiet=quiet, own=sections)
    if edit is not None:
        _write_into(edit, yes=yes, quiet=quiet)


def _prepared(calibration: Calibration, into: str, *, unreliable: bool) -> ScenarioEdit:
    from rlhf_budget.calibrate.into.edit import describe_sources, edit_scenario

    if into == "-":
        raise CalibrationError("--into needs a file, not standard input")
    fragment = calibration.fragment(include_unreliable=unreliable)
    sources = describe_sources(calibration, calibration.command, include_unreliable=unreliable)
    return edit_scenario(into, fragment, sources)


def _write_into(edit: ScenarioEdit, *, yes: bool, quiet: bool) -> None:
    from rlhf_budget.report.data import write_whole

    for left_out in edit.left_out:
        notice(f"Not written: {left_out}", quiet=quiet)
    if not edit.changes:
        notice(f"Nothing to write into {edit.path}.", quiet=quiet)
        return
    notice(edit.difference().rstrip("\n"), quiet=quiet and yes)
    if edit.displaced:
        notice(f"Taken out: {', '.join(edit.displaced)}", quiet=quiet)
    if not (yes or _agreed(edit)):
        notice(f"Left {edit.path} as it was.", quiet=quiet)
        return
    edit.require_unchanged()
    write_whole(edit.path, edit.after)
    notice(f"Wrote {edit.path}.", quiet=quiet)


def _agreed(edit: ScenarioEdit) -> bool:
    notice(f"Write this into {edit.path}? [y/N]", quiet=False)
    answer = sys.stdin.readline()
    if not answer:
        raise CalibrationError("nobody answers; --yes writes without asking")
    return answer.strip().lower() in {"y", "yes"}


def _print(
    calibration: Calibration,
    format_: CalibrateFormat | None,
    output: str | None,
    *,
    unreliable: bool,
    quiet: bool,
    own: tuple[Section, ...],
) -> None:
    chosen = format_ or _by_suffix(output)
    if chosen is CalibrateFormat.YAML:
        from rlhf_budget.calibrate.into.fragment import fragment_yaml

        text = fragment_yaml(calibration, include_unreliable=unreliable)
        deliver(text, output, quiet=quiet)
        return
    answer = Answer(
        command=calibration.command,
        document=lambda: calibration_document(calibration, own),
        data=lambda: calibration.to_dict(include_unreliable=unreliable),
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


def draw(calibration: Calibration, plot: str | None, *, quiet: bool) -> None:
    """Draw a fit to a file, where one was asked for."""
    if plot is None:
        return
    from rlhf_budget.report.fit_charts import fit_chart, write_chart

    write_chart(fit_chart(calibration), plot)
    notice(f"Wrote {plot}.", quiet=quiet)
