"""``rlhf-budget compare``."""

from __future__ import annotations

from typing import Annotated

import typer

from rlhf_budget.cli import options
from rlhf_budget.cli.errors import INFEASIBLE
from rlhf_budget.cli.output import Answer, progress, send


def compare(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FILE...",
            help="Scenario files, each with all of its named scenarios.",
            show_default=False,
        ),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column to compare with; default the first."),
    ] = None,
    within: options.Within = 0.01,
    robust: options.Robust = None,
    draws: options.Draws = 256,
    affordable: options.Affordable = 0.95,
    seed: options.Seed = 0,
    tolerance: options.Tolerance = 1e-6,
    format_: options.FormatOption = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Set scenarios side by side, and say where their differences come from.

    A column is called NAME or by its file's stem; a file's own scenarios by their names. With
    --robust every column has one plan for all that its ranges allow, on shared draws.

    For example: rlhf-budget compare today=scenario.yaml next=cheaper.yaml --baseline today
    """
    from rlhf_budget.report.comparison_document import comparison_document
    from rlhf_budget.studies import comparison

    asked = options.robustness(context, robust, draws, affordable, seed)
    with progress("Planning for all draws", None, quiet=quiet or asked is None):
        found = comparison.compare(
            comparison.load_entries(files),
            baseline=baseline,
            tolerance=tolerance,
            within=within,
            robust=asked,
        )
    answer = Answer(
        command="compare",
        document=lambda: comparison_document(found),
        data=found.to_dict,
        rows=found.rows,
    )
    send(answer, format_, output, quiet=quiet)
    if not found.feasible:
        raise typer.Exit(INFEASIBLE)
