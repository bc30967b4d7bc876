"""``limits``, ``current``: the allocation to beat, and ``progress``: what is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rlhf_budget.scenario.keys import CHILDREN, KEYS, LARGEST_GROUP
from rlhf_budget.scenario.reading import plain_number, shown
from rlhf_budget.scenario.schedule import group_sizes
from rlhf_budget.scenario.sections.common import Section, present
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from rlhf_budget.scenario.reading import Reader
from rlhf_budget.scenario.sections.common import Values

DEFAULT_LARGEST_GROUP: Final = 256
"""Most rollouts of a prompt where the file sets no limit."""


@dataclass(frozen=True)
class IntegerRange(Section):
    """Limits of a whole number."""

    min: int
    """Least, a count."""
    max: int | None = None
    """Largest, a count; None where there is none."""


@dataclass(frozen=True)
class NumberRange(Section):
    """Limits of a number."""

    min: float
    """Least, nats."""
    max: float | None = None
    """Largest, nats; None where there is none."""


@dataclass(frozen=True)
class RolloutLimits(Section):
    """Limits of the rollouts of a prompt: ``min`` and ``max``, or ``choices``."""

    min: int | None = None
    """Least, a count."""
    max: int | None = None
    """Largest, a count."""
    choices: tuple[int, ...] | None = None
    """Counts to choose from, ascending."""


@dataclass(frozen=True)
class Limits(Section):
    """What the plan may choose from."""

    prompts: IntegerRange
    """Prompts."""
    rollouts_per_prompt: RolloutLimits
    """Rollouts of each prompt."""
    labels: IntegerRange
    """New labels."""
    clip_threshold: NumberRange
    """Clip threshold."""
    group_size: RolloutLimits | None = None
    """Rollouts drawn together; None where the file says nothing of epochs."""
    epochs: IntegerRange | None = None
    """Visits to each prompt, beside a group size."""

    @property
    def group_sizes(self) -> dict[int, int]:
        """Every allowed number of rollouts per prompt, ascending -> its group size."""
        size, epochs = self.group_size, self.epochs
        return group_sizes(
            vars(self.rollouts_per_prompt),
            vars(size) if size else None,
            vars(epochs) if epochs else None,
        )


@dataclass(frozen=True)
class Groups(Section):
    """Rewards of 0 and 1: how often a group's rewards are all equal, and so teach nothing."""

    mean: float
    """Mean reward, a share of the way from the lower to the higher value."""
    correlation: float
    """Intraclass correlation, a fraction."""


@dataclass(frozen=True)
class CurrentAllocation(Section):
    """The allocation to beat."""

    prompts: int
    """A count."""
    rollouts_per_prompt: int
    """A count."""
    labels: int
    """A count."""
    clip_threshold: float | None = None
    """Nats; None stands for the best for the other three."""


@dataclass(frozen=True)
class Progress(Section):
    """What is behind, in a run under way."""

    prompts: int
    """Prompts used, a count."""
    rollouts_per_prompt: float
    """Rollouts of each; the harmonic mean where groups differ."""
    labels: int
    """Labels bought, a count."""
    cost: float
    """Currency spent."""


def read_groups(reader: Reader) -> Values | None:
    """Read ``groups``, None where it is not written."""
    if not reader.has("groups") or not reader.mapping("groups"):
        return None
    return present(**{name: reader.number(f"groups.{name}") for name in ("mean", "correlation")})


def read_limits(reader: Reader) -> Values:
    """Read ``limits``, defaults filled in.

    With ``groups``, a group holds at least two rollouts: one alone has nothing to be compared with.
    """
    if not reader.mapping("limits"):
        return {}
    least = 2 if reader.has("groups") else 1
    grouped = reader.has("limits.group_size")
    if reader.has("limits.epochs") and not grouped:
        allowed = "group_size beside epochs: rollouts per prompt are group size times epochs"
        reader.problem("limits.epochs", "epochs without limits.group_size", allowed)
    # Where epochs end, their product with the group size is limit enough.
    most = LARGEST_GROUP if grouped and reader.has("limits.epochs") else DEFAULT_LARGEST_GROUP
    return {
        "prompts": _read_range(reader, "limits.prompts", least=1),
        "rollouts_per_prompt": _read_group_limits(
            reader, "limits.rollouts_per_prompt", least, most
        ),
        "group_size": _read_group_limits(reader, "limits.group_size", least, LARGEST_GROUP)
        if grouped
        else None,
        "epochs": _read_range(reader, "limits.epochs", least=1)
        if grouped and reader.has("limits.epochs")
        else None,
        "labels": _read_range(reader, "limits.labels", least=0),
        "clip_threshold": _read_range(reader, "limits.clip_threshold", least=0.0),
    }


def _read_range(reader: Reader, key: str, *, least: float, most: float | None = None) -> Values:
    value = reader.get(key)
    if reader.has(key) and not isinstance(value, dict):
        fixed = _fixed(reader, key)
        return {"min": fixed, "max": fixed}
    low = reader.number(f"{key}.min")
    high = reader.number(f"{key}.max")
    low = least if low is None and not reader.has(f"{key}.min") else low
    high = most if high is None and not reader.has(f"{key}.max") else high
    if low is not None and high is not None and low > high:
        found = f"min {low:g} above max {high:g}"
        default = "" if reader.has(f"{key}.max") else " (the default)"
        reader.problem(key, found + default, "min <= max")
    return present(min=low, max=high)


def _fixed(reader: Reader, key: str) -> float | None:
    """Read a limit that is one number; the rules are those of its least value."""
    rules = KEYS[f"{key}.min"]
    number = plain_number(reader.get(key))
    whole = rules.kind != "whole" or (number is not None and number == int(number))
    if number is None or not rules.admits(number) or not whole:
        allowed = f"{rules.allowed}, or a mapping of {', '.join(CHILDREN[key])}"
        reader.problem(key, shown(reader.get(key)), allowed)
        return None
    return int(number) if rules.kind == "whole" else float(number)


def _read_group_limits(reader: Reader, key: str, least: int, most: int) -> Values:
    """Read limits of rollouts that may be choices; what is below ``least`` is left out."""
    if not reader.has(f"{key}.choices"):
        limits = _read_range(reader, key, least=least, most=most)
        if not reader.sound(key):
            return limits
        if limits["max"] < least:
            reader.problem(key, f"at most {limits['max']}", f"{least} at least, with groups")
        return limits | {"min": max(limits["min"], least)}
    if reader.has(f"{key}.min") or reader.has(f"{key}.max"):
        reader.problem(f"{key}.choices", "choices beside min or max", "choices, or min and max")
        return {}
    choices = reader.numbers(f"{key}.choices")
    if choices is not None and len(set(choices)) < len(choices):
        allowed = f"distinct whole numbers from 1 to {LARGEST_GROUP}"
        reader.problem(f"{key}.choices", "the same number twice", allowed)
    if choices is None:
        return {}
    if max(choices) < least:
        reader.problem(f"{key}.choices", shown(choices), f"{least} at least, with groups")
    return {"choices": tuple(sorted(choice for choice in choices if choice >= least))}


def read_current(reader: Reader) -> Values | None:
    """Read ``current``, None where it is not written."""
    if not reader.has("current") or not reader.mapping("current"):
        return None
    names = ("prompts", "rollouts_per_prompt", "labels", "clip_threshold")
    current = present(**{name: reader.number(f"current.{name}") for name in names})
    if reader.has("groups") and current.get("rollouts_per_prompt") == 1:
        reader.problem("current.rollouts_per_prompt", "1", "2 at least, with groups")
    return current


def read_progress(reader: Reader) -> Values | None:
    """Read ``progress``, None where it is not written."""
    if not reader.has("progress") or not reader.mapping("progress"):
        return None
    names = ("prompts", "rollouts_per_prompt", "labels", "cost")
    return present(**{name: reader.number(f"progress.{name}") for name in names})
