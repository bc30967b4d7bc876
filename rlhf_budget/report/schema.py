"""JSON Schemas of what commands print, read from the declarations of their results.

Type and unit come from a field's annotation, its meaning from its docstring, its key from
:mod:`rlhf_budget.scenario.records`. Docstrings of fields are in the source only, so it is read;
no other command needs this module.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections import ChainMap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from rlhf_budget.report.data import SCHEMA_VERSION
from rlhf_budget.scenario.records import AS_MAPPING, LEFT_OUT_IF_NONE, json_keys

Schema = dict[str, Any]

_RESULTS: Final = {
    "plan": ("rlhf_budget.planning.results", "Plan"),
    "compare": ("rlhf_budget.studies.comparison", "Comparison"),
    "check": ("rlhf_budget.studies.gates", "Check"),
    "sweep": ("rlhf_budget.studies.sweeps", "Sweep"),
    "calibrate": ("rlhf_budget.calibrate.estimates", "Calibration"),
    "simulate": ("rlhf_budget.simulation.training.results", "TrainingStudy"),
}
"""Command -> module and class of what it prints."""
_OTHERS: Final = {
    "check": ("rlhf_budget.studies.gates", "Checks", "One scenario, or several in checks."),
    "simulate": (
        "rlhf_budget.simulation.evaluation.results",
        "Simulation",
        "Either of two studies; the key study says which.",
    ),
}
"""Command -> module and class of what else it prints, and how the two are told apart."""
_EACH: Final = "Each of them."
_TYPES: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}


def output_schema(command: str) -> Schema:
    """Return the JSON Schema (draft 2020-12) of what a command prints with ``--format json``.

    Every field has its meaning and, where it is a number, its unit. Keys may be added within a
    schema version, so others are allowed.
    """
    named = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Output of rlhf-budget {command}",
    }
    *others, told = _OTHERS.get(command, ("",))
    forms, header = [], _header(command)
    for module, name in (_RESULTS[command], *([others] if others else [])):
        result = _record(getattr(import_module(module), name))
        forms.append(
            {
                "type": "object",
                "description": result["description"],
                "required": [*header, *result["required"]],
                "properties": header | result["properties"],
            }
        )
    if not others:
        return named | forms[0]
    return named | {"type": "object", "description": told, "oneOf": forms}


def _header(command: str) -> dict[str, Schema]:
    """Describe what ``report.data.with_header`` puts before every result."""
    texts = {"type": "string"}
    tool = {
        "type": "object",
        "description": "What wrote this.",
        "required": ["name", "version"],
        "properties": {
            "name": {"const": "rlhf-budget", "description": "The program."},
            "version": texts | {"description": "Its version."},
        },
    }
    named = {"const": command}
    if command == "calibrate":  # four commands, of one shape
        named = texts | {"pattern": "^calibrate( |$)"}
    # A sweep has none of its own.
    module, name = _RESULTS[command if command != "sweep" else "plan"]
    hint, _ = _declared(getattr(import_module(module), name), ("warnings",))
    return {
        "schema_version": {"const": SCHEMA_VERSION, "description": "Version of this format."},
        "tool": tool,
        "command": named | {"description": "The command."},
        "warnings": _schema(hint, "What is doubtful about the result, and what to do."),
    }


def _record(kind: type, meaning: str = "") -> Schema:
    """Describe a dataclass as an object."""
    properties, required = {}, []
    for key, path, how in json_keys(kind):
        hint, text = _declared(kind, path)
        if how == AS_MAPPING["json"]:
            hint = Mapping[str, get_args(get_args(hint)[0])[1]]  # type: ignore[misc]
        properties[key] = _schema(hint, text)
        if how != LEFT_OUT_IF_NONE["json"]:
            required.append(key)
    return {
        "type": "object",
        "description": meaning or _meaning(kind.__doc__),
        "required": required,
        "properties": properties,
    }


def _schema(hint: Any, meaning: str) -> Schema:  # noqa: PLR0911 - one return for each kind
    """Describe a type; ``meaning`` says what stands there."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        beside = {key: value for key, value in parts[1]._asdict().items() if value is not None}
        unit = beside.pop("name", None)
        text = meaning if unit is None else f"{meaning.removesuffix('.')} ({unit})."
        return _schema(parts[0], text) | beside
    described = {"description": meaning}
    if origin in (Union, UnionType):
        options = [_schema(part, meaning) for part in parts if part is not NoneType]
        null = ["null"] if NoneType in parts else []
        listed = [option["type"] for option in options]
        types = [name for each in listed for name in ([each] if isinstance(each, str) else each)]
        words = {"enum": [*options[0]["enum"], None]} if null and "enum" in options[0] else {}
        return dict(ChainMap(words, {"type": [*types, *null]}, *options))
    if origin is Literal:
        return {"type": "string", **described, "enum": [*parts]}
    if origin is tuple:
        ends = {} if parts[-1] is Ellipsis else dict.fromkeys(("minItems", "maxItems"), len(parts))
        return {"type": "array", **described, "items": _schema(parts[0], _EACH), **ends}
    if origin in (dict, Mapping):
        values = {} if parts[1] is Any else {"additionalProperties": _schema(parts[1], _EACH)}
        return {"type": "object", **described, **values}
    if is_dataclass(hint):
        return _record(hint, "" if meaning == _EACH else meaning)  # type: ignore[arg-type]
    return {"type": _TYPES[hint], **described}


# --- declarations --------------------------------------------------------------------------------


def _declared(kind: type, path: tuple[str, ...]) -> tuple[Any, str]:
    """Return the type and the meaning of what stands at the end of a path."""
    hint: Any = kind
    meaning: str | None = None
    nullable = False
    for name in path:
        owner: Any = next(part for part in (*get_args(hint), hint) if is_dataclass(part))
        member = inspect.getattr_static(owner, name, None)
        function = member.fget if isinstance(member, property) else member
        if inspect.isfunction(function):
            hint, meaning = _hints(function)["return"], function.__doc__
        else:
            hint, meaning = _hints(owner)[name], _field_docstrings(owner)[name]
        nullable |= NoneType in get_args(hint)
    return (hint | None if nullable else hint), _meaning(meaning)


def _meaning(docstring: str | None) -> str:
    """Return the first paragraph as JSON's readers would say it."""
    paragraph = inspect.cleandoc(docstring or "").partition("\n\n")[0]
    text = " ".join(paragraph.replace("`", "").split()).removeprefix("Return ")
    return re.sub(r"\bNone\b", "null", text[:1].upper() + text[1:])


@cache
def _field_docstrings(kind: Any) -> dict[str, str]:
    found = {}
    for owner in reversed(kind.__mro__[:-1]):
        (definition,) = ast.parse(inspect.getsource(owner)).body
        for field, text in pairwise(definition.body):  # type: ignore[attr-defined]
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[ast.unparse(field.target)] = ast.literal_eval(text.value)
    return found


def _hints(declared: Any) -> dict[str, Any]:
    """Resolve annotations, with what their module imports only for them."""
    owners = declared.__mro__[:-1] if isinstance(declared, type) else (declared,)
    names = {name: found for owner in owners for name, found in _imports(owner.__module__).items()}
    return get_type_hints(declared, localns=names, include_extras=True)


@cache
def _imports(module: str) -> dict[str, Any]:
    """Return what a module imports under ``TYPE_CHECKING``."""
    found = {}
    for guard in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(guard, ast.If) and ast.unparse(guard.test) == "TYPE_CHECKING":
            for statement in guard.body:
                if isinstance(statement, ast.ImportFrom):
                    for alias in statement.names:
                        with suppress(ImportError):
                            home, name = statement.module or "", alias.name
                            inside = getattr(import_module(home), name, None)
                            found[alias.asname or name] = inside or import_module(f"{home}.{name}")
    return found
