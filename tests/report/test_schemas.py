"""Schemas say everything that commands print, each number with its unit, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jsonschema
import pytest
from conftest import scenario_mapping

from rlhf_budget import check, compare, load_scenario, plan, simulate, sweep
from rlhf_budget.calibrate import RolloutOptions, rollouts_from_files
from rlhf_budget.calibrate.reward_model.calibration import reward_model
from rlhf_budget.report.data import json_text, with_header
from rlhf_budget.report.schema import _record, output_schema
from rlhf_budget.scenario.records import (
    AS_MAPPING,
    LEFT_OUT_IF_NONE,
    NOT_IN_JSON,
    Record,
    json_form,
)
from rlhf_budget.studies.sweeps import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rlhf_budget.scenario.units import Money, Prompts

TESTS = Path(__file__).parents[1]
EXAMPLES = sorted((TESTS.parent / "examples" / "configs").glob("*.yaml"))
COMMANDS = ("plan", "compare", "check", "sweep", "calibrate", "simulate")


def objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within a schema, with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from objects(inner, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from objects(schema[word], f"{path}[]")
    for option in schema.get("oneOf", ()):
        yield from objects(option, path)


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, with no other keys than it describes."""
    for _, inner in objects(schema):
        if "properties" in inner:
            inner["additionalProperties"] = False
    return schema


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_is_described_and_every_number_has_a_unit(command: str) -> None:
    schema = output_schema(command)
    jsonschema.Draft202012Validator.check_schema(schema)
    for path, inner in objects(schema):
        assert inner.get("description"), path
        assert "None" not in inner["description"], path
        types = inner.get("type", [])
        if {"number", "integer"} & ({types} if isinstance(types, str) else {*types}):
            assert inner["description"].endswith(")."), path


def written(command: str, result: dict[str, Any]) -> Any:
    return json.loads(json_text(with_header(command, result)))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_plans_of_examples_hold_what_the_schema_says_and_no_more(file: Path) -> None:
    found = written("plan", plan(load_scenario(file)).to_dict())
    validator = jsonschema.Draft202012Validator(closed(output_schema("plan")))
    validator.validate(found)
    for part in (found, found["allocation"], found["sensitivity"][0]):
        part["unknown"] = 1
        assert not validator.is_valid(found)
        del part["unknown"]
    validator.validate(found)


def test_other_answers_hold_what_their_schemas_say_and_no_more() -> None:
    scenario = load_scenario(
        scenario_mapping(
            current={"prompts": 2000, "rollouts_per_prompt": 8, "labels": 5000},
            checks={"bound.total": {"max": 0.9}},
        )
    )
    poor, rich = (scenario.with_values({"budget": money}) for money in (1.0, 9e4))
    answers = {
        "plan": plan(load_scenario(scenario_mapping(budget=None)), target_bound=0.5),
        "compare": compare({"one": scenario, "rich": rich, "poor": poor}),
        "check": check(scenario),
        "sweep": sweep(scenario, listed("budget", [1.0, 1e5, -1.0])),
    }
    studies = [
        simulate(scenario, study=study, worlds=2, replicates=3)
        for study in ("training", "evaluation")
    ]
    for command, answer in [*answers.items(), *(("simulate", study) for study in studies)]:
        found = written(command, answer.to_dict())
        jsonschema.Draft202012Validator(closed(output_schema(command))).validate(found)
    dumps = str(next((TESTS / "data" / "trainers").glob("*verl*")))
    points = [(500.0, 0.69), (1000.0, 0.65), (4000.0, 0.6), (16000.0, 0.57), (64000.5, 0.56)]
    for calibration in (
        rollouts_from_files([dumps], options=RolloutOptions(last_steps="100%")),
        reward_model(points, agreement=0.8),
    ):
        found = json.loads(json_text(calibration.to_dict()))
        jsonschema.Draft202012Validator(closed(output_schema("calibrate"))).validate(found)


@dataclass(frozen=True, slots=True)
class Inner(Record):
    """Inner."""

    money: Money
    """What it costs."""


@dataclass(frozen=True, slots=True)
class Outer(Record):
    """Outer."""

    json_names: ClassVar = ("least=inner.money", "twice", "maybe.money", "...", "described")

    inner: Inner
    """Not itself in JSON."""
    maybe: Inner | None
    """Perhaps."""
    pair: tuple[Prompts, Prompts]
    """Two numbers, or
    more."""
    pairs: tuple[tuple[str, Money], ...] = field(metadata=AS_MAPPING)
    """Prices by name."""
    absent: Inner | None = field(metadata=LEFT_OUT_IF_NONE)
    """None here."""
    hidden: float = field(metadata=NOT_IN_JSON)
    """Never seen."""

    @property
    def twice(self) -> Money:
        """Twice the price."""
        return 2 * self.inner.money

    def described(self) -> dict[str, Any]:
        """Return anything."""
        return {"a": (1, Inner(2.0))}


def test_a_declaration_is_json_and_schema() -> None:
    outer = Outer(Inner(3.0), None, (1, 2), (("a", 1.5),), None, 9.0)
    assert list(json_form(outer).items()) == [
        ("least", 3.0),
        ("twice", 6.0),
        ("money", None),
        ("pair", [1, 2]),
        ("pairs", {"a": 1.5}),
        ("described", {"a": [1, {"money": 2.0}]}),
    ]
    schema = _record(Outer)
    assert schema["required"] == ["least", "twice", "money", "pair", "pairs", "described"]
    properties = schema["properties"]
    assert properties["least"] == {"type": "number", "description": "What it costs (currency)."}
    assert properties["money"]["type"] == ["number", "null"]
    assert properties["pair"]["description"] == "Two numbers, or more."
    assert (properties["pair"]["minItems"], properties["pair"]["maxItems"]) == (2, 2)
    assert properties["pairs"]["additionalProperties"]["type"] == "number"
    assert properties["absent"]["description"] == "null here."
    assert properties["described"] == {"type": "object", "description": "Anything."}
    jsonschema.validate(outer.to_dict(), schema)
