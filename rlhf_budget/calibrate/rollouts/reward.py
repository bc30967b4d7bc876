"""From aggregates to the estimates of the reward: variances, correlation, groups, range, length."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from rlhf_budget.calibrate.estimates import Estimate
from rlhf_budget.calibrate.moments import mean_of_rows, student_interval
from rlhf_budget.calibrate.rollouts import variance
from rlhf_budget.calibrate.rollouts.evidence import LOG_IT, Evidence, span_of
from rlhf_budget.calibrate.rollouts.groups import GroupShare, group_shares

if TYPE_CHECKING:
    from rlhf_budget.calibrate.logs.metrics.log import LoggedMean, MetricsLog

_HARDLY_ANY_PROMPTS = 5
_GROUPS_AT_AN_END = 3
_TOKENS = ("costs.rollout.tokens", "tokens")
_TOKENS_ARE_FOR = "for costs.gpu; without it the scenario gives costs.rollout as a price"


def variance_estimates(evidence: Evidence, deviation: float | None) -> list[Estimate]:
    """Return the variances of the bound, and the reward's own where they differ.

    ``deviation`` is the log-ratio's standard deviation in nats, known from elsewhere, for rows
    without it.
    """
    reward = _two_variances("bound", "reward", evidence)
    if not evidence.kl_asked:
        return reward
    own = _two_variances("reward", "reward", evidence)
    if "objective" in evidence.moments:
        return [*_two_variances("bound", "objective", evidence), *own]
    return [*(_without_log_ratio(estimate, evidence, deviation) for estimate in reward), *own]


def _without_log_ratio(estimate: Estimate, evidence: Evidence, deviation: float | None) -> Estimate:
    """Return a variance of the reward as what it says of the objective's: an interval.

    Standard deviations are a norm: that of ``r − β·ℓ`` is within ``sd(r) ± β·sd(ℓ)``.
    """
    if estimate.value is None:
        return estimate
    interval = None
    told = "how far that is from the objective's is not known without a KL"
    if deviation is not None and math.isfinite(deviation):
        reach = evidence.settings.kl_coefficient * deviation
        low, high = estimate.interval or (estimate.value, estimate.value)
        interval = (max(math.sqrt(low) - reach, 0.0) ** 2, (math.sqrt(high) + reach) ** 2)
        told = f"a log-ratio of standard deviation {deviation:.3g} nats allows the interval shown"
    note = (
        f"of the reward alone, for an objective reward - {evidence.settings.kl_coefficient:g} *"
        f" log-ratio: these logs hold no log-ratio ({LOG_IT}); {told}"
    )
    return replace(
        estimate,
        status="unreliable",
        standard_error=None,
        interval=interval,
        note=f"{estimate.note}; {note}" if estimate.note else note,
    )


def _two_variances(prefix: str, block: str, evidence: Evidence) -> list[Estimate]:
    names = (f"{prefix}.prompt_variance", f"{prefix}.rollout_variance")
    moments = evidence.moments[block]
    method = _variance_method(evidence)
    if moments.sums[0] < 2:
        note = "needs at least two prompts with two rollouts each at one step"
        return [Estimate.unavailable(name, "reward^2", method, note) for name in names]
    parts = variance.components(moments, evidence.level)
    doubt = _doubt(evidence)
    cut = None
    if parts.between.value == 0 and doubt is None:
        cut = "prompt_variance: the estimate was negative and is set to 0"
    # No law on an interval of that length has a larger variance; the log-ratio has no such limit.
    most = span_of(evidence) ** 2 / 4 if block == "reward" else math.inf
    estimates = []
    for name, part in zip(names, (parts.between, parts.within), strict=True):
        low, high = (min(end, most) for end in part.interval)
        interval = (low, high) if math.isfinite(high) else None
        about = (name, "reward^2", method, parts.groups)
        found = (min(part.value, most), part.standard_error, interval)
        pasted = prefix == "bound"
        estimates.append(Estimate.of(*about, *found, doubt=doubt, note=cut, pasted=pasted))
    return estimates


def _variance_method(evidence: Evidence) -> str:
    equal = evidence.totals.least == evidence.totals.most
    return "random-effects-anova" if equal else "unequal-groups"


def _doubt(evidence: Evidence) -> str | None:
    """Return why variances of these rewards are not to be relied on; None where they are."""
    prompts = evidence.moments["reward"].clusters
    if evidence.filtered:
        return (
            "groups with equal rewards were removed before logging: within is too large,"
            " between too small"
        )
    if evidence.steps_unknown is not None:
        return f"several policies may be pooled: {evidence.steps_unknown}"
    if evidence.settings.low == evidence.settings.high:
        return "all rewards are equal: nothing can be said of their spread"
    if prompts < _HARDLY_ANY_PROMPTS:
        return f"{prompts} prompts are too few"
    if evidence.standardised:
        return (
            "rewards are standardised: in units of the reward's standard deviation, not of the"
            " scenario's reward_range; log raw rewards"
        )
    return None


def correlation_estimate(evidence: Evidence) -> Estimate:
    """Return the intraclass correlation of the reward (not a scenario key)."""
    name, method = "reward.intraclass_correlation", _variance_method(evidence)
    moments = evidence.moments["reward"]
    parts = variance.components(moments, evidence.level) if moments.sums[0] >= 2 else None
    if parts is None or parts.correlation is None:
        note = "needs groups of two rollouts, and rewards that differ"
        return Estimate.unavailable(name, "1", method, note)
    part = parts.correlation
    about = (name, "1", method, parts.groups, part.value, part.standard_error, part.interval)
    return Estimate.of(*about, doubt=_doubt(evidence), pasted=False)


def silent_group_estimates(evidence: Evidence, correlation: Estimate) -> tuple[Estimate, ...]:
    """Return the scenario's ``groups``: mean and correlation of a reward of two values."""
    names = ("groups.mean", "groups.correlation")
    if not evidence.totals.two_valued:
        note = "the reward takes more than two values, so that no group is silent"
        return tuple(Estimate.unavailable(name, "1", "mean", note) for name in names)
    if correlation.value is None or correlation.value >= 1:
        note = correlation.note or "every group has equal rewards"
        return tuple(Estimate.unavailable(name, "1", "mean", note) for name in names)
    # Features: groups, v, ȳ − c, …; the mean is over groups, as in the share of silent ones.
    low, centre = evidence.settings.low, evidence.settings.centre
    span = evidence.settings.high - low
    value, error, around = mean_of_rows(evidence.moments["reward"], evidence.level, 2, 0, centre)
    ends = tuple(min(max((end - low) / span, 0.0), 1.0) for end in around)
    mean = replace(
        correlation,
        constant=names[0],
        value=(value - low) / span,
        standard_error=error / span,
        interval=(ends[0], ends[1]),
        method="mean",
        note=correlation.note
        or f"share of {evidence.settings.high:g} among rewards of {low:g} and"
        f" {evidence.settings.high:g}",
        pasted=True,
    )
    return mean, replace(correlation, constant=names[1], pasted=True)


def group_estimates(evidence: Evidence) -> tuple[GroupShare, ...] | None:
    """Return informative shares; None unless the reward takes two values in unfiltered groups."""
    moments = evidence.moments["reward"]
    if not evidence.totals.two_valued or evidence.filtered or moments.sums[0] < 2:
        return None
    return group_shares(
        moments,
        centre=evidence.settings.centre,
        low=evidence.settings.low,
        high=evidence.settings.high,
        level=evidence.level,
    )


def reward_range_estimate(evidence: Evidence, given: tuple[float, float] | None) -> Estimate:
    """Return the length of the interval of rewards: given, or what was seen."""
    name, unit, rows = "objective.reward_range", "reward", evidence.totals.rows
    low, high = evidence.settings.low, evidence.settings.high
    seen = f"rewards from {low:g} to {high:g} were seen"
    if given is not None:
        outside = seen if low < given[0] or high > given[1] else None
        return Estimate.of(name, unit, "given", rows, given[1] - given[0], doubt=outside)
    if low == high:
        note = "all rewards are equal; give --reward-range LOW HIGH"
        return Estimate.unavailable(name, unit, "observed", note)
    about = (name, unit, "observed", rows, high - low)
    ends_are_reached = evidence.totals.two_valued or (
        min(evidence.totals.at_lowest, evidence.totals.at_highest) >= _GROUPS_AT_AN_END
    )
    if ends_are_reached and not evidence.standardised:
        return Estimate.of(*about, note=seen)
    wider = f"{seen}: the range can be wider; give --reward-range LOW HIGH"
    return Estimate.of(*about, doubt=wider)


def token_estimate(
    evidence: Evidence, log: MetricsLog | None, window: tuple[int, int] | None
) -> Estimate:
    """Return the mean completion length."""
    moments = evidence.moments.get("tokens")
    if moments is None or not moments.sums[0] > 0:
        return logged_token_estimate(log, window, evidence.level)
    value, error, interval = mean_of_rows(moments, evidence.level, 1, 0)
    about = (*_TOKENS, "mean", round(moments.sums[0]), value, error, interval)
    return Estimate.of(*about, note=_TOKENS_ARE_FOR, pasted=False)


def logged_token_estimate(
    log: MetricsLog | None, window: tuple[int, int] | None, level: float
) -> Estimate:
    """Return the mean completion length that a trainer logs."""
    logged = log.mean("tokens", window) if log is not None else None
    if logged is None:
        missing = "no completion lengths: give --tokens-field, or --metrics with a mean length"
        return Estimate.unavailable(*_TOKENS, "mean", missing)
    return logged_mean_estimate(*_TOKENS, logged, level, _TOKENS_ARE_FOR)


def logged_mean_estimate(
    name: str, unit: str, logged: LoggedMean, level: float, note: str
) -> Estimate:
    """Return what a trainer logs, averaged over steps; no scenario key."""
    found = (logged.value, logged.standard_error, mean_interval(logged, level))
    about = (name, unit, "metrics-mean", logged.steps)
    return Estimate.of(*about, *found, note=note, pasted=False)


def mean_interval(logged: LoggedMean, level: float) -> tuple[float, float] | None:
    """Return Student's interval of a mean over steps; None for a single step."""
    error = logged.standard_error
    return None if error is None else student_interval(logged.value, error, logged.steps - 1, level)
