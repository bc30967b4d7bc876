from __future__ import annotations

import json
from pathlib import Path

import pytest
from scenario_helpers import BASE, GPU, SGD, patched, replaced

from rlhf_budget.scenario import PRESETS, load_scenario, template
from rlhf_budget.scenario.keys import KEYS
from rlhf_budget.scenario.schema import scenario_schema
from rlhf_budget.scenario.yaml_source import read_yaml

jsonschema = pytest.importorskip("jsonschema")

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    schema = scenario_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def described(schema, path=""):
    """Yield key path and description of every property, whichever form it stands in."""
    forms = [schema, *schema.get("anyOf", ())]
    for form in forms:
        for name, inner in form.get("properties", {}).items():
            key = f"{path}{name}"
            if key in KEYS:
                yield key, inner.get("description", "")
                yield from described(inner, f"{key}.")


def test_every_key_is_described_with_its_unit():
    found = dict(described(scenario_schema()))
    assert set(found) == set(KEYS)
    for key, description in found.items():
        assert description.startswith(KEYS[key].description)
        assert KEYS[key].unit in description


def test_the_schema_is_json():
    schema = scenario_schema()
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid(validator, path):
    validator.validate(read_yaml(path.read_text(encoding="utf-8"), None).values)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid(validator, preset):
    validator.validate(read_yaml(template(preset), None).values)


VALID = [
    BASE,
    load_scenario(BASE).inputs(),
    {"extends": "base.yaml"},
    {"extends": "base.yaml", "log_ratio": None, "costs": {"label": None}},
    patched(scenarios={"a": {"log_ratio": None, "costs": {"label": 3}}, "b": {}}),
    patched(costs={"label": {"low": 1, "high": 25}, "gpu": GPU, "rollout": {"tokens": 6e2}}),
    patched(costs={"prompt": {"acquisition": 5, "existing": 3.1e4, "tokens": 512}}),
    patched(reward_model={"coverage": "unknown", "error": "unknown"}),
    patched(reward_model="verifiable"),
    patched(reward_model={"error": 0.1}),
    patched(bound={"policy": "sgd", "sgd": SGD, "prompt_variance": "unknown"}),
    patched(objective={"reward_range": [-2, 3]}),
    patched(
        limits={"rollouts_per_prompt": {"choices": [4, 8]}, "prompts": 5, "labels": {"max": 3}}
    ),
    patched(current={"prompts": 3, "rollouts_per_prompt": 1, "clip_threshold": 3.5}),
    patched(sources={"costs.label": "x"}, checks={"bound.total": {"max": 0.5}}),
    replaced("log_ratio", {"family": "empirical", "file": "a.csv"}),
    replaced("log_ratio", {"family": "lognormal", "mu": -1, "sigma": 2}),
    replaced("log_ratio", {"kl_per_token": 0.02, "tokens": 600}),
]


@pytest.mark.parametrize("values", VALID, ids=range(len(VALID)))
def test_valid_forms(validator, values):
    validator.validate(values)


INVALID = [
    {},
    {"budget": 3},
    patched(budget=0),
    patched(budget="50,000"),
    patched(budget={"low": 1, "high": 2}),
    patched(budjet=3),
    patched(costs={"lable": 3}),
    patched(costs={"label": True}),
    patched(objective={"failure_probability": 1}),
    patched(bound={"policy": "fix"}),
    patched(reward_model="verifyable"),
    patched(reward_model={"coverage": 0.5}),
    patched(limits={"rollouts_per_prompt": 1025}),
    patched(limits={"prompts": 3.5}),
    patched(limits={"rollouts_per_prompt": {"choices": [4, 4]}}),
    patched(scenarios={"a": {"costs": {"lable": 3}}}),
    patched(scenarios={"a": {"extends": "b.yaml"}}),
    patched(sources={"costs.lable": "x"}),
    patched(checks={"bound.totl": {"max": 1}}),
    patched(checks={"bound.total": {"maximum": 1}}),
    replaced("log_ratio", {"family": "exponential", "kl": 3}),
]


@pytest.mark.parametrize("values", INVALID, ids=range(len(INVALID)))
def test_invalid_forms(validator, values):
    assert not validator.is_valid(values)
