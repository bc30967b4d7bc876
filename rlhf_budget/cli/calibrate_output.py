"""How every calibration is printed and written into a scenario, and the options for it.

A command of ``calibrate`` declares what only it has; :func:`calibration_command` gives it the rest.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_budget.cli import options  # noqa: TC001 (Typer evaluates annotations)
from rlhf_budget.cli.output import Answer, deliver, notice, send
from rlhf_budget.errors import CalibrationError
from rlhf_budget.report.formats import TABLE, format_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rlhf_budget.calibrate.estimates import Calibration, Estimate
    from rlhf_budget.calibrate.into.edit import ScenarioEdit
    from rlhf_budget.report.document import Cell, Document, Format, Section


Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Files, patterns or directories.", show_default=False),
]


def _shared(
    level: Annotated[float, typer.Option(help="Level of the intervals, between 0 and 1.")] = 0.95,
    strict: Annotated[
        bool, typer.Option("--strict", help="Make rows that cannot be used an error.")
    ] = False,
    include_unreliable: Annotated[
        bool, typer.Option("--include-unreliable", help="Write unreliable values too.")
    ] = False,
    into: Annotated[
        str | None,
        typer.Option(
            metavar="SCENARIO",
            help="Write the constants and their sources into a scenario file; all else in it"
            " stays.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
    plot: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Draw the fit: .svg, .png, .pdf or .html. Needs the extra [plot].",
        ),
    ] = None,
    format_: Annotated[
        options.CalibrateFormat | None,
        typer.Option("--format", "-f", help="How to print; default yaml, or by --output's suffix."),
    ] = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Hold the options of every calibration; only its signature is used."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a command of ``calibrate`` hands over."""

    calibration: Calibration
    """The result."""
    sections: tuple[Section, ...] = ()
    """Sections that only this calibration has, for table and markdown."""


def calibration_command(
    function: Callable[..., Found], without: tuple[str, ...] = ()
) -> Callable[..., None]:
    """Return a command that has the options of every calibration beside a function's own.

    Its result is drawn, printed, and written into a scenario after the difference was shown;
    whatever is wrong with that file is told before anything is printed.

    Parameters
    ----------
    function
        The calibration. Where a parameter is named like a shared option, it is given that.
    without
        Shared options that it does not have.
    """
    shared = {
        name: parameter
        for name, parameter in inspect.signature(_shared, eval_str=True).parameters.items()
        if name not in without
    }
    given = inspect.signature(function, eval_str=True).parameters
    wanted = [name for name in given if name in shared]

    @wraps(function)
    def command(**values: Any) -> None:
        settings = {name: values.pop(name) for name in shared}
        found = function(**values, **{name: settings[name] for name in wanted})
        quiet, into = settings["quiet"], settings.get("into")
        unreliable = settings.get("include_unreliable", False)
        if (plot := settings.get("plot")) is not None:
            from rlhf_budget.report.fit_charts import fit_chart, write_chart

            write_chart(fit_chart(found.calibration), plot)
            notice(f"Wrote {plot}.", quiet=quiet)
        edit = None if into is None else _prepared(found.calibration, into, unreliable=unreliable)
        _print(found, settings["format_"], settings["output"], unreliable=unreliable, quiet=quiet)
        if edit is not None:
            _write_into(edit, yes=settings["yes"], quiet=quiet)

    # Typer reads the options from the signature.
    own = [parameter for name, parameter in given.items() if name not in shared]
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in (*own, *shared.values())
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


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
    found: Found, format_: str | None, output: str | None, *, unreliable: bool, quiet: bool
) -> None:
    calibration = found.calibration
    try:
        chosen = format_ or format_of(output)
    except ValueError:  # a suffix that no format has: YAML, as .yaml
        chosen = TABLE
    if chosen == "yaml" or (format_ is None and chosen == TABLE):
        from rlhf_budget.calibrate.into.fragment import fragment_yaml

        text = fragment_yaml(calibration, include_unreliable=unreliable)
        deliver(text, output, quiet=quiet)
        return
    answer = Answer(
        command=calibration.command,
        document=lambda: calibration_document(calibration, found.sections),
        data=lambda: calibration.to_dict(include_unreliable=unreliable),
        rows=lambda: [_csv_row(estimate) for estimate in calibration.estimates],
    )
    send(answer, chosen, output, quiet=quiet)


def _csv_row(estimate: Estimate) -> dict[str, Any]:
    row = estimate.to_dict()
    low, high = row.pop("interval") or (None, None)
    return {**row, "low": low, "high": high}


def section(
    title: str,
    columns: Mapping[str, Format],
    rows: Iterable[Iterable[Cell]],
    *,
    first: bool = False,
    each: Format | None = None,
) -> Section:
    """Return a section of one table of raw values.

    ``first`` marks the row to look at first; ``each`` is how the numbers of every row are written,
    apart from those of other rows.
    """
    from rlhf_budget.report.document import Column, Row, Section, Table

    heads = tuple(Column(heading, format_) for heading, format_ in columns.items())
    body = tuple(Row(tuple(row), each, emphasis=first and i == 0) for i, row in enumerate(rows))
    return Section(title, (Table(heads, body),))


def calibration_document(calibration: Calibration, sections: tuple[Section, ...] = ()) -> Document:
    """Arrange any calibration for reading: what was read, estimates, its own parts, warnings."""
    from rlhf_budget.report.document import Paragraph, arranged, warned

    source = calibration.source
    skipped = ", ".join(f"{skip.count} {skip.reason}" for skip in source.skipped)
    steps = f", steps {source.steps[0]} to {source.steps[1]}" if source.steps else ""
    unused = f" (not used: {skipped})" if skipped else ""
    read = f"{source.rows_used} of {source.rows_read} rows used{unused}{steps}."
    constants = section(
        "Constants",
        {
            "constant": "text",
            "value": "significant",
            f"{100 * calibration.level:g} % interval": "significant",
            "unit": "text",
            "status": "text",
            "remark": "text",
        },
        [
            (e.constant, e.value, e.interval, e.unit, e.status, e.note)
            for e in calibration.estimates
        ],
        each="significant",
    )
    title = f"rlhf-budget {calibration.command}"
    warnings = warned(calibration.warnings)
    return arranged(title, Paragraph(read), constants, *sections, warnings)
