"""Constants into a scenario: every other line stays, whole or not at all."""

from __future__ import annotations

import difflib
import io
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_budget import load_scenario
from rlhf_budget.calibrate import PastRun, costs, describe_sources, edit_scenario
from rlhf_budget.calibrate.into.yaml_edit import edit_yaml
from rlhf_budget.cli.app import run
from rlhf_budget.errors import CalibrationError, FileAccessError, ScenarioError
from rlhf_budget.scenario.yaml_source import read_yaml

DATA = Path(__file__).parents[1] / "data"

SOURCES = (
    "sources: {costs.label: \"vendor\", reward_model.chi2: guess, reward_model.error: 'a paper'}\n"
)
SCENARIO = """\
# What we plan for.
name: helpful   # the name
budget: 50_000
objective: {kl_coefficient: 5e-2, reward_range: [0, 1]}
bound:
  policy: fixed
  # posterior_kl: 350

costs:
  prompt: {acquisition: 5.0, existing: 31000}   # prompts
  rollout: 0.01
  label: 1.50 # a quote
reward_model:     # the model
  chi2: 15.0      # guess
  error:   # curve
    floor: 0.02
    scale: 8.0   # s
    exponent: unknown
  label_policy: 'behaviour'

log_ratio: {family: gaussian, kl_per_token: 0.02,  tokens: 600} # kl
sources: {costs.label: "vendor", reward_model.chi2: guess, reward_model.error: 'a paper'}
# the end
"""
FRAGMENT = {
    "costs": {"prompt": 0.0002, "rollout": 0.00011},
    "reward_model": {
        "coverage": 3.2,
        "coverage_kind": "features",
        "error": {"floor": 0.0, "scale": 0.31, "exponent": 1e-05},
    },
    "log_ratio": {"family": "lomax", "shape": 3.1, "scale": 4.5},
}


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO)
    return path


def changed_lines(before, after):
    lines = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    kept = [line for line in lines if not line.startswith("?")]
    gone = [line[2:] for line in kept if line.startswith("- ")]
    new = [line[2:] for line in kept if line.startswith("+ ")]
    return gone, new


def test_only_lines_with_changed_values_change(scenario):
    sources = {"costs.prompt": 'runs.csv: "two runs"', "reward_model.coverage": "features"}
    edit = edit_scenario(scenario, FRAGMENT, sources)
    gone, new = changed_lines(edit.before, edit.after)
    assert gone == [
        "  prompt: {acquisition: 5.0, existing: 31000}   # prompts\n",
        "  rollout: 0.01\n",
        "  chi2: 15.0      # guess\n",
        "    floor: 0.02\n",
        "    scale: 8.0   # s\n",
        "    exponent: unknown\n",
        "log_ratio: {family: gaussian, kl_per_token: 0.02,  tokens: 600} # kl\n",
        SOURCES,
    ]
    assert new == [
        "  prompt: 0.0002   # prompts\n",
        "  rollout: 0.00011\n",
        "    floor: 0.0\n",
        "    scale: 0.31   # s\n",
        "    exponent: 1e-05\n",
        "  coverage: 3.2\n",
        "  coverage_kind: features\n",
        "log_ratio: {family: lomax, shape: 3.1, scale: 4.5} # kl\n",
        (
            r'sources: {costs.label: "vendor", costs.prompt: "runs.csv: \"two runs\"", '
            "reward_model.coverage: features}\n"
        ),
    ]
    assert edit.displaced == (
        "costs.prompt.acquisition",
        "costs.prompt.existing",
        "log_ratio.kl_per_token",
        "log_ratio.tokens",
        "reward_model.chi2",
    )
    scenario.write_text(edit.after)
    loaded = load_scenario(scenario)
    assert loaded.reward_model.coverage == 3.2
    assert loaded.costs.rollout == 0.00011
    assert not edit_scenario(scenario, FRAGMENT, sources).changes


def test_the_difference_is_a_unified_diff(scenario):
    difference = edit_scenario(scenario, {"costs": {"rollout": 2.5}}, {}).difference()
    assert "-  rollout: 0.01\n+  rollout: 2.5\n" in difference


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
@pytest.mark.parametrize("last", ["", "end"])
def test_line_ends_stay(scenario, ending, last):
    text = SCENARIO.replace("\n", ending)
    text = text if last else text.removesuffix(ending).rsplit(ending, 1)[0]
    scenario.write_bytes(text.encode())
    edit = edit_scenario(scenario, FRAGMENT, {"costs.prompt": "x"})
    if ending == "\r\n":
        assert edit.after.count("\r\n") == edit.after.count("\n")
    kept = ("#", "name", "budget")
    before, after = (
        [line for line in lines.split(ending) if line.startswith(kept)]
        for lines in (text, edit.after)
    )
    assert after == before


def test_missing_sections_are_added_at_the_end(tmp_path):
    path = tmp_path / "s.yaml"
    text = SCENARIO[: SCENARIO.index("log_ratio:")]
    path.write_text(text)
    edit = edit_scenario(path, {"log_ratio": FRAGMENT["log_ratio"]}, {"log_ratio.shape": "logs"})
    gone, new = changed_lines(edit.before, edit.after)
    assert gone == []
    assert new == [
        "log_ratio:\n",
        "  family: lomax\n",
        "  shape: 3.1\n",
        "  scale: 4.5\n",
        "sources:\n",
        "  log_ratio.shape: logs\n",
    ]
    path.write_text(edit.after)
    load_scenario(path)


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        ("a: &x 1\nb: {c: *x, d: 2}\n", {"a": 1, "b": {"c": 1}}, "a: &x 1\nb: {c: *x}\n"),
        ("a:\n", {"a": 1}, "a: 1\n"),
        ("a: # why\n  b: 1\n  c: 2 # two\nd: 3\n", {"a": 7, "d": 3}, "a: 7  # why\nd: 3\n"),
        ("a: {b: 1_000, c: 2}\n", {"a": {"b": 1000, "d": 4}}, "a: {b: 1_000, d: 4}\n"),
        ("a:\n  b: 1 # one\nc: 2\n", {"a": {}, "c": 2}, "a: {}\nc: 2\n"),
        ("a: {}\n", {"a": {"b": 1}}, "a: {b: 1}\n"),
        ("a: [1,\n  2]  # l\nb: 1\n", {"a": [3], "b": 1}, "a: [3]  # l\nb: 1\n"),
        ("a: &x 5\nb: *x # c\n", {"a": 5, "b": 6}, "a: &x 5\nb: 6 # c\n"),
        ("a:\n- 1\n- 2\nb: 1\n", {"a": True, "b": 1}, "a: true\nb: 1\n"),
        ("a: |\n  text\n\nb: 1\n", {"a": "new", "b": 1}, "a: new\n\nb: 1\n"),
        ("b: 1", {"b": 1, "c": "on"}, 'b: 1\nc: "on"\n'),
        ("a: 1\nb: 2\n\n# c\n", {"b": 2}, "b: 2\n\n# c\n"),
        ("a: 1\nb:\n\n# c\n", {"a": 1}, "a: 1\n\n# c\n"),
        ("'a b': \"x\"\n", {"a b": "y: z"}, "'a b': \"y: z\"\n"),
    ],
)
def test_edits_of_text(before, wanted, after):
    found = edit_yaml(before, wanted)
    assert read_yaml(found, None).values == wanted
    assert found.rstrip("\n") == after.rstrip("\n")


LEAVES = st.one_of(
    st.integers(-9, 9), st.floats(0.01, 9), st.sampled_from(["one", "yes", "a: b", "# x", "1"])
)
TREES = st.dictionaries(
    st.sampled_from("abcde"),
    st.one_of(LEAVES, st.dictionaries(st.sampled_from("fgh"), LEAVES, max_size=3)),
    min_size=1,
)


@given(TREES, TREES, st.booleans())
def test_any_change_of_any_mapping_reads_back(present, wanted, flow):
    from ruamel.yaml import YAML

    text = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = flow
    writer.dump(present, text)
    found = edit_yaml(text.getvalue(), wanted)
    assert read_yaml(found, None).values == wanted
    assert edit_yaml(found, wanted) == found


def test_values_shared_by_an_alias_are_not_edited_behind_it(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("costs: &c {prompt: 1, rollout: 2}\nscenarios: {x: {costs: *c}}\n")
    with pytest.raises(CalibrationError, match="by hand"):
        edit_scenario(path, {"costs": {"rollout": 3.0}}, {})
    assert "rollout: 2" in path.read_text()


def test_a_value_that_others_point_to_is_not_replaced(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("costs: {prompt: &p 1, rollout: *p}\n")
    with pytest.raises(CalibrationError, match="by hand"):
        edit_scenario(path, {"costs": {"prompt": 3.0}}, {})


def test_constants_that_break_the_scenario_are_refused(scenario):
    with pytest.raises(ScenarioError) as caught:
        edit_scenario(scenario, {"reward_model": {"coverage": 0.5}}, {})
    assert {problem.key for problem in caught.value.problems} == {"reward_model.coverage"}


def test_a_scenario_that_is_not_complete_yet_may_be_filled(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("budget: 10\nobjective: {kl_coefficient: 0}\n")
    edit = edit_scenario(path, {"costs": {"prompt": 1.0, "rollout": 0.5}}, {})
    assert edit.after.endswith("costs:\n  prompt: 1.0\n  rollout: 0.5\n")


def test_a_verifiable_reward_gives_way_to_a_reward_model(scenario):
    start, end = SCENARIO.index("reward_model:  "), SCENARIO.index("log_ratio: ")
    scenario.write_text(
        SCENARIO[:start]
        + "reward_model: verifiable # r\n"
        + SCENARIO[end:].replace(", reward_model.chi2: guess, reward_model.error: 'a paper'", "")
    )
    edit = edit_scenario(scenario, {"reward_model": FRAGMENT["reward_model"]}, {})
    assert "reward_model: {coverage: 3.2, coverage_kind: features, error: {" in edit.after
    with pytest.raises(ScenarioError):
        edit_scenario(scenario, {"reward_model": {"coverage": 2.0}}, {})


def test_base_files_and_sample_files_are_found_beside_the_scenario(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "base.yaml").write_text(SCENARIO)
    np.save(tmp_path / "sub" / "l.npy", np.arange(1.0, 9.0))
    path = tmp_path / "sub" / "s.yaml"
    path.write_text("extends: base.yaml\nlog_ratio: {family: empirical, file: l.npy}\n")
    monkeypatch.chdir(tmp_path)
    edit = edit_scenario("sub/s.yaml", {"costs": {"rollout": 3.0}}, {"costs.rollout": "bill"})
    path.write_text(edit.after)
    assert load_scenario(path).costs.rollout == 3.0


def test_words_that_do_not_fit_are_left_out(scenario):
    scenario.write_text(SCENARIO.replace("policy: fixed", "policy: pac_bayes\n  posterior_kl: 3"))
    costs = {"rollout": {"tokens": 12.0}}
    bound = {"prompt_variance": 0.1, "rollout_variance": 0.2}
    edit = edit_scenario(scenario, {"bound": bound, "costs": costs}, {})
    assert edit.left_out == (
        "costs.rollout.tokens: the scenario gives rollouts a price, not a length",
    )
    assert "prompt_variance: 0.1" in edit.after
    assert "rollout: 0.01" in edit.after
    assert costs == {"rollout": {"tokens": 12.0}}


def test_sources_say_where_constants_come_from():
    found = costs([PastRun(10, 2, 1.0), PastRun(10, 4, 1.6), PastRun(20, 4, 3.1)])
    sources = describe_sources(found, "calibrate costs")
    assert set(sources) == {"costs.prompt", "costs.rollout"}
    assert sources["costs.rollout"].startswith("calibrate costs data in memory; 95% interval")


def test_what_is_no_scenario(tmp_path):
    with pytest.raises(FileAccessError):
        edit_scenario(tmp_path / "none.yaml", {}, {})
    path = tmp_path / "s.yaml"
    for content in (b"- 1\n", b"a: [\n", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(ScenarioError):
            edit_scenario(path, {"costs": {"rollout": 1.0}}, {})


# --- through the command line --------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("prompts,rollouts_per_prompt,cost\n1000,2,7\n1000,10,23\n")
    return str(path)


def test_the_question_is_asked(scenario, runs, capsys, monkeypatch):
    command = ["calibrate", "costs", runs, "--into", str(scenario)]
    for answer, code in (("n\n", 0), ("\n", 0), ("", 2)):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert run(command) == code
        out, err = capsys.readouterr()
        assert scenario.read_text() == SCENARIO
        assert "+  rollout: 0.00" in err
        assert "+  rollout" not in out
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(command) == 0
    assert load_scenario(scenario).costs.rollout == pytest.approx(0.002)


def test_a_file_that_changes_meanwhile_is_left_alone(scenario, runs, monkeypatch):
    def meddle():
        scenario.write_text(SCENARIO + "# meanwhile\n")
        return "y\n"

    monkeypatch.setattr("sys.stdin.readline", meddle, raising=False)
    assert run(["calibrate", "costs", runs, "--into", str(scenario)]) == 4
    assert scenario.read_text() == SCENARIO + "# meanwhile\n"


def test_nothing_reliable_writes_nothing(scenario, tmp_path, capsys):
    path = tmp_path / "curve.csv"
    path.write_text("labels,loss\n1000,0.6\n9000,0.5\n")
    command = ["calibrate", "reward-model", str(path), "--agreement", "0.7", "--yes"]
    assert run([*command, "--into", str(scenario)]) == 0
    assert scenario.read_text() == SCENARIO
    assert "Nothing to write" in capsys.readouterr().err
    assert run([*command, "--into", str(scenario), "--include-unreliable"]) == 0
    assert 'reward_model.error.floor: "calibrate reward-model curve.csv; unreliable"' in (
        scenario.read_text()
    )


def test_errors_leave_output_and_file_alone(scenario, tmp_path, capsys):
    data = DATA / "reward_model" / "run_costs.csv"
    command = ["calibrate", "costs", str(data), "--hourly-rate", "2", "--yes", "--format", "json"]
    assert run([*command, "--into", str(scenario)]) == 2
    assert run([*command, "--run", "DS-1.5B MATH", "--into", str(tmp_path / "none.yaml")]) == 4
    assert capsys.readouterr().out == ""
    assert scenario.read_text() == SCENARIO


KILLED = """
import os, pathlib, signal, sys
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
{patch} = die
from rlhf_budget.cli.app import run
run(sys.argv[1:])
"""


@pytest.mark.parametrize("patch", ["os.fsync", "pathlib.Path.replace"])
def test_killed_halfway_the_file_is_the_old_one(scenario, runs, patch):
    command = ["calibrate", "costs", runs, "--into", str(scenario), "--yes"]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED.format(patch=patch), *command],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert scenario.read_text() == SCENARIO


def test_four_calibrations_into_one_scenario_and_a_plan(scenario, runs, tmp_path, capsys):
    pytest.importorskip("duckdb")
    generator = np.random.default_rng(0)
    labels = np.geomspace(500, 64_000, 8)
    losses = 0.47 + 3.0 * labels**-0.5 + generator.normal(0, 0.002, 8)
    curve = tmp_path / "curve.csv"
    rows = (f"{m},{loss}\n" for m, loss in zip(labels, losses, strict=True))
    curve.write_text("labels,loss\n" + "".join(rows))
    np.save(tmp_path / "training.npy", generator.normal(size=(500, 4)))
    np.save(tmp_path / "current.npy", generator.normal(size=(500, 4)) * [2, 1, 1, 1])
    features = ["--training", "training.npy", "--current", "current.npy"]
    commands = [
        ["rollouts", str(DATA / "trainers" / "trl-grpo-k8-log-ratio"), "--last-steps", "60%"],
        ["reward-model", str(curve), "--agreement", "0.75", "--logit-scale", "6"],
        ["coverage", *(str(tmp_path / f) if f.endswith(".npy") else f for f in features)],
        ["costs", runs],
    ]
    for command in commands:
        before = scenario.read_text()
        assert run(["calibrate", *command, "--into", str(scenario), "--yes"]) == 0, command
        gone, _ = changed_lines(before, scenario.read_text())
        assert gone, command
    assert capsys.readouterr().out
    text = scenario.read_text()
    for line in SCENARIO.splitlines():
        if line.startswith(("#", "name", "budget", "objective", "  policy", "  #", "  label")):
            assert line in text.splitlines()
    loaded = load_scenario(scenario)
    assert loaded.reward_model.coverage_kind == "features"
    assert {"reward_model.error.scale", "reward_model.coverage", "costs.prompt"} <= set(
        loaded.sources
    )
    assert loaded.sources["costs.label"] == "vendor"
    assert run(["plan", str(scenario), "--format", "json"]) == 0
    assert '"status": "optimal"' in capsys.readouterr().out
