"""Whatever a row lacks or holds instead: it is counted, or the file is refused; nothing crashes."""

from __future__ import annotations

import csv
import io
import json
import math

import duckdb
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rlhf_budget import calibrate
from rlhf_budget.calibrate import RolloutOptions, read_losses, reward_model, rollouts_from_files
from rlhf_budget.errors import RlhfBudgetError

ODD = st.sampled_from(
    (
        *(None, True, "", "x", "nan", "7", [], {}, [1, "a"], [[1.5]], {"k": [1]}, -1, 0, 10**30),
        *(1e300, math.nan, math.inf, 2.5, "step_3", "2026-11-27"),
    )
)
ROLLOUTS = [
    {"step": i // 12, "prompt_id": f"p{i // 4}", "reward": i % 2, "n_tokens": 5 + i % 3}
    | {"logp_policy": -9.0 + i % 5, "logp_ref": -10.0, "completion": f"text {i}"}
    for i in range(36)
]
VERL = [
    {"input": f"q{i // 4}", "output": f"a{i}", "score": i % 2, "step": 1, "uid": f"u{i // 4}_{i}_0"}
    for i in range(16)
]
NEMO = [
    {"content": [[f"q{i // 4}", "a"]], "rewards": [i % 2], "idx": i, "token_loss_mask": [[0, 1]]}
    for i in range(16)
]
OPEN_INSTRUCT = [
    {"step": 1, "prompt_tokens": [i // 4], "response_tokens": [1, i], "reward": i % 2, "seed": i}
    for i in range(16)
]
NESTED = [{"prompt": f"q{i}", "responses": ["a", "b"], "rewards": [0, 1]} for i in range(8)]
EPISODES = [
    {"group_id": f"g{i // 2}", "ok": True, "policy_version": 1, "num_output_tokens": 3}
    | {"traces": [{"rewards": {"a": {"score": i % 2, "weight": 1.0}}}]}
    for i in range(8)
]
METRICS = [
    {"step": i, "kl": 0.1, "completions/mean_length": 20.0, "reward": 0.5, "loss": 0.0}
    for i in range(1, 9)
]
LOSSES = [{"labels": 500 * 2**i, "loss": 0.45 + 2**-i, "accuracy": 0.6} for i in range(6)]
HISTORY = [
    {"step": 50 * i, "epoch": i / 8, "eval_loss": 0.5 + 1 / (i + 5), "eval_accuracy": 0.6}
    for i in range(1, 8)
] + [{"step": 400, "epoch": 1.0, "train_runtime": 10.0, "train_samples_per_second": 64.0}]
RUNS = [
    {"prompts": 100 * i, "rollouts_per_prompt": 2 * i, "cost": 5.0 * i, "run": "a", "tokens": 9}
    for i in range(1, 5)
]
LOGPROBS = [{"logp_policy": [-1.0, -0.1 * i], "logp_behaviour": -1.0} for i in range(40)]
VOTES = [{"pair_id": i // 3, "annotator": i % 3, "choice": 1 + i % 2} for i in range(18)]


def damaged(rows):
    """Strategy: rows with keys dropped, types changed and some rows gone."""

    @st.composite
    def build(draw):
        found = [dict(row) for row in rows[: draw(st.integers(1, len(rows)))]]
        for _ in range(draw(st.integers(0, 6))):
            row = found[draw(st.integers(0, len(found) - 1))]
            name = draw(st.sampled_from(sorted(rows[0])))
            if draw(st.booleans()):
                row.pop(name, None)
            else:
                row[name] = draw(ODD)
        if draw(st.booleans()):  # a whole column
            name, value = draw(st.sampled_from(sorted(rows[0]))), draw(ODD)
            found = [{**row, name: value} for row in found]
        return found

    return build()


def jsonl(rows, data):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(text)))
        text = text[:position] + data.draw(st.sampled_from(["", "\n", '"', "}", "\n[1]\n"]))
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ragged")


RAGGED = settings(
    max_examples=15,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # what fails here is short, and shrinking is slow
)


def survives(read):
    """Every row that was read is used or counted; an error is one of ours."""
    try:
        source = read().source
    except RlhfBudgetError:
        return
    assert source.rows_read == source.rows_used + sum(skip.count for skip in source.skipped)


def read_rollouts(path, **fields):
    options = RolloutOptions(last_steps="100%", kl_coefficient=0.1)
    return lambda: rollouts_from_files([str(path)], options=options, **fields)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("plain", ROLLOUTS),
        ("verl", VERL),
        ("train_data_step3", NEMO),
        ("open-instruct", OPEN_INSTRUCT),
        ("nested", NESTED),
        ("episodes", EPISODES),
        ("metrics", METRICS),
    ],
)
@given(data=st.data())
@RAGGED
def test_logs_of_rollouts(folder, name, rows, data):
    path = folder / f"{name}.jsonl"
    path.write_text(jsonl(data.draw(damaged(rows)), data))
    survives(read_rollouts(path))


@given(data=st.data())
@RAGGED
def test_csv_and_parquet_and_json(folder, data):
    rows = data.draw(damaged(ROLLOUTS))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROLLOUTS[0]), extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    cut = data.draw(st.integers(0, len(text.getvalue())))
    (folder / "rows.csv").write_text(text.getvalue()[:cut] or text.getvalue())
    survives(read_rollouts(folder / "rows.csv"))
    (folder / "rows.json").write_text(json.dumps(rows))
    survives(read_rollouts(folder / "rows.json"))
    texts = pd.DataFrame([{k: None if v is None else str(v) for k, v in r.items()} for r in rows])
    duckdb.from_df(texts).write_parquet(str(folder / "rows.parquet"))
    survives(read_rollouts(folder / "rows.parquet"))


@given(damaged(ROLLOUTS))
@RAGGED
def test_frames(rows):
    survives(lambda: calibrate.rollouts(pd.DataFrame(rows), last_steps="100%"))


@given(data=st.data())
@RAGGED
def test_a_metrics_log_beside_rollouts(folder, data):
    (folder / "sound.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROLLOUTS))
    path = folder / "log.jsonl"
    path.write_text(jsonl(data.draw(damaged(METRICS)), data))
    survives(read_rollouts(folder / "sound.jsonl", metrics=str(path)))


@given(data=st.data())
@RAGGED
def test_losses(folder, data):
    path = folder / "losses.jsonl"
    path.write_text(jsonl(data.draw(damaged(LOSSES)), data))
    survives(lambda: reward_model(read_losses([path]), agreement=0.7))


@given(damaged(HISTORY), st.sampled_from([None, 32.0]), ODD)
@RAGGED
def test_training_logs(folder, history, labels_per_step, odd):
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({"global_step": odd, "log_history": [*history, odd]}))
    survives(lambda: reward_model(read_losses([path], labels_per_step=labels_per_step)))


def _costs(path):
    runs, source = calibrate.read_runs([path])
    return calibrate.costs(runs, source=source)


def _coverage(path):
    policy, behaviour, source = calibrate.read_logprobs([path])
    return calibrate.coverage(policy_logprobs=policy, behaviour_logprobs=behaviour, source=source)


def _votes(path):
    return calibrate.agreement_from_files([path])


@pytest.mark.parametrize(("rows", "read"), [(RUNS, _costs), (LOGPROBS, _coverage), (VOTES, _votes)])
@given(data=st.data())
@RAGGED
def test_costs_and_coverage_and_votes(folder, rows, read, data):
    path = folder / f"{read.__name__}.jsonl"
    path.write_text(jsonl(data.draw(damaged(rows)), data))
    survives(lambda: read(path))
