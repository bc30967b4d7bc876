"""Spark in local mode gives the numbers of DuckDB."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_engines import numbers, sample_frame

from rlhf_budget.calibrate import FieldNames, RolloutOptions, rollouts_from_files
from rlhf_budget.calibrate.logs.dialects import dialect_of, resolve_layout
from rlhf_budget.calibrate.logs.engine import open_engine
from rlhf_budget.calibrate.logs.files import find_logs
from rlhf_budget.errors import CalibrationError

DATA = Path(__file__).parents[1] / "data"
DUMPS, FORMATS = DATA / "trainers", DATA / "formats"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed (extra [spark])")
    if shutil.which("java") is None:
        pytest.skip("there is no Java, which Spark needs")
    session = (
        pyspark.sql.SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.codegen.wholeStage", "false")  # compiling costs more than 270 rows
        .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("warehouse")))
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.mark.filterwarnings("ignore")
def test_spark_gives_the_same_numbers(tmp_path, session):
    sample_frame().to_parquet(tmp_path / "rows.parquet")
    options = RolloutOptions(last_steps="100%", kl_coefficient=0.04)
    ours, theirs = (
        rollouts_from_files([str(tmp_path / "rows.parquet")], engine=engine, options=options)
        for engine in ("duckdb", "spark")
    )
    assert ours.source == theirs.source
    assert numbers(theirs) == pytest.approx(numbers(ours), rel=1e-9, nan_ok=True)
    assert theirs.tail is not None
    assert theirs.tail.histogram.counts == ours.tail.histogram.counts
    text_log = find_logs((str(DUMPS / "nemo-rl" / "train_data_step24.jsonl"),)).logs
    layout = resolve_layout(text_log[0].columns, dialect_of("nemo-rl"), FieldNames())
    rows = []
    for engine in ("duckdb", "spark"):
        with open_engine(engine) as opened:
            records = opened.fetch(opened.read(text_log, layout))
        rows.append(sorted((r["step"], r["reward"], r["tokens"]) for r in records))
        assert len({r["prompt"] for r in records}) == 6
    assert rows[0] == rows[1]
    assert len(rows[0]) == 48


@pytest.mark.filterwarnings("ignore")
def test_spark_reads_records_that_hold_several_rollouts(tmp_path, session, monkeypatch):
    """A merge beside its shards too, which Spark tells by its rows as DuckDB does."""
    lines = (FORMATS / "samples.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "0.jsonl").write_text("".join(lines[::2]))
    (tmp_path / "1.jsonl").write_text("".join(lines[1::2]))
    (tmp_path / "all.jsonl").write_text("".join(reversed(lines)))
    options = RolloutOptions(last_steps="100%")
    ours, theirs = (
        rollouts_from_files([str(tmp_path)], engine=engine, options=options)
        for engine in ("duckdb", "spark")
    )
    assert ours.source == theirs.source
    assert ours.source.files == (str(tmp_path / "0.jsonl"), str(tmp_path / "1.jsonl"))
    assert ours.source.rows_used == 450
    values = [[e.value or 0.0 for e in found.estimates] for found in (ours, theirs)]
    assert values[1] == pytest.approx(values[0], rel=1e-9)
    # A cluster does not see this machine's temporary folder.
    monkeypatch.setattr(session.conf.__class__, "get", lambda *_: "spark://elsewhere:7077")
    with pytest.raises(CalibrationError, match="use --engine duckdb"):
        rollouts_from_files([str(tmp_path)], engine="spark", options=options)
