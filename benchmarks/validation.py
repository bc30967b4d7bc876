"""Try the bound and the plan in worlds where the true error is known.

Run it to rewrite the tables and pictures of docs/validation.md (about ten minutes of one
processor; pictures need the extra ``plot``)::

    python benchmarks/validation.py           # rewrite
    python benchmarks/validation.py --quick   # a small run, printed, nothing written
"""

from __future__ import annotations

import math
import os
import re
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlhf_budget import Scenario
from rlhf_budget.bound.terms import confidence
from rlhf_budget.simulation import WorldSpec
from rlhf_budget.simulation.evaluation import checkpoints, trials
from rlhf_budget.simulation.evaluation.coverage_grid import KINDS, coverage_grid
from rlhf_budget.simulation.evaluation.study import protocol_for, simulate, world_for
from rlhf_budget.simulation.evaluation.world import build_world
from rlhf_budget.simulation.parallel import try_worlds
from rlhf_budget.simulation.statistics import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rlhf_budget.simulation import Simulation
    from rlhf_budget.simulation.evaluation.coverage_grid import Cell, Grid

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "validation.md"
PICTURES = ROOT / "docs" / "validation"
SEED = 2026
BUDGETS = (10, 30, 100, 300, 1_000, 3_000, 10_000)
RULES = ("plan", "prompts-first", "labels-first", "k8", "k16", "thirds")


@dataclass(frozen=True)
class Size:
    """How much is tried."""

    grid_worlds: int
    grid_replicates: int
    worlds: int
    replicates: int
    tight_worlds: int


FULL = Size(grid_worlds=20, grid_replicates=200, worlds=50, replicates=200, tight_worlds=50)
QUICK = Size(grid_worlds=2, grid_replicates=20, worlds=3, replicates=20, tight_worlds=5)


# --- scenarios -----------------------------------------------------------------------------------

CURVES = {
    "matched": {"coverage": 4.0, "error": {"scale": 0.35, "exponent": 0.95}},
    "guessed": {"coverage": 3.0, "error": {"floor": 0.01, "scale": 0.5, "exponent": 0.35}},
}
LOG_RATIOS = {
    "matched": {"family": "gaussian", "kl": 6.4, "std": 2.2},
    "guessed": {"family": "gaussian", "kl": 3.0},
}
"""Matched: of the last checkpoint, as a finite class asks for all; guessed: of an earlier one."""
WORLD_LOG_RATIO = 3.0
"""E|ℓ| of the worlds' KL-optimal policy, nats."""
UNCLIPPED = "matched, never clipped"
NEVER = 50.0
"""Nats; no log-ratio of these worlds is beyond."""


def scenario(curve: str, budget: float) -> Scenario:
    constants = curve.split(",", maxsplit=1)[0]
    limits = {"clip_threshold": NEVER} if curve == UNCLIPPED else {}
    return Scenario(
        name=curve,
        budget=budget,
        objective={"kl_coefficient": 0.05},
        bound={"policy": "finite_class", "candidates": 10},
        costs={"prompt": 0.02, "rollout": 0.01, "label": 0.5},
        reward_model={**CURVES[constants], "coverage_kind": "features"},
        log_ratio=LOG_RATIOS[constants],
        limits=limits,
    )


def tried(made: Scenario, size: Size) -> Simulation:
    return simulate(
        made,
        worlds=size.worlds,
        replicates=size.replicates,
        seed=SEED,
        jobs=os.cpu_count() or 1,
        world=replace(world_for(made), mean_log_ratio=WORLD_LOG_RATIO),
    )


# --- tables --------------------------------------------------------------------------------------


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    rule = "|".join(["---", *["---:"] * (len(header) - 1)])
    lines = [" | ".join(row) for row in (header, *rows)]
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])


def share(cells: list[Cell]) -> str:
    worst = min(cells, key=lambda cell: cell.covered / cell.trials)
    return f"{worst.covered:,} of {worst.trials:,}"


def coverage_by_kind(grid: Grid) -> str:
    rows = []
    for kind in KINDS:
        cells = [cell for cell in grid.cells if cell.kind == kind]
        failing = sum(cell.interval[1] < 0.95 for cell in cells)
        loose = [cell.looseness for cell in cells]
        rows.append(
            (
                f"{kind.concentration}, {kind.policy}",
                f"{len(cells)}",
                share(cells),
                f"{failing}",
                f"{min(loose):.2f}",
                f"{np.median(loose):.1f}",
            )
        )
    header = ("bound", "cells", "worst cell held in", "cells that fail", "least loose", "median")
    return table(header, rows)


def looseness_by_size(grid: Grid) -> str:
    rows = []
    for n in (50, 500, 5000):
        for m in (100, 1000, 10_000):
            cells = [
                cell
                for cell in grid.cells
                if cell.prompts == n and cell.setting.labels == m and cell.kind.policy == "fixed"
            ]
            rows.append(
                (
                    f"n = {n:,}, m = {m:,}",
                    *(
                        f"{np.median(loose):.1f}"
                        for kind in ("features", "density")
                        for K in (1, 4, 16)
                        if (
                            loose := [
                                cell.looseness
                                for cell in cells
                                if cell.rollouts_per_prompt == K
                                and cell.setting.coverage_kind == kind
                            ]
                        )
                    ),
                )
            )
    header = ("", *(f"{kind}, K = {K}" for kind in ("features", "density") for K in (1, 4, 16)))
    return table(header, rows)


def tight(size: Size) -> str:
    spec = WorldSpec(kl_coefficient=0.0, verifiable=True, balanced=True, strengths=(0.0,), named=0)
    rows = []
    for concentration in ("hoeffding", "prompt_mean", "bernstein"):
        made = Scenario(
            budget=1000,
            objective={"kl_coefficient": 0},
            bound={
                "concentration": concentration,
                "prompt_variance": 0.0,
                "rollout_variance": 0.25,
            },
            costs={"prompt": 0.02, "rollout": 0.01},
            reward_model="verifiable",
            limits={"prompts": 20_001, "rollouts_per_prompt": 1},
        )
        cells = []
        for factor in (1, 10):
            whole, _ = confidence(made.bound, 0.05 * factor)
            protocol = replace(protocol_for(made, spec, 1000), confidence=whole)
            entry = trials.Entry(
                "plan", simulate(made, worlds=1, world=spec).allocations[0].allocation, None
            )
            records = try_worlds(
                partial(trials.try_world, protocol, (entry,)),
                worlds=size.tight_worlds,
                seed=SEED,
                jobs=1,
                on_world=lambda _: None,
            )
            covered = sum(record.outcomes[0].covered for record in records.values())
            done = 1000 * len(records)
            low, high = clopper_pearson(covered, done)
            cells.append(f"{covered / done:.2%} ({low:.2%} – {high:.2%})")
        rows.append((concentration, *cells))
    header = ("concentration", "held at δ = 0.05 (95 % promised)", "held with Λ of 10 δ")
    return table(header, rows)


def along_the_path(size: Size) -> str:
    spec = WorldSpec(mean_log_ratio=3.0)
    found: list[Any] = []
    for child in np.random.SeedSequence(SEED).spawn(size.worlds):
        world = build_world(spec, np.random.default_rng(child))
        path = checkpoints.train_path(world, world.reward)
        found.append(checkpoints.exact_truth(world, world.reward, world.reference, path, None))
    rows = []
    for index, strength in enumerate(spec.strengths):
        names = ("mean_log_ratio", "objective", "prompt_variance", "rollout_variance")
        kl, quality, between, within = (
            float(np.mean([getattr(truth, name)[index] for truth in found])) for name in names
        )
        ratio = "0" if within < 1e-12 else f"{within / between:.2f}"
        rows.append((f"{strength:g}", f"{kl:.2f}", f"{quality:.3f}", f"{between:.4f}", ratio))
    header = ("strength", "E\\|ℓ\\|, nats", "J*", "σ_p²", "σ_r²/σ_p²")
    return table(header, rows)


def interval(estimate: Any, digits: int = 4) -> str:
    low, high = estimate.interval
    mark = "" if low <= 0 <= high else " **!**"
    return f"{estimate.mean:+.{digits}f} ({low:+.{digits}f} – {high:+.{digits}f}){mark}"


def rivals(simulations: dict[int, Simulation], budgets: Sequence[int]) -> str:
    rows = []
    for budget in budgets:
        for tried in simulations[budget].allocations:
            a, versus = tried.allocation, tried.versus_plan
            rows.append(
                (
                    f"{budget:,} USD, {tried.name}",
                    f"{a.prompts:,} × {a.rollouts_per_prompt}, {a.labels:,}",
                    f"{tried.bound_total:.3f}",
                    f"{tried.error.mean:.4f}",
                    f"{tried.quality.mean:.4f}",
                    "" if versus is None else interval(versus.error_difference),
                    "" if versus is None else interval(versus.quality_difference),
                    "" if versus is None else f"{versus.plan_wins.worlds} of {versus.plan_wins.of}",
                )
            )
    header = (
        "",
        "n × K, m",
        "bound",
        "true error",
        "shipped J*",
        "error, rival − plan",
        "J*, rival − plan",
        "plan ships better in",
    )
    return table(header, rows)


def clipping(sweeps: dict[str, dict[int, Simulation]]) -> str:
    rows = []
    for budget in BUDGETS:
        for curve in ("matched", UNCLIPPED):
            simulation = sweeps[curve][budget]
            plan = simulation.allocations[0]
            a, actual = plan.allocation, {t.term: t.actual.mean for t in simulation.terms}
            low, high = plan.quality.interval or (0.0, 0.0)
            rows.append(
                (
                    f"{budget:,} USD, {curve}",
                    f"{a.prompts:,} × {a.rollouts_per_prompt}, {a.labels:,}",
                    f"{a.clip_threshold:.1f}",
                    f"{plan.bound_total:.3f}",
                    *(f"{actual[term]:.4f}" for term in actual),
                    f"{plan.error.mean:.4f}",
                    f"{plan.quality.mean:.4f} ({low:.4f} – {high:.4f})",
                )
            )
    header = (
        "",
        "n × K, m",
        "τ",
        "bound",
        "sampling",
        "reward model",
        "clipping",
        "true error",
        "shipped J*",
    )
    return table(header, rows)


def scoreboard(sweeps: dict[str, dict[int, Simulation]]) -> str:
    """Count budgets at which the interval of the difference leaves out 0."""
    rows = []
    for curve, simulations in sweeps.items():
        for rule in RULES[1:]:
            pairs = [
                tried.versus_plan
                for simulation in simulations.values()
                for tried in simulation.allocations
                if tried.name == rule and tried.versus_plan is not None
            ]
            counts = []
            for name, plan_is_better in (("error_difference", 1), ("quality_difference", -1)):
                spans = [getattr(pair, name).interval for pair in pairs]
                above = sum(low > 0 for low, _ in spans)
                below = sum(high < 0 for _, high in spans)
                won, lost = (above, below) if plan_is_better > 0 else (below, above)
                counts += [f"{won} / {len(spans) - won - lost} / {lost}"]
            rows.append((f"{curve}, {rule}", *counts))
    header = ("constants, rival", "true error: won / open / lost", "shipped J*: won / open / lost")
    return table(header, rows)


# --- pictures ------------------------------------------------------------------------------------

WIDTH, HEIGHT = 260, 200


def save(chart: Any, name: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    chart.configure_view(stroke=None).save(str(PICTURES / f"{name}.svg"))
    folder = os.environ.get("VALIDATION_PNG")
    if folder:
        chart.save(str(Path(folder) / f"{name}.png"), scale_factor=2)


def picture_of_looseness(grid: Grid) -> None:
    import altair as alt  # noqa: PLC0415 - only pictures need it

    rows = [
        {
            "n": cell.prompts,
            "K": f"K = {cell.rollouts_per_prompt}",
            "m": f"{cell.setting.labels:,} labels, C by {cell.setting.coverage_kind}",
            "order": cell.setting.labels,
            "bound": cell.kind.concentration,
            "looseness": cell.looseness,
        }
        for cell in grid.cells
        if cell.kind.policy == "finite_class" and not cell.setting.labels_on_current
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("n:Q", scale=alt.Scale(type="log"), title="prompts n"),
        y=alt.Y(
            "looseness:Q",
            scale=alt.Scale(type="log", domainMin=1),
            title="bound / 95 % quantile of the error",
        ),
        color=alt.Color("bound:N", title="concentration"),
        strokeDash=alt.StrokeDash("K:N", sort=["K = 1", "K = 4", "K = 16"], legend=None),
    )
    order = [f"{m:,} labels, C by {kind}" for kind in ("features", "density") for m in LABELS]
    chart = base.mark_line(point=True).properties(width=WIDTH, height=HEIGHT)
    save(chart.facet(alt.Facet("m:N", sort=order, title=None), columns=3), "looseness")


LABELS = (100, 1000, 10_000)


def picture_of_coverage(grid: Grid) -> None:
    import altair as alt  # noqa: PLC0415 - only pictures need it

    rows = []
    for kind in KINDS:
        for n in (50, 500, 5000):
            for K in (1, 4, 16):
                cells = [
                    cell
                    for cell in grid.cells
                    if (cell.kind, cell.prompts, cell.rollouts_per_prompt) == (kind, n, K)
                ]
                worst = min(cell.covered / cell.trials for cell in cells)
                rows.append(
                    {
                        "kind": f"{kind.concentration}, {kind.policy}",
                        "size": f"{n:,} × {K}",
                        "order": n * 100 + K,
                        "share": worst,
                        "text": f"{100 * math.floor(worst * 1e4) / 1e4:.2f} %",
                    }
                )
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X(
            "size:N",
            sort=alt.EncodingSortField("order"),
            title="prompts n × rollouts K",
            axis=alt.Axis(labelAngle=0),
        ),
        y=alt.Y("kind:N", title=None),
    )
    boxes = base.mark_rect(stroke="white").encode(
        color=alt.Color(
            "share:Q",
            scale=alt.Scale(domain=[0.9, 0.95, 1.0], range=["#c0392b", "#f7f7f7", "#2e86ab"]),
            title="held in (worst cell)",
        )
    )
    text = base.mark_text(fontSize=10).encode(
        text="text:N",
        color=alt.condition("datum.share > 0.98", alt.value("white"), alt.value("black")),
    )
    save((boxes + text).properties(width=640, height=240), "coverage")


def picture_of_budgets(sweeps: dict[str, dict[int, Simulation]]) -> None:
    import altair as alt  # noqa: PLC0415 - only pictures need it

    rows = [
        {
            "budget": budget,
            "rule": tried.name,
            "constants": f"constants {curve}",
            "measure": measure,
            "value": estimate.mean,
            "low": estimate.interval[0],
            "high": estimate.interval[1],
        }
        for curve in CURVES
        for budget, simulation in sweeps[curve].items()
        for tried in simulation.allocations
        for measure, estimate in (
            ("true error", tried.error),
            ("shipped J*, plan − rival", _loss(tried)),
        )
        if estimate is not None and estimate.interval is not None
    ]
    charts = [
        _budget_chart(alt, [row for row in rows if row["measure"] == measure], measure, scale)
        for measure, scale in (("true error", "log"), ("shipped J*, plan − rival", "linear"))
    ]
    save(alt.vconcat(*charts), "budgets")


def _loss(tried: Any) -> Any:
    """What the plan ships less what the rival ships."""
    # Without labels nothing is learned: this loss would dwarf all others in the picture.
    if tried.versus_plan is None or tried.name == "prompts-first":
        return None
    difference = tried.versus_plan.quality_difference
    low, high = difference.interval
    return replace(difference, mean=-difference.mean, interval=(-high, -low))


def _budget_chart(alt: Any, rows: list[dict[str, Any]], measure: str, scale: str) -> Any:
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("budget:Q", scale=alt.Scale(type="log"), title="budget, USD"),
        color=alt.Color("rule:N", sort=list(RULES), title=None),
    )
    value = alt.Y("value:Q", scale=alt.Scale(type=scale, zero=False), title=measure)
    lines = base.mark_line(point=True).encode(
        y=value,
        strokeWidth=alt.condition("datum.rule == 'plan'", alt.value(3.5), alt.value(1.5)),
    )
    bars = base.mark_rule(opacity=0.35).encode(y="low:Q", y2="high:Q")
    chart = (lines + bars).properties(width=330, height=HEIGHT)
    return chart.facet(alt.Facet("constants:N", sort="descending", title=None), columns=2)


# --- the page ------------------------------------------------------------------------------------


TABLES = (
    "coverage",
    "inequalities",
    "looseness",
    "tight",
    "path",
    "scoreboard",
    "clipping",
    "matched",
    "guessed",
)


def render(page: str, tables: dict[str, str]) -> str:
    for name, text in tables.items():
        start, end = f"<!-- table: {name} -->", f"<!-- end: {name} -->"
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"{PAGE} has no place for the table {name}")
        page = pattern.sub(lambda _, s=start, t=text, e=end: f"{s}\n\n{t}\n\n{e}", page)
    return page


def timed(what: str, job: Callable[[], Any]) -> Any:
    wall, processor = time.perf_counter(), time.process_time()
    result = job()
    print(
        f"{what}: {time.perf_counter() - wall:.1f} s, of this process "
        f"{time.process_time() - processor:.1f} s of processor time",
        file=sys.stderr,
    )
    return result


def run(size: Size) -> tuple[dict[str, str], Grid, dict[str, dict[int, Simulation]]]:
    grid = timed(
        "grid",
        lambda: coverage_grid(worlds=size.grid_worlds, replicates=size.grid_replicates, seed=SEED),
    )
    sweeps = {
        curve: {
            budget: timed(
                f"{curve} {budget}",
                lambda curve=curve, budget=budget: tried(scenario(curve, budget), size),
            )
            for budget in BUDGETS
        }
        for curve in (*CURVES, UNCLIPPED)
    }
    held = [(i.coverage_above_kl, i.fresh_labels) for i in grid.inequalities]
    tables = {
        "coverage": coverage_by_kind(grid),
        "inequalities": (
            f"`C² ≥ e^KL` held in {sum(a for a, _ in held)} of {len(held)} world and reward-model "
            f"pairs, the fresh-label inequality in {sum(b for _, b in held)} of {len(held)}."
        ),
        "looseness": looseness_by_size(grid),
        "tight": timed("tight worlds", lambda: tight(size)),
        "path": along_the_path(size),
        "scoreboard": scoreboard(sweeps),
        "clipping": clipping(sweeps),
        "matched": rivals(sweeps["matched"], (30, 300, 10_000)),
        "guessed": rivals(sweeps["guessed"], (30, 300, 10_000)),
    }
    return tables, grid, sweeps


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    render(PAGE.read_text(encoding="utf-8"), dict.fromkeys(TABLES, ""))
    tables, grid, sweeps = run(QUICK if quick else FULL)
    if quick:
        print("\n\n".join(f"{name}\n{text}" for name, text in tables.items()))
        return 0
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    picture_of_looseness(grid)
    picture_of_coverage(grid)
    picture_of_budgets(sweeps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
