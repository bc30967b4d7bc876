"""Changes to a written scenario: one of its named scenarios, or values set by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rlhf_budget.errors import Problem, ScenarioError
from rlhf_budget.scenario.merge import merge_scenario, patch_for, path_of
from rlhf_budget.scenario.reading import UNKNOWN, Place, place_of
from rlhf_budget.scenario.suggestions import hint
from rlhf_budget.scenario.written import ONLY_AT_THE_TOP, Written, key_of, unknown_keys
from rlhf_budget.scenario.yaml_source import YamlDocument, read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rlhf_budget.scenario.yaml_source import Path


def select_scenario(written: Written, name: str) -> Written:
    """Apply one of the named scenarios.

    Raises
    ------
    ScenarioError
        When there is none of that name.
    """
    named = written.values.get("scenarios")
    names = list(named) if isinstance(named, dict) else []
    if not isinstance(named, dict) or name not in names:
        listed = f"one of {', '.join(names)}" if names else "none: the file has no scenarios"
        file, line = place_of(written.places, ("scenarios",))
        found = f"no scenario '{name}'"
        raise ScenarioError((Problem("scenarios", found, listed + hint(name, names), file, line),))
    changes = named[name]
    if not isinstance(changes, dict):
        return written  # noted where scenarios are read
    prefix = ("scenarios", name)
    moved = {path[2:]: place for path, place in written.places.items() if path[:2] == prefix}
    moved.pop((), None)
    places = {**written.places, **moved}
    return replace(written, values=merge_scenario(written.values, changes), places=places)


def apply_settings(written: Written, settings: Sequence[str]) -> Written:
    """Apply settings of the form ``KEY=YAML``, in order.

    Problems name the setting in place of a file.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        option = f"--set {setting}"
        key = key.strip()
        if not (equals and key):
            problem = Problem("", f"'{setting}'", "KEY=VALUE, such as costs.label=0.2", "--set")
            written = _with_problems(written, problem)
            continue
        try:
            written = _set(written, key, read_yaml(text, option), option)
        except ScenarioError as error:
            problems = (replace(problem, key=key, line=None) for problem in error.problems)
            written = _with_problems(written, *problems)
    return written


def with_values(written: Written, values: Mapping[str, Any]) -> Written:
    """Set key paths to plain values from code; None takes a key out."""
    for key, value in values.items():
        written = _set(written, key, YamlDocument(value), None)
    return written


def _with_problems(written: Written, *problems: Problem) -> Written:
    return replace(written, problems=(*written.problems, *problems))


def _set(written: Written, key: str, document: YamlDocument, origin: str | None) -> Written:
    """Set one key path to a document's value; problems name ``origin`` in place of a file."""
    path = path_of(key)
    if path[0] in ONLY_AT_THE_TOP:
        allowed = f"a key of the scenario; {path[0]} is read from files only"
        return _with_problems(written, Problem(key, f"the key {path[0]}", allowed, origin))
    patch = patch_for(path, document.values)
    place = Place(origin, None)
    places = {(*path, *below): place for below in ((), *document.lines)}
    places |= dict.fromkeys(_new_mappings(written.values, path), place)
    problems = [
        Problem(key_of((*path, *below)), found, allowed, origin)
        for below, found, allowed, _ in document.problems
    ]
    return replace(
        written,
        values=with_written(written.values, {key: document.values}),
        places={**written.places, **places},
        problems=(*written.problems, *problems, *unknown_keys(patch, places)),
    )


def _new_mappings(values: dict[str, Any], path: Path) -> list[Path]:
    """Return the paths above a path at which a setting makes a mapping."""
    node: Any = values
    for depth, name in enumerate(path[:-1], start=1):
        node = node.get(name)
        if not isinstance(node, dict):
            return [path[:end] for end in range(depth, len(path))]
    return []


def with_written(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return written values with some key paths set.

    Setting a part of ``reward_model.error: unknown`` keeps the other parts unknown.
    """
    for key, value in changes.items():
        path = path_of(key)
        if path[:2] == ("reward_model", "error") and len(path) > 2:
            model = values.get("reward_model")
            if isinstance(model, dict) and model.get("error") == UNKNOWN:
                parts = dict.fromkeys(("floor", "scale", "exponent"), UNKNOWN)
                values = merge_scenario(values, {"reward_model": {"error": parts}})
        values = merge_scenario(values, patch_for(path, value))
    return values
