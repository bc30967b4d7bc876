"""``rlhf-budget report``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from rlhf_budget.cli import options  # noqa: TC001 - Typer evaluates annotations at run time
from rlhf_budget.cli.output import check_suffix, deliver, notice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.studies.comparison import Entry


def report(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FILE...",
            help="Scenario files, each with all of its named scenarios; the first is the baseline.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="Page to write; - prints it."),
    ] = "report.html",
    information: options.Information = False,
    tolerance: options.Tolerance = 1e-6,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Make one page of everything, to be opened in a browser or attached. Needs [plot].

    It asks nothing of a network. A slider shows the plan at other budgets.

    For example: rlhf-budget report scenario.yaml -o report.html
    """
    from rlhf_budget.report.page.make import make_page

    check_suffix(output, ".html", ".htm")
    asked = ["--information"] if information else []
    command = shlex.join(["rlhf-budget", "report", *files, *asked, "-o", output])
    if information:
        notice("Planning for every value that a constant may have ...", quiet=quiet)

    def entries() -> Sequence[Entry]:
        from rlhf_budget.studies.comparison import load_entries

        return load_entries(files)

    page = make_page(entries, command=command, tolerance=tolerance, information=information)
    deliver(page, output, quiet=quiet)
