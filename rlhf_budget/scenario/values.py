"""A decorator for the immutable values of modules that every plan imports.

``dataclasses.dataclass(frozen=True)`` writes and compiles six methods for each class: a quarter of
all that a plan took beyond importing NumPy, Typer and PyYAML. Here the classes share six methods.
To type checkers, ``fields``, ``asdict`` and ``replace`` this is the standard decorator.
"""

from __future__ import annotations

import dataclasses
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any, Never

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool) -> Callable[[type], type]:
        """Declare a frozen dataclass; methods of its own it keeps."""
        if not frozen:
            raise TypeError("a value is frozen: what changes needs dataclasses.dataclass")

        def declare(kind: type) -> type:
            for name, method in _SHARED.items():
                if name not in vars(kind):
                    setattr(kind, name, method)
            return dataclasses.dataclass(init=False, repr=False, eq=False)(kind)

        return declare


__all__ = ["dataclass"]


def _init(self: Any, *values: Any, **named: Any) -> None:
    names = self.__match_args__
    given = dict(zip(names, values, strict=False))
    wrong = [*values[len(names) :], *(given.keys() & named), *(named.keys() - {*names})]
    given |= named
    for name in names:
        if name in given:
            continue
        entry = self.__dataclass_fields__[name]
        if entry.default is not dataclasses.MISSING:
            given[name] = entry.default
        elif entry.default_factory is not dataclasses.MISSING:
            given[name] = entry.default_factory()
        else:
            wrong.append(name)
    if wrong:
        expected = f"{type(self).__name__}({', '.join(names)})"
        raise TypeError(f"{expected}: missing, unknown or given twice: {wrong}")
    self.__dict__.update(given)


def _repr(self: Any) -> str:
    shown = (entry.name for entry in dataclasses.fields(self) if entry.repr)
    inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
    return f"{type(self).__name__}({inside})"


def _compared(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, entry.name) for entry in dataclasses.fields(self) if entry.compare)


def _eq(self: Any, other: object) -> bool:
    return _compared(self) == _compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _setattr(_self: Any, name: str, _value: Any) -> Never:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(_self: Any, name: str) -> Never:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


_SHARED = {
    "__init__": _init,
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _setattr,
    "__delattr__": _delattr,
}
