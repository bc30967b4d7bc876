"""Folders with the same rows twice: counted once, or said, never added up in silence."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_budget.calibrate import RolloutOptions, rollouts_from_files
from rlhf_budget.calibrate.logs.merges import Contents, Rows, find_merges

DATA = Path(__file__).parents[1] / "data"
FORMATS = DATA / "formats"


def rollouts(*, digits=False, steps=True, texts=False, seed=0):
    """40 prompts of 8 rollouts, 10 prompts a step."""
    rng = random.Random(seed)
    return [
        {
            **({"step": prompt // 10} if steps else {}),
            "prompt": f"q{prompt}",
            "reward": rng.random() if digits else float(rng.random() < 0.5),
            **({"completion": f"answer {rng.random()}"} if texts else {}),
        }
        for prompt in range(40)
        for _ in range(8)
    ]


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def convert(source, target):
    how = {".parquet": "FORMAT parquet", ".csv": "FORMAT csv, HEADER"}[target.suffix]
    duckdb.sql(f"COPY (SELECT * FROM read_json_auto('{source}')) TO '{target}' ({how})")
    source.unlink()


def shuffled(records):
    return random.Random(1).sample(records, len(records))


def calibrate(folder):
    found = rollouts_from_files([str(folder)], options=RolloutOptions(last_steps="100%"))
    source = found.source
    assert source.rows_read == source.rows_used + sum(skip.count for skip in source.skipped)
    return found


def warned(found):
    return [w.message for w in found.warnings if w.code == "repeated-batches"]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    "kind", [{}, {"digits": True}, {"steps": False}, {"texts": True, "steps": False}]
)
def test_a_merge_in_another_order_and_form_counts_once(tmp_path, form, kind):
    records = rollouts(**kind)
    for rank in range(3):
        write(tmp_path / f"rank{rank}.jsonl", records[rank::3])
    alone = calibrate(tmp_path)
    merge = write(tmp_path / "everything.jsonl", shuffled(records))
    if form != "jsonl":
        convert(merge, tmp_path / f"everything.{form}")
    both = calibrate(tmp_path)
    assert both.source.rows_used == alone.source.rows_used == 320
    assert both.source.files == alone.source.files
    assert [e.value for e in both.estimates] == pytest.approx([e.value for e in alone.estimates])
    assert [f"everything.{form}" in message for message in warned(both)] == [True]
    assert not warned(alone)


def test_a_merge_above_the_folder_of_its_shards_counts_once(tmp_path):
    records = rollouts()
    write(tmp_path / "shards" / "0.jsonl", records[:100])
    write(tmp_path / "shards" / "1.jsonl", records[100:])
    write(tmp_path / "all.jsonl", shuffled(records))
    write(tmp_path / "other.jsonl", rollouts(seed=1))
    found = calibrate(tmp_path)
    assert found.source.rows_used == 640
    assert "all.jsonl" in warned(found)[0]


@pytest.mark.parametrize("kind", [{"texts": True}, {"digits": True}])
def test_a_copy_in_another_order_or_packed_counts_once(tmp_path, kind):
    records = rollouts(**kind)
    first = write(tmp_path / "a.jsonl", records)
    write(tmp_path / "b.jsonl", shuffled(records))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(first.read_bytes()))
    found = calibrate(tmp_path)
    assert found.source.rows_used == 320
    assert len(found.source.files) == 1


def test_alike_by_chance_is_counted_and_said(tmp_path):
    """0/1 rewards without completions: two samplings of easy prompts may well be equal."""
    records = rollouts()
    write(tmp_path / "first.jsonl", records)
    write(tmp_path / "second.jsonl", shuffled(records))
    found = calibrate(tmp_path)
    assert found.source.rows_used == 640
    assert "may be chance" in warned(found)[0]


def test_different_samplings_are_no_copies(tmp_path):
    write(tmp_path / "first.jsonl", rollouts())
    write(tmp_path / "second.jsonl", rollouts(seed=1))
    found = calibrate(tmp_path)
    assert found.source.rows_used == 640
    assert not warned(found)


def test_shards_whose_records_hold_several_rollouts(tmp_path):
    lines = (FORMATS / "best-of-n.jsonl").read_text().splitlines(keepends=True)
    alone = calibrate(FORMATS / "best-of-n.jsonl")
    (tmp_path / "0.jsonl").write_text("".join(lines[::2]))
    (tmp_path / "1.jsonl").write_text("".join(lines[1::2]))
    (tmp_path / "all.jsonl").write_text("".join(reversed(lines)))
    found = calibrate(tmp_path)
    assert found.source.rows_used == alone.source.rows_used
    assert "all.jsonl" in warned(found)[0]


@pytest.mark.parametrize(
    "log", ["wandb-history.parquet", "wandb-history.csv", "wandb-panel.csv", "console.log"]
)
@pytest.mark.parametrize("dump", ["ms-swift", "best-of-n.jsonl", "prime-rl"])
def test_a_dump_beside_a_log_without_reward_functions(tmp_path, dump, log):
    """The log names no reward function: the dump's only column is the reward, as without it."""
    source = FORMATS / dump
    alone = calibrate(source)
    if source.is_dir():
        shutil.copytree(source, tmp_path / dump)
    else:
        shutil.copy(source, tmp_path)
    shutil.copy(FORMATS / log, tmp_path)
    found = calibrate(tmp_path)
    assert found.source.rows_used == alone.source.rows_used
    for constant in ("bound.rollout_variance", "bound.prompt_variance"):
        ours, theirs = found.estimate(constant).value, alone.estimate(constant).value
        assert ours == pytest.approx(theirs, rel=1e-12)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 2**40)), min_size=2, max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_a_merge_is_found_among_any_shards(shards, telling, elsewhere):
    contents = {f"run/{i}.jsonl": Contents(Rows(*rows), telling) for i, rows in enumerate(shards)}
    total = Rows(sum(n for n, _ in shards), sum(key for _, key in shards))
    merge = "all.jsonl" if elsewhere else "run/all.jsonl"
    found = find_merges({**contents, merge: Contents(total, telling)})
    assert merge in found.certain
    assert set(found.certain) < {*contents, merge}


def test_a_file_beside_its_compressed_copy_counts_once(tmp_path):
    log = write(tmp_path / "a.jsonl", rollouts(digits=True))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(log.read_bytes()))
    compact = [json.dumps(record, separators=(",", ":")) for record in rollouts(digits=True)]
    (tmp_path / "b.jsonl").write_text("\n".join(compact))
    found = calibrate(tmp_path)
    assert (found.source.rows_used, found.warnings[0].code) == (320, "repeated-batches")


@pytest.mark.parametrize("named", [True, False])
def test_records_without_a_prompt_count_once(tmp_path, named):
    records = [
        {
            **({"problem_id": i} if named or i % 2 else {}),
            "rewards": [i / 100, 0.5, float(i % 3)],
            "responses": list("xyz"),
        }
        for i in range(60)
    ]
    write(tmp_path / "a.jsonl", records[:30])
    write(tmp_path / "b.jsonl", records[30:])
    alone = calibrate(tmp_path)
    assert (alone.source.rows_used, alone.source.prompts) == (180, 60)
    log = write(tmp_path / "all.jsonl", shuffled(records))
    (tmp_path / "copy.jsonl.gz").write_bytes(gzip.compress(log.read_bytes()))
    found = calibrate(tmp_path)
    assert (found.source.rows_used, found.source.prompts) == (180, 60)
    assert found.warnings[0].code == "repeated-batches"


def test_merges_of_some_shards_and_of_merges_count_once(tmp_path):
    records = rollouts(digits=True)
    for part in range(4):
        write(tmp_path / f"part-{part}.jsonl", records[part * 80 : part * 80 + 80])
    write(tmp_path / "first.jsonl", records[:160])
    assert calibrate(tmp_path).source.rows_used == 320
    write(tmp_path / "second.jsonl", records[160:])
    write(tmp_path / "all.jsonl", records)
    found = calibrate(tmp_path)
    assert found.source.rows_used == 320
    assert [Path(path).stem for path in found.source.files] == [f"part-{i}" for i in range(4)]


def test_a_name_alone_makes_no_merge(tmp_path):
    records = rollouts(digits=True)
    write(tmp_path / "x.jsonl", records[:40])
    write(tmp_path / "x.jsonl0", records[40:180])
    write(tmp_path / "x.jsonl1", records[180:])
    assert calibrate(tmp_path).source.rows_used == 320


def test_texts_are_parsed_once_though_shards_may_repeat(tmp_path, monkeypatch):
    from rlhf_budget.calibrate.logs.engine import DuckDBEngine

    parsed = []
    parse = DuckDBEngine._parse
    monkeypatch.setattr(
        DuckDBEngine, "_parse", lambda self, *a, **k: (parsed.append(1), parse(self, *a, **k))[1]
    )
    records = rollouts(digits=True)
    for part in range(4):
        write(tmp_path / f"part-{part}.jsonl", records[part * 80 : part * 80 + 80])
    whole = calibrate(tmp_path)
    assert (whole.source.rows_used, len(parsed)) == (320, 1)
    write(tmp_path / "all.jsonl", shuffled(records))
    again = calibrate(tmp_path)
    assert (again.source.rows_used, len(parsed)) == (320, 2)
    assert again.warnings[0].code == "repeated-batches"
    assert [Path(path).name for path in again.source.files] == [
        f"part-{part}.jsonl" for part in range(4)
    ]
    assert again.estimate("bound.rollout_variance").value == pytest.approx(
        whole.estimate("bound.rollout_variance").value, rel=1e-12
    )


def test_files_of_one_size_and_head_are_told_apart(tmp_path):
    records = rollouts(digits=True, texts=True)
    padding = [{**record, "note": "x" * 4000} for record in records]
    write(tmp_path / "a.jsonl", padding)
    last = {**padding[-1], "reward": float(f"0.{str(padding[-1]['reward'])[2:][::-1]}")}
    other = write(tmp_path / "b.jsonl", [*padding[:-1], last])
    assert other.stat().st_size == (tmp_path / "a.jsonl").stat().st_size > 1 << 20
    assert calibrate(tmp_path).source.rows_used == 640
    shutil.copyfile(tmp_path / "a.jsonl", tmp_path / "c.jsonl")
    assert calibrate(tmp_path).source.rows_used == 640
