"""Constants that are not known exactly: ranges, ``unknown``, and what stands for them.

The ranges of ``unknown`` are judgements from few published runs, wide on purpose; each says what it
rests on.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from rlhf_budget.scenario.values import dataclass


@dataclass(frozen=True)
class Assumption:
    """A constant that stands in the scenario as a range, and the value that was taken."""

    constant: str
    """Key path."""
    kind: Literal["range", "unknown"]
    """Whether the scenario gives a range, or says ``unknown``."""
    value: float
    """Value taken, in the constant's own unit."""
    low: float
    """Lower end of the range."""
    high: float
    """Upper end of the range."""
    source: str | None = None
    """Where the scenario says that the constant comes from."""


KL_RANGE: Final = (3.0, 18.0)
"""``log_ratio.kl: unknown``, in nats. KL of the final policy from the reference in published runs:
3.17 (WebGPT, a formula), 5.2 (a 34-step GRPO run on SmolLM2-135M), 6 and 10 (Ziegler et al. 2019,
targets), 14.0 and 18.0 (Stiennon et al. 2020, 6.7B and 1.3B)."""

PROMPT_VARIANCE_RANGE: Final = (0.01, 0.2)
"""``bound.prompt_variance: unknown``, in units of R^2. Random-effects estimates on 0/1 rewards:
0.086 (HumanEval, CodeGen-16B, 100 samples a task), 0.006 to 0.19 (ten groups of Reasoning Gym
tasks, Qwen2.5-3B before and after RL), 0.035 and 0.15 (GRPO on SmolLM2-135M); 0.029 for a mixed
reward in a toy GRPO run. No reward in [0, 1] has more than 0.25."""

ROLLOUT_VARIANCE_RANGE: Final = (0.015, 0.21)
"""``bound.rollout_variance: unknown``, in units of R^2. The same data: 0.087 (HumanEval), 0.017 to
0.065 (Reasoning Gym), 0.084 and 0.21 (SmolLM2-135M), 0.072 (toy GRPO run)."""

ERROR_FLOOR_RANGE: Final = (0.005, 0.05)
"""``reward_model.error.floor: unknown``, in units of R^2. Upper end: a reward model that agrees
with people on 69 % of pairs (6.9B, Huang et al. 2024), where people agree with each other on some
three quarters, is roughly 0.2 nats above the Bayes loss, which is an error of 0.05 at a logit scale
of 6 (docs/theory.md, section 6). Lower end: less than half of what a toy reward model still has at
25,600 labels, 0.013."""

ERROR_SCALE_RANGE: Final = (0.2, 8.0)
"""``reward_model.error.scale: unknown``, in units of R^2. The lower end with the flattest exponent
below is the toy reward model's curve, 0.17 m^-0.23: 0.03 at 10,000 labels. The upper end with the
steepest is an error of 0.08, next to knowing nothing, at 100 labels, and of 0.0008 at 10,000."""

ERROR_EXPONENT_RANGE: Final = (0.2, 1.0)
"""``reward_model.error.exponent: unknown``. From the flattest published curves (accuracy gains of
1.1 to 2.4 points per doubling in Stiennon et al. 2020, WebGPT and Shen et al. 2024 close the gap to
human agreement about as m^-0.2; the toy curve gives 0.23) to the parametric rate for Bradley-Terry
rewards (Zhu, Jordan, Jiao 2023)."""

LEAST_COVERAGE: Final = 1.0
"""Lower end of ``reward_model.coverage: unknown``: labels on the current policy's own rollouts."""


def coverage_range(kl: float) -> tuple[float, float]:
    """Return the range that ``reward_model.coverage: unknown`` stands for, at a KL in nats.

    Labels on the reference policy allow no less than ``e^(KL/2)``, by Jensen's inequality
    (docs/theory.md, section 3); labels on the current policy give 1.

    Raises
    ------
    OverflowError
        When ``e^(KL/2)`` is beyond the largest float.
    """
    return LEAST_COVERAGE, math.exp(kl / 2)


def middle(low: float, high: float) -> float:
    """Return the geometric mean where both ends are positive, else the arithmetic mean."""
    between = math.sqrt(low) * math.sqrt(high) if low > 0 else low / 2 + high / 2
    return min(max(between, low), high)
