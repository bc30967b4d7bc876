"""Train policies with what every planning rule buys, and try the bound where errors are known.

Run it to rewrite the tables and pictures of docs/validation.md (pictures need the extra
``plot``)::

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
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from coverage_grid import KINDS, coverage_grid

from rlhf_budget import Scenario
from rlhf_budget.bound.inequalities import confidence
from rlhf_budget.simulation import WorldSpec
from rlhf_budget.simulation.evaluation import trials
from rlhf_budget.simulation.evaluation.study import protocol_for, simulate
from rlhf_budget.simulation.parallel import try_worlds
from rlhf_budget.simulation.statistics import clopper_pearson, mean_interval
from rlhf_budget.simulation.training.judging import judge
from rlhf_budget.simulation.training.study import (
    default_recipe,
    training_protocol,
    training_spec,
)
from rlhf_budget.simulation.training.trials import try_training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from coverage_grid import Cell, Grid

    from rlhf_budget import Allocation
    from rlhf_budget.simulation.statistics import Estimate
    from rlhf_budget.simulation.training.judging import Judged
    from rlhf_budget.simulation.training.trials import TrainingProtocol, TrainingRecord

    Rates = tuple[float, ...] | None

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "validation.md"
PICTURES = ROOT / "docs" / "validation"
SEED = 2026


@dataclass(frozen=True)
class Size:
    """How much is tried."""

    training_worlds: int
    grid_worlds: int
    grid_replicates: int
    tight_worlds: int


FULL = Size(training_worlds=10, grid_worlds=5, grid_replicates=200, tight_worlds=20)
QUICK = Size(training_worlds=2, grid_worlds=2, grid_replicates=20, tight_worlds=5)


# --- what is trained -----------------------------------------------------------------------------

PRICES = {
    "cheap labels": {"prompt": 0.01, "rollout": 0.01, "label": 0.05},
    "between": {"prompt": 0.02, "rollout": 0.01, "label": 0.3},
    "dear labels": {"prompt": 0.002, "rollout": 0.01, "label": 1.5},
    "dear prompts": {"prompt": 0.2, "rollout": 0.01, "label": 0.3},
}
"""USD."""
KNOWN_PRICES = {
    f"c_p/c_r = {ratio:g}": {"prompt": 0.01 * ratio, "rollout": 0.01}
    for ratio in (0.05, 1.0, 3.0, 10.0)
}
SIZES = (0.5, 2.0)
"""Money of a world, in units of what ``simulate`` gives it."""
POLICIES = {
    "fixed": {"policy": "fixed"},
    "finite_class of 10": {"policy": "finite_class", "candidates": 10},
    "PAC-Bayes 5": {"policy": "pac_bayes", "posterior_kl": 5},
    "PAC-Bayes 20": {"policy": "pac_bayes", "posterior_kl": 20},
    "PAC-Bayes 60": {"policy": "pac_bayes", "posterior_kl": 60},
}
RULES: dict[str, dict[str, object]] = {
    f"{concentration}, {name}": {"bound": {"concentration": concentration, **policy}}
    for concentration in ("hoeffding", "prompt_mean", "bernstein")
    for name, policy in POLICIES.items()
    if concentration != "bernstein" or not name.startswith("PAC")
}
EASY_RATES = (0.06, 0.25, 1.0)
"""Ten times the usual learning rates: training then takes a handful of steps instead of tens."""
UNAWARE = "hoeffding, PAC-Bayes 20, groups unknown"
HABITS = ("thirds", "k8", "k16", "prompts-first", "labels-first")


@dataclass(frozen=True)
class Trained:
    """Every rule and the grid in the worlds of one price setting and budget."""

    title: str
    protocol: TrainingProtocol
    records: tuple[TrainingRecord, ...]

    @cached_property
    def rules(self) -> Judged:
        """What the rules train."""
        return judge(np.stack([record.quality for record in self.records]))

    @cached_property
    def cells(self) -> Judged:
        """What the grid trains."""
        return judge(np.stack([record.grid for record in self.records]))

    @property
    def names(self) -> list[str]:
        """Of rules and habits."""
        return [name for name, _ in self.records[0].entries]

    def allocations(self, name: str) -> list[Allocation]:
        """What a rule buys in each world."""
        return [dict(record.entries)[name] for record in self.records]

    def quality(self, name: str) -> Any:
        """J* in each world, shape (W,)."""
        return self.rules.quality[:, self.names.index(name)]

    def lost(self, name: str) -> Any:
        """Regret in each world, shape (W,)."""
        return self.cells.best - self.quality(name)

    def regret(self, name: str) -> Estimate:
        """Mean regret over worlds."""
        return mean_interval(self.lost(name).tolist())

    def rank(self, name: str) -> int:
        """Place among the grid's cells."""
        return 1 + int((self.cells.quality.mean(axis=0) > self.quality(name).mean()).sum())

    def best(self) -> list[Allocation]:
        """The grid's best in each world: the thresholds differ."""
        return [record.cells[self.cells.best_index] for record in self.records]


def to_train(prices: dict[str, float]) -> Scenario:
    known = "label" not in prices
    model: Any = {"label_policy": "current", "error": {"scale": 8.0, "exponent": 0.8}}
    return Scenario(
        name="validation",
        budget=10_000,
        objective={"kl_coefficient": 0 if known else 0.05},
        bound={"policy": "pac_bayes", "posterior_kl": 17},
        costs=prices,
        reward_model="verifiable" if known else model,
        log_ratio=None if known else {"family": "gaussian", "kl": 3.0},
        groups={"mean": 0.3, "correlation": 0.3} if known else None,
        limits={"rollouts_per_prompt": {"min": 2 if known else 1, "max": 64}},
    )


def trained(name: str, size: float, worlds: int, rates: Rates) -> Trained:
    """Train in the worlds of a price setting; None: at the study's own learning rates."""
    prices = {**PRICES, **KNOWN_PRICES}[name]
    rules = dict(RULES)
    if name in KNOWN_PRICES:
        rules[UNAWARE] = {**RULES["hoeffding, PAC-Bayes 20"], "groups": None}
    made = to_train(prices)
    recipe = default_recipe(training_spec(made))
    if rates is not None:
        recipe = replace(recipe, learning_rates=rates)
    protocol = training_protocol(made, 4, rules=tuple(rules.items()), size=size, recipe=recipe)
    found = try_worlds(
        partial(try_training, protocol),
        worlds=worlds,
        seed=SEED,
        jobs=1,
        on_world=lambda _: None,
    )
    easy = ", easy" if rates else ""
    return Trained(f"{name}, × {size:g}{easy}", protocol, tuple(found.values()))


def spread(estimate: Estimate) -> str:
    low, high = estimate.interval or (math.nan, math.nan)
    return f"{estimate.mean:.4f} ({low:.4f} – {high:.4f})"


def over_all_cells(cells: Sequence[Trained]) -> str:
    rows = []
    for name in dict.fromkeys(name for cell in cells for name in cell.names if name != "plan"):
        here = [cell for cell in cells if name in cell.names]
        # Cells have seeds in common: the mean over cells is taken world by world.
        mean = mean_interval(np.mean([cell.lost(name) for cell in here], axis=0).tolist())
        worst = max(here, key=lambda cell: cell.regret(name).mean)
        rank = np.median([cell.rank(name) for cell in here])
        rows.append(
            (name, spread(mean), f"{worst.regret(name).mean:.4f}", worst.title, f"{rank:g}")
        )
    of = "/".join(f"{n}" for n in sorted({cell.cells.quality.shape[1] + 1 for cell in cells}))
    header = ("planned by", "mean regret (95 %)", "worst cell", "which is", f"median rank of {of}")
    return table(header, rows)


def cell_by_cell(cells: Sequence[Trained]) -> str:
    rows = [
        (
            name,
            *(
                f"{spread(cell.regret(name))}, {cell.rank(name)}" if name in cell.names else ""
                for cell in cells
            ),
        )
        for name in cells[0].names
        if name != "plan"
    ]
    return table(("planned by", *(cell.title for cell in cells)), rows)


def bought(cells: Sequence[Trained]) -> str:
    """What the grid's best buys, and what some rules do."""
    shown = (
        "hoeffding, PAC-Bayes 5",
        "hoeffding, PAC-Bayes 60",
        "hoeffding, fixed",
        "bernstein, fixed",
    )
    rows = []
    for cell in cells:
        best = cell.best()
        n = float(np.median([a.prompts for a in best]))
        columns = [best, *(cell.allocations(name) for name in shown)]
        rows.append(
            (
                cell.title,
                f"{n:,.0f} × {best[0].rollouts_per_prompt}, {best[0].labels:,}",
                *(f"{_label_share(cell, each):.0%}, {_usual_group(each):g}" for each in columns),
            )
        )
    header = ("", "best of the grid: n × K, m", "its share for labels, K", *shown)
    return table(header, rows)


def _label_share(cell: Trained, allocations: Sequence[Allocation]) -> float:
    scenario = cell.protocol.scenario
    money = (scenario.costs.label or 0.0) / (scenario.budget or math.inf)
    return float(np.median([a.labels * money for a in allocations]))


def _usual_group(allocations: Sequence[Allocation]) -> float:
    return float(np.median([a.rollouts_per_prompt for a in allocations]))


def groups(cells: Sequence[Trained]) -> str:
    """The best K of the grid beside K* with and without silent groups, and the success of each."""
    rows = []
    for cell in cells:
        sizes = [a.rollouts_per_prompt for a in cell.records[0].cells]
        success = cell.cells.quality.mean(axis=0)
        planned = [
            f"{_usual_group(cell.allocations(name)):g} ({cell.quality(name).mean():.3f})"
            for name in (UNAWARE, "hoeffding, PAC-Bayes 20")
        ]
        best = int(success.argmax())
        by_size = (f"{K}: {value:.3f}" for K, value in zip(sizes, success, strict=True))
        rows.append((cell.title, f"{sizes[best]} ({success[best]:.3f})", *planned, *by_size))
    header = ("", "best K", "K* of Theorem 1", "with silent groups", *("",) * len(sizes))
    return table(header, rows)


def clipping(cells: Sequence[Trained]) -> str:
    rows = []
    for cell in cells:
        quality = judge(np.stack([record.clipping for record in cell.records])).quality
        lost = (
            spread(mean_interval((quality[:, 0] - quality[:, index]).tolist()))
            for index in range(1, quality.shape[1])
        )
        thresholds = [a.clip_threshold or 0.0 for a in cell.allocations("plan")]
        rows.append((cell.title, f"{np.median(thresholds):.1f}", *lost))
    return table(("", "τ*, nats (median)", "J* lost at τ*", "at 2τ*", "at 4τ*"), rows)


def rates(cells: Sequence[Trained]) -> str:
    """How often the least, the middle and the largest learning rate is the best one."""
    rows = []
    for cell in cells:
        options = cell.protocol.recipe.learning_rates
        counts = (
            " / ".join(f"{n}" for n in np.bincount(judged.rates, minlength=len(options)))
            for judged in (cell.rules, cell.cells)
        )
        rows.append((cell.title, ", ".join(f"{rate:g}" for rate in options), *counts))
    header = ("", "rates", "best for so many rules and habits", "for so many cells of the grid")
    return table(header, rows)


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


# --- pictures ------------------------------------------------------------------------------------

WIDTH, HEIGHT = 260, 200


MARGIN = 40
"""Around a picture, pixels: a viewer whose font is wider than the one measured cuts nothing off."""


def save(chart: Any, name: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    chart = chart.properties(padding=MARGIN).configure_view(stroke=None)
    chart.save(str(PICTURES / f"{name}.svg"))
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
        x=alt.X(
            "n:Q",
            scale=alt.Scale(type="log", domain=[30, 8000], nice=False),
            axis=alt.Axis(values=[50, 500, 5000], format="d"),
            title="prompts n",
        ),
        y=alt.Y(
            "looseness:Q",
            scale=alt.Scale(type="log", domainMin=1),
            title="bound / 95 % quantile of the error",
        ),
        color=alt.Color("bound:N", title="concentration"),
    )
    dashes = alt.StrokeDash(
        "K:N",
        sort=["K = 1", "K = 4", "K = 16"],
        title="rollouts per prompt",
        legend=alt.Legend(symbolType="stroke", symbolStrokeColor="black", symbolSize=350),
    )
    order = [f"{m:,} labels, C by {kind}" for kind in ("features", "density") for m in LABELS]
    layers = base.mark_line().encode(strokeDash=dashes) + base.mark_point(filled=True).encode(
        detail="K:N"
    )
    chart = layers.properties(width=WIDTH, height=HEIGHT)
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


COLOURS = {"hoeffding": "#0072b2", "prompt_mean": "#e69f00", "bernstein": "#d55e00"}


def picture_of_rules(cells: Sequence[Trained], name: str) -> None:
    import altair as alt  # noqa: PLC0415 - only pictures need it

    rows = []
    for cell in cells:
        for rule in RULES:
            regret = cell.regret(rule)
            low, high = regret.interval or (math.nan, math.nan)
            rows.append(
                {
                    "cell": cell.title,
                    "concentration": rule.split(", ")[0],
                    "rule": rule,
                    "regret": regret.mean,
                    "low": low,
                    "high": high,
                }
            )
    scale = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("rule:N", sort=list(RULES), title=None, axis=alt.Axis(labelLimit=260)),
        color=alt.Color("concentration:N", scale=scale, legend=None),
    )
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title="regret, reward units"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=45).encode(x="regret:Q")
    chart = (bars + points).properties(width=190, height=190)
    order = [cell.title for cell in cells]
    save(chart.facet(alt.Facet("cell:N", sort=order, title=None), columns=4), name)


# --- the page ------------------------------------------------------------------------------------


TABLES = (
    "rules",
    "rules-by-cell",
    "bought",
    "easy-rules",
    "easy-rules-by-cell",
    "easy-bought",
    "known-rules",
    "groups",
    "clipping",
    "rates",
    "coverage",
    "inequalities",
    "looseness",
    "tight",
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


def run(size: Size) -> tuple[dict[str, str], Grid, dict[str, list[Trained]]]:
    def everywhere(names: Iterable[str], sizes: Sequence[float], rates: Rates) -> list[Trained]:
        return [
            timed(f"{name} × {money:g}", partial(trained, name, money, size.training_worlds, rates))
            for name in names
            for money in sizes
        ]

    hard = everywhere(PRICES, (1.0,), None)
    easy = everywhere(PRICES, SIZES, EASY_RATES)
    known = everywhere(KNOWN_PRICES, SIZES, None)
    grid = timed(
        "grid",
        lambda: coverage_grid(worlds=size.grid_worlds, replicates=size.grid_replicates, seed=SEED),
    )
    held = [(i.coverage_above_kl, i.fresh_labels) for i in grid.inequalities]
    tables = {
        "rules": over_all_cells(hard),
        "rules-by-cell": cell_by_cell(hard),
        "bought": bought(hard),
        "easy-rules": over_all_cells(easy),
        "easy-rules-by-cell": cell_by_cell(easy),
        "easy-bought": bought(easy),
        "known-rules": over_all_cells(known),
        "groups": groups(known),
        "clipping": clipping([*hard, *easy]),
        "rates": rates([*hard, *easy, *known]),
        "coverage": coverage_by_kind(grid),
        "inequalities": (
            f"`C² ≥ e^KL` held in {sum(a for a, _ in held)} of {len(held)} world and reward-model "
            f"pairs, the fresh-label inequality in {sum(b for _, b in held)} of {len(held)}."
        ),
        "looseness": looseness_by_size(grid),
        "tight": timed("tight worlds", lambda: tight(size)),
    }
    return tables, grid, {"rules": hard, "easy-rules": easy, "known-rules": known}


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    render(PAGE.read_text(encoding="utf-8"), dict.fromkeys(TABLES, ""))
    tables, grid, pictured = run(QUICK if quick else FULL)
    if quick:
        print("\n\n".join(f"{name}\n{text}" for name, text in tables.items()))
        return 0
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    picture_of_looseness(grid)
    picture_of_coverage(grid)
    for name, cells in pictured.items():
        picture_of_rules(cells, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
