"""What each step of a log holds: an aggregate that any engine runs, in one pass over the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import narwhals as nw

    from rlhf_budget.calibrate.logs.engine import Engine


@dataclass(frozen=True, slots=True)
class StepRow:
    """Rows of one step that share a reason."""

    step: int | None
    """Training step; None where the row has none."""
    reason: str
    """``used``, or why the rows are left out."""
    rows: int
    """Number of rows."""
    reward_sum: float
    """Sum of rewards."""
    reward_square: float
    """Sum of squared rewards."""
    reward_low: float
    """Least reward."""
    reward_high: float
    """Largest reward."""
    fingerprint: int | None
    """Sum of the rows' fingerprints; None without completions to take them from."""
    log_ratios: int
    """Rows with a log-ratio."""
    log_ratio_sum: float
    """Sum of log-ratios, nats."""


def step_table(rows: nw.LazyFrame[Any], engine: Engine) -> tuple[StepRow, ...]:
    """Return what each step holds, by reason, in order of steps."""
    import narwhals as nw

    table = (
        rows.with_columns(
            reward_square=nw.col("reward") * nw.col("reward"),
            has_log_ratio=nw.when(nw.col("log_ratio").is_null()).then(0).otherwise(1),
        )
        .group_by("step", "reason")
        .agg(
            nw.len().alias("row"),
            nw.col("reward").sum().alias("reward_sum"),
            nw.col("reward_square").sum(),
            nw.col("reward").min().alias("reward_low"),
            nw.col("reward").max().alias("reward_high"),
            nw.col("fingerprint").sum(),
            nw.col("fingerprint").max().alias("fingerprint_max"),
            nw.col("has_log_ratio").sum(),
            nw.col("log_ratio").sum().alias("log_ratio_sum"),
        )
    )
    records = [
        StepRow(
            step=_whole(record["step"]),
            reason=str(record["reason"]),
            rows=int(record["row"]),
            reward_sum=finite_sum(record["reward_sum"]),
            reward_square=finite_sum(record["reward_square"]),
            reward_low=finite_sum(record["reward_low"]),
            reward_high=finite_sum(record["reward_high"]),
            fingerprint=(
                None if _absent(record["fingerprint_max"]) else int(record["fingerprint"])
            ),
            log_ratios=int(record["has_log_ratio"]),
            log_ratio_sum=finite_sum(record["log_ratio_sum"]),
        )
        for record in engine.fetch(table)
    ]
    return tuple(sorted(records, key=lambda r: (r.step is None, r.step or 0, r.reason)))


def _absent(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 (NaN is how pandas writes a null)


def finite_sum(value: Any) -> float:
    """Return a sum that an engine gave, 0 over no values."""
    return 0.0 if _absent(value) else float(value)


def _whole(value: Any) -> int | None:
    return None if _absent(value) else int(value)
