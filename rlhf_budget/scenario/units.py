"""Types of results' numbers: a unit, and whatever else JSON Schema can check."""

from __future__ import annotations

from typing import Annotated, NamedTuple


class Unit(NamedTuple):
    """What stands beside a number's type."""

    name: str
    """Unit, as a reader would write it."""
    minimum: float | None = None
    """Least value that there can be."""
    maximum: float | None = None
    """Largest value that there can be."""


class Length(NamedTuple):
    """What stands beside the type of a list of fixed length."""

    minItems: int  # noqa: N815 - JSON Schema's word
    maxItems: int  # noqa: N815


Number = Annotated[float, Unit("dimensionless")]
OwnUnit = Annotated[float, Unit("in its own unit")]
Reward = Annotated[float, Unit("reward units")]
BoundTerm = Annotated[float, Unit("reward units", minimum=0)]
RewardPerMoney = Annotated[float, Unit("reward units per currency", maximum=0)]
SquaredReward = Annotated[float, Unit("reward units squared", minimum=0)]
Money = Annotated[float, Unit("currency")]
Nats = Annotated[float, Unit("nats", minimum=0)]
Relative = Annotated[float, Unit("fraction")]
Gap = Annotated[float, Unit("fraction", minimum=0)]
Ratio = Annotated[float, Unit("a ratio", minimum=0)]
Coverage = Annotated[float, Unit("dimensionless", minimum=1)]
Share = Annotated[float, Unit("fraction", minimum=0, maximum=1)]
Prompts = Annotated[int, Unit("prompts", minimum=0)]
RolloutsPerPrompt = Annotated[int, Unit("rollouts", minimum=1)]
Rollouts = Annotated[int, Unit("rollouts", minimum=0)]
RealRollouts = Annotated[float, Unit("rollouts")]
Labels = Annotated[int, Unit("labels", minimum=0)]
Count = Annotated[int, Unit("count", minimum=0)]
Positive = Annotated[int, Unit("count", minimum=1)]
Line = Annotated[int, Unit("from 1", minimum=1)]
Step = Annotated[int, Unit("training steps")]
Seed = Annotated[int, Unit("a seed")]
NatsPerPair = Annotated[float, Unit("nats per pair")]
RealLabels = Annotated[float, Unit("labels")]
