"""The same numbers from every engine, and from aggregates worked out by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import get_args

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_budget.calibrate import FieldNames, RolloutOptions, rollouts, rollouts_from_files
from rlhf_budget.calibrate.logs.dialects import resolve_layout
from rlhf_budget.calibrate.logs.engine import DuckDBEngine, Reading
from rlhf_budget.calibrate.logs.files import find_logs
from rlhf_budget.errors import CalibrationError, LogError

DUMPS = Path(__file__).parents[1] / "data" / "trainers"


def sample_frame(prompts=60, seed=4):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, prompts)
    prompt = np.repeat(np.arange(prompts), sizes)
    rows = len(prompt)
    reward = rng.normal(0, 0.3, prompts)[prompt] + rng.normal(0, 0.5, rows)
    return pd.DataFrame(
        {
            "step": prompt % 2,
            "prompt_id": [f"p{p // 4}" for p in prompt],
            "reward": reward,
            "logp_policy": rng.normal(-20, 5, rows),
            "logp_ref": rng.normal(-24, 5, rows),
            "n_tokens": rng.integers(5, 30, rows),
        }
    )


def numbers(result):
    found = []
    for estimate in result.estimates:
        found += [estimate.value, estimate.standard_error, *(estimate.interval or ())]
    tail = result.tail.to_dict()
    found += [tail["mean_absolute"], tail["max"]]
    found += [q["value"] for q in tail["quantiles"]]
    found += [value for fit in tail["fits"] for value in fit["parameters"].values()]
    return [math.nan if value is None else value for value in found]


def test_frames_give_what_is_worked_out_by_hand():
    frame = sample_frame()
    result = rollouts(frame, last_steps="100%", kl_coefficient=0.1)
    frame["l"] = frame["logp_policy"] - frame["logp_ref"]
    frame["objective"] = frame["reward"] - 0.1 * frame["l"]
    for constant, column in (("reward", "reward"), ("bound", "objective")):
        groups = frame.groupby(["step", "prompt_id"])[column].agg(["count", "mean", "var"])
        groups = groups[groups["count"] > 1]
        within = groups["var"].mean()
        between = groups["mean"].var() - (groups["var"] / groups["count"]).mean()
        assert result.estimate(f"{constant}.rollout_variance").value == pytest.approx(within)
        assert result.estimate(f"{constant}.prompt_variance").value == pytest.approx(
            max(0.0, between), rel=1e-9
        )
    assert result.estimate("log_ratio.kl").value == pytest.approx(frame["l"].mean(), rel=1e-12)
    assert result.estimate("costs.rollout.tokens").value == pytest.approx(frame["n_tokens"].mean())
    per_prompt = frame.groupby("prompt_id")["l"].agg(["sum", "count"])
    residual = per_prompt["sum"] - per_prompt["count"] * frame["l"].mean()
    clusters = len(per_prompt)
    error = math.sqrt(clusters / (clusters - 1) * (residual**2).sum()) / len(frame)
    assert result.estimate("log_ratio.kl").standard_error == pytest.approx(error, rel=1e-9)
    assert result.tail is not None
    assert result.tail.survival(5.0) == pytest.approx((frame["l"].abs() > 5).mean(), rel=0.01)
    assert result.source.rows_used == len(frame)


def test_pandas_arrow_duckdb_and_files_agree(tmp_path):
    import duckdb
    import pyarrow as pa

    frame = sample_frame()
    expected = numbers(rollouts(frame, last_steps="100%"))
    table = pa.Table.from_pandas(frame)
    connection = duckdb.connect()
    connection.register("sample", table)
    others = [rollouts(table, last_steps="100%")]
    others.append(rollouts(connection.table("sample"), last_steps="100%"))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_json(tmp_path / "rows.jsonl", orient="records", lines=True, double_precision=15)
    frame.to_parquet(tmp_path / "rows.parquet")
    options = RolloutOptions(last_steps="100%")
    others += [
        rollouts_from_files([str(tmp_path / name)], options=options)
        for name in ("rows.csv", "rows.jsonl", "rows.parquet")
    ]
    for other in others:
        assert numbers(other) == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_a_frame_is_checked():
    frame = pd.DataFrame({"prompt": ["a", "b"], "reward": ["x", "y"]})
    with pytest.raises(CalibrationError, match="allowed: numbers"):
        rollouts(frame)
    with pytest.raises(CalibrationError, match="not a frame"):
        rollouts([1, 2])
    with pytest.raises(CalibrationError, match="no prompt field"):
        rollouts(pd.DataFrame({"reward": [1.0]}))
    holes = pd.DataFrame({"prompt": list("aabb"), "reward": [1.0, float("nan"), 0.0, 1.0]})
    assert rollouts(holes).source.rows_used == 3
    with pytest.raises(LogError):
        rollouts(holes, strict=True)


def test_off_policy_rollouts_are_not_trusted():
    frame = sample_frame()
    frame["behaviour"] = frame["logp_policy"] - 3
    result = rollouts(frame, behaviour_logprob_field="behaviour", last_steps="100%")
    assert "heavy-weights" in {warning.code for warning in result.warnings}
    assert result.estimate("log_ratio.kl").status == "unreliable"
    assert "log_ratio" not in result.fragment()


def test_repeated_steps_of_a_frame_are_seen_by_their_rewards():
    frame = sample_frame()
    frame["step"] = 1
    again = frame.assign(step=2)
    result = rollouts(pd.concat([frame, again]), last_steps="100%")
    assert result.source.rows_used == len(frame)
    assert "repeated-batches" in {warning.code for warning in result.warnings}


def test_results_are_immutable_and_comparable():
    first, second = (rollouts(sample_frame(), last_steps="100%") for _ in range(2))
    assert first == second
    with pytest.raises(AttributeError):
        first.level = 0.5  # type: ignore[misc]


def test_importing_costs_neither_duckdb_nor_pyarrow():
    heavy = "{'duckdb', 'narwhals', 'pyarrow', 'pyspark', 'ruamel', 'pandas', 'scipy.stats'}"
    code = f"import sys, rlhf_budget.calibrate as c; print({heavy} & set(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == "set()"


def test_pyarrow_and_pandas_are_not_needed_for_files():
    log = DUMPS / "trl-grpo-k8-log-ratio"
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"pyarrow", "pandas", "polars"}}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
from rlhf_budget.calibrate import rollouts_from_files
print(rollouts_from_files([{str(log)!r}]).source.rows_used)
"""
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert shown.stdout.strip() == "240", shown.stderr


def test_field_names_by_hand(tmp_path):
    frame = sample_frame().rename(
        columns={"reward": "r", "prompt_id": "q", "step": "s", "n_tokens": "t"}
    )
    frame["l"] = frame["logp_policy"] - frame["logp_ref"]
    frame = frame.drop(columns=["logp_policy", "logp_ref"])
    frame.to_parquet(tmp_path / "rows.parquet")
    names = FieldNames(prompt="q", reward="r", step="s", tokens="t", log_ratio="l")
    result = rollouts_from_files(
        [str(tmp_path)], fields=names, options=RolloutOptions(last_steps="100%")
    )
    expected = rollouts(sample_frame(), last_steps="100%")
    assert numbers(result) == pytest.approx(numbers(expected), rel=1e-9, nan_ok=True)
    assert dict(result.source.fields) == {
        "prompt": "q",
        "reward": "r",
        "step": "s",
        "log_ratio": "l",
        "tokens": "t",
    }


NUMBERS = st.one_of(
    st.floats(allow_nan=True).map(json.dumps),
    st.integers().map(str),
    st.sampled_from(
        [
            "true",
            "false",
            "null",
            '"0.5"',
            '"true"',
            '"no"',
            '""',
            "[1.0]",
            '{"a":1}',
            '"1_000"',
            '"+1"',
            '"1."',
            "1e999",
            "-0.0",
        ]
    ),
)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=5))
def test_texts_mean_the_same_however_they_are_parsed(values):
    """The fastest reading gives the rows of the slowest, or fails and is not used."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        lines = (f'{{"step": {a}, "prompt": "p", "reward": {b}}}' for a, b in values)
        path.write_text("\n".join(lines))
        logs = find_logs((str(path),)).logs
        layout = resolve_layout(("step", "prompt", "reward"), None, FieldNames())
        engine = DuckDBEngine(Path(folder))
        for reading in get_args(Reading):
            query = f"SELECT reason, step, reward FROM ({engine._query(logs, layout, reading)})"
            with suppress(duckdb.Error):
                found[reading] = Counter(map(str, engine._connection.execute(query).fetchall()))
        engine.close()
    assert found["texts"] == found["broken"]
    assert found.get("numbers", found["broken"]) == found["broken"]
    plain = all(a.isdigit() and b.isdigit() and len(a + b) < 20 for a, b in values)
    assert "numbers" in found or not plain
