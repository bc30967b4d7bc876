"""What the sections have in common."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

from rlhf_budget.scenario.reading import UNKNOWN, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from rlhf_budget.scenario.reading import Reader

Values = dict[str, Any]
"""Resolved values of a section, by field; what is absent or wrong is left out."""


class Section:
    """Base of all sections."""

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """Return a copy with some fields changed, unvalidated: for values known to be legal."""
        changed = copy.copy(self)
        changed.__dict__.update(update)
        return changed


def present(**values: Any) -> Values:
    """Return the values without those that are None."""
    return {name: value for name, value in values.items() if value is not None}


def is_mapping(reader: Reader, key: str, names: set[str]) -> bool:
    """Whether the value is written as a mapping that is no range."""
    value = reader.get(key)
    return isinstance(value, dict) and (not value or bool(value.keys() & names))


def scaled_number(
    reader: Reader, key: str, ends: tuple[float, float], reward_range: float | None
) -> Any:
    """Read a number in units of reward^2, for which ``unknown`` stands for a share of R^2.

    A key below one that is ``unknown`` is unknown itself.
    """
    if UNKNOWN not in (reader.get(key), reader.get(key.rpartition(".")[0])):
        return reader.number(key)
    if reward_range is None:
        return None
    square = reward_range**2
    low, high = ends[0] * square, ends[1] * square
    if not math.isfinite(high):
        reader.problem("objective.reward_range", shown(reward_range), f"less, with {key}: unknown")
        return None
    return reader.assume(key, "unknown", low, high)
