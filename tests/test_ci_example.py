"""The steps of the example workflow, run as scripts on a small repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from conftest import scenario_mapping

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
CI = ROOT / "examples" / "ci"
WORKFLOW = yaml.safe_load((CI / "rlhf-budget.yml").read_text(encoding="utf-8"))
STEPS = [step for step in WORKFLOW["jobs"]["plan"]["steps"] if "run" in step]
SKIPPED = "Install"
"""A step that needs a network."""

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("git", "bash", "jq"))), reason="needs git, bash and jq"
)


class Job(NamedTuple):
    codes: dict[str, int]
    output: str
    comment: str | None


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """Return a function that commits a base and a head and runs the workflow's steps."""
    programs = tmp_path / "programs"
    programs.mkdir()
    _program(programs / "rlhf-budget", f'exec "{sys.executable}" -m rlhf_budget "$@"')
    # Stands for GitHub: keeps what would be posted.
    posted = tmp_path / "posted.md"
    _program(
        programs / "gh",
        f'case "$*" in *--jq*) [ ! -f "{posted}" ] || echo 17;; *) cp comment.md "{posted}";; esac',
    )
    repository = tmp_path / "repository"
    repository.mkdir()
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        **{f"GIT_{who}_{what}": "ci@example.org" for who in ("AUTHOR", "COMMITTER")
           for what in ("NAME", "EMAIL")},
        **WORKFLOW["env"],
    }  # fmt: skip

    def shell(script: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=repository, env=environment | more, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def go(base: dict[str, Any] | None, head: dict[str, Any]) -> Job:
        shell("git init -q .")
        for mapping in (base, head):
            if mapping is not None:
                (repository / "scenario.yaml").write_text(yaml.safe_dump(mapping))
            assert shell("git add -A && git commit -qm x --allow-empty").returncode == 0
        base_commit = shell("git rev-parse HEAD~1").stdout.strip()
        codes, output = {}, ""
        for step in STEPS:
            if step["name"] != SKIPPED:
                done = shell(
                    step["run"], BASE=base_commit, PULL_REQUEST="7", GH_TOKEN="x", REPOSITORY="o/r"
                )
                codes[step["name"]] = done.returncode
                output += done.stdout + done.stderr
        return Job(codes, output, posted.read_text() if posted.exists() else None)

    return go


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{line}\n")
    path.chmod(0o755)


def test_a_worse_plan_is_commented_and_gated(job: Callable[..., Job]) -> None:
    worse = scenario_mapping(costs={"prompt": 5.0, "rollout": 0.02, "label": 6.0})
    codes, output, comment = job(scenario_mapping(), worse)
    assert codes.pop("Gate") == 1
    assert set(codes.values()) == {0}, output
    assert comment is not None
    for words in ("base (ref)", "head", "costs.label", "<summary>The whole plan</summary>"):
        assert words in comment
    assert "::error file=scenario.yaml,title=rlhf-budget%3A bound.total (--against)::" in output


def test_a_plan_that_did_not_change_says_nothing(job: Callable[..., Job]) -> None:
    codes, output, comment = job(scenario_mapping(), scenario_mapping(sources={"budget": "told"}))
    assert set(codes.values()) == {0}, output
    assert comment is None


def test_a_comment_is_marked_and_taken_back(job: Callable[..., Job], tmp_path: Path) -> None:
    worse = scenario_mapping(costs={"prompt": 5.0, "rollout": 0.02, "label": 6.0})
    comment = job(scenario_mapping(), worse).comment
    assert comment is not None
    assert comment.startswith("<!-- rlhf-budget scenario.yaml -->\n")
    # Another job starts from a checkout of its own; what was posted stays.
    shutil.rmtree(tmp_path / "repository")
    (tmp_path / "repository").mkdir()
    same = scenario_mapping(budget=60000.0)
    again = job(same, scenario_mapping(budget=60000.0, sources={"budget": "told"})).comment
    assert again == "<!-- rlhf-budget scenario.yaml -->\nThe plan does not change.\n"


def test_an_infeasible_head_is_commented(job: Callable[..., Job]) -> None:
    codes, _, comment = job(scenario_mapping(), scenario_mapping(budget=1.0))
    assert codes["Gate"] == 3
    assert comment is not None
    assert "No plan for `scenario.yaml`" in comment
    assert "No allocation fits the budget" in comment


def test_a_new_scenario_is_planned_and_gated(job: Callable[..., Job]) -> None:
    codes, output, comment = job(None, scenario_mapping(checks={"bound.total": {"max": 0.1}}))
    assert codes.pop("Gate") == 1
    assert set(codes.values()) == {0}, output
    assert comment is not None
    assert "has no plan on the base" in comment


def test_the_pre_commit_hook_is_quiet_until_a_check_fails(tmp_path: Path) -> None:
    hook = yaml.safe_load((CI / "pre-commit-config.yaml").read_text())["repos"][0]["hooks"][0]
    programs = tmp_path / "programs"
    programs.mkdir()
    _program(programs / "rlhf-budget", f'exec "{sys.executable}" -m rlhf_budget "$@"')
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(yaml.safe_dump(scenario_mapping()))
    bad.write_text(yaml.safe_dump(scenario_mapping(checks={"bound.total": {"max": 0.1}})))
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)
    }  # fmt: skip
    for files, code in (((good,), 0), ((good, bad), 1)):
        done = subprocess.run(
            ["bash", "-c", f'{hook["entry"]} "$@"', "bash", *map(str, files)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert bool(done.stdout) == bool(code)
