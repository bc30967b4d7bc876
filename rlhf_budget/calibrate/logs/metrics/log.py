"""A trainer's own log: the KL it prints, in the unit that it prints it in, and what rewards weigh.

Almost every logged KL is a mean per token; a sequence's KL is that times the mean length
(docs/calibration.md lists keys, units and estimators per trainer). The median over steps is taken:
the estimator "k3" is unbiased but one token can lift a step's value tenfold.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.logs.dialects import KL_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rlhf_budget.calibrate.logs.dialects.dialect import KlKey


_LENGTH_KEYS = tuple(dict.fromkeys(k.length_key for k in KL_KEYS if k.length_key is not None))


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


@dataclass(frozen=True)
class MetricsLog:
    """Records of a trainer's log, in order."""

    path: str
    """File it was read from."""
    records: tuple[Mapping[str, Any], ...]
    """Training records; each has ``step``."""
    evaluations: frozenset[int]
    """Steps at which an evaluation ran."""
    logging_steps: int
    """Steps between records."""

    def steps(self) -> tuple[int, ...]:
        """Return the steps of the records."""
        return tuple(int(record["step"]) for record in self.records)

    def kl(
        self, window: tuple[int, int] | None, level: float, tokens: float | None
    ) -> LoggedKl | None:
        """Return the KL per sequence over the steps of a window; None where none is logged.

        Parameters
        ----------
        window
            First and last step; None for all.
        level
            Level of the interval.
        tokens
            Mean completion length for logs that do not hold one.
        """
        records = [r for r in self.records if window is None or window[0] <= r["step"] <= window[1]]
        for key in KL_KEYS:
            values = [v for r in records if (v := _per_sequence(r, key, tokens)) is not None]
            if values:
                return LoggedKl(
                    key.key,
                    key.remark,
                    statistics.median(values),
                    statistics.fmean(values),
                    max(values),
                    _median_interval(values, level),
                    len(values),
                )
        return None

    def mean_length(self, window: tuple[int, int] | None) -> tuple[float, float, int] | None:
        """Return mean completion tokens, their standard error over steps, and the steps."""
        records = [r for r in self.records if window is None or window[0] <= r["step"] <= window[1]]
        for key in _LENGTH_KEYS:
            values = [v for r in records if (v := _finite(r.get(key))) is not None]
            if values:
                spread = statistics.stdev(values) if len(values) > 1 else math.nan
                return statistics.fmean(values), spread / math.sqrt(len(values)), len(values)
        return None


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _per_sequence(record: Mapping[str, Any], key: KlKey, tokens: float | None) -> float | None:
    value = _finite(record.get(key.key))
    if value is None or key.length_key is None:
        return value
    length = _finite(record.get(key.length_key))
    length = tokens if length is None else length
    return None if length is None else value * length


def _median_interval(values: list[float], level: float) -> tuple[float, float]:
    """Order statistics around the median (binomial); the whole range for few steps."""
    from scipy.stats import binom

    ordered = sorted(values)
    rank = int(binom.ppf((1 - level) / 2, len(ordered), 0.5))
    rank = max(rank, 1)
    return ordered[rank - 1], ordered[len(ordered) - rank]
