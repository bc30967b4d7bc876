"""What a run has used so far, from the rollouts that it dumped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rlhf_budget.calibrate.estimates import Calibration, CalibrationWarning, Estimate, GroupSizes
from rlhf_budget.calibrate.logs.fields import FieldNames
from rlhf_budget.calibrate.logs.selection import rows_of, select_steps
from rlhf_budget.calibrate.logs.steps import step_table
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.calibrate.logs.steps import StepRow

HOURS = "hours x GPUs x hourly rate"
OTHER = f"{HOURS} + other costs"
"""How the money is reckoned."""


@dataclass(frozen=True)
class ProgressConstants(Calibration):
    """A scenario's ``progress``: prompts, rollouts per prompt, labels and money behind."""

    command: ClassVar[str] = "calibrate progress"


@dataclass(frozen=True, slots=True)
class Spending:
    """What the dumps do not tell."""

    labels: int | None = None
    """Labels bought; None leaves the scenario's own."""
    hours: float | None = None
    """Hours that the run has taken."""
    hourly_rate: float | None = None
    """Price of one GPU hour, currency."""
    gpus: int = 1
    """GPUs."""
    other_costs: float = 0.0
    """Money spent besides: labels, prompts, fixed costs, currency."""


def progress_from_files(
    paths: Sequence[str],
    *,
    trainer: str | None = None,
    fields: FieldNames | None = None,
    metrics: str | None = None,
    spending: Spending | None = None,
    level: float = 0.95,
    strict: bool = False,
) -> ProgressConstants:
    """Count what a run has used: all steps, with copies dropped as for the other constants.

    A prompt that comes back in a later epoch is one prompt with more rollouts. Where prompts have
    unequal numbers of rollouts the count is their harmonic mean, with which unequal groups enter
    Theorem 1 (docs/theory.md, a run that is under way).

    Parameters
    ----------
    paths
        Files, patterns and directories of rollouts.
    trainer
        Whose format it is; recognised where None.
    fields
        Field names given by hand.
    metrics
        The trainer's own log, by default the one beside the rollouts.
    spending
        Labels and money.
    level
        Level of intervals, of which counts have none.
    strict
        Whether a row that cannot be used is an error.

    Raises
    ------
    CalibrationError
        If there is no usable row, or the paths hold a log without rollouts.
    FileAccessError
        If a file is missing or cannot be read.
    """
    import narwhals as nw

    from rlhf_budget.calibrate.logs.engine import open_engine
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog
    from rlhf_budget.calibrate.logs.metrics.reading import read_metrics
    from rlhf_budget.calibrate.logs.scratch import scratch_folder
    from rlhf_budget.calibrate.logs.source import open_source

    with scratch_folder() as folder, open_engine("duckdb") as engine:
        names = fields or FieldNames()
        log = None if metrics is None else read_metrics(metrics)
        found = open_source(paths, trainer, names, log, engine, folder, run=None, strict=strict)
        if isinstance(found, MetricsLog):
            raise CalibrationError("a log alone does not tell its prompts apart: give the rollouts")
        table = step_table(found.rows, engine)
        selection = select_steps(table, "100%", found.evaluation_steps, strict=strict)
        used = rows_of(found.rows, selection)
        one = used.with_columns(row=nw.lit(1.0)).group_by("prompt").agg(nw.col("row").sum())
        counts = one.with_columns(inverse=1.0 / nw.col("row"), prompts=nw.lit(1.0))
        sums = ("prompts", "row", "inverse")
        ends = nw.col("row").min().alias("least"), nw.col("row").max().alias("most")
        (record,) = engine.fetch(counts.select(*(nw.col(name).sum() for name in sums), *ends))
    prompts, rows = round(record["prompts"]), round(record["row"])
    source = replace(
        found.source,
        rows_read=sum(row.rows for row in table) + sum(s.count for s in found.source.skipped),
        rows_used=rows,
        skipped=(*found.source.skipped, *selection.skipped),
        steps=None if selection.first is None else (selection.first, selection.last or 0),
        prompts=prompts,
        rollouts_per_prompt=GroupSizes(
            round(record["least"]), rows / prompts, round(record["most"])
        ),
    )
    mean = round(prompts / record["inverse"], 9)
    estimates = (
        Estimate.of("progress.prompts", "prompts", "distinct-prompts", prompts, prompts),
        Estimate.of("progress.rollouts_per_prompt", "rollouts", "harmonic-mean", prompts, mean),
        *_spent(spending or Spending()),
    )
    return ProgressConstants(
        level=level,
        source=source,
        estimates=estimates,
        warnings=(*found.warnings, *selection.warnings, *_missing_steps(table)),
    )


def _missing_steps(table: Sequence[StepRow]) -> tuple[CalibrationWarning, ...]:
    """Warn where a trainer did not dump every step, so that counts are too low."""
    steps = {row.step for row in table if row.step is not None}
    if not steps:
        return ()
    taken = max(steps) - min(*steps, 1) + 1
    if len(steps) == taken:
        return ()
    text = (
        f"the dumps hold {len(steps):,} of the {taken:,} steps up to step {max(steps):,}, and what "
        "the others used is not counted: dump every step (TRL: logging_steps=1), or correct "
        "progress.prompts by hand"
    )
    return (CalibrationWarning("missing-steps", text),)


def _spent(spending: Spending) -> tuple[Estimate, Estimate]:
    labels = ("progress.labels", "labels", "given")
    bought = Estimate.unavailable(*labels, "give --labels, or write progress.labels")
    if spending.labels is not None:
        bought = Estimate.of(*labels, 0, spending.labels, note=f"--labels {spending.labels}")
    cost = Estimate.unavailable(
        "progress.cost", "currency", HOURS, "give --hours and --hourly-rate, or write progress.cost"
    )
    if spending.hours is not None and spending.hourly_rate is not None:
        money = spending.hours * spending.gpus * spending.hourly_rate + spending.other_costs
        how = OTHER if spending.other_costs else HOURS
        told = f"--hours {spending.hours:g} --hourly-rate {spending.hourly_rate:g}"
        told += f" --gpus {spending.gpus}"
        told += f" --other-costs {spending.other_costs:.12g}" if spending.other_costs else ""
        cost = Estimate.of("progress.cost", "currency", how, 0, money, note=told)
    return bought, cost
