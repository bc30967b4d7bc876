"""What people have besides the trainers' flat dumps, untouched and without options."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlhf_budget.calibrate import FieldNames, RolloutOptions, rollouts_from_files
from rlhf_budget.errors import CalibrationError, LogError

DATA = Path(__file__).parents[1] / "data"
FORMATS, FIELD = DATA / "formats", DATA / "field"
EXPECTED = json.loads((FORMATS / "expected.json").read_text())


def calibrate(*paths, last_steps="100%", fields=None, **options):
    return rollouts_from_files(
        [str(path) for path in paths],
        fields=fields,
        options=RolloutOptions(last_steps=last_steps, **options),
    )


def variances(found):
    return tuple(found.estimate(f"bound.{name}_variance").value for name in ("rollout", "prompt"))


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def counts(found):
    """Rows read, and used and skipped together: always the same."""
    source = found.source
    return source.rows_read, source.rows_used + sum(skip.count for skip in source.skipped)


def trace(group, score, *, ok=True, version=3, weight=1.0):
    return {
        "id": "x",
        "group_id": group,
        "policy_version": version,
        "ok": ok,
        "num_output_tokens": 7,
        "traces": [{"rewards": {"a": {"score": score, "weight": weight}}}],
    }


@pytest.mark.parametrize(
    ("name", "path", "trainer"),
    [
        ("ms-swift", "ms-swift", "ms-swift"),
        ("ms-swift-messages", "ms-swift-messages", "ms-swift"),
        ("prime-rl", "prime-rl", "prime-rl"),
        ("prime-rl-verifiers", "prime-rl-verifiers", "prime-rl"),
        ("best-of-n", "best-of-n.jsonl", "one-a-prompt"),
        ("samples", "samples.jsonl", "one-a-prompt"),
    ],
)
def test_published_numbers(name, path, trainer):
    found, expected = calibrate(FORMATS / path), EXPECTED[name]
    within, between = variances(found)
    assert within == pytest.approx(expected["rollout_variance"], abs=1e-9)
    assert between == pytest.approx(expected["prompt_variance"], abs=1e-9)
    assert found.source.prompts == expected["prompts"]
    assert found.source.rollouts_per_prompt.least == expected["rollouts"]
    assert found.source.rows_used == expected["prompts"] * expected["rollouts"]
    assert found.source.trainer == trainer
    assert all(str(FORMATS) in file for file in found.source.files)
    read, accounted = counts(found)
    assert read == accounted


@pytest.mark.parametrize(
    ("name", "within", "between", "groups"),
    [
        ("07-nested-rollouts", 0.1101, 0.0947, 30),
        ("08-n-correct-of-k", 0.0669, 0.0432, 200),
        ("09-per-question-csv", 0.1101, 0.0947, 30),
        ("22-custom-grpo-jsonl", 0.0688, 0.0743, 16),
        ("23-group-rewards-lists", 0.0688, 0.0743, 16),
    ],
)
def test_field_logs(name, within, between, groups):
    found = calibrate(FIELD / name)
    assert variances(found) == pytest.approx((within, between), abs=6e-5)
    assert found.source.prompts == groups
    files = list((FIELD / name).iterdir())
    if len(files) == 1:
        assert variances(calibrate(files[0])) == pytest.approx(variances(found), rel=1e-12)


def test_silent_groups_of_counts():
    shares = {g.rollouts_per_prompt: g for g in calibrate(FIELD / "08-n-correct-of-k").groups}
    counted = json.loads(next((FIELD / "08-n-correct-of-k").iterdir()).read_text())["results"]
    silent = sum(row["n_correct"] in {0, 8} for row in counted) / len(counted)
    assert silent == pytest.approx(0.62, abs=0.01)
    assert shares[8].interval[0] <= 1 - silent <= shares[8].interval[1]


def test_other_forms_are_read_without_options():
    table = calibrate(FIELD / "24-wandb-table")
    assert (table.source.rows_used, table.source.steps) == (160, (10, 50))
    tinker = calibrate(FIELD / "25-tinker-rollout-summaries")
    assert tinker.source.steps == (3, 3)
    lines = next((FIELD / "25-tinker-rollout-summaries").iterdir()).read_text().splitlines()
    lengths = [json.loads(line)["steps"][0]["ac_len"] for line in lines]
    assert tinker.estimate("costs.rollout.tokens").value == pytest.approx(
        sum(lengths) / len(lengths)
    )
    feedback = calibrate(FIELD / "26-ultrafeedback")
    assert feedback.source.rollouts_per_prompt.least == 4


def test_a_count_is_a_group_of_so_many_ones(tmp_path):
    counted = [{"qid": i, "n_correct": i % 5, "k": 4} for i in range(20)]
    flat = [{"qid": i, "correct": int(j < i % 5)} for i in range(20) for j in range(4)]
    assert variances(calibrate(write(tmp_path / "c.jsonl", counted))) == pytest.approx(
        variances(calibrate(write(tmp_path / "f.jsonl", flat)))
    )
    other = [{**row, "mine": 0} for row in counted]
    named = calibrate(
        write(tmp_path / "o.jsonl", other), fields=FieldNames(reward="mine"), reward_range=(0, 1)
    )
    assert variances(named) == (0, 0)


def test_failed_episodes_are_left_out_and_counted(tmp_path):
    rows = [trace(g, (g + j) % 2, ok=j != 3) for g in range(10) for j in range(4)]
    found = calibrate(write(tmp_path / "rollouts/step_3/train/all/traces.jsonl", rows))
    assert {s.reason: s.count for s in found.source.skipped} == {"failed-episode": 10}
    assert found.source.rows_used == 30
    assert counts(found)[0] == counts(found)[1] == 40
    assert found.source.steps == (3, 3)
    assert found.estimate("costs.rollout.tokens").value == 7
    rewritten = calibrate(FORMATS / "prime-rl")
    assert "repeated-batches" in {w.code for w in rewritten.warnings}
    assert not any("effective" in file for file in rewritten.source.files)


def test_weights_of_traces_and_steps_in_folders(tmp_path):
    for step in (4, 5):
        rows = [
            trace(g, (j + step) % 2, version=None, weight=3.0) for g in range(6) for j in range(4)
        ]
        write(tmp_path / f"rollouts/step_{step}/train/all/traces.jsonl", rows)
    found = calibrate(tmp_path)
    assert found.source.steps == (4, 5)
    assert found.estimate("objective.reward_range").value == 3.0


def test_ms_swift_weighs_several_functions_by_its_log(tmp_path):
    steps = range(1, 9)
    rows = [
        {
            "step": [str(step)] * 8,
            "prompt": [f"{step}-{i // 4}" for i in range(8)],
            "completion": ["t"] * 8,
            "Accuracy": [float((i + step) % 3 == 0) for i in range(8)],
            "Format": [float(i * step % 2) for i in range(8)],
        }
        for step in steps
    ]
    dump = write(tmp_path / "completions.jsonl", rows)
    with pytest.raises(CalibrationError, match="Accuracy, Format may all be rewards"):
        calibrate(dump)
    history = []
    for row in rows:
        means = {name: sum(row[name]) / 8 for name in ("Accuracy", "Format")}
        logged = {f"rewards/{name}/mean": mean for name, mean in means.items()}
        total = 1.0 * means["Accuracy"] + 0.5 * means["Format"]
        history.append({"step": int(row["step"][0]), "reward": total, "loss": 0.0, **logged})
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    assert dict(calibrate(tmp_path).source.fields)["reward"] == "1*Accuracy + 0.5*Format"


def test_truth_values_and_mappings_of_one_entry_are_rewards(tmp_path):
    plain = [{"prompt": i, "reward": (i + j) % 2} for i in range(9) for j in range(4)]
    expected = variances(calibrate(write(tmp_path / "plain.jsonl", plain)))
    for name, form in (("mapping", lambda r: {"accuracy": r * 1.0}), ("truth", bool)):
        rows = [{**row, "reward": form(row["reward"])} for row in plain]
        assert variances(calibrate(write(tmp_path / f"{name}.jsonl", rows))) == expected
    two = [{**row, "reward": {"a": 1.0, "b": 0.5}} for row in plain]
    with pytest.raises(CalibrationError, match="reward-not-a-number"):
        calibrate(write(tmp_path / "two.jsonl", two))
    parquet = tmp_path / "mapping.parquet"
    duckdb.sql(
        "SELECT i AS prompt, {'accuracy': ((i + j) % 2)::DOUBLE} AS reward"
        " FROM range(9) a(i), range(4) b(j)"
    ).write_parquet(str(parquet))
    assert variances(calibrate(parquet)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prompt", "reward", "step"),
    [
        ("problem_id", "scalar_reward", "update"),
        ("qid", "total_reward", "iteration"),
        ("instruction", "overall_score", "global_step"),
        ("example_id", "final_reward", "policy_version"),
    ],
)
def test_usual_names(tmp_path, prompt, reward, step):
    rows = [{prompt: i, reward: (i + j) % 3, step: 5 + i % 2} for i in range(12) for j in range(3)]
    found = calibrate(write(tmp_path / "rows.jsonl", rows))
    assert found.source.steps == (5, 6)
    assert found.source.prompts == 12


def test_two_forms_are_refused(tmp_path):
    for name in ("best-of-n.jsonl", "ms-swift/completions.jsonl"):
        shutil.copy(FORMATS / name, tmp_path)
    with pytest.raises(CalibrationError, match="files of several forms: ms-swift, one-a-prompt"):
        calibrate(tmp_path)
    write(tmp_path / "rows.jsonl", [{"prompt": 1, "reward": 0}])
    (tmp_path / "completions.jsonl").unlink()
    with pytest.raises(CalibrationError, match="one-a-prompt, rows of another form"):
        calibrate(tmp_path)


@pytest.mark.parametrize("name", ["ms-swift", "prime-rl"])
def test_a_whole_run_folder_is_its_rollouts(tmp_path, name):
    shutil.copytree(FORMATS / name, tmp_path / "run")
    write(tmp_path / "run" / "metrics.jsonl", [{"step": 1, "time": 2.0, "reward/mean": 0.3}])
    write(tmp_path / "run" / "val_dataset.jsonl", [{"messages": [], "solution": "3"}])
    write(tmp_path / "run" / "timing_spans.jsonl", [{"step": 1, "spans": [{"name": "a"}]}])
    (tmp_path / "run" / "args.json").write_text('{"num_generations": 6}')
    found = calibrate(tmp_path / "run")
    wanted = EXPECTED[name]
    assert variances(found) == pytest.approx(
        (wanted["rollout_variance"], wanted["prompt_variance"])
    )
    assert counts(found)[0] == wanted["prompts"] * wanted["rollouts"]
    passed_over = {Path(path).stem for path, _ in found.source.files_skipped}
    assert passed_over == {"metrics", "val_dataset", "timing_spans"}


def test_own_names_in_a_folder_are_asked_for_and_taken(tmp_path):
    write(tmp_path / "rows.jsonl", [{"q": i // 4, "r": i % 3} for i in range(40)])
    for log in (None, str(FORMATS / "wandb-history.csv")):
        with pytest.raises(CalibrationError, match="give --prompt-field, one of q, r"):
            rollouts_from_files([str(tmp_path)], metrics=log)
    (tmp_path / "rows.csv").write_text("q,r\n" + "".join(f"{i // 4},{i % 3}\n" for i in range(40)))
    (tmp_path / "rows.jsonl").unlink()
    found = calibrate(tmp_path, fields=FieldNames(prompt="q", reward="r"))
    assert found.source.rows_used == 40


def test_two_runs_of_prime_rl_and_a_packed_one(tmp_path):
    for run in ("a", "b"):
        shutil.copytree(FORMATS / "prime-rl", tmp_path / run)
        for file in (tmp_path / run).rglob("traces.jsonl"):
            file.write_text(file.read_text().replace('"math"', f'"{run}"'))
    with pytest.raises(CalibrationError, match=r"completions of several runs: .*a, .*b"):
        calibrate(tmp_path)
    for file in (tmp_path / "a").rglob("all/traces.jsonl"):
        file.with_name("traces.jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()  # beside it, "effective" is the same rollouts
    found = calibrate(tmp_path / "a")
    assert counts(found) == (600, 600)
    assert variances(found)[0] == pytest.approx(EXPECTED["prime-rl"]["rollout_variance"])


def test_rewards_that_were_not_scored_and_records_without_any(tmp_path):
    def unscored(group, score):
        record = trace(group, score)
        record["traces"][0]["rewards"]["judge"] = None
        return record

    rows = [unscored(i, (i * j) % 2) for i in range(6) for j in range(4)]
    scored = [trace(i, (i * j) % 2) for i in range(6) for j in range(4)]
    found = [calibrate(write(tmp_path / f"{i}.jsonl", r)) for i, r in enumerate((rows, scored))]
    assert variances(found[0]) == variances(found[1])
    lone = {"group_idx": 0, "traj_idx": 0, "total_reward": 1.0, "split": "eval/gsm8k"}
    with pytest.raises(CalibrationError, match="no usable row: 3 evaluation"):
        calibrate(write(tmp_path / "eval.jsonl", [lone] * 3))
    uneven = {"step": ["1"] * 2, "prompt": ["a"] * 2, "completion": ["b"] * 2, "acc": [1.0]}
    path = write(tmp_path / "uneven.jsonl", [uneven])
    with pytest.raises(
        CalibrationError, match=r"every record is broken \(ms-swift\): it needs lists"
    ):
        calibrate(path)


@pytest.mark.parametrize(
    "as_written",
    [str, bool, lambda x: {"accuracy": x}],
    ids=["texts", "truth values", "mappings"],
)
@pytest.mark.parametrize("first", [{"rewards": [None] * 8}, {"rewards": []}, {"error": "timeout"}])
def test_lists_of_rewards_however_written_and_after_a_failure(tmp_path, as_written, first):
    lines = (FORMATS / "best-of-n.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        record["rewards"] = [as_written(reward) for reward in record["rewards"]]
    failed = {"prompt": "failed", "responses": ["a"] * len(first.get("rewards", ())), **first}
    found = calibrate(write(tmp_path / "rows.jsonl", [failed, *records]))
    wanted = EXPECTED["best-of-n"]
    assert variances(found) == pytest.approx(
        (wanted["rollout_variance"], wanted["prompt_variance"])
    )
    assert counts(found)[0] == counts(found)[1]


def test_records_without_a_prompt_are_groups_of_their_own(tmp_path):
    """Not one group: that would turn what differs between prompts into spread within."""
    sizes = (0, 1, 3, 4) * 10
    named = [{"qid": i, "k": 4, "n_correct": n} for i, n in enumerate(sizes)]
    wanted = variances(calibrate(write(tmp_path / "named.jsonl", named)))
    forms = (
        [{"k": 4, "n_correct": n} for n in sizes],
        [
            {"messages": "x", "responses": ["a"] * 4, "rewards": [1] * n + [0] * (4 - n)}
            for n in sizes
        ],
    )
    for records in forms:
        found = calibrate(write(tmp_path / "rows.jsonl", records))
        assert found.source.prompts == 40
        assert variances(found) == pytest.approx(wanted)


def test_a_reward_of_an_unusual_name_in_objects_is_asked_for(tmp_path):
    rows = [
        {"prompt": i, "samples": [{"text": "a", "acc": j % 2} for j in range(4)]} for i in (1, 2)
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(CalibrationError, match="give --reward-field, one of acc, prompt, text"):
        calibrate(path)
    assert calibrate(path, fields=FieldNames(reward="acc")).source.rows_used == 8


def test_another_coding_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes('{"prompt": 1, "reward": 0}\n'.encode("utf-16"))
    with pytest.raises(CalibrationError, match=r"no record can be read; allowed: .* in UTF-8"):
        calibrate(tmp_path / "rows.jsonl")


def test_other_separators_are_named(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt;reward\n1;0\n")
    with pytest.raises(LogError, match="values are parted by ';'; allowed: commas"):
        calibrate(tmp_path / "rows.csv")


@pytest.mark.parametrize("log", ["wandb-history.csv", "wandb-history.parquet", "console.log"])
def test_metrics_beside_a_dump_are_its_log(tmp_path, log):
    rows = [
        {"step": s, "prompt": f"{s}-{i}", "reward": (s + i * j) % 2}
        for s in range(1, 81)
        for i in range(2)
        for j in range(3)
    ]
    write(tmp_path / "rollouts.jsonl", rows)
    shutil.copy(FORMATS / log, tmp_path)
    found = calibrate(tmp_path)
    assert found.source.rows_read == len(rows)
    assert found.estimate("log_ratio.kl").value == pytest.approx(EXPECTED["metrics"]["kl"])


def test_a_folder_with_a_log_alone_and_one_with_two(tmp_path):
    shutil.copy(FORMATS / "wandb-history.csv", tmp_path)
    found = calibrate(tmp_path)
    assert found.estimate("log_ratio.kl").value == pytest.approx(EXPECTED["metrics"]["kl"])
    shutil.copy(FORMATS / "wandb-panel.csv", tmp_path)
    with pytest.raises(CalibrationError, match="several training logs"):
        calibrate(tmp_path)


def test_lists_of_different_length_are_one_broken_record(tmp_path):
    rows = [{"prompt": i, "responses": ["a", "b"], "rewards": [0, 1]} for i in range(9)]
    rows.insert(4, {"prompt": 4, "responses": ["a"], "rewards": [0, 1]})
    found = calibrate(write(tmp_path / "rows.jsonl", rows))
    assert {s.reason: s.count for s in found.source.skipped} == {"malformed-row": 1}
    with pytest.raises(LogError, match="malformed-row"):
        calibrate(tmp_path / "rows.jsonl", strict=True)


BROKEN = st.sampled_from(["drop", "null", "text", "cut", "list"])


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_ragged_records_are_counted_and_never_a_crash(tmp_path, data):
    name = data.draw(
        st.sampled_from(
            ["ms-swift/completions.jsonl", "best-of-n.jsonl", "samples.jsonl", "prime-rl"]
        )
    )
    source = FORMATS / name
    if source.is_dir():
        source = source / "rollouts/step_1/train/all/traces.jsonl"
    lines = source.read_text().splitlines()
    for position in data.draw(st.sets(st.integers(1, min(len(lines) - 1, 15)), max_size=5)):
        record = json.loads(lines[position])
        key = data.draw(st.sampled_from(sorted(record)))
        change = data.draw(BROKEN)
        if change == "drop":
            del record[key]
        else:
            record[key] = {"null": None, "text": "x", "list": [[], {}]}.get(change)
        text = json.dumps(record)
        lines[position] = text[: len(text) // 2] if change == "cut" else text
    path = tmp_path / "broken.jsonl"
    path.write_text("\n".join(lines))
    found = calibrate(path)
    assert counts(found)[0] == counts(found)[1]


def test_parquet_with_lists_is_read_as_json_with_lists(tmp_path):
    parquet = tmp_path / "best.parquet"
    duckdb.sql(f"SELECT * FROM '{FORMATS / 'best-of-n.jsonl'}'").write_parquet(str(parquet))
    assert variances(calibrate(parquet)) == pytest.approx(
        variances(calibrate(FORMATS / "best-of-n.jsonl"))
    )


def test_records_without_a_prompt_are_groups_of_their_own_in_every_file(tmp_path):
    for name in "ab":
        rewards = ([i / 10, 0.3, float(name == "a")] for i in range(10))
        lines = [json.dumps({"rewards": each, "responses": list("xyz")}) for each in rewards]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    found = rollouts_from_files([str(tmp_path)], options=RolloutOptions(last_steps="100%"))
    assert (found.source.rows_used, found.source.prompts) == (60, 20)
    assert "steps-unknown" not in {warning.code for warning in found.warnings}
