"""Dialects whose records hold several rollouts, or a reward inside a structure.

Their records are laid flat first, one line a rollout (``flattening.py``); what follows reads them
as any other log. A subclass says which records are its own and what rows are in one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rlhf_budget.calibrate.logs.dialects.dialect import Dialect
from rlhf_budget.calibrate.logs.fields import GUESSES, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


Record = dict[str, Any]


class NotUsable(Exception):  # noqa: N818 (it is no error: the record is left out and counted)
    """A record that is left out on purpose; the message is the reason, as ``source`` counts it."""


class NestedDialect(Dialect):
    """A form whose records are laid flat."""

    one_group_a_record: ClassVar[bool] = False
    """Whether the rollouts of a record that does not name its prompt are a group of their own."""

    def holds(self, record: Record) -> bool:
        """Return whether a record is of this form."""
        raise NotImplementedError

    def rows(self, record: Record, reward: str | None) -> Iterator[Record]:
        """Return the rollouts of a record, with usual names for their fields.

        ``reward`` is its field, where given by hand. Raises NotUsable if the record is left out on
        purpose; ValueError, TypeError or KeyError if it is broken.
        """
        raise NotImplementedError


def first_of(record: Mapping[str, Any], role: str) -> Any:
    """Return the value of the first usual name of a role that a record has; None without."""
    return next((record[name] for name in GUESSES[role] if record.get(name) is not None), None)


def known(row: Record) -> Record:
    """Return a row without what its record does not say."""
    return {name: value for name, value in row.items() if name == "reward" or value is not None}


def is_number(value: Any) -> bool:
    """Return whether a value is a number or a truth value."""
    return isinstance(value, int | float)


def is_reward(value: Any) -> bool:
    """Return whether a value is a number, also as text, a truth value or a mapping to one."""
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    return is_number(value) or number(value) is not None


def shared(record: Mapping[str, Any]) -> Record:
    """Return the step and the prompt that all rollouts of a record share, by usual names."""
    values = {role: first_of(record, role) for role in ("step", "prompt")}
    return {role: value for role, value in values.items() if value is not None}
