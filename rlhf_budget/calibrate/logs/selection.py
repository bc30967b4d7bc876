"""Which steps are used: the last ones, without evaluation rows and batches written twice."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.estimates import CalibrationWarning, Skip
from rlhf_budget.calibrate.logs.fields import USED
from rlhf_budget.errors import CalibrationError, LogError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import narwhals as nw

    from rlhf_budget.calibrate.logs.steps import StepRow

_CHOSEN_AWAY = frozenset({"evaluation", "repeated-batch", "earlier-step", "earlier-output"})
"""Reasons that are decisions, not faults of a log: ``--strict`` lets them pass."""
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Selection:
    """The steps to use."""

    rows: tuple[StepRow, ...]
    """Their step rows."""
    first: int | None
    """First step; None where the log has no steps."""
    last: int | None
    """Last step."""
    left_out: tuple[int, ...]
    """Steps between them that are not used."""
    skipped: tuple[Skip, ...]
    """Rows left out, by reason."""
    warnings: tuple[CalibrationWarning, ...]
    """Repeated batches and evaluation rows."""

    @property
    def used(self) -> int:
        """Number of rows to use."""
        return sum(row.rows for row in self.rows)


def select_steps(
    table: Sequence[StepRow], last_steps: str, evaluation: Sequence[int], *, strict: bool
) -> Selection:
    """Choose the steps.

    ``table`` has every step, by reason; ``last_steps`` is a share such as ``20%`` or ``0.2``, or a
    number of steps; ``evaluation`` are steps known to hold evaluation rows. Raises CalibrationError
    if nothing is left, or ``last_steps`` is neither; LogError if ``strict`` and rows had to be
    skipped.
    """
    counts = Counter[str]()
    for row in table:
        if row.reason != USED:
            counts[row.reason] += row.rows
    faults = {reason: n for reason, n in counts.items() if reason not in _CHOSEN_AWAY}
    if strict and faults:
        raise LogError(f"--strict: rows that cannot be used: {_listed(faults)}")
    usable = [row for row in table if row.reason == USED]
    if not usable:
        why = f": {_listed(faults)}" if faults else ""
        raise CalibrationError(f"no usable row{why}")
    training = [row for row in usable if row.step not in evaluation]
    counts["evaluation"] += _rows(usable) - _rows(training)
    first_seen = _first_of_repeats(training)
    repeated = [row for row in training if row not in first_seen]
    counts["repeated-batch"] += _rows(repeated)
    if not first_seen:
        raise CalibrationError("no usable row: every step holds evaluation rows")
    chosen = first_seen[-how_many(last_steps, len(first_seen)) :]
    counts["earlier-step"] += _rows(first_seen) - _rows(chosen)
    steps = [row.step for row in chosen if row.step is not None]
    away = [*evaluation, *(row.step for row in repeated if row.step is not None)]
    return Selection(
        rows=tuple(chosen),
        first=min(steps, default=None),
        last=max(steps, default=None),
        left_out=tuple(step for step in away if steps and min(steps) <= step <= max(steps)),
        skipped=tuple(Skip(reason, n) for reason, n in sorted(counts.items()) if n),
        warnings=_warnings(repeated, counts["evaluation"]),
    )


def rows_of(rows: nw.LazyFrame[Any], selection: Selection) -> nw.LazyFrame[Any]:
    """Return the rows of the steps that were chosen."""
    import narwhals as nw

    used = rows.filter(nw.col("reason") == USED)
    if selection.first is None or selection.last is None:
        return used
    used = used.filter(nw.col("step") >= selection.first, nw.col("step") <= selection.last)
    if selection.left_out:
        used = used.filter(~nw.col("step").is_in(list(selection.left_out)))
    return used


def _rows(rows: Sequence[StepRow]) -> int:
    return sum(row.rows for row in rows)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items()))


def _first_of_repeats(rows: Sequence[StepRow]) -> list[StepRow]:
    """Keep the first of steps with the same batch; equal rows within a batch are data."""
    kept: dict[tuple[int, int | None], list[StepRow]] = {}
    for row in rows:
        same_size = kept.setdefault((row.rows, row.fingerprint), [])
        if not any(_same_batch(row, other) for other in same_size):
            same_size.append(row)
    found = {id(row) for group in kept.values() for row in group}
    return [row for row in rows if id(row) in found]


def _same_batch(row: StepRow, other: StepRow) -> bool:
    if row.reward_low == row.reward_high:
        return False  # equal batches of equal rewards may well be chance
    # Without completions, only rewards with many digits tell a copy from a coincidence.
    conclusive = row.fingerprint is not None or not float(row.reward_square).is_integer()
    return conclusive and all(
        math.isclose(mine, theirs, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
        for mine, theirs in (
            (row.reward_sum, other.reward_sum),
            (row.reward_square, other.reward_square),
            (row.reward_low, other.reward_low),
            (row.reward_high, other.reward_high),
        )
    )


def how_many(last_steps: str, available: int) -> int:
    """Return the number of steps that a share such as ``20%``, or a number, stands for.

    Raises CalibrationError if it is neither.
    """
    text = last_steps.strip()
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if not text.endswith("%") and number >= 1 and number.is_integer():
        return min(int(number), available)
    whole = 100 if text.endswith("%") else 1
    share = number / whole if text.endswith("%") or number < 1 else math.nan
    if not 0 < share <= 1:
        raise CalibrationError(
            f"--last-steps: found {last_steps}; allowed: a share such as 20%, or a number of steps"
        )
    return max(1, math.ceil(share * available - 1e-9))


def _warnings(repeated: Sequence[StepRow], evaluation: int) -> tuple[CalibrationWarning, ...]:
    warnings = []
    if repeated:
        steps = ", ".join(str(row.step) for row in repeated)
        message = (
            f"steps {steps} repeat the batch of an earlier step ({_rows(repeated)} rows left"
            " out): a batch used for several updates is written again; count rollouts once"
        )
        warnings.append(CalibrationWarning("repeated-batches", message))
    if evaluation:
        message = (
            f"{evaluation} rows are evaluation rollouts, or another run's (their means are not"
            " the log's), and are left out: keep evaluation out of the folder of completions"
        )
        warnings.append(CalibrationWarning("evaluation-rows", message))
    return tuple(warnings)
