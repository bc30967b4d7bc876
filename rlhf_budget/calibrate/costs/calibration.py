"""Prices of a prompt and of a rollout, from what past runs cost.

``money = prompt price · n + rollout price · n·K`` is fitted by non-negative least squares. Two
runs with different rollouts per prompt give both prices, and more runs give intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlhf_budget.calibrate.estimates import Calibration, Estimate, Source
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

PROMPT = "costs.prompt"
"""Key path of the price of one prompt."""
ROLLOUT = "costs.rollout"
"""Key path of the price of one rollout."""

_METHOD = "non-negative-least-squares"
_PRICES = 2
_UNITS = {PROMPT: "currency per prompt", ROLLOUT: "currency per rollout"}


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
    if not 0.0 < level < 1.0:
        raise CalibrationError(f"the level must be between 0 and 1, found {level:g}")
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

    def estimates(self, *, pasted: bool) -> tuple[Estimate, ...]:
        return tuple(
            self._estimate(column, constant, unit, pasted=pasted)
            for column, (constant, unit) in enumerate(_UNITS.items())
        )

    def _estimate(self, column: int, constant: str, unit: str, *, pasted: bool) -> Estimate:
        factor = 1.0 if column == 0 else self.per_rollout
        name = f"{self.runs[0].name}: " if self.runs[0].name else ""
        if np.linalg.matrix_rank(self.design) < _PRICES:
            why = (
                f"{name}all runs have the same rollouts per prompt (and tokens), so the two prices "
                "cannot be told apart; add a run with another number"
            )
            return Estimate.unavailable(constant, unit, _METHOD, why)
        interval = self.intervals[column]
        return Estimate(
            constant,
            unit,
            # A free price lets a plan buy without limit; the other price carries its share.
            "estimated" if self.prices.min() > 0.0 else "unreliable",
            float(self.prices[column]) * factor,
            None,
            None if interval is None else (interval[0] * factor, interval[1] * factor),
            _METHOD,
            len(self.runs),
            name + self._note(column) + ("" if pasted else "; choose with --run to write it"),
            pasted=pasted,
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
    with_tokens = all(run.tokens is not None for run in runs)
    rollouts = np.array([run.prompts * run.rollouts_per_prompt for run in runs])
    lengths = np.array([run.tokens if run.tokens is not None else 1.0 for run in runs])
    if not with_tokens:
        lengths = np.ones(len(runs))
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
