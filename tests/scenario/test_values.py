"""Shared methods do what those of ``dataclasses.dataclass(frozen=True)`` do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, asdict, field, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_budget.scenario.values import dataclass


@dataclass(frozen=True)
class Ours:
    """A value."""

    first: Any
    second: Any = 2
    third: list[int] = field(default_factory=list, compare=False, repr=False)


@dataclasses.dataclass(frozen=True)
class Standard:
    first: Any
    second: Any = 2
    third: list[int] = field(default_factory=list, compare=False, repr=False)


@dataclass(frozen=True)
class Own:
    number: int

    def __init__(self, text: str) -> None:
        self.__dict__["number"] = int(text)

    def __repr__(self) -> str:
        return f"Own {self.number}"


ANYTHING = st.one_of(st.integers(), st.floats(), st.text(), st.tuples(st.integers()))


@given(ANYTHING, ANYTHING, ANYTHING)
def test_values_are_as_the_standard_decorator_makes_them(first, second, other) -> None:
    ours, standard = Ours(first, second=second), Standard(first, second=second)
    assert repr(ours) == repr(standard).replace("Standard", "Ours")
    assert asdict(ours) == asdict(standard)
    assert hash(ours) == hash(standard)
    assert (ours == Ours(other, second)) == (standard == Standard(other, second))
    assert (ours == replace(ours, first=other)) == (standard == replace(standard, first=other))
    assert replace(ours, third=[3]) == ours
    for same in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert repr(same) == repr(ours)
        assert type(same) is Ours


def test_values_are_compared_within_their_class_only() -> None:
    assert Ours(1) != Standard(1)
    assert Ours(1) != (1, 2)
    assert [each.name for each in fields(Ours)] == ["first", "second", "third"]
    match Ours(1, 3):
        case Ours(1, second):
            assert second == 3


def test_defaults_are_made_anew() -> None:
    assert Ours(1).third is not Ours(1).third


def test_values_are_immutable() -> None:
    value = Ours(1)
    with pytest.raises(FrozenInstanceError, match="'first'"):
        value.first = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="'first'"):
        del value.first  # type: ignore[misc]
    with pytest.raises(TypeError, match="frozen"):
        dataclass(frozen=False)(Standard)


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((1, 2, [], 4), {}), ((1,), {"first": 1}), ((1,), {"fourth": 1})],
    ids=["missing", "too many", "twice", "unknown"],
)
def test_what_does_not_fit_is_refused(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Ours, Standard):
        with pytest.raises(TypeError):
            kind(*values, **named)


def test_a_class_may_have_methods_of_its_own() -> None:
    assert repr(Own("3")) == "Own 3"
    assert Own("3") == Own("03")
