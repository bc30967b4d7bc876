"""JSON Schema of what ``calibrate --format json`` prints."""

from __future__ import annotations

from typing import Any, get_args

from rlhf_budget.calibrate.estimates import SCHEMA_VERSION, Status, WarningCode

Schema = dict[str, Any]

_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TEXT: Schema = {"type": "string"}


def _object(properties: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object; keys may be added within a schema version."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _pair(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 2, "maxItems": 2}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def calibrate_schema() -> Schema:
    """Return the JSON Schema (2020-12) of all four ``calibrate`` commands."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rlhf-budget calibrate",
        **_object(
            {
                "schema_version": {"const": SCHEMA_VERSION},
                "tool": _object({"name": {"const": "rlhf-budget"}, "version": _TEXT}),
                "command": {"type": "string", "pattern": "^calibrate( |$)"},
                "warnings": _list(
                    _object({"code": {"enum": list(get_args(WarningCode))}, "message": _TEXT})
                ),
                "level": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "source": _source(),
                "estimates": _list(_estimate()),
                "tail": _nullable(_tail()),
                "groups": _nullable(_list(_group())),
                "curve": _nullable(_curve()),
                "agreement": _nullable(_agreement()),
                "fragment": {"type": "object"},
            },
            optional=("agreement",),
        ),
    }


def _source() -> Schema:
    sizes = _object({"min": _COUNT, "mean": _NUMBER, "max": _COUNT})
    skipped = _list(_object({"reason": _TEXT, "count": _COUNT}))
    return _object(
        {
            "files": _list(_TEXT),
            "trainer": _nullable(_TEXT),
            "fields": {"type": "object", "additionalProperties": _nullable(_TEXT)},
            "rows": _object({"read": _COUNT, "used": _COUNT, "skipped": skipped}),
            "files_skipped": _list(_object({"file": _TEXT, "reason": _TEXT})),
            "steps": _nullable(_pair({"type": "integer"})),
            "prompts": _COUNT,
            "rollouts_per_prompt": _nullable(sizes),
        },
        optional=("files_skipped",),
    )


def _estimate() -> Schema:
    return _object(
        {
            "constant": _TEXT,
            "unit": _TEXT,
            "status": {"enum": list(get_args(Status))},
            "value": _nullable(_NUMBER),
            "standard_error": _nullable(_NUMBER),
            "interval": _nullable(_pair(_NUMBER)),
            "method": _TEXT,
            "sample_size": _COUNT,
            "note": _nullable(_TEXT),
        }
    )


def _tail() -> Schema:
    fit = _object(
        {
            "family": _TEXT,
            "parameters": {"type": "object", "additionalProperties": _NUMBER},
            "log_likelihood": _NUMBER,
            "ks_distance": _NUMBER,
            "chosen": {"type": "boolean"},
        }
    )
    return _object(
        {
            "samples": _COUNT,
            "mean_absolute": _NUMBER,
            "max": _NUMBER,
            "quantiles": _list(_object({"share": _NUMBER, "value": _NUMBER})),
            "fits": _list(fit),
        }
    )


def _group() -> Schema:
    return _object(
        {
            "rollouts_per_prompt": _COUNT,
            "informative_share": _NUMBER,
            "interval": _pair(_NUMBER),
            "rollouts_per_informative_group": _nullable(_NUMBER),
        }
    )


def _agreement() -> Schema:
    return _object(dict.fromkeys(("pairs", "repeated", "prompts", "votes", "ties"), _COUNT))


def _curve() -> Schema:
    point = _object({"labels": _NUMBER, "loss": _NUMBER, "fitted": _nullable(_NUMBER)})
    curvature = _object({"kind": {"enum": ["average", "worst"]}, "value": _nullable(_NUMBER)})
    numbers = ("loss_limit", "amplitude", "exponent", "bayes_loss", "logit_scale")
    return _object(
        {
            "points": _list(point),
            **{name: _nullable(_NUMBER) for name in numbers},
            "curvature": _nullable(curvature),
        }
    )
