"""``rlhf-budget sweep``."""

from __future__ import annotations

import time
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from rlhf_budget.cli import completion, options
from rlhf_budget.cli.errors import INFEASIBLE
from rlhf_budget.cli.output import Answer, notice, send

if TYPE_CHECKING:
    from collections.abc import Callable


class ScaleName(StrEnum):
    """How values are spaced."""

    LOG = "log"
    LINEAR = "linear"


def sweep(
    context: typer.Context,
    file: options.ScenarioFile,
    over: Annotated[
        str,
        typer.Option(
            metavar="KEY=RANGE",
            help="Constant and values: budget=1e3:1e6, or costs.label=0.2,1.5.",
            autocompletion=completion.swept_keys,
        ),
    ],
    points: Annotated[int, typer.Option(min=2, help="Values in FROM:TO.")] = 40,
    scale: Annotated[
        ScaleName | None,
        typer.Option(help="Spacing of FROM:TO; default log where both ends are above 0."),
    ] = None,
    scenario: options.ScenarioName = None,
    set_: options.SetValues = None,
    plot: options.Plot = None,
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
    """Plan one constant over a range, such as the budget: the frontier.

    Values that cannot be planned are marked. With --robust each value has one plan for all that the
    scenario's other ranges allow, on shared draws.

    For example: rlhf-budget sweep scenario.yaml --over budget=1e4:1e6 --plot frontier.svg
    """
    from rlhf_budget.report.sweep_document import sweep_document
    from rlhf_budget.scenario import load_scenario
    from rlhf_budget.studies import sweeps

    chosen = options.parsed(
        partial(sweeps.parse_over, points=points, scale=None if scale is None else scale.value),
        over,
        "--over",
    )
    if plot is not None:
        from rlhf_budget.report.charts import check_chart_file

        check_chart_file(plot)
    loaded = load_scenario(
        file,
        scenario=scenario,
        set_values=set_ or (),
        budget_required=chosen.key != "budget",
    )
    found = sweeps.sweep(
        loaded,
        chosen,
        tolerance=tolerance,
        robust=options.robustness(context, robust, draws, affordable, seed),
        on_points=_progress(len(chosen.values), quiet=quiet),
    )
    if plot is not None:
        from rlhf_budget.report.charts import sweep_chart, write_chart

        write_chart(sweep_chart(found), plot)
        notice(f"Wrote {plot}.", quiet=quiet)
    answer = Answer(
        command="sweep",
        document=lambda: sweep_document(found),
        data=found.to_dict,
        rows=found.rows,
    )
    send(answer, format_, output, quiet=quiet)
    if not found.planned:
        raise typer.Exit(INFEASIBLE)


def _progress(total: int, *, quiet: bool) -> Callable[[int], None]:
    """Tell how far a sweep is, at most once a second."""
    told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        if done < total and time.monotonic() - told > 1.0:
            told = time.monotonic()
            notice(f"{done} of {total} values planned", quiet=quiet)

    return tell
