"""What all readers return, and what tells a training log from other files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.logs.fields import number, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Record = dict[str, float]
"""One record of a training log: ``step`` and numbers by their key, without the trainer's prefix."""

_STEPS = ("step", "global_step", "current_steps", "update", "iteration", "_step")
"""Keys of the step, best first: W&B's own ``_step`` counts calls of its logger."""
BETWEEN = " - "
"""What W&B's panels put between a run's name and a key."""
_PREFIX = re.compile(r"^(train|training)/")
_MARKERS = frozenset(
    words(
        "loss grad_norm learning_rate reward_std frac_reward_zero_std kl kl_loss kl_penalty"
        " objective/kl objective/kl0_avg actor/kl_loss actor/reward_kl_penalty actor/pg_loss"
        " critic/kl critic/score/mean critic/rewards/mean completions/mean_length"
        " response_length/mean eval_loss"
    )
)
_BOOKKEEPING = frozenset(words("step epoch _step _timestamp _runtime global_step total_flos"))


def plain_key(key: str) -> str:
    """Return a key without what a tracker puts before it; ``eval/`` becomes ``eval_``."""
    key = _PREFIX.sub("", key.rpartition(BETWEEN)[2])
    return f"eval_{key.removeprefix('eval/')}" if key.startswith("eval/") else key


def is_training_log(keys: Iterable[str]) -> bool:
    """Return whether these are keys that only a training log has."""
    return not _MARKERS.isdisjoint(map(plain_key, keys))


def plain_records(rows: Iterable[Mapping[str, Any]]) -> tuple[list[Record], bool]:
    """Return records with their step, and whether it is only their order.

    What is no finite number is left out, and so are rows without the step that others have (a
    tracker's side metrics).
    """
    numbers = [
        {plain_key(key): n for key, value in row.items() if (n := number(value)) is not None}
        for row in rows
    ]
    step = next((key for key in _STEPS if any(key in row for row in numbers)), None)
    if step is not None:
        return [{**row, "step": row[step]} for row in numbers if step in row], False
    training = [row for row in numbers if is_training_log(row) and not is_evaluation(row)]
    return [{**row, "step": float(i)} for i, row in enumerate(training, start=1)], True


def is_evaluation(record: Mapping[str, Any]) -> bool:
    """Return whether a record holds an evaluation."""
    return any(key.startswith("eval_") for key in record)


def training_part(record: Record) -> Record | None:
    """Return a record without its evaluation; None where nothing else is in it."""
    part = {key: value for key, value in record.items() if not key.startswith("eval_")}
    return part if part.keys() - _BOOKKEEPING else None
