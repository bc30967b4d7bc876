"""Counts of successes, ``n_correct`` of ``k``: each is a group of that many 0/1 rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.calibrate.logs.dialects.nested import NestedDialect, Record, shared
from rlhf_budget.calibrate.logs.fields import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SUCCESSES = words(
    "n_correct num_correct correct_count n_success n_successes successes n_passed num_passed c_rl"
)
_SIZES = words("k n_rollouts num_rollouts n_samples num_samples n_total total n")
_LARGEST_GROUP = 1_000_000


class Counts(NestedDialect):
    """Rows with a count and a size; or one document with ``k`` and a list of such rows."""

    name = "counts"
    one_group_a_record = True

    def holds(self, record: Record) -> bool:
        """Return whether a record, or those in its list, count successes of a size."""
        inner = _inner(record)
        rows = [record] if inner is None else inner[:1]
        return bool(rows) and all(
            any(name in row for name in _SUCCESSES)
            and any(name in {**record, **row} for name in _SIZES)
            for row in rows
        )

    def rows(self, record: Record, reward: str | None) -> Iterator[Record]:
        """Write out a count as that many ones, and zeros up to the size."""
        inner = _inner(record)
        for position, row in enumerate(inner or [record]):
            successes = _whole(row, (reward,) if reward else _SUCCESSES)
            size = _whole({**record, **row}, _SIZES)
            if not 0 <= successes <= size <= _LARGEST_GROUP:
                raise ValueError("more successes than rollouts")
            common = ({"prompt": position} if inner else {}) | shared(row)
            yield from ({**common, "reward": int(i < successes)} for i in range(size))


def _inner(record: Record) -> list[Record] | None:
    values = record.get("results")
    if isinstance(values, list) and values and isinstance(values[0], dict):
        return values
    return None


def _whole(row: Mapping[str, object], names: tuple[str, ...]) -> int:
    value = next((row[name] for name in names if row.get(name) is not None), None)
    number = float(str(value))
    if not number.is_integer():
        raise ValueError("no count")
    return int(number)
