"""Preference pairs with a reward model's scores: the loss is the mean of −ln σ(margin)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rlhf_budget.calibrate.logs.fields import number
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rlhf_budget.calibrate.logs.tables import Row

_SCORES = tuple(
    (form.format("chosen"), form.format("rejected"))
    for word in ("score", "reward", "logit", "logits")
    for form in (f"{word}_{{}}", f"{{}}_{word}", f"{{}}_{word}s")
)
"""Columns of the chosen and the rejected response's score, best first."""
_TEXTS = frozenset({"chosen", "rejected"})


def score_columns(rows: Sequence[Row]) -> tuple[str, str] | None:
    """Return the columns with the scores of the chosen and the rejected response."""
    columns = {name for row in rows for name in row}
    return next((pair for pair in _SCORES if columns.issuperset(pair)), None)


def require_scores(file: Path, rows: Sequence[Row]) -> None:
    """Raise CalibrationError for preference pairs without scores; it says what to log."""
    columns = {name for row in rows for name in row}
    if columns >= _TEXTS and score_columns(rows) is None:
        raise CalibrationError(
            f"{file}: preference pairs without scores say nothing of a reward model; score"
            " held-out pairs with it and log score_chosen and score_rejected (its logits), one"
            " file for each number of labels it was trained on, with a column labels"
        )


def pair_loss(row: Row, columns: tuple[str, str]) -> float | None:
    """Return ``−ln σ(chosen − rejected)`` in nats; None where a score is missing."""
    chosen, rejected = (number(row.get(name)) for name in columns)
    if chosen is None or rejected is None:
        return None
    margin = chosen - rejected
    return math.log1p(math.exp(-abs(margin))) + max(-margin, 0.0)


def require_logits(file: Path, rows: Sequence[Row], columns: tuple[str, str]) -> None:
    """Raise CalibrationError for ratings: logits are no multiples of a half, all of them."""
    scores = [n for row in rows for name in columns if (n := number(row.get(name))) is not None]
    if scores and all((2 * score).is_integer() for score in scores):
        raise CalibrationError(
            f"{file}: {columns[0]} and {columns[1]} are ratings (all multiples of 0.5), not a"
            " reward model's logits: score the pairs with the reward model"
        )
