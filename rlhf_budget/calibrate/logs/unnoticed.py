"""A column that grows down a log like a training step, under a name that nobody recognises."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.logs.fields import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rlhf_budget.calibrate.logs.fields import Field, Layout

SAMPLE = 20_000
"""Rows from the top of a log that are looked at."""

_FEWEST = 5
"""Values that a column must take where prompts do not come back."""
_EVEN = 1.5
"""Largest step over the median one: batches are of one size, parts of a data set are not."""


def unnoticed_step(rows: Sequence[Mapping[str, Any]], layout: Layout) -> str | None:
    """Return what is wrong if a column looks like the training step; None if none does.

    It holds whole numbers, each in one block of rows that several prompts share, and either prompts
    come back under several of them, with several rollouts each time, or the numbers never fall and
    the blocks are of one size. ``rows`` are the first of a log, in its order; it has no step.
    """
    if layout.prompt is None or not rows:
        return None
    prompts = [_at(row, layout.prompt) for row in rows]
    known = {field.name for field in layout.fields()}
    for name in rows[0]:
        if name in known or name == "seed":
            continue
        values = [number(row.get(name)) for row in rows]
        numbers = [value for value in values if value is not None and value.is_integer()]
        sizes = sorted(Counter(numbers).values())
        distinct = len(sizes)
        blocks = 1 + sum(a != b for a, b in pairwise(numbers))
        if len(numbers) < len(rows) or distinct < 2 or blocks > distinct:
            continue
        pairs = set(zip(prompts, numbers, strict=True))
        if len(pairs) < 2 * distinct or len(pairs) > len(rows) / 2:
            continue  # a number of a prompt, or of a rollout
        come_back = len(pairs) > 1.5 * len(set(prompts))
        even = sizes[-1] <= _EVEN * sizes[distinct // 2]
        grows = numbers == sorted(numbers)
        if come_back or (grows and even and distinct >= _FEWEST):
            return (
                f"no step is recognised, but {name} runs down the log like one (from"
                f" {min(numbers):g} to {max(numbers):g}): give --step-field {name}"
            )
    return None


def _at(row: Mapping[str, Any], field: Field) -> str:
    value: Any = row.get(field.name)
    for position in field.inner:
        value = value[position] if isinstance(value, list) and len(value) > position else None
    return str(value)
