"""Tails of the sequence log-ratio: what clipping at a threshold leaves out.

For a log-ratio ``l`` (nats per sequence) each family gives three functions of ``|l|``:

* ``survival(t) = P(|l| > t)``,
* ``excess(t) = E(|l| - t)₊``, the integral of the survival from ``t`` on,
* ``inverse_survival(p) = inf{t >= 0 : P(|l| > t) <= p}``, which is 0 when ``p >= P(|l| > 0)``.

The formulas are those of docs/theory.md, section 4, in forms that keep about 1e-12 relative down to
a survival of 1e-12. A float gives a float, computed with ``math`` alone; an array gives an array of
the same shape. ``gamma`` (all three functions) and ``weibull`` (its excess) load ``scipy.special``
when they are first used; nothing else needs SciPy.

A family is imported when it is first asked for: by its name here, or by :func:`make_tail`.
"""

from __future__ import annotations

import math
from dataclasses import fields
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from rlhf_budget.scenario.families import FAMILIES

if TYPE_CHECKING:
    from rlhf_budget.bound.tails.elementary import Number
    from rlhf_budget.bound.tails.empirical import Empirical
    from rlhf_budget.bound.tails.exponential import Exponential
    from rlhf_budget.bound.tails.gamma import Gamma
    from rlhf_budget.bound.tails.gaussian import Gaussian
    from rlhf_budget.bound.tails.half_normal import HalfNormal
    from rlhf_budget.bound.tails.lognormal import LogNormal
    from rlhf_budget.bound.tails.lomax import Lomax
    from rlhf_budget.bound.tails.weibull import Weibull
    from rlhf_budget.scenario.sections.log_ratio import LogRatio

__all__ = [
    "Empirical",
    "Exponential",
    "Gamma",
    "Gaussian",
    "HalfNormal",
    "LogNormal",
    "Lomax",
    "Tail",
    "Weibull",
    "make_tail",
    "tail_of",
]


class Tail(Protocol):
    """What every family offers; arguments are floats or arrays, results of their kind and shape."""

    family: ClassVar[str]
    """Name of the family, as ``log_ratio.family`` spells it."""

    def survival(self, t: Number) -> Number:
        """``P(|l| > t)`` for thresholds ``t >= 0`` in nats; infinity is allowed."""

    def excess(self, t: Number) -> Number:
        """``E(|l| - t)₊`` in nats, for thresholds ``t >= 0`` in nats; the mean of ``|l|`` at 0."""

    def inverse_survival(self, p: Number) -> Number:
        """Least ``t >= 0`` in nats with ``P(|l| > t) <= p``; everything from 1 on gives 0."""


def make_tail(family: str, **parameters: Any) -> Tail:
    """Return the tail of a family, by the names of its parameters in the scenario file."""
    tail: Tail = tail_class(family)(**parameters)
    return tail


@lru_cache(maxsize=256)
def tail_of(log_ratio: LogRatio) -> Tail:
    """Return the law of ``|l|`` that a scenario's ``log_ratio`` names, made once for each."""
    given = {
        entry.name: value
        for entry in fields(log_ratio)
        if entry.name != "family" and (value := getattr(log_ratio, entry.name)) is not None
    }
    if log_ratio.family == "gaussian" and log_ratio.std is None:
        given["std"] = math.sqrt(2.0 * given["kl"])
    return make_tail(log_ratio.family, **given)


def tail_class(family: str) -> Any:
    """Return the class of a family: the one that its module is named after."""
    module = import_module(f"{__name__}.{family}")
    return next(found for name, found in vars(module).items() if name.lower() == _plain(family))


def _plain(family: str) -> str:
    return family.replace("_", "")


def __getattr__(name: str) -> Any:
    for family in FAMILIES:
        if _plain(family) == name.lower() != name:
            return tail_class(family)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
