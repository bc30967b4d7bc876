"""A scenario as it is written, before anything is resolved: values, places, unknown keys."""

from __future__ import annotations

from dataclasses import field, fields, is_dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.errors import Problem
from rlhf_budget.scenario.keys import CHILDREN
from rlhf_budget.scenario.reading import Places, place_of, shown
from rlhf_budget.scenario.suggestions import allowed_keys
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rlhf_budget.scenario.yaml_source import Path

SampleFiles = dict[str, tuple[float, ...]]
"""Path of a file of log-ratios -> its numbers, so that one file is read once."""

ONLY_AT_THE_TOP: Final = ("extends", "scenarios")
"""Keys that stand at the top of a file, not in a named scenario."""
DEFAULT_NAME: Final = "scenario"
"""Name of a scenario that comes from no file."""


@dataclass(frozen=True)
class Written:
    """What the user wrote, overrides merged."""

    values: dict[str, Any]
    """Plain values: mappings, lists, texts, numbers and truth values."""
    places: Places
    """Where each path is written."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with the writing itself, such as unknown keys."""
    files: SampleFiles = field(default_factory=dict)
    """Files of log-ratios read so far."""


def plain(value: Any) -> Any:
    """Return a value from code as YAML would give it: plain numbers, lists and mappings.

    What is none of these stays as it is, and is reported where it is read.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, Real):
        return int(value) if isinstance(value, Integral) else float(value)
    if is_dataclass(value):
        # A section of a resolved scenario as it could be written, absent keys left out.
        shown_ = {each.name: getattr(value, each.name) for each in fields(value) if each.compare}
        return {name: plain(entry) for name, entry in shown_.items() if entry is not None}
    if hasattr(value, "items"):
        return {str(key): plain(entry) for key, entry in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def key_of(path: Path) -> str:
    """Return the key path of a path; entries of a list stand under the key of the list."""
    while path and path[-1].isdigit():
        path = path[:-1]
    return ".".join(path)


def unknown_keys(values: Mapping[str, Any], places: Places) -> Iterator[Problem]:
    """Find keys that no scenario has, also in the named scenarios, and suggest others."""
    yield from _unknown_below(values, "", (), places)
    named = values.get("scenarios")
    for name, changes in named.items() if isinstance(named, dict) else ():
        if not isinstance(changes, dict):
            continue
        yield from _unknown_below(changes, "", ("scenarios", name), places)
        for top in ONLY_AT_THE_TOP:
            if top in changes:
                place = place_of(places, ("scenarios", name, top))
                allowed = f"{top} at the top of a file only, not inside a named scenario"
                found, key = shown(changes[top]), f"scenarios.{name}.{top}"
                yield Problem(key, found, allowed, place.file, place.line)


def _unknown_below(
    values: Mapping[str, Any], parent: str, prefix: Path, places: Places
) -> Iterator[Problem]:
    for name, value in values.items():
        path = (*prefix, name)
        if name not in CHILDREN[parent]:
            place = place_of(places, path)
            allowed = allowed_keys(parent, name)
            yield Problem(".".join(path), f"unknown key '{name}'", allowed, place.file, place.line)
            continue
        key = f"{parent}.{name}" if parent else name
        if isinstance(value, dict) and key in CHILDREN:
            yield from _unknown_below(value, key, path, places)
