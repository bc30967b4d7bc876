"""``rlhf-budget calibrate costs``."""

from __future__ import annotations

from typing import Annotated

import typer

from rlhf_budget.cli import calibrate_output
from rlhf_budget.errors import CalibrationError


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
    *,
    level: float,
    strict: bool,
    into: str | None,
) -> calibrate_output.Found:
    """Prices of prompts and rollouts, from what past runs cost.

    Reads two or more runs. Columns: prompts, rollouts_per_prompt, and cost or hours; optionally
    gpus (1), tokens (mean length of a rollout) and run (each name is fitted apart).

    For example: rlhf-budget calibrate costs past-runs.csv --hourly-rate 2.50
    """
    from rlhf_budget.calibrate import costs as calibrate_costs
    from rlhf_budget.calibrate import read_runs

    runs, source = read_runs(paths, hourly_rate=hourly_rate, name=run, strict=strict)
    found = calibrate_costs(runs, level=level, source=source)
    if into is not None and len(found.names) > 1:
        names = ", ".join(found.names)
        raise CalibrationError(f"a scenario has room for one; choose with --run among {names}")
    rows = [(r.run or "all", r.money, r.residual) for r in found.residuals]
    residuals = calibrate_output.section(
        "Residuals", {"run": "text", "cost": "significant", "above the fit": "significant"}, rows
    )
    return calibrate_output.Found(found, (residuals,))
