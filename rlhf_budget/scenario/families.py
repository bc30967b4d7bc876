"""Families of the log-ratio's law: what a scenario says of each.

Their tails are in :mod:`rlhf_budget.bound.tails`, in a module of the family's name.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rlhf_budget.scenario.key import Key, constant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Family(NamedTuple):
    """What a scenario says of one family."""

    fields: dict[str, Key]
    """Keys of ``log_ratio``, named as the fields of the tail."""
    mean: Callable[[Mapping[str, Any]], float]
    """``E|l|`` of these fields, nats (docs/theory.md, section 4); may overflow."""


FAMILIES: Final = {
    "gaussian": Family(
        {
            "kl": constant(
                "Mean of the log-ratio, which is the KL divergence from the reference policy",
                "nats per sequence",
                above=0,
                unknown=True,
            ),
            "kl_per_token": constant(
                "KL divergence per token, as trainers log it; with tokens, in place of kl",
                "nats per token",
                above=0,
            ),
            "tokens": constant("Mean length of a response, for kl_per_token", "tokens", above=0),
            "std": constant(
                "Standard deviation of the log-ratio; by default sqrt(2 kl)", "nats", above=0
            ),
        },
        lambda law: law["kl"],
    ),
    "exponential": Family(
        {"mean": constant("Mean of the absolute log-ratio", "nats", above=0)},
        lambda law: law["mean"],
    ),
    "half_normal": Family(
        {"scale": constant("Scale: standard deviation of the normal law folded", "nats", above=0)},
        lambda law: law["scale"] * math.sqrt(2 / math.pi),
    ),
    "gamma": Family(
        {
            # All but one point by then; its formulas lose their digits beyond.
            "shape": replace(constant("Shape", above=0), at_most=1e8),
            "scale": constant("Scale", "nats", above=0),
        },
        lambda law: law["shape"] * law["scale"],
    ),
    "weibull": Family(
        {
            "shape": constant("Shape", above=0),
            "scale": constant("Scale", "nats", above=0),
        },
        lambda law: law["scale"] * math.exp(math.lgamma(1 + 1 / law["shape"])),
    ),
    "lognormal": Family(
        {
            "mu": constant("Mean of the logarithm of the absolute log-ratio", "ln nats"),
            "sigma": constant("Standard deviation of that logarithm", "ln nats", above=0),
        },
        lambda law: math.exp(law["mu"] + law["sigma"] ** 2 / 2),
    ),
    "lomax": Family(
        {
            "shape": constant("Shape; the mean is finite above 1 only", above=1),
            "scale": constant("Scale", "nats", above=0),
        },
        lambda law: law["scale"] / (law["shape"] - 1),
    ),
    "empirical": Family(
        {
            "samples": Key("Log-ratios of whole responses", "nats", "numbers"),
            "file": Key(
                "File of log-ratios: .npy, .csv (one column, or one called log_ratio), or one "
                "number a line; relative to the file that names it",
                kind="text",
            ),
        },
        lambda law: math.fsum(map(abs, law["samples"])) / len(law["samples"]),
    ),
}
"""Family, as ``log_ratio.family`` and its module in ``rlhf_budget.bound.tails`` are called."""
