"""Broken logs: a clear error, or a counted skip while usable rows remain."""

from __future__ import annotations

import gzip
import json

import duckdb
import pytest

from rlhf_budget.calibrate import FieldNames, RolloutOptions, rollouts_from_files
from rlhf_budget.errors import CalibrationError, FileAccessError, LogError

GOOD = [
    json.dumps({"prompt_id": f"p{p}", "reward": (p * k) % 3, "n_tokens": 5}) + "\n"
    for p in range(40)
    for k in range(4)
]
BROKEN = {
    '{"prompt_id": "p1", "rewa': "malformed-row",
    "[1, 2]\n": "malformed-row",
    '"text"\n': "malformed-row",
    '{"prompt_id": "p1"}\n': "null-reward",
    '{"prompt_id": "p1", "reward": null}\n': "null-reward",
    '{"prompt_id": "p1", "reward": "good"}\n': "reward-not-a-number",
    '{"prompt_id": "p1", "reward": [1]}\n': "reward-not-a-number",
    '{"prompt_id": "p1", "reward": NaN}\n': "nan-reward",
    '{"prompt_id": "p1", "reward": 1e999}\n': "infinite-reward",
    '{"prompt_id": "p1", "reward": 1e308}\n': "infinite-reward",
    '{"reward": 1}\n': "missing-prompt",
    '{"prompt_id": null, "reward": 1}\n': "missing-prompt",
}


def calibrate(*paths, **options):
    return rollouts_from_files(
        [str(path) for path in paths], options=RolloutOptions(last_steps="100%", **options)
    )


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_row_is_counted_and_skipped(tmp_path, line):
    log = tmp_path / "rows.jsonl"
    log.write_text("".join(GOOD) + line)
    result = calibrate(log)
    assert [(s.reason, s.count) for s in result.source.skipped] == [(BROKEN[line], 1)]
    assert result.source.rows_read == 161
    assert result.source.rows_used == 160
    with pytest.raises(LogError, match=BROKEN[line]):
        calibrate(log, strict=True)


def test_strict_passes_a_sound_log(tmp_path):
    log = tmp_path / "rows.jsonl"
    log.write_text("\n".join(GOOD))  # blank lines are nothing
    assert calibrate(log, strict=True).source.rows_used == 160


def test_numbers_as_text_and_truth_values_are_rewards(tmp_path):
    log = tmp_path / "rows.jsonl"
    rows = [f'{{"prompt_id": {p}, "reward": {r}}}\n' for p in range(30) for r in ("true", '"0"')]
    rows += [f'{{"prompt_id": {p}, "reward": false}}\n' for p in range(30, 40) for _ in "ab"]
    log.write_text("".join(rows))
    result = calibrate(log)
    assert result.source.rows_used == 80
    assert result.groups is not None
    assert result.estimate("objective.reward_range").value == 1


def test_invalid_utf8_costs_its_line(tmp_path):
    log = tmp_path / "rows.jsonl"
    log.write_bytes(b'\xff\xfe{"prompt_id": 1, "reward": 1}\n' + "".join(GOOD).encode())
    assert {s.reason: s.count for s in calibrate(log).source.skipped} == {"malformed-row": 1}


def test_nothing_usable_says_why(tmp_path):
    log = tmp_path / "rows.jsonl"
    log.write_text('{"prompt_id": 1, "reward": null}\n' * 3)
    with pytest.raises(CalibrationError, match="no usable row: 3 null-reward"):
        calibrate(log)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet", "rows.json"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(CalibrationError, match="empty file"):
        calibrate(tmp_path / name)
    (tmp_path / "good.jsonl").write_text("".join(GOOD))
    result = calibrate(tmp_path)
    assert result.source.files_skipped == ((str(tmp_path / name), "empty file"),)
    with pytest.raises(LogError, match="empty file"):
        calibrate(tmp_path, strict=True)


def test_a_damaged_parquet_is_named(tmp_path):
    """As one whose line ends were converted."""
    path = tmp_path / "rows.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS prompt, 0.5 AS reward) TO '{path}'")
    content = path.read_bytes()
    path.write_bytes(content[:-60] + b"\xff" * 40 + content[-20:])
    with pytest.raises(FileAccessError, match=r"rows\.parquet: not readable as parquet"):
        calibrate(path)


def test_a_cut_parquet_is_no_parquet(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(CalibrationError, match="not a parquet file"):
        calibrate(tmp_path / "rows.parquet")


def test_a_broken_gzip_cannot_be_read(tmp_path):
    whole = gzip.compress("".join(GOOD).encode())
    (tmp_path / "rows.jsonl.gz").write_bytes(whole)
    assert calibrate(tmp_path).source.rows_used == 160
    if int(duckdb.__version__.split(".")[0]) < 2:
        pytest.skip("DuckDB before 2.0 reads a cut gzip file as far as it goes")
    (tmp_path / "rows.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileAccessError):
        calibrate(tmp_path)


def test_a_missing_file_a_pattern_and_a_directory_without_a_match(tmp_path):
    with pytest.raises(FileAccessError, match="no such file"):
        calibrate(tmp_path / "none.jsonl")
    with pytest.raises(FileAccessError, match="no file matches"):
        calibrate(tmp_path / "*.jsonl")
    with pytest.raises(FileAccessError, match="in it"):
        calibrate(tmp_path)
    (tmp_path / "model.safetensors").write_text("x")
    with pytest.raises(FileAccessError, match="not a log by its name"):
        calibrate(tmp_path / "model.safetensors")


def test_no_reward_or_prompt_field(tmp_path):
    log = tmp_path / "rows.jsonl"
    log.write_text('{"who": 1, "reward": 2}\n')
    with pytest.raises(CalibrationError, match=r"no prompt field.*reward, who"):
        calibrate(log)
    log.write_text('{"prompt_id": 1, "good": 2}\n')
    with pytest.raises(CalibrationError, match="no reward field"):
        calibrate(log)
    with pytest.raises(CalibrationError, match="no field nope"):
        rollouts_from_files([str(log)], fields=FieldNames(reward="nope"))


def test_one_rollout_a_prompt(tmp_path):
    log = tmp_path / "rows.jsonl"
    log.write_text("".join(f'{{"prompt_id": {p}, "reward": {p % 2}}}\n' for p in range(50)))
    result = calibrate(log)
    for name in ("bound.prompt_variance", "bound.rollout_variance"):
        estimate = result.estimate(name)
        assert (estimate.status, estimate.value) == ("unavailable", None)
        assert "two rollouts" in (estimate.note or "")
    assert result.groups is None
    assert "bound" not in result.fragment()


def test_constant_rewards(tmp_path):
    log = tmp_path / "rows.jsonl"
    rows = [f'{{"prompt_id": {p}, "reward": 1}}\n' for p in range(50) for _ in range(4)]
    log.write_text("".join(rows))
    result = calibrate(log)
    assert result.estimate("bound.rollout_variance").status == "unreliable"
    assert result.estimate("objective.reward_range").status == "unavailable"
    assert result.fragment() == {}


def test_files_of_different_shapes_and_csv_faults(tmp_path):
    (tmp_path / "a.csv").write_text("prompt_id,reward\n" + "p,1\np,0\nq,1\nq,\nq,x\n")
    (tmp_path / "b.csv").write_text("reward,prompt_id,extra\n0,r,5\n1,r,6\n")
    result = calibrate(tmp_path)
    assert result.source.rows_used == 5
    assert {s.reason: s.count for s in result.source.skipped} == {
        "null-reward": 1,
        "reward-not-a-number": 1,
    }


def test_an_array_and_a_directory_with_other_json(tmp_path):
    rows = [json.loads(line) for line in GOOD]
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "config.json").write_text('{"model": "x"}')
    assert calibrate(tmp_path).source.rows_used == 160


def test_copies_of_a_file_count_once(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(GOOD))
    (tmp_path / "b.jsonl").write_text("".join(GOOD))
    result = calibrate(tmp_path, tmp_path / "a.jsonl")
    assert result.source.rows_read == 160
    assert result.warnings[0].code == "repeated-batches"


def test_file_names_with_pattern_letters(tmp_path):
    log = tmp_path / "run[1]*.jsonl"
    log.write_text("".join(GOOD))
    (tmp_path / "run1x.jsonl").write_text("".join(GOOD[:8]))
    assert calibrate(log).source.rows_read == 160


def test_long_records_get_the_memory_they_need(tmp_path, monkeypatch):
    from rlhf_budget.calibrate.logs import engine

    monkeypatch.setattr(engine, "MEMORY_LIMIT", "20MB")
    log = tmp_path / "rows.jsonl"
    row = '{"prompt_id": %d, "reward": %d, "output": "%s"}\n'
    log.write_text("".join(row % (i // 4, i * i % 3, "z" * 300_000) for i in range(120)))
    assert calibrate(log).source.rows_used == 120


@pytest.mark.parametrize("last", ["only one", "# written by run 7", "# Head", "\0"])
@pytest.mark.parametrize("prompt", ["p", "# Heading "])
def test_a_broken_row_of_csv_costs_itself(tmp_path, prompt, last):
    rows = [f"{prompt}{i // 4},{i * i % 3}" for i in range(400)]
    (tmp_path / "rows.csv").write_text("\n".join(["prompt,reward", *rows, last, ""]))
    found = calibrate(tmp_path / "rows.csv")
    skipped = sum(skip.count for skip in found.source.skipped)
    assert (found.source.rows_read, found.source.rows_used, skipped) == (401, 400, 1)


def test_csv_is_parsed_within_the_limit_on_memory(tmp_path):
    import duckdb

    from rlhf_budget.calibrate.logs.engine import MEMORY_LIMIT
    from rlhf_budget.calibrate.logs.sql import file_table

    (tmp_path / "0.csv").write_text(
        "step,prompt,reward\n" + "12,prompt number 3456,1.0\n" * 1_250_000
    )
    paths = [tmp_path / f"{part}.csv" for part in range(8)]
    for path in paths[1:]:
        path.hardlink_to(paths[0])
    connection = duckdb.connect(config={"memory_limit": MEMORY_LIMIT})
    table = file_table("csv", [str(path) for path in paths], sound=True)
    found = connection.execute(f"SELECT count(*), sum(length(prompt)) FROM {table}").fetchall()
    assert found == [(10_000_000, 10_000_000 * len("prompt number 3456"))]


@pytest.mark.parametrize("text", ["0%", "101%", "x", "1.5", "-3", ""])
def test_last_steps_must_be_a_share_or_a_number(tmp_path, text):
    log = tmp_path / "rows.jsonl"
    log.write_text("".join(GOOD))
    with pytest.raises(CalibrationError, match="--last-steps"):
        rollouts_from_files([str(log)], options=RolloutOptions(last_steps=text))


@pytest.mark.parametrize(
    "wrong",
    [
        {"level": 1.0},
        {"kl_coefficient": -1.0},
        {"kl_per_token": 0.0},
        {"reward_range": (1.0, 1.0)},
    ],
)
def test_options_are_checked(wrong):
    with pytest.raises(CalibrationError):
        RolloutOptions(**wrong)


def test_completions_in_csv_may_hold_line_breaks_quotes_and_apostrophes(tmp_path):
    import csv

    log = tmp_path / "rows.csv"
    texts = ["it's fine, isn't it", 'first\nsecond, "quoted"', "don't\r\n\nstop", "plain"]
    with log.open("w", encoding="utf-8-sig", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["prompt_id", "reward", "completion"])
        rows.writerows([i // 4, i * i % 3, texts[i % 4] * 20] for i in range(400))
    found = calibrate(log)
    assert (found.source.rows_used, found.source.prompts) == (400, 100)
    assert not found.source.skipped


@pytest.mark.parametrize("prompts", [1, 2])
def test_a_log_ratio_of_one_prompt_has_no_trustworthy_mean(tmp_path, prompts):
    log = tmp_path / "rows.jsonl"
    row = '{"prompt_id": %d, "reward": %d, "log_ratio": %d}\n'
    log.write_text("".join(row % (i % prompts, i % 2, 1 + i % 5) for i in range(40)))
    kl = calibrate(log).estimate("log_ratio.kl")
    assert kl.status == "unreliable"
    assert "too few" in kl.note
