"""What a calibration from rollouts is asked, and what it finds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rlhf_budget.calibrate.estimates import Calibration
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from rlhf_budget.calibrate.rollouts.groups import GroupShare
    from rlhf_budget.calibrate.rollouts.tail_summary import TailSummary


@dataclass(frozen=True)
class RolloutConstants(Calibration):
    """What rollouts say: estimates, the log-ratio's tail, informative groups."""

    command: ClassVar[str] = "calibrate rollouts"

    tail: TailSummary | None = None
    """Distribution of the log-ratio; None where rows hold none."""
    groups: tuple[GroupShare, ...] | None = None
    """Informative groups by size; None unless the reward takes two values."""


@dataclass(frozen=True, slots=True)
class RolloutOptions:
    """How rollouts are calibrated."""

    last_steps: str = "20%"
    """Share or number of the last steps to use: one policy a step."""
    kl_coefficient: float | None = None
    """β: the bound's variances are then of ``reward − β·log-ratio``."""
    kl_per_token: float | None = None
    """KL per token in nats, where rows hold no log-ratio."""
    reward_range: tuple[float, float] | None = None
    """Least and largest possible reward."""
    level: float = 0.95
    """Level of the intervals."""
    strict: bool = False
    """Whether a row that cannot be used is an error."""
    rollouts_per_prompt: int | None = None
    """The run's K, for the groups of a trainer's log alone."""
    log_ratio_deviation: float | None = None
    """Standard deviation of the log-ratio, nats, as a scenario has it, for rows without it."""

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise CalibrationError(f"--level: found {self.level:g}; allowed: between 0 and 1")
        if self.kl_coefficient is not None and not 0 <= self.kl_coefficient < math.inf:
            raise CalibrationError("--kl-coefficient: allowed: a number of at least 0")
        if self.kl_per_token is not None and not 0 < self.kl_per_token < math.inf:
            raise CalibrationError("--kl-per-token: allowed: a number above 0")
        if self.rollouts_per_prompt is not None and self.rollouts_per_prompt < 2:
            raise CalibrationError("--rollouts-per-prompt: allowed: a number of at least 2")
        if self.reward_range is not None and not self.reward_range[0] < self.reward_range[1]:
            raise CalibrationError("--reward-range: allowed: LOW HIGH with LOW below HIGH")
