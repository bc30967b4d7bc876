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

DUMPS = Path(__file__).parents[1] / "data" / "trainers"


@pytest.mark.filterwarnings("ignore")
def test_spark_gives_the_same_numbers(tmp_path):
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
        .config("spark.sql.warehouse.dir", str(tmp_path))
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    sample_frame().to_parquet(tmp_path / "rows.parquet")
    options = RolloutOptions(last_steps="100%", kl_coefficient=0.04)
    try:
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
            rows.append(sorted((r["step"], r["prompt"], r["reward"], r["tokens"]) for r in records))
        assert rows[0] == rows[1]
        assert len(rows[0]) == 48
    finally:
        session.stop()
