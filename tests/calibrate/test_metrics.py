"""A trainer's own log in every form that people keep, and what a log says alone."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_budget.calibrate import RolloutOptions, rollouts_from_files
from rlhf_budget.calibrate.logs.files import state_around
from rlhf_budget.calibrate.logs.metrics.reading import read_metrics
from rlhf_budget.calibrate.rollouts.groups import correlation_of, informative_share
from rlhf_budget.errors import CalibrationError, LogError, MissingExtraError

DATA = Path(__file__).parents[1] / "data"
FORMATS = DATA / "formats"
FIELD = DATA / "field"
EXPECTED_KL = json.loads((FORMATS / "expected.json").read_text())["metrics"]["kl"]


def alone(path, *, last_steps="100%", run=None, **options):
    return rollouts_from_files(
        [str(path)], run=run, options=RolloutOptions(last_steps=last_steps, **options)
    )


def kl(path, run=None):
    return alone(path, run=run).estimate("log_ratio.kl").value


def trackio(path, runs):
    """A project file as trackio 0.43 lays it out."""
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL,"
            " timestamp TEXT NOT NULL, run_name TEXT NOT NULL, step INTEGER NOT NULL,"
            " metrics TEXT NOT NULL, log_id TEXT, space_id TEXT)"
        )
        connection.executemany(
            "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?,?,?,?,?)",
            [
                (name, "2026-07-01T00:00:00", name, step, json.dumps(record))
                for name, records in runs.items()
                for step, record in enumerate(records)
            ],
        )
    connection.close()
    return path


def history():
    """The 80 records of the samples, as Hugging Face's log_history holds them."""
    log = read_metrics(str(FORMATS / "wandb-history.csv"))
    return [dict(record) for record in log.records]


@pytest.mark.parametrize(
    "name",
    ["console.log", "wandb-history.csv", "wandb-history.parquet", "wandb-panel.csv", "tensorboard"],
)
def test_every_form_gives_the_published_kl(name):
    found = alone(FORMATS / name)
    estimate = found.estimate("log_ratio.kl")
    assert (estimate.status, estimate.method) == ("estimated", "metrics-median")
    assert estimate.value == pytest.approx(EXPECTED_KL, rel=1e-6)
    assert found.source.rows_read == found.source.rows_used == 80
    assert found.estimate("bound.rollout_variance").status == "unavailable"
    assert "log-alone" in {warning.code for warning in found.warnings}


def test_a_log_beside_rollouts_serves_in_every_form(tmp_path):
    rows = [
        {"step": step, "prompt": f"{step}-{i}", "reward": (step + i + k) % 2}
        for step in range(1, 81)
        for i in range(2)
        for k in range(3)
    ]
    dump = tmp_path / "rollouts.jsonl"
    dump.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("console.log", "wandb-history.parquet", "tensorboard"):
        found = rollouts_from_files([str(dump)], metrics=str(FORMATS / name))
        one = alone(FORMATS / name, last_steps="20%")
        assert found.estimate("log_ratio.kl").value == one.estimate("log_ratio.kl").value


def test_a_bare_list_of_records_and_trackio(tmp_path):
    bare = tmp_path / "log_history.json"
    bare.write_text(json.dumps(history(), indent=1))
    prefixed = [{f"train/{k}": v for k, v in record.items() if k != "step"} for record in history()]
    for step, record in enumerate(prefixed, start=1):
        record["train/global_step"] = step * 10
    project = trackio(tmp_path / "project.db", {"run": prefixed})
    for path in (bare, project):
        assert alone(path).estimate("log_ratio.kl").value == pytest.approx(EXPECTED_KL, rel=1e-12)
    assert alone(project).source.steps == (10, 800)


def test_several_runs_ask_for_one(tmp_path):
    half = [{**record, "kl": record["kl"] / 2} for record in history()]
    project = trackio(tmp_path / "project.db", {"first": history(), "second": half})
    with pytest.raises(
        CalibrationError, match="several runs: first, second; choose one with --run"
    ):
        alone(project)
    second = alone(project, run="second").estimate("log_ratio.kl").value
    assert second == pytest.approx(EXPECTED_KL / 2, rel=1e-12)
    with pytest.raises(CalibrationError, match="no run third; there are first, second"):
        alone(project, run="third")


def test_two_folders_of_events_are_two_runs(tmp_path):
    (events,) = (FORMATS / "tensorboard").iterdir()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / events.name).write_bytes(events.read_bytes())
    with pytest.raises(CalibrationError, match="several runs"):
        alone(tmp_path)
    assert alone(tmp_path, run="b").estimate("log_ratio.kl").status == "estimated"


def test_a_cut_event_file_gives_what_is_whole(tmp_path):
    (events,) = (FORMATS / "tensorboard").iterdir()
    cut = tmp_path / events.name
    content = events.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    records = len(read_metrics(str(cut)).records)
    assert 30 < records < 50
    cut.write_bytes(struct.pack("<Q", 8) + b"abcd" + b"\xff" * 12)
    with pytest.raises(LogError, match="not readable as TensorBoard"):
        read_metrics(str(cut))


def test_event_files_name_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX.proto.event_pb2", None)
    with pytest.raises(MissingExtraError, match=r"rlhf-budget\[tensorboard\]"):
        read_metrics(str(FORMATS / "tensorboard"))


def test_verl_console_and_its_file_say_the_same():
    logs = [
        read_metrics(str(FIELD / "11-verl-console" / name))
        for name in ("verl_demo.log", "tracking.jsonl")
    ]
    for log in logs:
        last = log.kl((122, 122), 0.95, None)
        assert (last.key, last.steps) == ("critic/kl", 1)
        assert last.median == pytest.approx(0.131 * 61.1, rel=1e-3)
    assert [log.steps() for log in logs] == [(2, 52, 92, 122)] * 2


def test_numbers_as_text_and_progress_bars_in_a_console(tmp_path):
    console = tmp_path / "run.out"
    console.write_text(
        "{'beta': 0.04, 'learning_rate_schedule': 1}\n"
        " 12%|## | 1/8 [00:10<01:10]\r"
        " 25%|## | 2/8 [00:20<01:00]{'loss': '0.1', 'kl': '0.02', 'completions/mean_length':"
        " '100', 'grad_norm': nan}\n"
        "{'eval_loss': 0.3, 'eval_kl': 9.0}\n"
        "(main pid=1) {'loss': np.float64(0.1), 'kl': np.float64(0.04),"
        " 'completions/mean_length': 100.0}\n"
    )
    log = read_metrics(str(console))
    assert log.ordered
    assert [record["kl"] for record in log.records] == [0.02, 0.04]
    assert log.kl(None, 0.95, None).median == pytest.approx(3.0)


def test_tracker_rows_without_the_trainer_step_are_left_out(tmp_path):
    table = tmp_path / "history.csv"
    table.write_text(
        "_step,train/global_step,train/kl,train/completions/mean_length,profiling/t,eval/loss\n"
        "0,10,0.1,100,,\n1,,,,0.5,\n2,10,,,,0.7\n3,20,0.3,100,,\n"
    )
    log = read_metrics(str(table))
    assert log.steps() == (10, 20)
    assert log.evaluations == {10}
    assert log.logging_steps == 10


def test_a_panel_of_two_runs_and_a_table_with_run_names(tmp_path):
    panel = tmp_path / "panel.csv"
    panel.write_text(
        '"Step","a - b - train/kl","a - b - train/kl__MIN","c - train/kl"\n1,0.1,0.0,0.5\n2,,,0.7\n'
    )
    assert [r["kl"] for r in read_metrics(str(panel), "a - b").records] == [0.1]
    table = tmp_path / "all.parquet"
    duckdb.sql(
        "SELECT * FROM (VALUES ('x', 1, 0.5e0), ('y', 1, 0.7e0)) AS t(run_name, step, kl)"
    ).write_parquet(str(table))
    with pytest.raises(CalibrationError, match="several runs: x, y"):
        read_metrics(str(table))
    assert read_metrics(str(table), "y").records[0]["kl"] == 0.7


def test_an_old_trl_log_alone_under_another_name():
    found = alone(FIELD / "06-chaos-economy-old-trl" / "training_logs.json")
    records = json.loads((FIELD / "06-chaos-economy-old-trl" / "training_logs.json").read_text())[
        "log_history"
    ]
    products = sorted(r["kl"] * r["completions/mean_length"] for r in records if "kl" in r)
    middle = (products[24] + products[25]) / 2
    assert found.estimate("log_ratio.kl").value == pytest.approx(middle, rel=1e-12)
    assert found.source.steps == (5, 250)
    correlation = alone(
        FIELD / "06-chaos-economy-old-trl" / "training_logs.json", rollouts_per_prompt=8
    ).estimate("reward.intraclass_correlation")
    assert correlation.status == "unavailable"
    assert "sum of 6 functions" in correlation.note


def test_silent_groups_give_the_correlation_and_the_table():
    """Forward and back: the share at the run's K is what the log counts."""
    found = alone(FORMATS / "wandb-history.csv", rollouts_per_prompt=8)
    estimate = found.estimate("reward.intraclass_correlation")
    assert estimate.status == "unreliable"
    assert "an estimate from aggregates" in estimate.note
    mean = found.estimate("reward.mean").value
    assert 1 - informative_share(mean, estimate.value, 8) == pytest.approx(0.35, rel=1e-9)
    shares = {group.rollouts_per_prompt: group.informative_share for group in found.groups}
    assert shares[8] == pytest.approx(0.65, rel=1e-9)
    assert found.estimate("groups.silent_share").value == pytest.approx(0.35)
    without = alone(FORMATS / "wandb-history.csv")
    assert without.groups is None
    assert "--rollouts-per-prompt" in without.estimate("reward.intraclass_correlation").note


def test_a_spread_that_two_values_cannot_have(tmp_path):
    wide = [{**record, "reward_std": 0.9} for record in history()]
    path = tmp_path / "log.json"
    path.write_text(json.dumps(wide))
    estimate = alone(path, rollouts_per_prompt=8).estimate("reward.intraclass_correlation")
    assert estimate.status == "unavailable"


@given(mean=st.floats(0.02, 0.98), rho=st.floats(0.01, 0.95), size=st.integers(2, 64))
def test_the_correlation_of_a_share_is_the_one_it_came_from(mean, rho, size):
    share = informative_share(mean, rho, size)
    found = correlation_of(mean, share, size)
    assert informative_share(mean, found, size) == pytest.approx(share, abs=1e-9)
    assert correlation_of(mean, 1.0, size) == 0.0
    assert correlation_of(mean, 0.0, size) == 1.0
    assert correlation_of(1.0, share, size) is None
    assert math.isclose(found, rho, rel_tol=1e-4) or share > 1 - 1e-6


@pytest.mark.parametrize("text", ["", "nothing here\n", '{"a": 1}\n', "a,b\n1,2\n"])
def test_what_is_no_log_is_refused(tmp_path, text):
    path = tmp_path / "some.txt"
    path.write_text(text)
    with pytest.raises(LogError, match="no record of a training log"):
        alone(path)


def test_rollouts_are_never_taken_for_a_log(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"{i}", "reward": k % 2, "kl": 0.1} for i in range(9) for k in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert alone(path).source.prompts == 9


def test_the_state_is_found_beside_rollouts_and_one_folder_up(tmp_path, monkeypatch):
    source = DATA / "trainers" / "trl-grpo-k8-log-ratio"
    whole = rollouts_from_files([str(source)]).fragment()
    shutil.copytree(source / "completions", tmp_path / "run" / "completions")
    dumps = tmp_path / "run" / "completions"
    with pytest.raises(CalibrationError, match="no reward field"):
        rollouts_from_files([str(dumps)])
    places = (dumps, tmp_path / "run", tmp_path / "run" / "checkpoint-24")
    asked = (str(dumps), str(dumps / "*.parquet"), ".")
    for place, paths in itertools.product(places, asked):
        place.mkdir(exist_ok=True)
        state = Path(shutil.copy(source / "trainer_state.json", place))
        monkeypatch.chdir(dumps)
        found = rollouts_from_files([paths]).fragment()
        assert _alike(found, whole)
        state.unlink()
    # Of two runs nobody knows whose state it is.
    for other in ("a", "b"):
        (tmp_path / "run" / f"{other}-dumps").mkdir()
        shutil.copy(source / "trainer_state.json", tmp_path / "run" / f"{other}-dumps")
    assert state_around([str(dumps / "x.parquet")]) is None
    assert state_around(str(tmp_path / "run" / f"{o}-dumps" / "x") for o in "ab") is None


def _alike(found, wanted):
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_alike(found[k], wanted[k]) for k in wanted)
    return found == (pytest.approx(wanted, rel=1e-9) if isinstance(wanted, float) else wanted)


def test_packed_logs_and_those_of_powershell(tmp_path):
    for name in ("wandb-history.csv", "console.log"):
        content = (FORMATS / name).read_bytes()
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        assert kl(tmp_path / f"{name}.gz") == pytest.approx(EXPECTED_KL)
    (tmp_path / "console.log").write_bytes((FORMATS / "console.log").read_text().encode("utf-16"))
    assert kl(tmp_path / "console.log") == pytest.approx(EXPECTED_KL)


def test_two_runs_of_one_name_are_told_apart_by_their_identifier(tmp_path):
    """Their records are never pooled."""
    rows = [f"{i},same,{run},{0.1 * run},10" for i in range(1, 9) for run in (1, 2)]
    table = tmp_path / "history.csv"
    table.write_text(
        "_step,run_name,run_id,train/kl,train/completions/mean_length\n" + "\n".join(rows)
    )
    with pytest.raises(CalibrationError, match="several runs: same/1, same/2; choose one"):
        read_metrics(str(table))
    assert kl(table, run="2") == pytest.approx(2.0)


def test_a_folder_of_trackio_and_a_broken_record(tmp_path):
    """As trackio writes it since it has identifiers of runs: JSON as bytes."""
    with closing(sqlite3.connect(tmp_path / "project.db")) as connection:
        connection.execute(
            "CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_id, run_name, step INTEGER, metrics)"
        )
        whole = b'{"train/kl": 0.1, "train/completions/mean_length": 10, "x": "Infinity"}'
        for step, content in enumerate((whole, b'{"train/kl": ', whole, whole)):
            connection.execute(
                "INSERT INTO metrics (run_id, run_name, step, metrics) VALUES (?, ?, ?, ?)",
                ("i", "a", step, content),
            )
        connection.commit()
    assert kl(tmp_path) == pytest.approx(1.0)
    (tmp_path / "second.db").write_bytes((tmp_path / "project.db").read_bytes())
    with pytest.raises(CalibrationError, match="one training log is needed in it; there are"):
        read_metrics(str(tmp_path))
