"""Prices of a prompt and of a rollout, from what past runs cost.

``money = prompt price · n + rollout price · n·K`` is fitted by non-negative least squares. Two
runs with different rollouts per prompt give both prices, and more runs give intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlhf_budget.calibrate.estimates import Calibration, Estimate, Source, require_level
from rlhf_budget.calibrate.logs.fields import number
from rlhf_budget.calibrate.logs.tables import Row, Tables, read_tables
from rlhf_budget.errors import CalibrationError, LogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from rlhf_budget.calibrate.estimates import Status

    Array = NDArray[np.float64]

_METHOD = "non-negative-least-squares"
_PRICES = 2
_UNITS = {"costs.prompt": "currency per prompt", "costs.rollout": "currency per rollout"}


@dataclass(frozen=True, slots=True)
class PastRun:
    """What one past run did and cost."""

    prompts: float
    """Distinct prompts, above 0."""
    rollouts_per_prompt: float
    """Rollouts of each prompt over all epochs, above 0."""
    money: float
    """What it cost, in currency, at least 0."""
    name: str = ""
    """Runs of one name are fitted together, and apart from others."""
    tokens: float | None = None
    """Mean length of a rollout, where lengths differ between runs."""


@dataclass(frozen=True, slots=True)
class Residual:
    """How far the fitted prices miss one run."""

    run: str
    """Name of the run."""
    money: float
    """What the run cost, in currency."""
    residual: float
    """What it cost above what the prices say, in currency."""


@dataclass(frozen=True)
class CostConstants(Calibration):
    """Prices of a prompt and of a rollout."""

    command: ClassVar[str] = "calibrate costs"

    residuals: tuple[Residual, ...] = ()
    """What the prices leave unexplained, run by run."""
    names: tuple[str, ...] = ()
    """Names of runs that were fitted apart, in the order of their estimates."""


def read_runs(
    paths: Sequence[str | Path],
    *,
    hourly_rate: float | None = None,
    name: str | None = None,
    strict: bool = False,
) -> tuple[tuple[PastRun, ...], Source]:
    """Read past runs.

    Parameters
    ----------
    paths
        Tables with the columns ``prompts``, ``rollouts_per_prompt`` and ``cost`` or ``hours``, and
        optionally ``gpus`` (1), ``tokens`` and ``run``.
    hourly_rate
        Price of one GPU hour: money is ``hours · gpus · hourly_rate`` where there is no ``cost``.
    name
        Use the rows of this ``run`` only.
    strict
        Make unusable rows an error.

    Raises
    ------
    CalibrationError
        If a column is missing, the hours have no rate, no row is usable, or no run has the name.
    LogError
        If a file is not of its kind, or ``strict`` finds an unusable row.
    FileAccessError
        If a file cannot be read.
    """
    tables = read_tables(paths)
    _require_columns(tables, hourly_rate)
    runs: list[PastRun] = []
    skips = ["malformed-row"] * tables.broken
    for row in tables.rows:
        run = _run(row, hourly_rate)
        if name is not None and str(row.get("run") or "") != name:
            skips.append("another-run")
        elif run is None:
            skips.append("unusable-run")
        else:
            runs.append(run)
    for fault, told in (
        ("unusable-run", "lack a number above 0"),
        ("malformed-row", "with malformed-row"),
    ):
        if strict and fault in skips:
            raise LogError(f"{tables.place}: {skips.count(fault)} rows {told}")
    if not runs and name is not None:
        names = ", ".join(sorted({str(row.get("run") or "") for row in tables.rows}))
        raise CalibrationError(f"{tables.place}: no usable row of run {name!r}; there are {names}")
    if not runs:
        raise CalibrationError(
            f"{tables.place}: no usable row; each needs prompts, rollouts per prompt and a cost"
        )
    return tuple(runs), Source.counted(tables.files, len(runs), skips)


def _require_columns(tables: Tables, hourly_rate: float | None) -> None:
    present = tables.columns
    missing = [column for column in ("prompts", "rollouts_per_prompt") if column not in present]
    if not {"cost", "hours"} & {*present}:
        missing.append("cost or hours")
    if missing:
        lack, found = " and no ".join(missing), ", ".join(present)
        raise CalibrationError(f"{tables.place}: no column {lack} among {found}")
    if "cost" not in present and hourly_rate is None:
        raise CalibrationError(
            f"{tables.place}: hours are no money; give --hourly-rate, the price of a GPU hour"
        )


def _run(row: Row, hourly_rate: float | None) -> PastRun | None:
    prompts, group = number(row.get("prompts")), number(row.get("rollouts_per_prompt"))
    money, tokens = number(row.get("cost")), number(row.get("tokens"))
    if money is None and hourly_rate is not None:
        hours = number(row.get("hours"))
        gpus = 1.0 if row.get("gpus") in (None, "") else number(row["gpus"])
        money = None if hours is None or gpus is None else hours * gpus * hourly_rate
    if prompts is None or group is None or money is None:
        return None
    if prompts <= 0.0 or group <= 0.0 or money < 0.0 or (tokens is not None and tokens <= 0.0):
        return None
    return PastRun(prompts, group, money, str(row.get("run") or ""), tokens)


def costs(
    runs: Iterable[PastRun],
    *,
    name: str | None = None,
    level: float = 0.95,
    source: Source | None = None,
) -> CostConstants:
    """Estimate the prices of a prompt and of a rollout.

    Parameters
    ----------
    runs
        Past runs; two or more of each name, with different rollouts per prompt.
    name
        Use the runs of this name only.
    level
        Level of the intervals, which need three runs or more.
    source
        Files behind the runs.

    Returns
    -------
    CostConstants
        ``costs.prompt`` and ``costs.rollout``. Several names give a pair of estimates each; none of
        these goes into a scenario, because it has room for one.

    Raises
    ------
    CalibrationError
        If a name has fewer than two runs, no run has the name, or a number is out of its range.

    Notes
    -----
    The intervals hold every price for which the best other price leaves residuals within
    ``1 + F/(runs - 2)`` of the least (Fisher's law), for errors of equal spread.
    """
    require_level(level)
    chosen = [run for run in runs if name is None or run.name == name]
    if not chosen:
        raise CalibrationError(f"no run is called {name}" if name else "no runs")
    names = tuple(dict.fromkeys(run.name for run in chosen))
    fits = [_fit([run for run in chosen if run.name == each], level) for each in names]
    several = len(names) > 1
    return CostConstants(
        level=level,
        source=source or Source(rows_read=len(chosen), rows_used=len(chosen)),
        estimates=tuple(e for fit in fits for e in fit.estimates(pasted=not several)),
        residuals=tuple(r for fit in fits for r in fit.residuals()),
        names=names,
    )


@dataclass(frozen=True, slots=True)
class _Fit:
    """The prices of runs of one name."""

    runs: list[PastRun]
    design: Array  # shape (runs, 2): prompts, and rollouts or tokens
    money: Array
    prices: Array
    intervals: tuple[tuple[float, float] | None, ...]
    per_rollout: float  # tokens of a mean rollout, or 1

    def estimates(self, *, pasted: bool) -> Iterator[Estimate]:
        name = f"{self.runs[0].name}: " if self.runs[0].name else ""
        # A free price lets a plan buy without limit; the other price carries its share.
        status: Status = "estimated" if self.prices.min() > 0.0 else "unreliable"
        for column, (constant, unit) in enumerate(_UNITS.items()):
            if np.linalg.matrix_rank(self.design) < _PRICES:
                why = (
                    f"{name}all runs have the same rollouts per prompt (and tokens), so the two"
                    " prices cannot be told apart; add a run with another number"
                )
                yield Estimate.unavailable(constant, unit, _METHOD, why)
                continue
            factor = 1.0 if column == 0 else self.per_rollout
            price, ends = float(self.prices[column]) * factor, self.intervals[column]
            interval = None if ends is None else (ends[0] * factor, ends[1] * factor)
            note = name + self._note(column) + ("" if pasted else "; choose with --run to write it")
            yield Estimate(
                constant, unit, status, price, None, interval, _METHOD, len(self.runs), note, pasted
            )

    def _note(self, column: int) -> str:
        largest = float(np.abs(self.money - self.design @ self.prices).max())
        note = f"largest residual {largest:.3g} of {float(self.money.max()):.3g}"
        if len(self.runs) == _PRICES:
            note = "two runs fit exactly: no interval"
        if self.prices[column] <= 0.0:
            note += "; held at 0, a negative price would fit better"
        if column == 1 and self.runs[0].tokens is not None:
            note += f"; at {self.per_rollout:.4g} tokens a rollout"
        return note

    def residuals(self) -> tuple[Residual, ...]:
        left = self.money - self.design @ self.prices
        return tuple(
            # What rounding leaves of an exact fit is no residual.
            Residual(run.name, run.money, float(rest) if abs(rest) > 1e-12 * run.money else 0.0)
            for run, rest in zip(self.runs, left, strict=True)
        )


def _fit(runs: list[PastRun], level: float) -> _Fit:
    from scipy import optimize

    _require_runs(runs)
    rollouts = np.array([run.prompts * run.rollouts_per_prompt for run in runs])
    # A rollout is priced by its tokens where the runs say how many: all do, or none.
    lengths = np.array([1.0 if run.tokens is None else run.tokens for run in runs])
    design = np.column_stack([[run.prompts for run in runs], rollouts * lengths])
    money = np.array([run.money for run in runs])
    sizes = design.max(axis=0)
    prices = optimize.nnls(design / sizes, money)[0] / sizes
    per_rollout = float((rollouts @ lengths) / rollouts.sum())
    intervals = tuple(_interval(design, money, column, prices, level) for column in range(_PRICES))
    return _Fit(runs, design, money, prices, intervals, per_rollout)


def _require_runs(runs: list[PastRun]) -> None:
    for run in runs:
        numbers = (run.prompts, run.rollouts_per_prompt, 1.0 if run.tokens is None else run.tokens)
        if not all(math.isfinite(n) and n > 0.0 for n in numbers) or not (
            math.isfinite(run.money) and run.money >= 0.0
        ):
            raise CalibrationError(
                "a run needs prompts, rollouts per prompt and tokens above 0 and a cost of 0 or "
                f"more, found {run.prompts:g}, {run.rollouts_per_prompt:g} and {run.money:g}"
            )
    if len(runs) < _PRICES:
        name = f" of {runs[0].name}" if runs[0].name else ""
        raise CalibrationError(
            f"one run{name} cannot give two prices; add a run with other rollouts per prompt"
        )
    if any(run.tokens is None for run in runs) and any(run.tokens is not None for run in runs):
        raise CalibrationError(
            "tokens must be given for all runs that are fitted together, or none"
        )


def _interval(
    design: Array, money: Array, column: int, prices: Array, level: float
) -> tuple[float, float] | None:
    """Return the interval of one price by profiling over the other."""
    from scipy import special

    freedom = money.size - _PRICES
    if freedom < 1 or np.linalg.matrix_rank(design) < _PRICES:
        return None
    own, other = design[:, column], design[:, 1 - column]

    def squares(price: float) -> float:
        rest = money - price * own
        best = max(0.0, float(other @ rest) / float(other @ other))
        return float(((rest - best * other) ** 2).sum())

    centre = float(prices[column])
    quantile = float(special.stdtrit(freedom, 0.5 + level / 2.0))
    threshold = squares(centre) * (1.0 + quantile**2 / freedom)
    farthest = 2.0 * centre + 2.0 * float(np.linalg.norm(money)) / float(np.linalg.norm(own))
    farthest += quantile * float(money.sum()) / float(own.min())
    low = 0.0 if squares(0.0) <= threshold else _crossing(squares, threshold, centre, 0.0)
    return low, _crossing(squares, threshold, centre, farthest)


def _crossing(
    squares: Callable[[float], float], threshold: float, inside: float, outside: float
) -> float:
    for _ in range(100):
        middle = (inside + outside) / 2.0
        if squares(middle) <= threshold:
            inside = middle
        else:
            outside = middle
    return inside
