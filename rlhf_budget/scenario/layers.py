"""The layers of a scenario: files that extend each other, a named scenario, values set by hand."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.errors import Problem, ScenarioError
from rlhf_budget.scenario.keys import nearest
from rlhf_budget.scenario.merge import merge_scenario, patch_for, path_of
from rlhf_budget.scenario.reading import Place, Places, place_of, shown
from rlhf_budget.scenario.resolve import DEFAULT_NAME, with_written
from rlhf_budget.scenario.samples import decoded, read_bytes
from rlhf_budget.scenario.written import Written, plain, unknown_keys
from rlhf_budget.scenario.yaml_source import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STANDARD_INPUT: Final = "-"
_STANDARD_INPUT_NAME: Final = "standard input"
_SETTABLE_NOT: Final = ("extends", "scenarios")


@dataclass(frozen=True)
class Layer:
    """One source of keys: a file, or a mapping made by code."""

    values: dict[str, Any]
    """Plain values; None where a key is taken out."""
    places: Places
    """Where each path is written."""
    problems: tuple[Problem, ...]
    """What is wrong with the writing itself."""


def read_written(source: str | Path | Mapping[str, Any]) -> Written:
    """Read a scenario file, standard input or a mapping, with everything that it extends.

    Raises
    ------
    ScenarioError
        When a file is no mapping in YAML, or extends itself.
    FileAccessError
        When a file cannot be read.
    """
    if not isinstance(source, str | Path):
        layer = _layer(plain(source), {}, (), Path())
        return _merged([*_extended(layer, Path(), ()), layer], DEFAULT_NAME)
    if str(source) == STANDARD_INPUT:
        text = decoded(sys.stdin.buffer.read(), _STANDARD_INPUT_NAME)
        layer = _text_layer(text, _STANDARD_INPUT_NAME, Path())
        return _merged([*_extended(layer, Path(), ()), layer], DEFAULT_NAME)
    path = Path(source)
    return _merged(_file_layers(path, str(source), "", ()), path.stem)


def _merged(layers: Sequence[Layer], name: str) -> Written:
    values: dict[str, Any] = {"name": name}
    places: dict[tuple[str, ...], Place] = {}
    problems: list[Problem] = []
    for layer in layers:
        values = merge_scenario(values, layer.values)
        places.update(layer.places)
        problems.extend(layer.problems)
    values.pop("extends", None)
    return Written(values, places, tuple(problems))


def _file_layers(path: Path, shown_as: str, named_by: str, below: tuple[Path, ...]) -> list[Layer]:
    """Return the layers of a file, the one that extends no other first."""
    text = decoded(read_bytes(path, named_by), shown_as)
    layer = _text_layer(text, shown_as, path.parent)
    return [*_extended(layer, path.parent, (*below, path.resolve())), layer]


def _extended(layer: Layer, folder: Path, below: tuple[Path, ...]) -> list[Layer]:
    """Return the layers of the file that a layer extends."""
    base = layer.values.get("extends")
    if base is None:
        return []
    place = place_of(layer.places, ("extends",))
    if not isinstance(base, str) or not base.strip():
        raise _error("extends", shown(base), "the path of one scenario file", place)
    path = folder / base
    if path.resolve() in below:
        chain = " -> ".join(file.name for file in (*below, path.resolve()))
        raise _error("extends", f"a cycle: {chain}", "files that end in one without it", place)
    by = f" (extended by {place.file})" if place.file else ""
    return _file_layers(path, str(path), by, below)


def _error(key: str, found: str, allowed: str, place: Place) -> ScenarioError:
    return ScenarioError((Problem(key, found, allowed, place.file, place.line),))


def _text_layer(text: str, file: str, folder: Path) -> Layer:
    document = read_yaml(text, file)
    places = {path: Place(file, line) for path, line in document.lines.items()}
    problems = [
        Problem(".".join(path), found, allowed, file, line)
        for path, found, allowed, line in document.problems
    ]
    if not isinstance(document.values, dict):
        found = "an empty file" if document.values is None else shown(document.values)
        raise _error("", found, "a mapping of keys to values", place_of(places, ()))
    return _layer(document.values, places, tuple(problems), folder)


def _layer(
    values: dict[str, Any], places: Places, problems: tuple[Problem, ...], folder: Path
) -> Layer:
    unknown = tuple(unknown_keys(values, places))
    return Layer(_with_paths(values, folder), places, problems + unknown)


def _with_paths(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the values with ``log_ratio.file`` relative to the working directory."""
    result = _with_path(values, folder)
    named = values.get("scenarios")
    if isinstance(named, dict):
        result["scenarios"] = {
            name: _with_path(changes, folder) if isinstance(changes, dict) else changes
            for name, changes in named.items()
        }
    return result


def _with_path(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    log_ratio = values.get("log_ratio")
    if isinstance(log_ratio, dict) and isinstance(log_ratio.get("file"), str):
        return {**values, "log_ratio": {**log_ratio, "file": str(folder / log_ratio["file"])}}
    return dict(values)


# --- a named scenario


def select(written: Written, scenario: str) -> Written:
    """Apply one of the named scenarios.

    Raises
    ------
    ScenarioError
        When there is none of that name.
    """
    named = written.values.get("scenarios")
    names = list(named) if isinstance(named, dict) else []
    if scenario not in names:
        near = nearest(scenario, names)
        allowed = f"one of {', '.join(names)}" if names else "no name: the file has no scenarios"
        hint = f"; did you mean {near}?" if near else ""
        place = place_of(written.places, ("scenarios",))
        raise _error("scenarios", f"no scenario '{scenario}'", allowed + hint, place)
    changes = written.values["scenarios"][scenario]
    if not isinstance(changes, dict):
        return written
    prefix = ("scenarios", scenario)
    moved = {
        path[2:]: place
        for path, place in written.places.items()
        if path[:2] == prefix and len(path) > 2
    }
    return replace(
        written,
        values=merge_scenario(written.values, changes),
        places={**written.places, **moved},
    )


# --- values set by hand


def set_values(written: Written, settings: Sequence[str]) -> Written:
    """Apply settings of the form ``KEY=YAML``, in order.

    Problems name the setting in place of a file.
    """
    for setting in settings:
        written = _set_value(written, setting)
    return written


def _set_value(written: Written, setting: str) -> Written:
    key, equals, text = setting.partition("=")
    key = key.strip()
    option = f"--set {setting}"
    if not equals or not key:
        problem = Problem("", f"'{setting}'", "KEY=VALUE, such as costs.label=0.2", "--set")
        return replace(written, problems=(*written.problems, problem))
    path = path_of(key)
    if path[0] in _SETTABLE_NOT:
        problem = Problem(
            key, option, f"a key of the scenario itself; {path[0]} is read from files"
        )
        return replace(written, problems=(*written.problems, problem))
    try:
        document = read_yaml(text, option)
    except ScenarioError as error:
        found = tuple(replace(problem, key=key, line=None) for problem in error.problems)
        return replace(written, problems=(*written.problems, *found))
    place = Place(option, None)
    places = {(*path, *below): place for below in document.lines} | {path: place}
    problems = [
        Problem(".".join((*path, *below)), found, allowed, option)
        for below, found, allowed, _ in document.problems
    ]
    patch = patch_for(path, document.values)
    return replace(
        written,
        values=with_written(written.values, {key: document.values}),
        places={**written.places, **places},
        problems=(*written.problems, *problems, *unknown_keys(patch, places)),
    )
