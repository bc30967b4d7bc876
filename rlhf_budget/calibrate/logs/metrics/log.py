"""A trainer's own log: the KL it prints, in the unit that it prints it in, and what rewards weigh.

Almost every logged KL is a mean per token; a sequence's KL is that times the mean length
(docs/calibration.md lists keys, units and estimators per trainer). The median over steps is taken:
the estimator "k3" is unbiased but one token can lift a step's value tenfold.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rlhf_budget.calibrate.logs.dialects import KL_KEYS, LENGTH_KEYS
from rlhf_budget.calibrate.logs.selection import how_many
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rlhf_budget.calibrate.logs.dialects.dialect import KlKey

Quantity = Literal["tokens", "reward", "reward_deviation", "silent_share", "step_seconds"]


_QUANTITIES: Mapping[Quantity, tuple[str, ...]] = {
    "tokens": LENGTH_KEYS,
    "reward": ("reward", "critic/score/mean", "critic/rewards/mean", "reward_mean"),
    "reward_deviation": ("reward_std", "critic/score/std", "critic/rewards/std"),
    "silent_share": ("frac_reward_zero_std",),
    "step_seconds": ("step_time", "timing_s/step", "perf/time_per_step"),
}
"""Keys of what a log says beside the KL, best first."""


@dataclass(frozen=True, slots=True)
class LoggedKl:
    """The mean KL of a sequence from a trainer's log."""

    key: str
    """Key it was read from."""
    remark: str
    """What the key's average leaves out."""
    median: float
    """Median over steps, nats per sequence."""
    mean: float
    """Mean over steps, nats per sequence."""
    largest: float
    """Largest step, nats per sequence."""
    interval: tuple[float, float]
    """Interval of the median from order statistics, nats per sequence."""
    steps: int
    """Number of steps."""


@dataclass(frozen=True, slots=True)
class LoggedMean:
    """The mean over steps of what a trainer logs."""

    key: str
    """Key it was read from."""
    value: float
    """Mean over steps."""
    standard_error: float | None
    """Over steps as if independent; None for a single one."""
    steps: int
    """Number of steps."""


@dataclass(frozen=True)
class MetricsLog:
    """Records of a trainer's log, in order."""

    path: str
    """File it was read from."""
    records: tuple[Mapping[str, float], ...]
    """Training records; each has ``step``."""
    evaluations: frozenset[int]
    """Steps at which an evaluation ran."""
    logging_steps: int
    """Steps between records."""
    ordered: bool = False
    """Whether the log holds no steps, so that ``step`` only counts its records."""

    def steps(self) -> tuple[int, ...]:
        """Return the steps of the records."""
        return tuple(int(record["step"]) for record in self.records)

    def reward_functions(self) -> tuple[str, ...]:
        """Return the names of TRL's reward functions, in the log's order."""
        keys = dict.fromkeys(key for record in self.records for key in record)
        return tuple(
            key.removeprefix("rewards/").removesuffix("/mean")
            for key in keys
            if key.startswith("rewards/") and key.endswith("/mean")
        )

    def last(self, last_steps: str) -> MetricsLog:
        """Return the log of the last steps only: a share such as ``20%``, or a number.

        Raises CalibrationError if it is neither, or the log holds evaluations only.
        """
        steps = sorted(set(self.steps()))
        if not steps:
            raise CalibrationError(f"{self.path}: no usable row: evaluations only")
        first = steps[-how_many(last_steps, len(steps))]
        return replace(self, records=tuple(r for r in self.records if r["step"] >= first))

    def kl(
        self, window: tuple[int, int] | None, level: float, tokens: float | None
    ) -> LoggedKl | None:
        """Return the KL per sequence over the steps of a window; None where none is logged.

        ``window`` is the first and the last step, None for all; ``tokens`` is the mean completion
        length for logs that do not hold one.
        """
        records = self._within(window)
        # A key whose lengths are logged beside it, at some steps at least, goes before others.
        for own_length in (True, False):
            for key in KL_KEYS:
                if own_length and all(_per_sequence(r, key, None) is None for r in records):
                    continue
                values = [v for r in records if (v := _per_sequence(r, key, tokens)) is not None]
                if values:
                    return LoggedKl(
                        key=key.key,
                        remark=key.remark,
                        median=statistics.median(values),
                        mean=statistics.fmean(values),
                        largest=max(values),
                        interval=_median_interval(values, level),
                        steps=len(values),
                    )
        return None

    def lack_of_kl(self, window: tuple[int, int] | None) -> str:
        """Return why :meth:`kl` is None over the steps of a window."""
        steps = {r["step"]: k.key for r in self.records for k in KL_KEYS if k.key in r}
        if not steps:
            listed = ", ".join(dict.fromkeys(k.key for k in KL_KEYS))
            return f"{self.path} logs no KL (none of {listed}; a KL coefficient of 0 logs none)"
        first, last = min(steps), max(steps)
        inside = [s for s in steps if window is None or window[0] <= s <= window[1]]
        if not inside and not self.ordered and window is not None:
            return (
                f"{self.path} logs its KL at steps {first:g} to {last:g}, not at the rows'"
                f" {window[0]} to {window[1]}: it is another checkpoint's or another run's"
            )
        return (
            f"{self.path} logs {steps[last]} per token and no mean length to multiply it by: give"
            " --tokens-field"
        )

    def mean(self, quantity: Quantity, window: tuple[int, int] | None) -> LoggedMean | None:
        """Return the mean over the steps of a window; None where the log does not hold it."""
        records = self._within(window)
        for key in _QUANTITIES[quantity]:
            values = [record[key] for record in records if key in record]
            if values:
                count = len(values)
                error = statistics.stdev(values) / math.sqrt(count) if count > 1 else None
                return LoggedMean(key, statistics.fmean(values), error, count)
        return None

    def _within(self, window: tuple[int, int] | None) -> list[Mapping[str, float]]:
        """Records of the steps of a window; all where the log does not know its steps."""
        if window is None or self.ordered:
            return list(self.records)
        return [r for r in self.records if window[0] <= r["step"] <= window[1]]


def _per_sequence(record: Mapping[str, float], key: KlKey, tokens: float | None) -> float | None:
    value = record.get(key.key)
    if value is None or key.length_keys is None:
        return value
    length = next((record[name] for name in key.length_keys if name in record), tokens)
    return None if length is None else value * length


def _median_interval(values: list[float], level: float) -> tuple[float, float]:
    """Order statistics around the median (binomial); the whole range for few steps."""
    from scipy.special import bdtr

    ordered = sorted(values)
    below = bdtr(range(len(ordered)), len(ordered), 0.5)  # P(at most k values below the median)
    rank = max(1, int((below < (1 - level) / 2).sum()))
    return ordered[rank - 1], ordered[len(ordered) - rank]
