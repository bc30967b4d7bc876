"""``reward_model``: coverage and error, or the word ``verifiable``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

from rlhf_budget.scenario import assumptions
from rlhf_budget.scenario.keys import KEYS
from rlhf_budget.scenario.reading import UNKNOWN, shown
from rlhf_budget.scenario.sections.common import Section, is_mapping, present, scaled_number
from rlhf_budget.scenario.suggestions import allowed_mapping
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from rlhf_budget.scenario.reading import Reader
    from rlhf_budget.scenario.sections.common import Values

VERIFIABLE: Final = "verifiable"
"""The word for a programmatic reward."""
CURVE: Final = ("floor", "scale", "exponent")
"""Constants of the learning curve of a reward model."""


@dataclass(frozen=True)
class ErrorCurve(Section):
    """Mean squared error of the reward model: ``floor + scale * labels**(-exponent)``."""

    floor: float
    """Reward units squared."""
    scale: float
    """Reward units squared, at one label."""
    exponent: float
    """Power of the number of labels."""


@dataclass(frozen=True)
class RewardModel(Section):
    """How well the reward model knows the reward."""

    coverage: float | None
    """C >= 1; None where every label comes from the current policy."""
    coverage_kind: Literal["density", "features"]
    """What C was measured on."""
    error: ErrorCurve | float
    """Learning curve, or the mean squared error of a finished reward model (reward units
    squared)."""
    existing_labels: int
    """Labels owned, a count."""
    label_policy: Literal["behaviour", "current"]
    """Whose rollouts new labels compare."""


def read_reward_model(reader: Reader, reward_range: float | None, kl: float | None) -> Values | str:
    """Read ``reward_model``.

    An unknown error is a share of the squared reward range, which is None where it is wrong. For an
    unknown coverage there is the KL of the policy from the reference, in nats: None where it is not
    known; infinite where it is wrong, which is noted elsewhere.
    """
    value = reader.get("reward_model")
    if value == VERIFIABLE:
        return VERIFIABLE
    if not isinstance(value, dict):
        found = shown(value) if reader.has("reward_model") else "nothing"
        reader.problem("reward_model", found, allowed_mapping("reward_model"))
        return {}
    values = present(
        coverage_kind=reader.word("reward_model.coverage_kind"),
        error=_read_error(reader, reward_range),
        existing_labels=reader.number("reward_model.existing_labels"),
        label_policy=reader.word("reward_model.label_policy"),
    )
    coverage = _read_coverage(reader, kl)
    if not (reader.has("reward_model.coverage") or reader.has("reward_model.chi2")):
        _check_coverage_needed(reader, values)
    return values | present(coverage=coverage)


def _read_coverage(reader: Reader, kl: float | None) -> float | None:
    has_chi2, chi2 = reader.has("reward_model.chi2"), None
    if reader.get("reward_model.chi2") == UNKNOWN:
        reader.problem("reward_model.chi2", UNKNOWN, "a number >= 0, or coverage: unknown")
    elif has_chi2:
        chi2 = reader.number("reward_model.chi2")
    if reader.get("reward_model.coverage") == UNKNOWN:
        coverage = _unknown_coverage(reader, kl)
    else:
        coverage = reader.number("reward_model.coverage")
    if has_chi2 and reader.has("reward_model.coverage"):
        allowed = "coverage or chi2, one of them (coverage = sqrt(1 + chi2))"
        reader.problem("reward_model.chi2", "chi2 beside coverage", allowed)
    return coverage if chi2 is None else math.sqrt(1 + chi2)


def _unknown_coverage(reader: Reader, kl: float | None) -> float | None:
    key = "reward_model.coverage"
    if kl is None:
        reader.problem(
            key,
            "unknown where the KL divergence is not known",
            "a number >= 1: unknown stands for 1 to e^(KL/2), which needs log_ratio and an "
            "objective.kl_coefficient above 0",
        )
        return None
    if not math.isfinite(kl):
        return None
    try:
        low, high = assumptions.coverage_range(kl)
    except OverflowError:
        allowed = "a number >= 1: e^(KL/2) is beyond the largest number"
        reader.problem(key, f"unknown at a KL of {kl:g} nats", allowed)
        return None
    return reader.assume(key, "unknown", low, high)


def _check_coverage_needed(reader: Reader, values: Values) -> None:
    """Note a missing coverage, unless every label comes from the current policy."""
    # Labels bought earlier in a run came from earlier policies: they count as existing ones.
    behind = reader.get("progress.labels")
    if (
        values.get("label_policy") == "current"
        and values.get("existing_labels") == 0
        and not (isinstance(behind, (int, float)) and behind > 0)
    ):
        return
    if reader.sound("reward_model.label_policy", "reward_model.existing_labels"):
        reader.problem(
            "reward_model.coverage",
            "nothing",
            f"{KEYS['reward_model.coverage'].allowed}; or chi2; neither is needed with "
            "label_policy: current and no labels, neither existing nor under progress",
        )


def _read_error(reader: Reader, reward_range: float | None) -> Values | float | None:
    key = "reward_model.error"
    if reader.get(key) != UNKNOWN and not is_mapping(reader, key, set(CURVE)):
        error: float | None = reader.number(key)
        return error
    return present(
        floor=scaled_number(reader, f"{key}.floor", assumptions.ERROR_FLOOR_RANGE, reward_range),
        scale=scaled_number(reader, f"{key}.scale", assumptions.ERROR_SCALE_RANGE, reward_range),
        exponent=scaled_number(reader, f"{key}.exponent", assumptions.ERROR_EXPONENT_RANGE, 1.0),
    )
