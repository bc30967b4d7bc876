"""Reading single values out of a written scenario, with every problem noted at its place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple

from rlhf_budget.errors import Problem
from rlhf_budget.scenario.assumptions import Assumption, middle
from rlhf_budget.scenario.key import REQUIRED, Key
from rlhf_budget.scenario.keys import KEYS, RANGE_ENDS
from rlhf_budget.scenario.suggestions import allowed_mapping, hint

UNKNOWN: Final = "unknown"

_LONGEST_SHOWN: Final = 60


class Missing:
    """The type of ``MISSING``."""


MISSING: Final = Missing()
"""Stands for a key that is not written."""


class Place(NamedTuple):
    """Where something is written."""

    file: str | None
    line: int | None


Places = Mapping[tuple[str, ...], Place]


def place_of(places: Places, path: tuple[str, ...]) -> Place:
    """Return where a path is written, or where the nearest mapping around it is."""
    while path and path not in places:
        path = path[:-1]
    return places.get(path, Place(None, None))


def shown(value: Any) -> str:
    """Return a value as a user would recognise it in a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"{str(value).lower()} (a truth value)"
    if isinstance(value, dict):
        return f"a mapping with {', '.join(map(str, value))}" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, str):
        text = value if len(value) <= _LONGEST_SHOWN else value[: _LONGEST_SHOWN - 1] + "…"
        return f"the text '{text}'"
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:20]}… ({len(text)} digits)"


def plain_number(value: Any) -> float | int | None:
    """Return the value when it is a finite number, and no truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def as_whole(number: float) -> int | None:
    """Return a number as an int when it is whole."""
    return int(number) if number == int(number) else None


class Reader:
    """Reads a written scenario; collects problems and assumptions instead of stopping."""

    def __init__(self, written: dict[str, Any], places: Places) -> None:
        self.written = written
        self.places = places
        self.problems: list[Problem] = []
        self.assumed: list[Assumption] = []
        self._faulty: set[str] = set()

    # --- problems

    def problem(self, key: str, found: str, allowed: str, path: tuple[str, ...] = ()) -> None:
        """Note a problem at a key path; ``path`` where the key's own names have dots."""
        place = place_of(self.places, path or tuple(key.split(".")))
        self.problems.append(Problem(key, found, allowed, place.file, place.line))
        self._faulty.add(key)

    def adopt(self, key: str, problems: tuple[Problem, ...]) -> None:
        """Note problems that were found elsewhere, such as in a file named by the key."""
        self.problems.extend(problems)
        self._faulty.add(key)

    def faulty(self, key: str) -> bool:
        """Whether something wrong was found at this very key."""
        return key in self._faulty

    def sound(self, *keys: str) -> bool:
        """Whether nothing wrong was found at these keys, or above or below them."""
        return not any(
            fault == key or fault.startswith(f"{key}.") or key.startswith(f"{fault}.")
            for fault in self._faulty
            for key in keys
        )

    # --- structure

    def get(self, key: str) -> Any:
        """Return what is written at a key path, or MISSING."""
        node: Any = self.written
        for name in key.split("."):
            if not isinstance(node, dict) or name not in node:
                return MISSING
            node = node[name]
        return node

    def has(self, key: str) -> bool:
        """Whether the key is written."""
        return not isinstance(self.get(key), Missing)

    def mapping(self, key: str) -> bool:
        """Whether a mapping, or nothing, stands at a key; anything else is noted."""
        value = self.get(key)
        if isinstance(value, dict | Missing):
            return True
        self.problem(key, shown(value), allowed_mapping(key))
        return False

    # --- values

    def number(self, key: str, rules: Key | None = None) -> Any:
        """Read a number, written plainly or as a range, or its default.

        ``rules`` say what is allowed, where it is not ``KEYS[key]``. An int for keys that must be
        whole; None when the key is absent without a default, or wrong: ``sound`` tells them apart.
        """
        rules = rules or KEYS[key]
        value = self.get(key)
        if isinstance(value, Missing):
            return self._default(key, rules)
        if rules.uncertain and isinstance(value, dict) and not value.keys() - set(RANGE_ENDS):
            return self._range(key, rules, value)
        return self._checked(key, rules, value)

    def _default(self, key: str, rules: Key) -> Any:
        if rules.default is REQUIRED:
            self.problem(key, "nothing", f"{rules.allowed}: {rules.description}")
            return None
        return rules.default

    def _checked(self, key: str, rules: Key, value: Any, found: str = "") -> Any:
        """Return the value as float or int when the rules allow it, else note the problem."""
        number = plain_number(value)
        if number is None or not rules.admits(number):
            self.problem(key, found or shown(value), rules.allowed)
            return None
        if rules.kind == "whole":
            whole = as_whole(number)
            if whole is None:
                self.problem(key, found or shown(value), rules.allowed)
            return whole
        return float(number)

    def _range(self, key: str, rules: Key, value: dict[str, Any]) -> Any:
        ends = []
        rules = replace(rules, uncertain=False, unknown=False)
        for end in RANGE_ENDS:
            if end not in value:
                self.problem(f"{key}.{end}", "nothing", f"a range has both low and high: {key}")
                continue
            ends.append(self._checked(f"{key}.{end}", rules, value[end]))
        if len(ends) < len(RANGE_ENDS) or None in ends:
            return None
        low, high = ends
        if low > high:
            self.problem(key, f"low {low} above high {high}", "low <= high")
            return None
        return self.assume(key, "range", low, high, whole=rules.kind == "whole")

    def assume(
        self,
        key: str,
        kind: Literal["range", "unknown"],
        low: float,
        high: float,
        *,
        whole: bool = False,
    ) -> float:
        """Take the middle of a range, and list it as assumed."""
        value = middle(low, high)
        if whole:
            value = min(max(round(value), int(low)), int(high))
        self.assumed.append(Assumption(key, kind, value, low, high, self._source(key)))
        return value

    def _source(self, key: str) -> str | None:
        sources = self.written.get("sources")
        if not isinstance(sources, dict):
            return None
        while key:
            if isinstance(sources.get(key), str):
                return str(sources[key])
            key = key.rpartition(".")[0]
        return None

    def word(self, key: str) -> Any:
        """Read one of the words that a key allows."""
        rules = KEYS[key]
        value = self.get(key)
        if isinstance(value, Missing):
            return self._default(key, rules)
        if isinstance(value, str) and value in rules.words:
            return value
        asked = hint(value, rules.words) if isinstance(value, str) else ""
        self.problem(key, shown(value), rules.allowed + asked)
        return None

    def text(self, key: str) -> Any:
        """Read a text that is not empty."""
        value = self.get(key)
        if isinstance(value, Missing):
            return KEYS[key].default
        if isinstance(value, str) and value.strip():
            return value
        quotes = "" if isinstance(value, str) else ", in quotes where YAML reads something else"
        self.problem(key, shown(value), KEYS[key].allowed + quotes)
        return None

    def truth(self, key: str) -> Any:
        """Read true or false."""
        value = self.get(key)
        if isinstance(value, Missing):
            return KEYS[key].default
        if isinstance(value, bool):
            return value
        self.problem(key, shown(value), KEYS[key].allowed)
        return None

    def numbers(self, key: str, rules: Key | None = None) -> Any:
        """Read a list of numbers, at least one."""
        rules = rules or KEYS[key]
        value = self.get(key)
        if isinstance(value, Missing):
            return self._default(key, rules)
        if not isinstance(value, list | tuple) or not value:
            self.problem(key, shown(value), f"{rules.allowed}, at least one")
            return None
        bad = next((i for i, entry in enumerate(value) if not _fits(rules, entry)), None)
        if bad is None:
            return tuple(map(int if rules.kind == "wholes" else float, value))
        path = (*key.split("."), str(bad))
        self.problem(key, f"{shown(value[bad])} as entry {bad + 1}", rules.allowed, path)
        return None


def _fits(rules: Key, entry: Any) -> bool:
    number = plain_number(entry)
    if number is None or not rules.admits(number):
        return False
    return rules.kind != "wholes" or as_whole(number) is not None
