"""What looked like an estimate and was none: wrong steps, wrong logs, wrong kinds of log."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from rlhf_budget import load_scenario, plan
from rlhf_budget.bound.tails import make_tail
from rlhf_budget.calibrate import RolloutOptions, read_losses, reward_model, rollouts_from_files
from rlhf_budget.calibrate.into.objective import deviation_of
from rlhf_budget.calibrate.logs.names import evaluation_files, step_level
from rlhf_budget.cli.app import run
from rlhf_budget.errors import CalibrationError
from rlhf_budget.scenario.yaml_source import read_yaml

DATA = Path(__file__).parents[1] / "data"
FIELD = DATA / "field"
VARIANCES = ("bound.prompt_variance", "bound.rollout_variance")


def codes(result):
    return {warning.code for warning in result.warnings}


def variances(result):
    return [result.estimate(name) for name in VARIANCES]


def calibrate(*paths, metrics=None, scenario=None, **options):
    settings = RolloutOptions(**{"last_steps": "100%", **options})
    found = [str(path) for path in paths]
    return rollouts_from_files(found, metrics=metrics, options=settings, scenario=scenario)


def checkpoint_rows(rng, step, prompts=12, size=6):
    """Rewards of a policy that learns with steps, over the same prompts each time."""
    chance = np.clip(rng.beta(2, 2, prompts) * 0.6 + step / 250, 0.02, 0.98)
    rewards = rng.random((prompts, size)) < chance[:, None]
    return [
        {"prompt_id": p, "reward": float(rewards[p, k])}
        for p in range(prompts)
        for k in range(size)
    ]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# --- steps ---------------------------------------------------------------------------------------

NAMES = [
    "step-{}/rows.jsonl",
    "step_{}/train/all/rows.jsonl",
    "global_step_{}.jsonl",
    "checkpoint-{}.jsonl",
    "{}.jsonl",
    "iter{}/0.jsonl",
    "run_step-7_of_iteration/ckpt{:05d}/rows.jsonl",
]


@pytest.mark.parametrize("pattern", NAMES)
def test_steps_in_names_are_steps(tmp_path, pattern):
    rng = np.random.default_rng(5)
    together = []
    for step in (0, 10, 20, 100):
        rows = checkpoint_rows(rng, step)
        write(tmp_path / "named" / pattern.format(step), rows)
        together += [{**row, "step": step} for row in rows]
    write(tmp_path / "field.jsonl", together)
    named, field = calibrate(tmp_path / "named"), calibrate(tmp_path / "field.jsonl")
    assert named.source.steps == field.source.steps == (0, 100)
    assert dict(named.source.fields)["step"] in {"(file name)", "(folder name)"}
    assert [e.value for e in variances(named)] == pytest.approx(
        [e.value for e in variances(field)], rel=1e-9
    )
    assert "steps-unknown" not in codes(named)
    last = calibrate(tmp_path / "named", last_steps="1")
    assert (last.source.steps, last.source.rows_used) == ((100, 100), 72)


def test_the_level_at_which_names_differ_is_the_steps():
    assert step_level(["a/step_1/0.jsonl", "a/step_2/0.jsonl", "a/step_2/1.jsonl"]) == 1
    assert step_level(["exp-step-5/10.jsonl", "exp-step-5/20.jsonl"]) == 0
    assert step_level(["a/step_3/train_step4.jsonl"]) == 0
    assert step_level(["10.jsonl"]) == 0
    assert step_level(["iter2/base.jsonl", "iter2/tuned.jsonl"]) == 1
    assert step_level(["a/base.jsonl", "b/7b-model.jsonl", "seed3.jsonl"]) is None


def test_a_file_without_a_step_among_others_with_one_is_counted(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("step_1", "step_2", "final"):
        write(tmp_path / f"{name}.jsonl", checkpoint_rows(rng, 1))
    found = calibrate(tmp_path)
    assert {s.reason: s.count for s in found.source.skipped} == {"missing-step": 72}


def test_checkpoints_of_unknown_steps_are_not_pooled_in_silence(tmp_path):
    rng = np.random.default_rng(1)
    for name in ("base", "tuned", "final"):
        write(tmp_path / f"{name}.jsonl", checkpoint_rows(rng, 10))
    found = calibrate(tmp_path)
    assert "steps-unknown" in codes(found)
    assert {e.status for e in variances(found)} == {"unreliable"}
    assert "bound" not in found.fragment()
    assert "groups" not in found.fragment()


def test_shards_of_one_step_are_one_step(tmp_path):
    rng = np.random.default_rng(1)
    rows = [row for p in range(3) for row in checkpoint_rows(rng, p)]
    rows = [{**row, "prompt_id": f"{row['prompt_id']}-{i // 72}"} for i, row in enumerate(rows)]
    for index in range(4):  # cuts through groups
        write(tmp_path / f"part-{'abcd'[index]}.jsonl", rows[index * 54 + 2 * index :][:56])
    found = calibrate(tmp_path)
    assert "steps-unknown" not in codes(found)
    assert {e.status for e in variances(found)} == {"estimated"}


def columns(kind):
    rng = np.random.default_rng(2)
    rows = [{**row, "n": step} for step in (3, 9, 1) for row in checkpoint_rows(rng, step)]
    if kind == "rollout":
        return [{**row, "n": i % 6} for i, row in enumerate(rows)]
    if kind == "batches":
        return [{**row, "prompt_id": i // 6, "n": i // 36} for i, row in enumerate(rows)]
    if kind == "prompt":
        return [{**row, "prompt_id": i // 6, "n": i // 6} for i, row in enumerate(rows)]
    if kind == "subsets":
        return [{**row, "prompt_id": i // 6, "n": int(i > 150)} for i, row in enumerate(rows)]
    return rows


@pytest.mark.parametrize(
    ("kind", "told"),
    [("step", True), ("batches", True), ("rollout", False), ("prompt", False), ("subsets", False)],
)
def test_a_column_that_runs_like_a_step_is_seen(tmp_path, kind, told):
    write(tmp_path / "rows.jsonl", columns(kind))
    found = calibrate(tmp_path / "rows.jsonl")
    assert ("steps-unknown" in codes(found)) == told
    assert (variances(found)[0].status == "unreliable") == told
    if told:
        (warning,) = (w for w in found.warnings if w.code == "steps-unknown")
        assert "--step-field n" in warning.message


def test_verifiers_steps_stand_in_the_folders_names():
    expected = json.loads((DATA / "formats" / "expected.json").read_text())["prime-rl-verifiers"]
    found = calibrate(DATA / "formats" / "prime-rl-verifiers")
    assert found.source.prompts == expected["prompts"]
    between, within = variances(found)
    assert (between.status, within.status) == ("estimated", "estimated")
    assert between.value == pytest.approx(expected["prompt_variance"], rel=1e-9)
    assert within.value == pytest.approx(expected["rollout_variance"], rel=1e-9)


def test_a_folder_called_after_an_evaluation_is_a_runs_name():
    plain = ["math-eval-run/1.jsonl", "math-eval-run/2.jsonl", "other/3.jsonl"]
    assert evaluation_files(plain) == frozenset()
    for name, beside in (("eval", "train"), ("eval_rollouts", "train_rollouts"), ("x_val", "x")):
        paths = [f"run/{name}/1.jsonl", f"run/{beside}/1.jsonl"]
        assert evaluation_files(paths) == frozenset(paths[:1])
    assert evaluation_files(["a/val_data_step2.jsonl", "a/train_data_step2.jsonl"]) == frozenset(
        ["a/val_data_step2.jsonl"]
    )
    assert evaluation_files(["retrieval/1.jsonl"]) == frozenset()


def test_rows_below_a_folder_with_eval_in_its_name_are_used(tmp_path):
    rng = np.random.default_rng(3)
    write(tmp_path / "math-eval-run" / "1.jsonl", checkpoint_rows(rng, 1))
    write(tmp_path / "second" / "2.jsonl", checkpoint_rows(rng, 2))
    found = calibrate(tmp_path)
    assert found.source.rows_used == found.source.rows_read == 144
    assert "evaluation-rows" not in codes(found)


# --- the trainer's own log -----------------------------------------------------------------------


def state(first, last, kl=0.01, **more):
    history = [
        {"step": s, "kl": kl, "completions/mean_length": 100.0, "epoch": s / 100, **more}
        for s in range(first, last + 1)
    ]
    return {"global_step": last, "log_history": history}


def write_state(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps(content))


def test_the_newest_checkpoints_log_is_read(tmp_path):
    rng = np.random.default_rng(4)
    for step in (8, 9, 10):
        write(tmp_path / "rollouts" / f"{step}.jsonl", checkpoint_rows(rng, step))
    for last, kl in ((5, 0.5), (90, 0.02), (100, 0.03)):  # by the alphabet, 100 comes first
        write_state(tmp_path / f"checkpoint-{last}", state(1, last, kl))
    kl = calibrate(tmp_path).estimate("log_ratio.kl")
    assert (kl.status, kl.value) == ("estimated", pytest.approx(3.0))
    write_state(tmp_path, state(1, 120, 0.04))
    assert calibrate(tmp_path).estimate("log_ratio.kl").value == pytest.approx(4.0)
    write_state(tmp_path, state(1, 7, 0.07))  # left of an older run: ends before the checkpoint
    assert calibrate(tmp_path).estimate("log_ratio.kl").value == pytest.approx(3.0)


def test_a_log_named_beside_rollouts_is_the_log(reward_only):
    named = [reward_only / name for name in ("rollouts.jsonl", "training_logs.json")]
    found, same = calibrate(*named), calibrate(named[0], metrics=str(named[1]))
    assert found.estimate("log_ratio.kl") == same.estimate("log_ratio.kl")
    assert found.source.files == (str(named[0]),)


def test_steps_without_a_logged_length_count_too(tmp_path):
    write(tmp_path / "9.jsonl", checkpoint_rows(np.random.default_rng(4), 9))
    write(tmp_path / "10.jsonl", checkpoint_rows(np.random.default_rng(5), 10))
    content = state(9, 10)
    content["log_history"][0] |= {"kl": 0.0}
    del content["log_history"][1]["completions/mean_length"]
    write_state(tmp_path, content)
    found = calibrate(tmp_path)
    assert found.estimate("log_ratio.kl").sample_size == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (state(40, 50), "at steps 40 to 50, not at the rows' 8 to 10"),
        ({"log_history": [{"step": 9, "loss": 0.1}]}, "logs no KL"),
        ({"log_history": [{"step": 9, "kl": 0.1}]}, "no mean length to multiply"),
    ],
)
def test_why_a_log_does_not_serve_is_told(tmp_path, content, told):
    rng = np.random.default_rng(4)
    for step in (8, 9, 10):
        write(tmp_path / f"{step}.jsonl", checkpoint_rows(rng, step))
    write_state(tmp_path, content)
    kl = calibrate(tmp_path).estimate("log_ratio.kl")
    assert kl.status == "unavailable"
    assert told in kl.note
    assert "trainer_state.json" in kl.note


def test_an_unstable_kl_is_unreliable(tmp_path):
    write(tmp_path / "9.jsonl", checkpoint_rows(np.random.default_rng(4), 9))
    content = state(1, 40)
    content["log_history"][30]["kl"] = 5.0
    write_state(tmp_path, content)
    found = calibrate(tmp_path / "9.jsonl", metrics=str(tmp_path / "trainer_state.json"))
    assert found.estimate("log_ratio.kl").status == "estimated"  # step 9 alone
    write(tmp_path / "31.jsonl", checkpoint_rows(np.random.default_rng(4), 31))
    found = calibrate(tmp_path)
    assert "kl-unstable" in codes(found)
    assert found.estimate("log_ratio.kl").status == "unreliable"
    assert "log_ratio" not in found.fragment()


@pytest.mark.parametrize("source", ["log", "rows", "flag"])
def test_more_nats_a_token_than_any_vocabulary_has_are_not_believed(tmp_path, source):
    rows = checkpoint_rows(np.random.default_rng(4), 9)
    options = {}
    if source == "rows":
        rows = [{**row, "log_ratio": 2000.0 + i % 7, "n_tokens": 128} for i, row in enumerate(rows)]
    write(tmp_path / "9.jsonl", rows)
    write_state(tmp_path, state(1, 20, 487.0 if source == "log" else 0.0))
    if source == "flag":
        options["kl_per_token"] = 13.0
    found = calibrate(tmp_path, **options)
    assert found.estimate("log_ratio.kl").status == "unavailable"
    assert "vocabulary" in found.estimate("log_ratio.kl").note
    assert "kl-unstable" in codes(found)
    assert "log_ratio" not in found.fragment(include_unreliable=True)


# --- the objective's variance --------------------------------------------------------------------


@pytest.fixture
def reward_only(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(FIELD / "41-reward-only-variances", folder)
    return folder


def test_variances_of_the_reward_alone_are_not_the_objectives(reward_only, capsys):
    scenario = reward_only / "scenario.yaml"
    command = ["calibrate", "rollouts", str(reward_only / "rollouts.jsonl"), "--reward-field"]
    command += ["verifier", "--last-steps", "100%", "--into", str(scenario), "--yes"]
    assert run(command) == 0
    loaded = load_scenario(scenario)
    assert loaded.bound.prompt_variance is None
    assert loaded.bound.rollout_variance is None
    printed = " ".join(capsys.readouterr().out.replace("\n#", "").split())
    assert "of the reward alone, for an objective reward - 0.04 * log-ratio" in printed
    found = calibrate(
        reward_only / "rollouts.jsonl",
        scenario=str(scenario),
        metrics=str(reward_only / "training_logs.json"),
    )
    own = found.estimate("reward.rollout_variance")
    objective = found.estimate("bound.rollout_variance")
    assert (own.status, objective.status) == ("estimated", "unreliable")
    deviation = math.sqrt(2 * found.estimate("log_ratio.kl").value)
    low, high = own.interval
    assert objective.interval == pytest.approx(
        (max(math.sqrt(low) - 0.04 * deviation, 0) ** 2, (math.sqrt(high) + 0.04 * deviation) ** 2)
    )
    assert objective.value == own.value
    with pytest.raises(CalibrationError, match=r"not the 0\.04"):
        calibrate(reward_only / "rollouts.jsonl", scenario=str(scenario), kl_coefficient=0.1)


def test_the_interval_holds_the_objectives_variance(tmp_path):
    """The same rollouts with their log-ratio have a variance within it."""
    rng = np.random.default_rng(9)
    rewards = rng.random((60, 8)) < rng.beta(1, 1, 60)[:, None]
    ratios = rng.normal(8, 4, (60, 8)) + 3 * rewards
    rows = [
        {"prompt_id": p, "reward": float(rewards[p, k]), "log_ratio": ratios[p, k]}
        for p in range(60)
        for k in range(8)
    ]
    write(tmp_path / "all.jsonl", rows)
    write(tmp_path / "less.jsonl", [{**row, "log_ratio": None} for row in rows])
    full = calibrate(tmp_path / "all.jsonl", kl_coefficient=0.05)
    less = calibrate(
        tmp_path / "less.jsonl", kl_coefficient=0.05, log_ratio_deviation=float(ratios.std())
    )
    for name in VARIANCES:
        low, high = less.estimate(name).interval
        assert low <= full.estimate(name).value <= high
        assert full.estimate(name).status == "estimated"


def test_with_a_log_ratio_the_scenarios_coefficient_is_taken(reward_only):
    rng = np.random.default_rng(9)
    rows = [{**row, "log_ratio": rng.normal(2, 1)} for row in checkpoint_rows(rng, 30, prompts=40)]
    write(reward_only / "rows.jsonl", rows)
    found = calibrate(reward_only / "rows.jsonl", scenario=str(reward_only / "scenario.yaml"))
    same = calibrate(reward_only / "rows.jsonl", kl_coefficient=0.04)
    pairs = zip(variances(found), variances(same), strict=True)
    assert all(one.value == pytest.approx(other.value, rel=1e-9) for one, other in pairs)
    assert variances(found)[0].status == "estimated"


@pytest.mark.parametrize(
    ("family", "parameters", "deviation"),
    [
        ("gaussian", {"kl": 8.0, "std": 3.0}, 3.0),
        ("exponential", {"mean": 3.0}, 3 * math.sqrt(2)),
        ("lomax", {"shape": 3.0, "scale": 2.0}, 2.0),
        ("lognormal", {"mu": 1.0, "sigma": 1.5}, math.exp(1 + 1.5**2)),
        ("lomax", {"shape": 1.5, "scale": 2.0}, math.inf),
    ],
)
def test_deviations_of_tails(family, parameters, deviation):
    found = deviation_of(make_tail(family, **parameters))
    assert found == pytest.approx(deviation, rel=1e-6)


def test_variances_and_intervals_stay_within_the_range(tmp_path):
    rng = np.random.default_rng(8)
    rows = [
        {"prompt_id": p, "reward": 0.4 * float(r)} for p in range(6) for r in rng.random(3) < 0.5
    ]
    write(tmp_path / "rows.jsonl", rows)
    found = calibrate(tmp_path / "rows.jsonl")
    for estimate in variances(found):
        assert 0 <= estimate.interval[0] <= estimate.value <= estimate.interval[1] <= 0.04 + 1e-15
    wide = calibrate(tmp_path / "rows.jsonl", reward_range=(-1.0, 1.0))
    assert variances(wide)[1].interval[1] > 0.04


# --- the planning rule and silent groups ---------------------------------------------------------


def test_into_leaves_the_planning_rule_alone(tmp_path, capsys):
    scenario = tmp_path / "scenario.yaml"
    text = (FIELD / "41-reward-only-variances" / "scenario.yaml").read_text()
    text = text.replace("kl_coefficient: 0.04", "kl_coefficient: 0")
    scenario.write_text(text.replace("log_ratio: {family: gaussian, kl: 20}", "# no log_ratio"))
    rows = checkpoint_rows(np.random.default_rng(6), 30, prompts=60)
    write(tmp_path / "rows.jsonl", [{**row, "reward": 0.95 * row["reward"]} for row in rows])
    before = plan(load_scenario(scenario))
    found = calibrate(tmp_path / "rows.jsonl")
    assert "concentration" not in found.fragment()["bound"]
    command = ["calibrate", "rollouts", str(tmp_path / "rows.jsonl"), "--into", str(scenario)]
    assert run([*command, "--yes"]) == 0
    capsys.readouterr()
    loaded = load_scenario(scenario)
    assert loaded.bound.concentration == "hoeffding"
    assert loaded.bound.rollout_variance == pytest.approx(variances(found)[1].value, rel=1e-9)
    assert loaded.groups is not None
    assert loaded.groups.mean == pytest.approx(found.estimate("groups.mean").value, rel=1e-9)
    correlation = found.estimate("reward.intraclass_correlation").value
    assert loaded.groups.correlation == pytest.approx(correlation, rel=1e-9)
    values = read_yaml(scenario.read_text(), None).values
    for name in ("groups", "sources"):
        del values[name]
    assert plan(load_scenario(values)).allocation == before.allocation


def test_groups_are_of_rewards_with_two_values(tmp_path):
    rows = checkpoint_rows(np.random.default_rng(6), 30, prompts=60)
    write(tmp_path / "scaled.jsonl", [{**row, "reward": 10 * row["reward"]} for row in rows])
    write(tmp_path / "plain.jsonl", rows)
    write(tmp_path / "many.jsonl", [{**r, "reward": i % 5} for i, r in enumerate(rows)])
    plain, scaled = (calibrate(tmp_path / f"{n}.jsonl").fragment() for n in ("plain", "scaled"))
    assert scaled["groups"] == pytest.approx(plain["groups"], rel=1e-9)
    assert plain["groups"]["mean"] == pytest.approx(np.mean([row["reward"] for row in rows]))
    many = calibrate(tmp_path / "many.jsonl")
    assert many.estimate("groups.mean").status == "unavailable"
    assert "groups" not in many.fragment()


# --- whose losses --------------------------------------------------------------------------------


def losses(tmp_path, history, **keys):
    records = [
        {"step": 100 * i, "epoch": i / 20, "eval_loss": loss, **keys}
        for i, loss in enumerate(history, 1)
    ]
    content = {"global_step": 100 * len(history), "log_history": records}
    write_state(tmp_path, content)
    return read_losses([tmp_path], labels_per_step=64)


REWARD_CURVE = [0.45 + 3.0 * (6400 * i) ** -0.5 for i in range(1, 9)]
SFT_CURVE = list(np.linspace(1.96, 0.38, 8))


@pytest.mark.parametrize("name", ["trainer_state.json", "typical/trainer_state.json"])
def test_dpo_is_refused_as_a_reward_models_log(name):
    with pytest.raises(CalibrationError, match="preference optimisation"):
        read_losses([FIELD / "17-dpo-as-reward-model" / name], labels_per_step=64)


@pytest.mark.parametrize(
    ("curve", "keys", "told"),
    [
        (REWARD_CURVE, {"eval_reward": 0.5}, "reinforcement"),
        (REWARD_CURVE, {"kl": 0.1}, "reinforcement"),
        (REWARD_CURVE, {"eval_mean_token_accuracy": 0.5}, "SFT"),
        (SFT_CURVE, {}, "SFT"),
        (REWARD_CURVE, {"loss": 2.4}, "SFT"),
        (REWARD_CURVE, {"eval_rewards/margins": 0.5}, "DPO"),
    ],
)
def test_other_trainings_are_refused_by_name(tmp_path, curve, keys, told):
    with pytest.raises(CalibrationError, match=told):
        losses(tmp_path, curve, **keys)


def test_what_cannot_be_told_is_unreliable(tmp_path):
    for curve, keys in (
        (REWARD_CURVE, {}),
        ([1.2, *REWARD_CURVE], {"eval_accuracy": 0.6}),
        (SFT_CURVE, {"eval_accuracy": 0.6}),
    ):
        found = reward_model(losses(tmp_path, curve, **keys), agreement=0.75)
        assert "not-a-reward-model" in codes(found)
        assert {e.status for e in found.estimates} == {"unreliable"}
        assert found.fragment() == {}
    sound = reward_model(losses(tmp_path, REWARD_CURVE, eval_accuracy=0.6), agreement=0.75)
    assert "not-a-reward-model" not in codes(sound)


def test_points_given_by_hand_are_judged_by_arithmetic():
    points = [(1000.0 * i, loss) for i, loss in enumerate(SFT_CURVE, 1)]
    found = reward_model(points, agreement=0.75)
    assert {e.status for e in found.estimates} == {"unreliable"}
    assert "not-a-reward-model" in codes(found)


def test_a_refused_log_among_others_is_left_out_and_named(tmp_path):
    for index, loss in enumerate(REWARD_CURVE):
        record = {"step": 10, "epoch": 1.0, "eval_loss": loss, "eval_accuracy": 0.6}
        speed = {"step": 10, "epoch": 1.0, "train_runtime": 10.0, "train_samples_per_second": 100.0}
        speed["train_samples_per_second"] *= index + 1
        write_state(tmp_path / f"run{index}", {"global_step": 10, "log_history": [record, speed]})
    shutil.copy(
        FIELD / "17-dpo-as-reward-model" / "trainer_state.json",
        tmp_path / "run0" / "trainer_state.json",
    )
    log = read_losses([tmp_path])
    assert len(log.points) == 7
    assert len(log.refused) == 1
    assert "not-a-reward-model" in codes(reward_model(log, agreement=0.75))


@pytest.mark.parametrize("name", ["minimal.jsonl", "minimal2.jsonl"])
def test_rows_without_the_column_are_counted(name, capsys):
    path = FIELD / "13-llamafactory-trainer-log" / name
    log = read_losses([path])
    assert len(log.points) == 5
    assert [(s.reason, s.count) for s in log.source.skipped] == [("no-evaluation-loss", 1)]
    assert run(["calibrate", "reward-model", str(path), "--agreement", "0.7"]) == 0
    capsys.readouterr()


def test_evaluation_rows_are_taken_and_training_rows_are_not():
    path = FIELD / "13-llamafactory-trainer-log" / "rm_trainer_log.jsonl"
    log = read_losses([path], labels_per_step=64)
    assert [loss for _, loss in log.points] == [0.64, 0.6, 0.565, 0.54, 0.52]
    assert log.points[0][0] == 6400


def test_falling_losses_below_the_bayes_loss_do_fall():
    points = [(m, 0.30 + 3.0 * m**-0.5) for m in np.geomspace(500, 64_000, 8)]
    found = reward_model(points, agreement=0.55)  # Bayes loss 0.62
    note = found.estimate("reward_model.error.exponent").note
    assert "does not fall" not in note
    assert "losses go below" in note
    flat = reward_model([(m, 0.6) for m in (1000, 2000, 4000, 8000, 16000)], agreement=0.75)
    assert "does not fall" in flat.estimate("reward_model.error.exponent").note


def test_labels_per_step_does_not_override_what_a_finished_run_knows(tmp_path):
    records = [
        {"step": 50 * i, "epoch": i / 4, "eval_loss": 0.6, "eval_accuracy": 0.6}
        for i in range(1, 5)
    ]
    speed = {"step": 200, "epoch": 1.0, "train_runtime": 10.0, "train_samples_per_second": 640.0}
    write_state(tmp_path, {"global_step": 200, "log_history": [*records, speed]})
    assert read_losses([tmp_path], labels_per_step=1).points[-1][0] == 6400
