"""What ``calibrate rollouts`` prints: JSON by its schema, YAML that pastes, codes of exit."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import jsonschema
import pytest
import yaml

from rlhf_budget.calibrate import RolloutOptions, rollouts_from_files
from rlhf_budget.calibrate.into.fragment import fragment_yaml
from rlhf_budget.cli.app import run
from rlhf_budget.report.schema import output_schema

DUMPS = Path(__file__).parents[1] / "data" / "trainers"
NAMES = ["trl-grpo-k8-log-ratio", "trl-grpo-k8", "open-instruct", "nemo-rl", "openrlhf-0.9.5"]


@pytest.fixture(scope="module", params=NAMES)
def result(request):
    return rollouts_from_files(
        [str(DUMPS / request.param)], options=RolloutOptions(last_steps="100%")
    )


def test_json_keeps_its_schema(result):
    schema = output_schema("calibrate")
    jsonschema.Draft202012Validator.check_schema(schema)
    for unreliable in (False, True):
        printed = result.to_dict(include_unreliable=unreliable)
        text = json.dumps(printed, allow_nan=False)
        jsonschema.validate(json.loads(text), schema)
    rows = printed["source"]["rows"]
    assert rows["read"] == rows["used"] + sum(skip["count"] for skip in rows["skipped"])


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield ".".join(path), value


def test_every_number_of_the_fragment_is_an_estimate(result):
    for path, value in leaves(result.fragment()):
        if isinstance(value, str):
            assert path in {"bound.concentration", "log_ratio.family"}
        else:
            estimate = result.estimate(path)
            assert (estimate.status, estimate.value) == ("estimated", value)


def test_every_constant_stands_in_the_estimates(result):
    names = {estimate.constant for estimate in result.estimates}
    assert names >= {
        "bound.prompt_variance",
        "bound.rollout_variance",
        "log_ratio.kl",
        "objective.reward_range",
        "costs.rollout.tokens",
    }


def test_yaml_reads_back_as_the_fragment(result):
    for unreliable in (False, True):
        text = fragment_yaml(result, include_unreliable=unreliable)
        assert yaml.safe_load(text) == result.fragment(include_unreliable=unreliable)
        for warning in result.warnings:
            assert f"warning {warning.code}" in text


@pytest.mark.parametrize("name", ["trl-grpo-k8-log-ratio", "trl-grpo-k8"])
def test_the_fragment_pastes_into_a_scenario(name):
    from rlhf_budget.planning.planner import plan
    from rlhf_budget.scenario import load_scenario

    found = rollouts_from_files([str(DUMPS / name)])
    fragment = found.fragment()
    scenario = {
        "budget": 1000,
        "objective": {"kl_coefficient": 0.04, **fragment.pop("objective", {})},
        "costs": {"prompt": 0.01, "rollout": 0.001, "label": 1.0},
        "reward_model": "verifiable",
        **fragment,
    }
    assert plan(load_scenario(scenario)).bound.total > 0


def test_small_numbers_are_numbers_for_every_yaml_reader():
    from rlhf_budget.calibrate.into.fragment import _scalar

    for value in (1e-5, 1.5e-7, 1e22, 3.0, 0.1):
        assert yaml.safe_load(_scalar(value)) == value


def test_command_prints_yaml_by_default(capsys):
    assert run(["calibrate", "rollouts", str(DUMPS / "trl-grpo-k8-log-ratio")]) == 0
    shown = capsys.readouterr()
    assert yaml.safe_load(shown.out)["bound"].keys() == {"prompt_variance", "rollout_variance"}
    assert shown.err == ""


@pytest.mark.parametrize("format_", ["table", "json", "markdown", "csv"])
def test_command_prints_every_format(capsys, format_):
    arguments = ["calibrate", "rollouts", str(DUMPS / "trl-grpo-k8-log-ratio"), "-f", format_]
    assert run([*arguments, "--kl-coefficient", "0.04", "--reward-range", "0", "1"]) == 0
    shown = capsys.readouterr().out
    assert "bound.prompt_variance" in shown
    if format_ == "json":
        printed = json.loads(shown)
        jsonschema.validate(printed, output_schema("calibrate"))
        assert printed["fragment"]["objective"] == {"reward_range": 1.0}
        assert printed["command"] == "calibrate rollouts"
    if format_ == "csv":
        rows = list(csv.DictReader(io.StringIO(shown)))
        assert rows[0]["constant"] == "bound.prompt_variance"
        assert float(rows[0]["low"]) < float(rows[0]["value"]) < float(rows[0]["high"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nothing-here.jsonl"], 4),
        ([str(DUMPS / "nemo-rl"), "--reward-field", "nope"], 2),
        ([str(DUMPS / "nemo-rl"), "--last-steps", "nope"], 2),
        ([str(DUMPS / "nemo-rl"), "--metrics", "nope.json"], 4),
        ([str(DUMPS / "nemo-rl"), "--engine", "abacus"], 2),
    ],
)
def test_exit_codes(capsys, arguments, code):
    assert run(["calibrate", "rollouts", *arguments]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert run(["calibrate", "rollouts", *arguments, "--format", "json"]) == code
    assert "message" in json.loads(capsys.readouterr().err)


def test_rewards_that_no_log_tells_apart_are_asked_for(tmp_path, capsys):
    shutil.copytree(DUMPS / "trl-grpo-k8" / "completions", tmp_path / "completions")
    assert run(["calibrate", "rollouts", str(tmp_path / "completions")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "may all be rewards" in " ".join(shown.err.split())


def test_output_is_written_whole(tmp_path, capsys):
    target = tmp_path / "constants.json"
    arguments = ["calibrate", "rollouts", str(DUMPS / "nemo-rl"), "--output", str(target)]
    assert run(arguments) == 0
    jsonschema.validate(json.loads(target.read_text()), output_schema("calibrate"))
    assert capsys.readouterr().out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["constants.json"]
