"""The layers of a scenario: files that extend each other, a named scenario, values set by hand."""

from __future__ import annotations

import sys
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.errors import Problem, ScenarioError
from rlhf_budget.scenario.merge import merge_scenario
from rlhf_budget.scenario.reading import Place, Places, place_of, shown
from rlhf_budget.scenario.samples import decoded, read_bytes
from rlhf_budget.scenario.values import dataclass
from rlhf_budget.scenario.written import DEFAULT_NAME, Written, key_of, plain, unknown_keys
from rlhf_budget.scenario.yaml_source import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STANDARD_INPUT: Final = "-"
STANDARD_INPUT_NAME: Final = "<stdin>"
"""What problems name in place of a file."""
_KEYS_OF_A_PLAN: Final = frozenset({"certificate", "allocation"})
"""Keys that tell the JSON of a plan from a scenario."""


@dataclass(frozen=True)
class Layer:
    """One source of keys: a file, or a mapping made by code."""

    values: dict[str, Any]
    """Plain values; None where a key is taken out."""
    places: Places
    """Where each path is written."""
    problems: tuple[Problem, ...]
    """What is wrong with the writing itself."""


def read_written(source: str | PathLike[str] | Mapping[str, Any]) -> Written:
    """Read a scenario file, standard input or a mapping, with everything that it extends.

    Raises
    ------
    ScenarioError
        When a file is no mapping in YAML, or extends itself.
    FileAccessError
        When a file cannot be read.
    """
    here = Path()
    if not isinstance(source, str | PathLike):
        layer = _layer(plain(source), {}, (), here)
    elif str(source) == STANDARD_INPUT:
        layer = _text_layer(decoded(_standard_input(), STANDARD_INPUT_NAME), here)
    else:
        path = Path(source)
        return _merged(_file_layers(path, "", ()), path.stem)
    return _merged([*_extended(layer, here, ()), layer], DEFAULT_NAME)


def _standard_input() -> bytes:
    # A test or a notebook may put a text stream there, which has no buffer.
    buffer = getattr(sys.stdin, "buffer", None)
    return sys.stdin.read().encode() if buffer is None else buffer.read()


def _merged(layers: Sequence[Layer], name: str) -> Written:
    values: dict[str, Any] = {}
    places: dict[tuple[str, ...], Place] = {}
    problems: list[Problem] = []
    for layer in layers:
        values = merge_scenario(values, layer.values)
        places.update(layer.places)
        problems.extend(layer.problems)
    values.pop("extends", None)
    values.setdefault("name", name)
    return Written(values, places, tuple(problems))


def _file_layers(path: Path, named_by: str, below: tuple[Path, ...]) -> list[Layer]:
    """Return the layers of a file, the one that extends no other first."""
    text = decoded(read_bytes(path, named_by), str(path))
    layer = _text_layer(text, path.parent, str(path))
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
    return _file_layers(path, by, below)


def _error(key: str, found: str, allowed: str, place: Place) -> ScenarioError:
    return ScenarioError((Problem(key, found, allowed, place.file, place.line),))


def _text_layer(text: str, folder: Path, file: str = STANDARD_INPUT_NAME) -> Layer:
    document = read_yaml(text, file)
    places = {path: Place(file, line) for path, line in document.lines.items()}
    problems = [
        Problem(key_of(path), found, allowed, file, line)
        for path, found, allowed, line in document.problems
    ]
    if not isinstance(document.values, dict):
        found = "an empty file" if document.values is None else shown(document.values)
        place = place_of(places, ()) if () in places else Place(file, None)
        raise _error("", found, "a mapping of keys to values", place)
    if document.values.keys() >= _KEYS_OF_A_PLAN:
        allowed = "the scenario file that it was made from; --against takes a plan"
        raise _error("", "the output of plan, not a scenario", allowed, Place(file, None))
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
