"""Time and memory of ``calibrate rollouts`` on parquet of any size, beside pandas and plain SQL.

    python benchmarks/calibrate_rollouts.py 1000000 10000000 --directory /tmp/rollouts

Each run is a process of its own, so that its peak memory is its own. ``--tools`` chooses among
``ours``, ``sql`` (the same aggregates written by hand for DuckDB) and ``pandas`` (in memory).
"""

# ruff: noqa: PLC0415 (each tool runs in a process of its own and loads only what it uses)
from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

ROLLOUTS_PER_PROMPT = 8
STEPS = 100
ROWS_PER_FILE = 5_000_000


def write_rows(rows: int, directory: Path) -> Path:
    """Write rollouts with a prompt effect, 0/1 rewards, log-ratios and lengths."""
    import duckdb

    target = directory / f"rows-{rows}"
    if target.exists():
        return target
    partial = directory / f"rows-{rows}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    connection.execute("SET memory_limit = '4GB'")
    for part, start in enumerate(range(0, rows, ROWS_PER_FILE)):
        end = min(rows, start + ROWS_PER_FILE)
        connection.execute(
            f"""COPY (
                SELECT (i * {STEPS}) // {rows} AS step, i // {ROLLOUTS_PER_PROMPT} AS prompt_id,
                       CAST(random() < (hash(i // {ROLLOUTS_PER_PROMPT}) % 1000) / 1000.0 AS DOUBLE)
                           AS reward,
                       3.0 + 2.4 * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())
                           AS log_ratio,
                       CAST(50 + 400 * random() AS INTEGER) AS n_tokens
                FROM range({start}, {end}) rows(i)
            ) TO '{partial}/part-{part:04d}.parquet'"""
        )
    return partial.rename(target)


def ours(files: Path) -> float:
    from rlhf_budget.calibrate import RolloutOptions, rollouts_from_files

    options = RolloutOptions(last_steps="100%", kl_coefficient=0.05)
    found = rollouts_from_files([str(files)], options=options)
    return float(found.estimate("reward.rollout_variance").value or 0.0)


def sql(files: Path) -> float:
    """The variance components of reward and objective and the tail's bins, by hand."""
    import tempfile

    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        connection = duckdb.connect(f"{folder}/work.duckdb")
        connection.execute(
            f"SET memory_limit = '500MB'; SET temp_directory = '{folder}/spill';"
            " SET preserve_insertion_order = false"
        )
        rows = f"read_parquet('{files}/*.parquet')"
        connection.execute(
            f"""SELECT floor(ln(abs(log_ratio)) / 0.001) AS bin, count(*), sum(abs(log_ratio))
                FROM {rows} GROUP BY bin"""
        ).fetchall()
        connection.execute(
            f"""CREATE TABLE grouped AS
                SELECT step, prompt_id, count(*) AS n, avg(reward) AS mean, var_samp(reward) AS var,
                       avg(reward - 0.05 * log_ratio) AS omean,
                       var_samp(reward - 0.05 * log_ratio) AS ovar,
                       sum(log_ratio) AS l, sum(log_ratio * log_ratio) AS ll, sum(n_tokens) AS t
                FROM {rows} GROUP BY step, prompt_id"""
        )
        row = connection.execute(
            "SELECT avg(var), var_samp(mean) - avg(var / n), avg(ovar), var_samp(omean), sum(l),"
            " sum(ll), sum(t) FROM grouped WHERE n > 1"
        ).fetchone()
    assert row is not None
    return float(row[0])


def pandas(files: Path) -> float:
    """The same in memory."""
    import numpy as np
    import pandas as pd

    frame = pd.concat([pd.read_parquet(path) for path in sorted(files.glob("*.parquet"))])
    frame["objective"] = frame["reward"] - 0.05 * frame["log_ratio"]
    bins = np.floor(np.log(frame["log_ratio"].abs()) / 0.001)
    frame["log_ratio"].abs().groupby(bins).agg(["count", "sum"])
    grouped = frame.groupby(["step", "prompt_id"]).agg(
        {
            "reward": ["count", "mean", "var"],
            "objective": ["mean", "var"],
            "log_ratio": "sum",
            "n_tokens": "sum",
        }
    )
    return float(grouped[("reward", "var")].mean())


TOOLS = {"ours": ours, "sql": sql, "pandas": pandas}


def measure(tool: str, files: Path) -> None:
    """Run one tool in this process and print what it took."""
    start = time.perf_counter()
    value = TOOLS[tool](files)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "rollout_variance": value}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, default=[1_000_000])
    parser.add_argument("--directory", type=Path, default=Path("/tmp/rlhf-budget-benchmark"))
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--measure", nargs=2, metavar=("TOOL", "FILES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure[0], Path(arguments.measure[1]))
        return
    print("| rows | tool | seconds | rows a second | peak memory, MiB |")
    print("|---|---|---|---|---|")
    for rows in arguments.rows:
        files = write_rows(rows, arguments.directory)
        for tool in arguments.tools:
            command = [sys.executable, __file__, "--measure", tool, str(files)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"| {rows:,} | {tool} | failed: {done.stderr.strip()[-200:]} | | |")
                continue
            took = json.loads(done.stdout)
            speed = rows / took["seconds"]
            print(
                f"| {rows:,} | {tool} | {took['seconds']:.1f} | {speed:,.0f}"
                f" | {took['peak_mib']:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
