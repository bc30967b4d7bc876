"""JSON Schema of scenario files, for editors: put together from the table of keys."""

from __future__ import annotations

from typing import Any, Final

from rlhf_budget.scenario.families import FAMILIES
from rlhf_budget.scenario.free_mappings import RESULT_KEYS
from rlhf_budget.scenario.key import REQUIRED, Key
from rlhf_budget.scenario.keys import CHILDREN, KEYS, RANGE_ENDS
from rlhf_budget.scenario.reading import UNKNOWN
from rlhf_budget.scenario.sections.reward_model import VERIFIABLE
from rlhf_budget.scenario.written import ONLY_AT_THE_TOP

Schema = dict[str, Any]

_TITLE: Final = "rlhf-budget scenario"
_REQUIRED: Final = ("objective", "costs", "reward_model")
_TYPES: Final = {"number": "number", "whole": "integer", "text": "string", "truth": "boolean"}


def scenario_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a scenario file.

    It describes what may be *written*, every key with its description and unit: ranges,
    ``unknown``, prices in tokens, ``extends`` and named scenarios. Nulls are allowed, because they
    delete a key in a file that extends another. Rules between keys are checked when a scenario is
    loaded.
    """
    changes = _mapping("", [name for name in CHILDREN[""] if name not in ONLY_AT_THE_TOP])
    properties = changes["properties"] | {
        "extends": _schema("extends"),
        "scenarios": _free("scenarios", {"$ref": "#/$defs/changes"}),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _TITLE,
        "description": "What RLHF costs and what is known about it, for rlhf-budget to plan.",
        **changes,
        "properties": {name: properties[name] for name in CHILDREN[""]},
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": list(_REQUIRED)},
        "$defs": {"changes": {"description": "Keys that a named scenario changes.", **changes}},
    }


def _described(key: Key) -> Schema:
    unit = f" ({key.unit})" if key.unit else ""
    default = {} if key.default in (None, REQUIRED) else {"default": key.default}
    return {"description": f"{key.description}{unit}.", **default}


def _schema(path: str) -> Schema:
    """Return the schema of one key, whatever way it is written."""
    if path in _FREE_VALUES:
        return _free(path, _FREE_VALUES[path], _FREE_NAMES[path])
    key = KEYS[path]
    forms = [*_special_forms(path), *_forms(path, key), {"type": "null"}]
    return {**_described(key), "anyOf": forms}


def _forms(path: str, key: Key) -> list[Schema]:
    """Return the ways in which a value may be written, null aside."""
    forms: list[Schema] = []
    names = [name for name in CHILDREN.get(path, ()) if name not in RANGE_ENDS]
    if key.kind == "mapping":
        return [_mapping(path, names)]
    if key.kind == "word":
        forms.append({"enum": list(key.words)})
    elif key.kind in ("numbers", "wholes"):
        whole = key.kind == "wholes"
        items = {"type": "integer" if whole else "number", **_limits(key)}
        forms.append({"type": "array", "items": items, "minItems": 1, "uniqueItems": whole})
    else:
        forms.append({"type": _TYPES[key.kind], **_limits(key)})
    if key.uncertain:
        end = {"type": _TYPES[key.kind], **_limits(key)}
        ends = dict.fromkeys(RANGE_ENDS, end)
        range_ = {"type": "object", "description": "A 95 % range.", "properties": ends}
        forms.append({**range_, "additionalProperties": False})
    if key.unknown:
        forms.append({"const": UNKNOWN})
    if names:
        forms.append(_mapping(path, names))
    return forms


def _special_forms(path: str) -> list[Schema]:
    """Return the forms that only one key has."""
    if path == "reward_model":
        return [{"const": VERIFIABLE}]
    if path == "objective.reward_range":
        pair = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
        return [{"description": "The interval [low, high].", **pair}]
    if path.startswith("limits.") and f"{path}.min" in KEYS:
        least = KEYS[f"{path}.min"]
        return [{"type": _TYPES[least.kind], **_limits(least), "description": "Fixes it."}]
    return []


def _limits(key: Key) -> Schema:
    words = {
        "minimum": key.at_least,
        "exclusiveMinimum": key.above,
        "maximum": key.at_most,
        "exclusiveMaximum": key.below,
    }
    limits: Schema = {word: limit for word, limit in words.items() if limit is not None}
    return {"minLength": 1} if key.kind == "text" else limits


def _mapping(path: str, names: list[str]) -> Schema:
    prefix = f"{path}." if path else ""
    schema: Schema = {
        "type": "object",
        "properties": {name: _schema(prefix + name) for name in names},
        "additionalProperties": False,
    }
    if path == "log_ratio":
        # A family has its own fields only.
        schema["allOf"] = [
            {
                "if": {"properties": {"family": {"const": family}}, "required": ["family"]},
                "then": {"propertyNames": {"enum": ["family", *law.fields]}},
            }
            for family, law in FAMILIES.items()
        ]
    return schema


def _free(path: str, values: Schema, names: tuple[str, ...] = ()) -> Schema:
    """Return the schema of a mapping whose keys the user chooses, from some names where given."""
    mapping: Schema = {"type": "object", "additionalProperties": values}
    if names:
        mapping["propertyNames"] = {"enum": list(names)}
    return {**_described(KEYS[path]), "anyOf": [mapping, {"type": "null"}]}


_GATE: Final[Schema] = {
    "type": ["object", "null"],
    "properties": {
        "min": {"type": ["number", "null"], "description": "Least value that passes."},
        "max": {"type": ["number", "null"], "description": "Largest value that passes."},
    },
    "additionalProperties": False,
}
_FREE_VALUES: Final[dict[str, Schema]] = {"sources": {"type": ["string", "null"]}, "checks": _GATE}
_FREE_NAMES: Final = {"sources": tuple(KEYS), "checks": RESULT_KEYS}
