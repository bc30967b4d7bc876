"""Whole processes against the bare imports that they need, and a plan against its optimum alone.

Usage: python benchmarks/startup.py [--runs 11]

Processes run in turns, so that all meet the same load; each row has the least wall and processor
time of its runs, and the ratio to the bare imports. Bytecode is compiled before, as it is for a
user. In process, a plan is timed against ``plan_many([scenario])``, which finds the certified
optimum alone, in every example; the median and the ends of the ratios are printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_budget import load_scenario, plan, plan_many

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = sorted((Path(__file__).parents[1] / "examples" / "configs").glob("*.yaml"))
SCENARIO = next(str(path) for path in EXAMPLES if path.stem == "helpful-assistant")
BARE = "import numpy, typer, yaml"
PROCESSES = {
    BARE: ("-c", BARE),
    "plan --format json": ("-m", "rlhf_budget", "plan", "--format", "json", SCENARIO),
    f"{BARE}, rich.console": ("-c", f"{BARE}, rich.console"),
    "plan": ("-m", "rlhf_budget", "plan", SCENARIO),
    "--help": ("-m", "rlhf_budget", "--help"),
}
"""Label -> arguments of Python; each command comes after the imports to divide by."""
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    best = {label: (float("inf"), float("inf")) for label in PROCESSES}
    for number in range(runs + 1):
        for label, arguments in PROCESSES.items():
            wall, processor = measured(arguments)
            if number:  # the first run of each compiles bytecode
                best[label] = min(best[label][0], wall), min(best[label][1], processor)
    print(f"{'process':40s} {'wall, ms':>8s} {'ratio':>6s} {'cpu, ms':>8s} {'ratio':>6s}")
    bare = best[BARE]
    for label, (wall, processor) in best.items():
        bare = (wall, processor) if label.startswith(BARE) else bare
        ratios = f"{1e3 * wall:8.0f} {wall / bare[0]:6.2f} {1e3 * processor:8.0f}"
        print(f"{label:40s} {ratios} {processor / bare[1]:6.2f}")
    in_process(runs)


def measured(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Wall and processor time of one process, seconds."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, env=ENVIRONMENT
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime


def in_process(runs: int) -> None:
    ratios, plans = [], []
    for path in EXAMPLES:
        scenario = load_scenario(path)
        alone = least(lambda: plan_many([scenario]), runs)  # noqa: B023 - called at once
        whole = least(lambda: plan(scenario), runs)  # noqa: B023
        ratios.append(whole / alone)
        plans.append(1e3 * whole)
    print(
        f"a plan in process, {len(EXAMPLES)} examples: median {statistics.median(plans):.1f} ms; "
        f"times plan_many of one: median {statistics.median(ratios):.1f}, "
        f"from {min(ratios):.1f} to {max(ratios):.1f}"
    )


def least(work: Callable[[], object], runs: int) -> float:
    """Least processor time of some runs, seconds."""
    found = float("inf")
    for _ in range(runs):
        start = time.process_time()
        work()
        found = min(found, time.process_time() - start)
    return found


if __name__ == "__main__":
    main()
