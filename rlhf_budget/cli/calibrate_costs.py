"""``rlhf-budget calibrate costs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rlhf_budget.cli import (
    calibrate_output,
    options,
)
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from rlhf_budget.calibrate.costs.calibration import CostConstants
    from rlhf_budget.report.document import Section


def costs(
    paths: calibrate_output.Paths,
    hourly_rate: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="X", help="Price of one GPU hour, where the table has hours."
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="NAME", help="Use the runs of this name only.")
    ] = None,
    level: calibrate_output.Level = 0.95,
    strict: calibrate_output.Strict = False,
    include_unreliable: calibrate_output.IncludeUnreliable = False,
    into: calibrate_output.Into = None,
    yes: calibrate_output.Yes = False,
    format_: calibrate_output.FormatOption = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Prices of a prompt and of a rollout, from what two or more past runs cost.

    Columns: prompts, rollouts_per_prompt, and cost or hours; optionally gpus (1), tokens (mean
    length of a rollout) and run (each name is fitted apart).
    """
    from rlhf_budget.calibrate import costs as calibrate_costs
    from rlhf_budget.calibrate import read_runs

    runs, source = read_runs(paths, hourly_rate=hourly_rate, name=run, strict=strict)
    found = calibrate_costs(runs, level=level, source=source)
    if into is not None and len(found.names) > 1:
        names = ", ".join(found.names)
        raise CalibrationError(f"a scenario has room for one; choose with --run among {names}")
    calibrate_output.send_calibration(
        found,
        format_,
        output,
        include_unreliable=include_unreliable,
        quiet=quiet,
        into=into,
        yes=yes,
        sections=_sections(found),
    )


def _sections(found: CostConstants) -> tuple[Section, ...]:
    from rlhf_budget.report.document import Column, Row, Section, Table

    columns = (
        Column("run"),
        Column("cost", "significant"),
        Column("above the fit", "significant"),
    )
    rows = tuple(Row((r.run or "all", r.money, r.residual)) for r in found.residuals)
    return (Section("Residuals", (Table(columns, rows),)),)
