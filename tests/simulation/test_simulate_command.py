"""``rlhf-budget simulate``: exit codes, streams and every format."""

from __future__ import annotations

import csv
import io
import json

import pytest

from rlhf_budget.cli import simulate as command
from rlhf_budget.cli.app import run

SCENARIO = """
budget: 1000
objective: {kl_coefficient: 0.05}
costs: {prompt: 0.02, rollout: 0.01, label: 0.5}
reward_model: {coverage: 2.0, error: {scale: 8.0, exponent: 0.8}}
log_ratio: {family: gaussian, kl: 3.0}
"""
QUICK = ("--study", "evaluation", "--worlds", "2", "--replicates", "10", "--jobs", "1")
TRAINING = ("--worlds", "2", "--replicates", "2", "--jobs", "1")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return str(path)


def test_json_goes_to_standard_output_alone(file, capsys):
    assert run(["simulate", file, *QUICK, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert err == ""
    assert printed["command"] == "simulate"
    assert printed["scenario"] == "small"
    assert printed["validity"]["trials"] == 20
    assert [tried["name"] for tried in printed["allocations"]][:2] == ["plan", "prompts-first"]


def test_csv_has_one_row_per_allocation(file, capsys):
    assert run(["simulate", file, *QUICK, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in rows] == [
        "plan", "prompts-first", "labels-first", "k8", "k16", "thirds"
    ]  # fmt: skip
    assert rows[0]["versus_plan.error_difference.mean"] == ""
    assert float(rows[1]["versus_plan.error_difference.low"]) < 1
    assert rows[0]["validity.holds"] == "true"


@pytest.mark.parametrize("format_", ["table", "markdown"])
def test_readable_formats_say_whether_the_bound_holds(format_, file, capsys):
    assert run(["simulate", file, *QUICK, "--format", format_]) == 0
    out = capsys.readouterr().out
    assert "The bound holds: it held in 20 of 20 trials" in out
    assert "Against the plan, paired by world" in out


def test_sgd_is_a_usage_error(file, capsys):
    policy = (
        "bound={policy: sgd, sgd: {learning_rate: 1e-3, batch_size: 64, hessian_eigenvalues: [1],"
        " gradient_noise_eigenvalues: [1], prior_std: 0.1, distance: 0.3}}"
    )
    assert run(["simulate", file, *QUICK, "--set", policy]) == 2
    assert "bound.policy" in capsys.readouterr().err


def test_an_infeasible_budget_exits_with_3(file, capsys):
    assert run(["simulate", file, *QUICK, "--set", "budget=0.001"]) == 3
    assert capsys.readouterr().out == ""


def test_a_violated_bound_is_an_answer(file, capsys):
    easy = "reward_model={coverage: 1, error: {scale: 1e-9, exponent: 1}}"
    arguments = ["simulate", file, *QUICK, "--set", easy, "--set", "limits={labels: {max: 5}}"]
    assert run([*arguments, "--constants", "scenario", "--set", "budget=1e6"]) == 0
    out = capsys.readouterr().out
    assert "The bound is violated" in out
    assert "bound-violated" in out


def test_interrupted_results_are_printed_and_exit_with_130(file, capsys, monkeypatch):
    def stop_after_one(done):
        raise KeyboardInterrupt

    class Interrupting:
        def __enter__(self):
            return stop_after_one

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(command, "progress", lambda *_, **__: Interrupting())
    assert run(["simulate", file, *QUICK, "--format", "json"]) == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["worlds"] == {"requested": 2, "completed": 1, "replicates": 10}
    assert "Interrupted after 1 of 2 worlds" in err


# --- the training study, which is the default ----------------------------------------------------


def test_policies_are_trained_by_default(file, capsys):
    assert run(["simulate", file, *TRAINING, "--format", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["study"] == "training"
    assert printed["worlds"] == {"requested": 2, "completed": 2, "replicates": 2}
    assert printed["world"]["budget"] < 1000
    assert printed["allocations"][-1]["name"] == "best-of-grid"


def test_csv_of_trainings_has_one_row_per_allocation(file, capsys):
    assert run(["simulate", file, *TRAINING, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in rows] == [
        "plan", "plan-prompt_mean", "plan-bernstein", "prompts-first", "labels-first", "k8", "k16",
        "thirds", "best-of-grid",
    ]  # fmt: skip
    assert float(rows[-1]["regret.mean"]) == 0.0
    assert float(rows[1]["versus_plan.quality_difference.low"]) < 1


@pytest.mark.parametrize("format_", ["table", "markdown"])
def test_readable_formats_say_how_well_the_plan_trains(format_, file, capsys):
    assert run(["simulate", file, *TRAINING, "--format", format_]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Training with the plan ends" in out
    assert "which is what a world can train" in out
    assert "at twice the plan's" in out


def test_a_single_training_is_a_usage_error(file, capsys):
    assert run(["simulate", file, "--worlds", "1", "--replicates", "1"]) == 2
    assert "half of them choose what the others judge" in capsys.readouterr().err
