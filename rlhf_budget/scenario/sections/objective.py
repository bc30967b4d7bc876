"""``objective``: what is maximised, and with which certainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.scenario.keys import LARGEST_RANGE
from rlhf_budget.scenario.reading import plain_number, shown
from rlhf_budget.scenario.sections.common import Section, present
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from rlhf_budget.scenario.reading import Reader
    from rlhf_budget.scenario.sections.common import Values


@dataclass(frozen=True)
class Objective(Section):
    """What is maximised, and with which certainty."""

    kl_coefficient: float
    """beta, reward per nat."""
    reward_range: float
    """R, length of the interval of rewards, reward units."""
    failure_probability: float
    """delta, a probability."""


def read_objective(reader: Reader) -> Values:
    """Read ``objective``."""
    if not reader.mapping("objective"):
        return {}
    return present(
        kl_coefficient=reader.number("objective.kl_coefficient"),
        reward_range=_reward_range(reader),
        failure_probability=reader.number("objective.failure_probability"),
    )


def _reward_range(reader: Reader) -> float | None:
    key = "objective.reward_range"
    value = reader.get(key)
    if not isinstance(value, list):
        length: float | None = reader.number(key)
        return length
    ends = [plain_number(end) for end in value]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or not ends[0] < ends[1]:
        found = ", ".join(map(shown, value[:3]))
        reader.problem(key, f"the list [{found}]", "[low, high], two numbers with low < high")
        return None
    length = float(ends[1]) - float(ends[0])
    if length >= LARGEST_RANGE:
        allowed = f"high - low below {LARGEST_RANGE:g}"
        reader.problem(key, f"{shown(value)} that is too wide", allowed)
    return length
