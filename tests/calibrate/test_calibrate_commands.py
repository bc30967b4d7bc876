"""The commands reward-model, coverage and costs: output, schema, exit codes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from rlhf_budget.cli.app import run
from rlhf_budget.report.schema import output_schema
from rlhf_budget.scenario.yaml_source import read_yaml

DATA = Path(__file__).parents[1] / "data" / "reward_model"
LOGPROBS = [
    "coverage",
    str(DATA / "evaluation_logprobs.csv"),
    *("--policy-logprob-field", "logp_policy", "--behaviour-logprob-field", "logp_ref"),
]
PRICES = ["costs", str(DATA / "run_costs.csv"), "--hourly-rate", "2"]
COMMANDS = {
    "one run": ["reward-model", str(DATA / "one-run"), "--agreement", "0.71"],
    "six runs": ["reward-model", str(DATA / "sizes"), "--agreement", "0.71"],
    "no agreement": ["reward-model", str(DATA / "sizes")],
    "published": ["reward-model", str(DATA / "rm_learning_curves.csv"), "--agreement", "0.73"],
    "one size": ["reward-model", str(DATA / "sizes" / "labels-400")],
    "densities": LOGPROBS,
    "prices": ["costs", str(DATA / "run_costs.csv"), "--hourly-rate", "2"],
    "a price": [
        "costs",
        str(DATA / "run_costs.csv"),
        "--hourly-rate",
        "2",
        "--run",
        "DS-1.5B MATH",
    ],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_json_follows_the_schema_and_its_fragment_the_estimates(name, capsys):
    for more in ([], ["--include-unreliable"]):
        assert run(["calibrate", *COMMANDS[name], "--format", "json", *more]) == 0
        answer = json.loads(capsys.readouterr().out)
        jsonschema.Draft202012Validator(output_schema("calibrate")).validate(answer)
        rows = answer["source"]["rows"]
        assert rows["read"] == rows["used"] + sum(skip["count"] for skip in rows["skipped"])
        allowed = {"estimated", "unreliable"} if more else {"estimated"}
        values = {e["constant"]: e["value"] for e in answer["estimates"] if e["status"] in allowed}
        leaves = dict(paths(answer["fragment"]))
        leaves.pop("reward_model.coverage_kind", None)
        assert leaves.items() <= values.items()
        assert answer["command"] == f"calibrate {COMMANDS[name][0]}"


def paths(values, above=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from paths(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


@pytest.mark.parametrize("name", COMMANDS)
def test_every_format_prints(name, capsys):
    outputs = {}
    for format_ in ("yaml", "table", "markdown", "csv"):
        assert run(["calibrate", *COMMANDS[name], "--format", format_]) == 0
        outputs[format_], err = capsys.readouterr()
        assert err == ""
    assert isinstance(read_yaml(outputs["yaml"], None).values, dict)
    rows = list(csv.DictReader(io.StringIO(outputs["csv"])))
    assert rows
    assert {"constant", "status", "value", "low", "high"} <= set(rows[0])


def test_features(tmp_path, capsys):
    generator = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", generator.normal(size=(300, 3)))
    np.save(tmp_path / "b.npy", generator.normal(size=(300, 3)) * 2)
    files = ["--training", str(tmp_path / "a.npy"), "--current", str(tmp_path / "b.npy")]
    assert run(["calibrate", "coverage", *files, "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(output_schema("calibrate")).validate(answer)
    assert answer["fragment"]["reward_model"]["coverage_kind"] == "features"
    assert answer["estimates"][0]["interval"][0] > 1.0
    assert run(["calibrate", "coverage", *files, "--format", "table"]) == 0
    assert "ridge" in capsys.readouterr().out
    assert run(["calibrate", "coverage", *files[:2]]) == 2
    assert run(["calibrate", "coverage", *files, "runs.csv"]) == 2


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["costs", str(DATA / "run_costs.csv")], 2),
        (["costs", str(DATA / "run_costs.csv"), "--hourly-rate", "2", "--run", "none"], 2),
        (["costs", "none.csv"], 4),
        (["reward-model", "none*.json"], 4),
        (["reward-model", str(DATA / "run_costs.csv")], 2),
        (["reward-model", str(DATA / "sizes"), "--agreement", "1.5"], 2),
        (["reward-model", str(DATA / "sizes"), "--labels-per-step", "0"], 2),
        (["reward-model", str(DATA / "sizes"), "--level", "2"], 2),
        (["reward-model", str(DATA / "one-run" / "checkpoint-200")], 2),
        (["coverage"], 2),
        (["coverage", str(DATA / "evaluation_logprobs.csv")], 2),
    ],
)
def test_exit_codes(command, code, capsys):
    assert run(["calibrate", *command, "--format", "json"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["message"]


def test_plot(tmp_path, capsys):
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    path = tmp_path / "fit.svg"
    assert run(["calibrate", *COMMANDS["six runs"], "--plot", str(path)]) == 0
    assert path.read_text().startswith("<svg")
    assert f"Wrote {path}." in capsys.readouterr().err
    assert run(["calibrate", *COMMANDS["six runs"], "--plot", str(tmp_path / "fit.jpg")]) == 2
    assert capsys.readouterr().out == ""
