"""What a trainer's own log says without any rollouts: most people have kept nothing else.

Silent groups (``frac_reward_zero_std``) are one minus the informative share at the run's own K;
with the mean of a two-valued reward they give the intraclass correlation by inverting the
beta-binomial share (docs/theory.md, section 6), and so the share at every other K.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rlhf_budget.calibrate.estimates import CalibrationWarning, Estimate, Source
from rlhf_budget.calibrate.rollouts.groups import (
    GROUP_SIZES,
    GroupShare,
    correlation_of,
    informative_share,
)
from rlhf_budget.calibrate.rollouts.log_ratio import kl_estimates
from rlhf_budget.calibrate.rollouts.results import RolloutConstants, RolloutOptions
from rlhf_budget.calibrate.rollouts.reward import (
    logged_mean_estimate,
    logged_token_estimate,
    mean_interval,
)

if TYPE_CHECKING:
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog, Quantity

_METHOD = "aggregates"
_ONLY_ROLLOUTS = "only rollouts can give it: give the trainer's dump of rollouts beside this log"
_LOGGED: tuple[tuple[Quantity, str, str, str], ...] = (
    ("reward", "reward.mean", "reward", "mean over steps"),
    ("reward_deviation", "reward.standard_deviation", "reward", "as the trainer takes it"),
    ("silent_share", "groups.silent_share", "1", "groups of equal rewards at the run's own K"),
    ("step_seconds", "step.seconds", "seconds", "wall time of a step"),
)
_GROUPS = ("reward.intraclass_correlation", "1", _METHOD)


def calibrate_log(log: MetricsLog, options: RolloutOptions) -> RolloutConstants:
    """Estimate what a trainer's log holds, and say what only rollouts can give.

    With the option ``rollouts_per_prompt`` its silent groups tell the correlation. Raises
    CalibrationError if the log holds evaluations only.
    """
    used = log.last(options.last_steps)
    tokens = logged_token_estimate(used, None, options.level)
    kl = kl_estimates(None, tokens, used, None, options)
    correlation, groups = _groups(used, options)
    logged = [
        logged_mean_estimate(name, unit, found, options.level, f"{note}; key {found.key}")
        for quantity, name, unit, note in _LOGGED
        if (found := used.mean(quantity, None)) is not None
    ]
    missing = [
        Estimate.unavailable(name, unit, _METHOD, _ONLY_ROLLOUTS)
        for name, unit in (
            ("bound.prompt_variance", "reward^2"),
            ("bound.rollout_variance", "reward^2"),
            ("objective.reward_range", "reward"),
            ("groups.mean", "1"),
            ("groups.correlation", "1"),
        )
    ]
    steps = used.steps()
    source = Source.counted(
        [log.path],
        len(used.records),
        ["earlier-step"] * (len(log.records) - len(used.records)),
        steps=None if log.ordered else (min(steps), max(steps)),
    )
    return RolloutConstants(
        level=options.level,
        source=source,
        estimates=(*missing, *kl.estimates, tokens, correlation, *logged),
        warnings=(
            CalibrationWarning(
                "log-alone",
                "a trainer's log without rollouts: the variances, the reward's range and the"
                " log-ratio's tail are not in it",
            ),
            *kl.warnings,
        ),
        choices=kl.choices,
        groups=groups,
    )


def _groups(
    log: MetricsLog, options: RolloutOptions
) -> tuple[Estimate, tuple[GroupShare, ...] | None]:
    """Return the intraclass correlation and the table of groups, by inverting the silent share."""
    silent, reward = log.mean("silent_share", None), log.mean("reward", None)
    size, functions = options.rollouts_per_prompt, log.reward_functions()
    note = None
    if silent is None or reward is None:
        note = "this log counts no silent groups (TRL >= 0.17: frac_reward_zero_std)"
    elif size is None:
        note = "give --rollouts-per-prompt, the run's K: silent groups at it tell the correlation"
    elif len(functions) > 1:
        note = f"the reward is a sum of {len(functions)} functions, which has more than two values"
    if note is not None or silent is None or reward is None or size is None:
        return Estimate.unavailable(*_GROUPS, note or ""), None
    low, high = options.reward_range or (0.0, 1.0)
    mean = (reward.value - low) / (high - low)
    deviation = log.mean("reward_deviation", None)
    widest = math.sqrt(max(mean * (1 - mean), 0.0) * size / (size - 1)) * (high - low)
    if deviation is not None and deviation.value > widest:
        note = f"a spread of {deviation.value:.4g} is more than rewards of {low:g} or {high:g} have"
        return Estimate.unavailable(*_GROUPS, note), None
    least, most = mean_interval(silent, options.level) or (silent.value, silent.value)
    shares = (silent.value, max(0.0, least), min(1.0, most))
    values = [correlation_of(mean, 1 - share, size) for share in shares]
    if None in values:
        note = (
            f"a mean reward of {reward.value:.4g} with {silent.value:.1%} silent groups of {size}"
            f" fits no reward that is {low:g} or {high:g}; give --reward-range LOW HIGH"
        )
        return Estimate.unavailable(*_GROUPS, note), None
    correlation, lower, upper = (float(value or 0.0) for value in values)
    doubt = (
        f"an estimate from aggregates: takes rewards to be {low:g} or {high:g}, which a log does"
        " not show, and all steps' policies to be one"
    )
    about = (*_GROUPS, silent.steps, correlation, None, (lower, upper))
    estimate = Estimate.of(*about, doubt=doubt, pasted=False)
    return estimate, tuple(_share(mean, correlation, (lower, upper), K) for K in GROUP_SIZES)


def _share(mean: float, correlation: float, interval: tuple[float, float], size: int) -> GroupShare:
    share = informative_share(mean, correlation, size)
    ends = sorted(informative_share(mean, end, size) for end in interval)
    cost = size / share if share > 0 else None
    return GroupShare(size, share, (ends[0], ends[1]), cost)
