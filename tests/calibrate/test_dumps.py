"""The trainers' dumps, untouched: published numbers, and every trap of their formats."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rlhf_budget.calibrate import FieldNames, RolloutOptions, rollouts_from_files
from rlhf_budget.calibrate.logs.metrics.reading import read_metrics
from rlhf_budget.errors import CalibrationError

DUMPS = Path(__file__).parents[1] / "data" / "trainers"


def calibrate(name, *, last_steps="100%", fields=None, metrics=None, trainer=None, **options):
    paths = [str(DUMPS / part) for part in ([name] if isinstance(name, str) else name)]
    return rollouts_from_files(
        paths,
        fields=fields,
        metrics=metrics,
        trainer=trainer,
        options=RolloutOptions(last_steps=last_steps, **options),
    )


def value(result, constant):
    return result.estimate(constant).value


def codes(result):
    return {warning.code for warning in result.warnings}


@pytest.mark.parametrize(
    ("name", "trainer", "groups", "within", "between"),
    [
        ("trl-grpo-k8", "trl", 144, 0.072374, 0.029123),
        ("verl-0.9-rollouts", "verl", 144, 0.072374, 0.029123),
        ("trl-grpo-k8-log-ratio", "trl", 144, 0.077756, 0.020481),
        ("trl-grpo-k8-chat", "trl", 48, 0.088277, 0.031097),
        ("verl-0.7-rollouts", "verl", 48, 0.076394, 0.036257),
        ("verl-0.9-validation", "verl", 48, 0.070814, 0.016839),
        ("openrlhf-0.9.5", "openrlhf", 48, 0.810739, 0.192785),
        ("open-instruct", "open-instruct", 29, 20.381773, 0.623461),
    ],
)
def test_published_variances(name, trainer, groups, within, between):
    result = calibrate(name)
    assert result.source.trainer == trainer
    assert result.source.prompts == groups
    assert value(result, "bound.rollout_variance") == pytest.approx(within, abs=6e-7)
    assert value(result, "bound.prompt_variance") == pytest.approx(between, abs=6e-7)
    assert result.estimate("bound.prompt_variance").sample_size == groups


def test_one_reward_alone():
    result = calibrate("trl-grpo-k8", fields=FieldNames(reward="quality_reward"))
    assert value(result, "bound.rollout_variance") == pytest.approx(0.029569, abs=6e-7)
    assert value(result, "bound.prompt_variance") == pytest.approx(0.014872, abs=6e-7)


def test_weights_given_by_hand_are_those_of_the_log():
    by_log = calibrate("trl-grpo-k8")
    by_hand = rollouts_from_files(
        [str(DUMPS / "trl-grpo-k8" / "completions")],
        fields=FieldNames(reward="quality_reward=0.5,exact_reward=0.5"),
        options=RolloutOptions(last_steps="100%"),
    )
    ours = value(by_hand, "bound.prompt_variance")
    assert ours == pytest.approx(value(by_log, "bound.prompt_variance"), rel=1e-9)


def test_objective_with_kl_coefficient():
    result = calibrate("trl-grpo-k8-log-ratio", kl_coefficient=0.04)
    assert value(result, "bound.rollout_variance") == pytest.approx(0.082710, abs=6e-7)
    assert value(result, "bound.prompt_variance") == pytest.approx(0.019301, abs=6e-7)
    assert value(result, "reward.rollout_variance") == pytest.approx(0.077756, abs=6e-7)
    assert "reward" not in result.fragment()


def test_log_ratio_from_step_nine():
    result = calibrate("trl-grpo-k8-log-ratio", last_steps="16")
    assert result.source.steps == (9, 24)
    tail = result.tail
    assert tail is not None
    assert tail.histogram.samples == 768
    assert value(result, "log_ratio.kl") == pytest.approx(1.083, abs=6e-4)
    gaussian = next(fit for fit in tail.fits if fit.family == "gaussian")
    assert dict(gaussian.parameters)["std"] == pytest.approx(2.05, abs=6e-3)
    for share, expected in ((0.5, 0.995), (0.9, 2.55), (0.99, 8.44)):
        # Published quantiles interpolate between order statistics.
        assert tail.histogram.quantile(share) == pytest.approx(expected, rel=0.01)
    assert tail.histogram.largest == pytest.approx(22.9, abs=0.05)


def test_mean_length_over_all_steps():
    result = calibrate("trl-grpo-k8-log-ratio")
    assert value(result, "costs.rollout.tokens") == pytest.approx(12.29, abs=5e-3)


def test_kl_from_the_log_alone():
    log = read_metrics(str(DUMPS / "trl-grpo-k8-log-ratio" / "trainer_state.json"))
    logged = log.kl((9, 24), 0.95, None)
    assert logged is not None
    assert logged.mean == pytest.approx(1.043, abs=6e-4)
    assert logged.median == pytest.approx(1.030, abs=6e-4)
    assert logged.steps == 16


def test_trainer_state_of_a_directory_serves_as_metrics():
    early = calibrate("trl-grpo-k8", last_steps="16")  # the KL rises from near 0 meanwhile
    assert "kl-unstable" in codes(early)
    assert early.estimate("log_ratio.kl").status == "unreliable"
    result = calibrate("trl-grpo-k8", last_steps="5")
    kl = result.estimate("log_ratio.kl")
    assert kl.method == "metrics-median"
    assert kl.status == "estimated"
    assert result.fragment()["log_ratio"] == {"family": "gaussian", "kl": kl.value}
    assert "no-log-ratio" in codes(result)
    assert result.tail is None


def test_verl_metrics_give_the_same_kl():
    ours = calibrate("verl-0.9-rollouts", metrics=str(DUMPS / "verl-metrics.jsonl"))
    assert value(ours, "log_ratio.kl") == pytest.approx(
        value(calibrate("trl-grpo-k8"), "log_ratio.kl"), rel=1e-6
    )
    assert "kl-unstable" in codes(ours)


def test_rloo_log_is_read_per_token():
    log = read_metrics(str(DUMPS / "trl-rloo-k8" / "trainer_state.json"))
    record = log.records[5]
    logged = log.kl((6, 6), 0.95, None)
    assert logged is not None
    assert logged.median == pytest.approx(record["kl"] * record["completions/mean_length"])


def test_a_log_without_rollouts_gives_what_it_holds():
    found = calibrate("trl-rloo-k8")
    assert codes(found) >= {"log-alone", "no-log-ratio"}
    assert found.estimate("bound.rollout_variance").status == "unavailable"
    assert found.estimate("log_ratio.kl").status == "estimated"


def test_repeated_batches_count_once():
    result = calibrate("trl-grpo-k8-repeats")
    assert result.source.rows_read == 1536
    assert result.source.rows_used == 384
    assert codes(result) >= {"repeated-batches"}
    assert [(s.reason, s.count) for s in result.source.skipped] == [("repeated-batch", 1152)]


def test_equal_rows_within_a_group_are_data(tmp_path):
    log = tmp_path / "rows.jsonl"
    row = '{"prompt_id": "%s", "reward": %s, "completion": "yes", "step": %d}\n'
    log.write_text("".join(row % (p, r, s) for s in (1, 2) for p in "ab" for r in (1, 1, 1, s - 1)))
    result = rollouts_from_files([str(log)], options=RolloutOptions(last_steps="100%"))
    assert result.source.rows_used == 16
    assert "repeated-batches" not in codes(result)


def test_evaluation_that_overwrote_training_steps():
    result = calibrate("trl-grpo-k8-eval")
    skipped = {skip.reason: skip.count for skip in result.source.skipped}
    assert skipped == {"evaluation": 96}
    assert result.source.prompts == 48
    assert result.source.steps == (1, 9)
    assert "evaluation-rows" in codes(result)


def test_validation_files_beside_training_files():
    result = calibrate(["verl-0.9-rollouts", "verl-0.9-validation"])
    assert result.source.prompts == 144
    assert {s.reason: s.count for s in result.source.skipped} == {"evaluation": 384}
    assert "evaluation-rows" in codes(result)


def test_filtered_groups_are_not_trusted():
    result = calibrate("open-instruct")
    assert "filtered-groups" in codes(result)
    assert result.estimate("bound.rollout_variance").status == "unreliable"
    assert "bound" not in result.fragment()
    assert result.fragment(include_unreliable=True)["bound"].keys() == {
        "prompt_variance",
        "rollout_variance",
    }
    assert result.groups is None


def test_standardised_rewards():
    result = calibrate("openrlhf-0.9.5")
    assert "standardised-rewards" in codes(result)
    assert result.estimate("objective.reward_range").status == "unreliable"
    # In another unit than a scenario's reward_range: 0.81 is more than any reward in [0, 1] has.
    assert result.estimate("bound.rollout_variance").status == "unreliable"
    assert "bound" not in result.fragment()


def test_shards_beside_their_merge_count_once(tmp_path):
    whole = (DUMPS / "openrlhf-0.9.5" / "rewards.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "rewards.jsonl").write_text("".join(whole))
    (tmp_path / "rewards.jsonl0").write_text("".join(whole[:192]))
    (tmp_path / "rewards.jsonl1").write_text("".join(whole[192:]))
    result = rollouts_from_files([str(tmp_path / "rewards.jsonl*")])
    assert result.source.rows_read == 384
    assert "repeated-batches" in codes(result)
    (tmp_path / "rewards.jsonl").unlink()
    assert rollouts_from_files([str(tmp_path / "rewards.jsonl*")]).source.rows_read == 384


def test_several_outputs_of_one_rollout(tmp_path):
    lines = []
    for prompt in range(30):
        for rollout in range(4):
            for output in range(1 + rollout % 2):
                reward = (prompt * 7 + rollout * 3) % 5
                uid = f"00000000-{prompt:04d}_{rollout}_{output}"
                lines.append(
                    f'{{"input": "p", "output": "o{output}", "score": {reward}, "step": 1,'
                    f' "uid": "{uid}"}}\n'
                )
    (tmp_path / "1.jsonl").write_text("".join(lines))
    result = rollouts_from_files([str(tmp_path / "1.jsonl")])
    assert result.source.rows_used == 120
    assert {s.reason: s.count for s in result.source.skipped} == {"earlier-output": 60}
    assert result.source.rollouts_per_prompt is not None
    assert result.source.rollouts_per_prompt.most == 4


def test_request_id_makes_groups_of_one():
    result = calibrate("verl-0.7-rollouts", fields=FieldNames(prompt="request_id"))
    assert result.estimate("bound.prompt_variance").status == "unavailable"


def test_dynamic_group_sizes(tmp_path):
    log = tmp_path / "rows.csv"
    rows = [f"{p},{(p + k) % 3}" for p in range(40) for k in range(4 if p % 2 else 8)]
    log.write_text("prompt_id,reward\n" + "\n".join(rows) + "\n")
    result = rollouts_from_files([str(log)])
    assert "dynamic-groups" in codes(result)
    assert result.estimate("bound.prompt_variance").method == "unequal-groups"


def test_nemo_rl_shapes():
    result = calibrate("nemo-rl")
    assert result.source.trainer == "nemo-rl"
    assert result.source.steps == (23, 24)
    assert result.source.prompts == 12
    assert value(result, "costs.rollout.tokens") == pytest.approx(11.552, abs=1e-3)
    assert "few-prompts" in codes(result)
    assert calibrate("nemo-rl", last_steps="1").source.steps == (24, 24)


def test_open_instruct_counts_tokens():
    assert value(calibrate("open-instruct"), "costs.rollout.tokens") == pytest.approx(
        11.935, abs=1e-3
    )


def test_trl_without_its_log_asks_for_the_reward(tmp_path):
    shutil.copytree(DUMPS / "trl-grpo-k8" / "completions", tmp_path / "completions")
    with pytest.raises(CalibrationError, match="exact_reward, quality_reward"):
        calibrate(str(tmp_path / "completions"))


def test_trl_single_reward_needs_no_log(tmp_path):
    import duckdb

    files = DUMPS / "trl-grpo-k8" / "completions" / "*.parquet"
    duckdb.sql(
        f"COPY (SELECT * EXCLUDE exact_reward FROM read_parquet('{files}')) TO"
        f" '{tmp_path}/all.parquet'"
    )
    result = rollouts_from_files([str(tmp_path)], options=RolloutOptions(last_steps="100%"))
    assert value(result, "bound.rollout_variance") == pytest.approx(0.029569, abs=6e-7)


def test_two_trainers_at_once_are_an_error():
    with pytest.raises(CalibrationError, match="several trainers"):
        calibrate(["openrlhf-0.9.5", "verl-0.7-rollouts"])


def test_two_runs_at_once_are_an_error(tmp_path):
    for run in ("trl-grpo-k8", "trl-grpo-k8-eval"):
        shutil.copytree(DUMPS / run, tmp_path / run)
    with pytest.raises(CalibrationError, match="several runs"):
        rollouts_from_files([str(tmp_path)])


def test_twenty_percent_of_the_steps_is_the_default():
    result = calibrate("trl-grpo-k8", last_steps="20%")
    assert result.source.steps == (20, 24)
    source = result.source
    assert source.rows_read == source.rows_used + sum(skip.count for skip in source.skipped)


def test_kl_per_token_takes_the_mean_length():
    result = calibrate("open-instruct", kl_per_token=0.02)
    tokens = value(result, "costs.rollout.tokens")
    assert value(result, "log_ratio.kl") == pytest.approx(0.02 * tokens)
    assert (
        calibrate("verl-0.7-rollouts", kl_per_token=0.02).estimate("log_ratio.kl").status
        == "unavailable"
    )
