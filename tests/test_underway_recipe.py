"""docs/underway.md: its commands, run on what TRL dumped."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from rlhf_budget import CalibrationError, load_scenario
from rlhf_budget.calibrate.progress.calibration import Spending, progress_from_files

ROOT = Path(__file__).parents[1]
DUMP = ROOT / "tests" / "data" / "trainers" / "trl-grpo-k8"
SCENARIO = {
    "budget": 4000,
    "objective": {"kl_coefficient": 0.05},
    "bound": {"policy": "pac_bayes", "posterior_kl": 17},
    "costs": {"prompt": 0.05, "rollout": 0.01, "label": 1.5},
    "reward_model": {"coverage": 2.0, "error": {"floor": 0.02, "scale": 4.0, "exponent": 0.6}},
    "log_ratio": {"family": "gaussian", "kl": 6.0},
}
# Of the night before: no labels were bought yet.
BEHIND = {"prompts": 30, "rollouts_per_prompt": 8, "labels": 0, "cost": 100}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rlhf_budget", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    shutil.copytree(DUMP, tmp_path / "run")
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(SCENARIO))
    run(tmp_path, "plan", "scenario.yaml", "-o", "plan.json")
    page = (ROOT / "docs" / "underway.md").read_text(encoding="utf-8")
    commands = re.findall(r"^rlhf-budget (.*)$", page.replace("\\\n", ""), flags=re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["calibrate", "plan"]
    for command in commands:
        answer = run(tmp_path, *shlex.split(command)).stdout
    sources = yaml.safe_load((tmp_path / "scenario.yaml").read_text())["sources"]
    assert sources["progress.prompts"].startswith("calibrate progress completions_00001.parquet, ")
    assert sources["progress.labels"] == "calibrate progress --labels 500"
    assert sources["progress.cost"] == (
        "calibrate progress --hours 3 --hourly-rate 2.5 --gpus 8 --other-costs 750"
    )
    found = load_scenario(str(tmp_path / "scenario.yaml")).progress
    assert found is not None
    assert (found.prompts, found.rollouts_per_prompt, found.labels, found.cost) == (
        48,
        24,
        500,
        810,
    )
    assert answer.splitlines()[1].startswith(("Stay: ", "Change: ", "Best rest: "))
    assert "behind  to come" in answer
    rest = json.loads(run(tmp_path, "plan", "scenario.yaml", "-f", "json").stdout)
    assert rest["allocation"]["prompts"] == 48 + rest["to_come"]["prompts"]


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_nightly_workflow_counts_labels_that_were_bought(tmp_path: Path) -> None:
    shutil.copytree(DUMP, tmp_path / "completions")
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(SCENARIO | {"progress": BEHIND}))
    run(tmp_path, "plan", "scenario.yaml", "-o", "plan.json")
    program = tmp_path / "rlhf-budget"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rlhf_budget "$@"\n')
    program.chmod(0o755)
    workflow = yaml.safe_load((ROOT / "examples" / "ci" / "underway.yml").read_text("utf-8"))
    variables = {name: str(value) for name, value in workflow["env"].items()}
    variables |= {"LABELS": "500", "OTHER_COSTS": "750", "GITHUB_STEP_SUMMARY": "summary.md"}
    started = datetime.now(UTC) - timedelta(hours=3)
    variables["STARTED"] = started.isoformat(timespec="seconds")
    variables["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    for step in workflow["jobs"]["rest"]["steps"]:
        if "run" in step and step["name"] != "Install":
            command = ["bash", "-eo", "pipefail", "-c", step["run"]]
            subprocess.run(command, cwd=tmp_path, env=os.environ | variables, check=True)
    found = load_scenario(str(tmp_path / "scenario.yaml")).progress
    assert found is not None
    assert (found.prompts, found.labels, found.cost) == (48, 500, 810)
    assert "to come" in (tmp_path / "summary.md").read_text()


def test_copies_after_the_last_batch_do_not_count() -> None:
    found = progress_from_files([str(DUMP.parent / "trl-grpo-k8-repeats")])
    assert found.fragment()["progress"] == {"prompts": 48, "rollouts_per_prompt": 8}
    assert found.source.rows_read == 1536 == found.source.rows_used + 1152
    assert "missing-steps" not in {warning.code for warning in found.warnings}


def test_steps_that_were_not_dumped_are_missed(tmp_path: Path) -> None:
    (tmp_path / "completions").mkdir()
    for step in (10, 20):
        name = f"completions_000{step}.parquet"
        shutil.copy(DUMP / "completions" / name, tmp_path / "completions")
    log = str(DUMP / "trainer_state.json")
    found = progress_from_files([str(tmp_path)], metrics=log)
    (warning,) = (each for each in found.warnings if each.code == "missing-steps")
    assert "2 of the 20 steps" in warning.message


def test_money_is_for_hours_and_what_was_bought_besides() -> None:
    spending = Spending(hours=3, hourly_rate=2.5, gpus=8, other_costs=750)
    found = progress_from_files([str(DUMP)], spending=spending)
    assert found.fragment()["progress"]["cost"] == 60 + 750


def test_groups_of_unequal_size_count_by_their_harmonic_mean(tmp_path: Path) -> None:
    sizes = {"a": 2, "b": 8, "c": 4}
    rows = [
        {"prompt": prompt, "reward": float(index % 2), "step": 1 + index % 2}
        for prompt, size in sizes.items()
        for index in range(size)
    ]
    log = tmp_path / "rollouts.jsonl"
    log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found = progress_from_files([str(log)], spending=Spending(labels=7))
    fragment = found.fragment()["progress"]
    assert fragment["prompts"] == 3
    assert fragment["rollouts_per_prompt"] == pytest.approx(3 / (1 / 2 + 1 / 8 + 1 / 4))
    assert fragment["labels"] == 7
    assert "cost" not in fragment
    log.write_text('{"loss": 1.0}\n')
    with pytest.raises(CalibrationError):
        progress_from_files([str(log)])


def test_the_nightly_workflow_runs_commands_that_there_are() -> None:
    text = (ROOT / "examples" / "ci" / "underway.yml").read_text(encoding="utf-8")
    steps = yaml.safe_load(text)["jobs"]["rest"]["steps"]
    script = "\n".join(step.get("run", "") for step in steps)
    for option in set(re.findall(r"--[a-z-]+", script)) - {"--date"}:
        command = "plan" if option in {"--against", "--format", "--output"} else "calibrate"
        words = (command, "--help") if command == "plan" else (command, "progress", "--help")
        assert option in run(ROOT, *words).stdout, option
