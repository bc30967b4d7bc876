"""``log_ratio``: the law of the log-ratio, by family."""

from __future__ import annotations

import math
from dataclasses import field
from typing import TYPE_CHECKING, Any

from rlhf_budget.scenario import assumptions
from rlhf_budget.scenario.families import FAMILIES
from rlhf_budget.scenario.reading import UNKNOWN
from rlhf_budget.scenario.sections.common import Section, present
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from rlhf_budget.scenario.reading import Reader
    from rlhf_budget.scenario.sections.common import Values


@dataclass(frozen=True)
class LogRatio(Section):
    """Law of the log-ratio of policy and reference on whole responses.

    The fields that its family does not have are None.
    """

    family: str
    """Name of the family, as in ``rlhf_budget.scenario.families``."""
    kl: float | None = None
    """Gaussian: mean of the log-ratio, nats per sequence."""
    std: float | None = None
    """Gaussian: standard deviation, nats; None stands for ``sqrt(2 kl)``."""
    mean: float | None = None
    """Exponential: mean of the magnitude, nats."""
    shape: float | None = None
    """Gamma, weibull, lomax: no unit."""
    scale: float | None = None
    """Half_normal, gamma, weibull, lomax: nats."""
    mu: float | None = None
    """Lognormal: mean of ``ln |l|``, ln nats."""
    sigma: float | None = None
    """Lognormal: standard deviation of ``ln |l|``, ln nats."""
    samples: tuple[float, ...] | None = field(default=None, repr=False)
    """Empirical: nats per sequence."""


def read_log_ratio(reader: Reader, samples: tuple[float, ...] | None) -> Values:
    """Read ``log_ratio``; ``samples`` are those of an empirical tail's file, if it names one."""
    if reader.get("log_ratio") == UNKNOWN:
        allowed = "a mapping such as {family: gaussian, kl: unknown}"
        reader.problem("log_ratio", UNKNOWN, allowed)
        return {}
    if not reader.mapping("log_ratio"):
        return {}
    family = reader.word("log_ratio.family")
    if family is None:
        return {}
    _check_fields(reader, family)
    if family == "gaussian":
        return {"family": family, **_gaussian(reader)}
    if family == "empirical":
        return {"family": family, **_empirical(reader, samples)}
    return {
        "family": family,
        **{name: _family_number(reader, family, name) for name in FAMILIES[family].fields},
    }


def _check_fields(reader: Reader, family: str) -> None:
    """Note fields that belong to other families."""
    written = reader.get("log_ratio")
    for name in written:
        owners = [other for other, law in FAMILIES.items() if name in law.fields]
        if owners and family not in owners:
            allowed = f"for family {family}: {', '.join(FAMILIES[family].fields)}"
            of = "family" if len(owners) == 1 else "families"
            reader.problem(f"log_ratio.{name}", f"a field of {of} {', '.join(owners)}", allowed)


def _family_number(reader: Reader, family: str, name: str, *, optional: bool = False) -> Any:
    key = f"log_ratio.{name}"
    rules = FAMILIES[family].fields[name]
    if not reader.has(key):
        if not optional:
            reader.problem(key, "nothing", f"{rules.allowed}: {rules.description}")
        return None
    if reader.get(key) == UNKNOWN and rules.unknown:
        return reader.assume(key, "unknown", *assumptions.KL_RANGE)
    return reader.number(key, rules)


def _gaussian(reader: Reader) -> Values:
    per_token = [name for name in ("kl_per_token", "tokens") if reader.has(f"log_ratio.{name}")]
    if not per_token:
        kl = _family_number(reader, "gaussian", "kl")
    elif reader.has("log_ratio.kl"):
        reader.problem(
            "log_ratio.kl", f"kl beside {per_token[0]}", "kl, or kl_per_token and tokens"
        )
        kl = None
    else:
        rate = _family_number(reader, "gaussian", "kl_per_token")
        tokens = _family_number(reader, "gaussian", "tokens")
        kl = None if rate is None or tokens is None else rate * tokens
        if kl is not None and not 0 < kl < math.inf:
            reader.problem("log_ratio.kl_per_token", f"a product of {kl}", "a finite KL above 0")
    return present(kl=kl, std=_family_number(reader, "gaussian", "std", optional=True))


def _empirical(reader: Reader, samples: tuple[float, ...] | None) -> Values:
    if reader.has("log_ratio.samples"):
        if reader.has("log_ratio.file"):
            reader.problem("log_ratio.file", "file beside samples", "samples or file, one of them")
        return present(samples=reader.numbers("log_ratio.samples"))
    if not reader.has("log_ratio.file"):
        reader.problem("log_ratio.samples", "nothing", "a list of numbers, or file: a file of them")
    return present(samples=samples)


def mean_absolute(log_ratio: Values) -> float:
    """Return ``E|l|`` in nats: the KL for the gaussian, the mean of the tail for other families.

    Sources: docs/theory.md section 4, ``E(|l| - t)+`` at ``t = 0``. Infinite where it overflows.
    """
    try:
        return FAMILIES[log_ratio["family"]].mean(log_ratio)
    except OverflowError:
        return math.inf
