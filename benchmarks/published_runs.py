"""Compare what published runs did with what the planner would have done.

Run it to rewrite the tables of docs/published-runs.md::

    python benchmarks/published_runs.py           # rewrite
    python benchmarks/published_runs.py --check   # exit 1 where the page is out of date
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_budget import Allocation, Plan, Scenario, evaluate, load_scenario, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "examples" / "configs"
PAGE = ROOT / "docs" / "published-runs.md"

RUNS = (
    "instructgpt",
    "stiennon-tldr-6.7b",
    "n-plus-pythia-6.9b",
    "llama-2-chat-70b",
    "deepseekmath-grpo-7b",
    "dapo-qwen-32b",
    "tulu-3.1-grpo-8b",
)
POOL_RUN = "instructgpt"
POOL_BUDGETS = (10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000, 1_280_000)

# arXiv:2510.00977: 7,500 prompts, 10 epochs, groups of 2 and of 16.
GROUPS_PROMPTS, GROUPS_EPOCHS, GROUPS = 7_500, 10, (2, 16)


@cache
def planned(run: str) -> Plan:
    """Plan one example."""
    return plan(load_scenario(CONFIGS / f"{run}.yaml"))


def number(value: float) -> str:
    return f"{value:,.0f}"


def between(ends: tuple[int, int]) -> str:
    low, high = ends
    return number(low) if low == high else f"{number(low)} – {number(high)}"


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    rule = "|".join(["---", *["---:"] * (len(header) - 1)])
    lines = [" | ".join(row) for row in (header, *rows)]
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])


def side_by_side() -> str:
    rows = []
    for run in RUNS:
        result = planned(run)
        team, near = result.current, result.near_optimal
        if team is None or near is None:
            raise ValueError(f"{run} has nothing to compare with")
        for who, allocation, bound, cost in (
            (f"**{run}**, team", team.allocation, team.bound, team.cost),
            ("planner", result.allocation, result.bound, result.cost),
        ):
            rows.append(
                (
                    who,
                    number(allocation.prompts),
                    number(allocation.rollouts_per_prompt),
                    number(allocation.labels),
                    f"{bound.total:.4g}",
                    number(cost.total),
                )
            )
        rows.append(
            (
                "within 1 % of the planner's",
                between(near.prompts),
                between(near.rollouts_per_prompt),
                between(near.labels),
                f"{result.bound.total * (1 + near.within):.4g}",
                f"from {number(near.least_cost)}",
            )
        )
    return table(("", "prompts", "K", "labels", "bound", "cost, USD"), rows)


def verdicts() -> str:
    rows = []
    for run in RUNS:
        result = planned(run)
        team, near = result.current, result.near_optimal
        if team is None or near is None:
            raise ValueError(f"{run} has nothing to compare with")
        rows.append(
            (
                run,
                f"{team.excess_relative:.1%}",
                f"{near.least_cost / team.cost.total:.0%}",
                f"{result.bound.sampling / result.bound.total:.0%}",
                f"{result.bound.irreducible / result.bound.total:.0%}",
            )
        )
    header = (
        "run",
        "team's bound above the planner's",
        "money for within 1 %, of the team's",
        "sampling term's share",
        "no money removes",
    )
    return table(header, rows)


def best_groups() -> str:
    rows = []
    for run in RUNS:
        result = planned(run)
        best: dict[str, int] = {
            result.scenario.bound.concentration: result.allocation.rollouts_per_prompt
        }
        best |= {a.concentration: a.allocation.rollouts_per_prompt for a in result.alternatives}
        team = "" if result.current is None else result.current.allocation.rollouts_per_prompt
        names = ("hoeffding", "bernstein", "prompt_mean")
        rows.append((run, str(team), *(str(best.get(name, "–")) for name in names)))
    return table(("run", "team's K", "`hoeffding`", "`bernstein`", "`prompt_mean`"), rows)


def pool() -> str:
    scenario = load_scenario(CONFIGS / f"{POOL_RUN}.yaml")
    rows = []
    for budget in POOL_BUDGETS:
        result = plan(scenario.with_values({"budget": budget}))
        near = result.near_optimal
        if near is None:
            raise ValueError("a plan within a budget has near-optimal ranges")
        rows.append(
            (
                number(budget),
                number(result.allocation.prompts),
                number(result.allocation.rollouts_per_prompt),
                between(near.rollouts_per_prompt),
                number(result.allocation.labels),
                f"{result.bound.total:.3f}",
            )
        )
    header = ("budget, USD", "prompts", "best K", "K within 1 %", "labels", "bound")
    return table(header, rows)


def group_scenario(concentration: str) -> Scenario:
    """Right-or-wrong rewards without a KL penalty; variances of HumanEval samples."""
    return load_scenario(
        {
            "budget": 1,
            "objective": {"kl_coefficient": 0},
            "bound": {
                "concentration": concentration,
                "policy": "fixed",
                "prompt_variance": 0.086,
                "rollout_variance": 0.087,
            },
            "costs": {"prompt": 0, "rollout": 0},
            "reward_model": "verifiable",
        }
    )


def measured_groups() -> str:
    rows = []
    for concentration in ("hoeffding", "bernstein", "prompt_mean"):
        scenario = group_scenario(concentration)
        small, large = (
            evaluate(scenario, Allocation(GROUPS_PROMPTS, size * GROUPS_EPOCHS, 0, None)).total
            for size in GROUPS
        )
        rows.append(
            (f"`{concentration}`", f"{small:.4f}", f"{large:.4f}", f"{small / large - 1:.1%}")
        )
    header = ("", "groups of 2", "groups of 16", "the smaller group's error is above by")
    return table(header, rows)


TABLES = {
    "side-by-side": side_by_side,
    "verdicts": verdicts,
    "best-groups": best_groups,
    "pool": pool,
    "measured-groups": measured_groups,
}


def render(page: str) -> str:
    """Return the page with every table made anew."""
    for name, make in TABLES.items():
        start, end = f"<!-- table: {name} -->", f"<!-- end: {name} -->"
        parts = re.split(f"{re.escape(start)}.*?{re.escape(end)}", page, flags=re.DOTALL)
        if len(parts) != 2:
            found = len(parts) - 1
            raise ValueError(f"{PAGE.name} has the markers of table {name} {found} times, not once")
        page = f"{start}\n\n{make()}\n\n{end}".join(parts)
    return page


def main() -> int:
    old = PAGE.read_text(encoding="utf-8")
    new = render(old)
    if "--check" in sys.argv[1:]:
        if new != old:
            print(f"{PAGE} is out of date: run python {Path(__file__).name}", file=sys.stderr)
        return int(new != old)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
