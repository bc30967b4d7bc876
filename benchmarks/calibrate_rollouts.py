"""Time and memory of ``calibrate rollouts`` on files of any size, beside pandas and plain SQL.

    python benchmarks/calibrate_rollouts.py 1000000 10000000 --directory /tmp/rollouts
    python benchmarks/calibrate_rollouts.py 6000000 --plain --formats parquet jsonl csv

Each run is a process of its own, so that its peak memory is its own. ``--tools`` chooses among
``ours``, ``group-by`` (DuckDB's own count, mean and variance by group: the least that reading the
file takes, to which the ratios refer), ``sql`` (the same aggregates as ours, written by hand for
DuckDB) and ``pandas`` (in memory). ``--plain`` writes steps, prompts as text and rewards only.

``seconds`` are a whole process's, its start included; ``without start`` begins when its packages
are imported; ``processor`` adds its threads up, and says most on a machine that does other work.
Each has its ratio to ``group-by``. Of several ``--runs`` in turns the least counts.
"""

# ruff: noqa: PLC0415 (each tool runs in a process of its own and loads only what it uses)
from __future__ import annotations

import argparse
import importlib
import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

ROLLOUTS_PER_PROMPT = 8
STEPS = 100
ROWS_PER_FILE = 5_000_000


def write_rows(rows: int, directory: Path, form: str, *, plain: bool) -> Path:
    """Write rollouts with a prompt effect and 0/1 rewards; unless plain, log-ratios and lengths."""
    import duckdb

    target = directory / f"rows-{rows}-{form}{'-plain' if plain else ''}"
    if target.exists():
        return target
    partial = target.with_suffix(".partial")
    more = """, 3.0 + 2.4 * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) AS log_ratio,
              CAST(50 + 400 * random() AS INTEGER) AS n_tokens"""
    prompt = f"i // {ROLLOUTS_PER_PROMPT}"
    how = {"parquet": "FORMAT parquet", "jsonl": "FORMAT json", "csv": "FORMAT csv, HEADER"}[form]
    partial.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    connection.execute("SET memory_limit = '4GB'")
    for part, start in enumerate(range(0, rows, ROWS_PER_FILE)):
        end = min(rows, start + ROWS_PER_FILE)
        connection.execute(
            f"""COPY (
                SELECT (i * {STEPS}) // {rows} AS step,
                       {f"'prompt number ' || ({prompt})" if plain else prompt} AS prompt_id,
                       CAST(random() < (hash({prompt}) % 1000) / 1000.0 AS DOUBLE) AS reward
                       {"" if plain else more}
                FROM range({start}, {end}) rows(i)
            ) TO '{partial}/part-{part:04d}.{form}' ({how})"""
        )
    return partial.rename(target)


def ours(files: Path) -> float:
    from rlhf_budget.calibrate import RolloutOptions, rollouts_from_files

    options = RolloutOptions(last_steps="100%", kl_coefficient=0.05)
    found = rollouts_from_files([str(files)], options=options)
    return float(found.estimate("reward.rollout_variance").value or 0.0)


def group_by(files: Path) -> float:
    """Count, mean and variance by group, as DuckDB does it by itself."""
    import duckdb

    connection = duckdb.connect()
    form = next(files.iterdir()).suffix
    connection.execute(
        f"""CREATE TEMP TABLE grouped AS
            SELECT step, prompt_id, count(*), avg(reward), var_samp(reward) AS var
            FROM '{files}/*{form}' GROUP BY step, prompt_id"""
    )
    return float(connection.execute("SELECT avg(var) FROM grouped").fetchall()[0][0])


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


TOOLS = {"group-by": group_by, "ours": ours, "sql": sql, "pandas": pandas}


PACKAGES = {
    "group-by": ("duckdb",),
    "ours": ("duckdb", "narwhals", "scipy.special", "rlhf_budget.calibrate"),
    "sql": ("duckdb",),
    "pandas": ("pandas",),
}
"""What each imports before its time without start begins."""
FORMS = ("parquet", "jsonl", "csv")


def measure(tool: str, files: Path) -> None:
    """Run one tool in this process and print what it took."""
    for package in PACKAGES[tool]:
        importlib.import_module(package)
    start = time.perf_counter()
    value = TOOLS[tool](files)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "without_start": seconds,
                "processor": used.ru_utime + used.ru_stime,
                "peak_mib": used.ru_maxrss / 1024,
                "rollout_variance": value,
            }
        )
    )


def run(tool: str, files: Path) -> dict[str, float]:
    """Return what one tool took in a process of its own."""
    command = [sys.executable, __file__, "--measure", tool, str(files)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{tool} failed: {done.stderr.strip()[-500:]}")
    return {"seconds": seconds, **json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, default=[1_000_000])
    parser.add_argument("--directory", type=Path, default=Path("/tmp/rlhf-budget-benchmark"))
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--formats", nargs="+", choices=FORMS, default=["parquet"])
    parser.add_argument("--plain", action="store_true", help="steps, prompts and rewards only")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--measure", nargs=2, metavar=("TOOL", "FILES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure[0], Path(arguments.measure[1]))
        return
    titles = (f"{time} | ratio" for time in ("seconds", "without start", "processor"))
    print(f"| rows | form | tool | {' | '.join(titles)} | peak memory, MiB |")
    print("|---" * 10 + "|")
    for rows, form in itertools.product(arguments.rows, arguments.formats):
        files = write_rows(rows, arguments.directory, form, plain=arguments.plain)
        turns = [[run(tool, files) for tool in arguments.tools] for _ in range(arguments.runs)]
        least = None
        for tool, runs in zip(arguments.tools, zip(*turns, strict=True), strict=True):
            took = {name: min(found[name] for found in runs) for name in runs[0]}
            least = took if tool == "group-by" else least
            times = " | ".join(
                f"{took[name]:.2f} | {'' if least is None else f'{took[name] / least[name]:.1f}'}"
                for name in ("seconds", "without_start", "processor")
            )
            print(f"| {rows:,} | {form} | {tool} | {times} | {took['peak_mib']:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
