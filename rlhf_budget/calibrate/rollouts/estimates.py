"""From aggregates to the estimates of ``calibrate rollouts``: values, intervals, status, notes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.calibrate.estimates import CalibrationWarning, Choice, Estimate, Status
from rlhf_budget.calibrate.logs import aggregates
from rlhf_budget.calibrate.moments import Moments, Sums, linearise
from rlhf_budget.calibrate.rollouts import tail_summary, variance
from rlhf_budget.calibrate.rollouts.groups import GroupShare, group_shares
from rlhf_budget.calibrate.rollouts.tail_fits import TailFit, fit_tails
from rlhf_budget.calibrate.rollouts.tail_summary import TailSummary

if TYPE_CHECKING:
    from rlhf_budget.calibrate.logs.histogram import LogHistogram
    from rlhf_budget.calibrate.logs.metrics.log import LoggedKl, LoggedMean, MetricsLog

LOG_IT = "docs/calibration.md has the lines that log it for each trainer"
FEW_PROMPTS = 30
_HARDLY_ANY_PROMPTS = 5
_GROUPS_AT_AN_END = 3
_UNSTABLE_RATIO = 1.5
_LARGE_STEP = 10.0
_OFF_POLICY = 0.5
_POOR_FIT = 0.1
_NATS = "nats per sequence"
_TOKENS_ARE_FOR = "for costs.gpu; without it the scenario gives costs.rollout as a price"


@dataclass(frozen=True)
class Evidence:
    """Everything that the aggregates say."""

    totals: aggregates.GroupTotals
    settings: aggregates.GroupSettings
    moments: dict[str, Moments]
    histogram: LogHistogram | None
    level: float
    filtered: bool
    standardised: bool
    kl_asked: bool
    """Whether a KL coefficient was given."""


def variance_estimates(evidence: Evidence) -> list[Estimate]:
    """Return the variances of the bound, and the reward's own where they differ."""
    reward = _two_variances("bound", "reward", evidence)
    if not evidence.kl_asked:
        return reward
    if "objective" in evidence.moments:
        own = _two_variances("reward", "reward", evidence)
        return [*_two_variances("bound", "objective", evidence), *own]
    note = f"of the reward alone: these logs hold no log-ratio ({LOG_IT})"
    with_note = [_noted(estimate, note) for estimate in reward]
    return [*with_note, *_two_variances("reward", "reward", evidence)]


def _noted(estimate: Estimate, note: str) -> Estimate:
    from dataclasses import replace

    return replace(estimate, note=f"{estimate.note}; {note}" if estimate.note else note)


def _two_variances(prefix: str, block: str, evidence: Evidence) -> list[Estimate]:
    names = (f"{prefix}.prompt_variance", f"{prefix}.rollout_variance")
    moments = evidence.moments[block]
    method = _variance_method(evidence)
    if moments.sums[0] < 2:
        note = "needs at least two prompts with two rollouts each at one step"
        return [Estimate.unavailable(name, "reward^2", method, note) for name in names]
    parts = variance.components(moments, evidence.level)
    status, doubt = _variance_status(evidence)
    if parts.between.value == 0 and doubt is None:
        doubt = "prompt_variance: the estimate was negative and is set to 0"
    return [
        Estimate(
            name,
            "reward^2",
            status,
            part.value,
            part.standard_error,
            part.interval if math.isfinite(part.interval[1]) else None,
            method,
            parts.groups,
            doubt,
            pasted=prefix == "bound",
        )
        for name, part in zip(names, (parts.between, parts.within), strict=True)
    ]


def _variance_method(evidence: Evidence) -> str:
    equal = evidence.totals.least == evidence.totals.most
    return "random-effects-anova" if equal else "unequal-groups"


def _variance_status(evidence: Evidence) -> tuple[Status, str | None]:
    if evidence.filtered:
        note = "groups with equal rewards were removed before logging: within is too large"
        return "unreliable", f"{note}, between too small"
    if evidence.settings.low == evidence.settings.high:
        return "unreliable", "all rewards are equal: nothing can be said of their spread"
    if evidence.moments["reward"].clusters < _HARDLY_ANY_PROMPTS:
        return "unreliable", f"{evidence.moments['reward'].clusters} prompts are too few"
    if evidence.standardised:
        note = "rewards are standardised: in units of the reward's standard deviation, not of the"
        return "unreliable", f"{note} scenario's reward_range; log raw rewards"
    return "estimated", None


def correlation_estimate(evidence: Evidence) -> Estimate:
    """Return the intraclass correlation of the reward (not a scenario key)."""
    name, method = "reward.intraclass_correlation", _variance_method(evidence)
    moments = evidence.moments["reward"]
    parts = variance.components(moments, evidence.level) if moments.sums[0] >= 2 else None
    if parts is None or parts.correlation is None:
        note = "needs groups of two rollouts, and rewards that differ"
        return Estimate.unavailable(name, "1", method, note)
    status, note_ = _variance_status(evidence)
    part = parts.correlation
    return Estimate(
        name,
        "1",
        status,
        part.value,
        part.standard_error,
        part.interval,
        method,
        parts.groups,
        note_,
        pasted=False,
    )


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
    if given is not None:
        outside = low < given[0] or high > given[1]
        note = f"rewards from {low:g} to {high:g} were seen" if outside else None
        status: Status = "unreliable" if outside else "estimated"
        return Estimate(name, unit, status, given[1] - given[0], None, None, "given", rows, note)
    if low == high:
        note = "all rewards are equal; give --reward-range LOW HIGH"
        return Estimate.unavailable(name, unit, "observed", note)
    seen = f"rewards from {low:g} to {high:g} were seen"
    ends_are_reached = evidence.totals.two_valued or (
        min(evidence.totals.at_lowest, evidence.totals.at_highest) >= _GROUPS_AT_AN_END
    )
    if ends_are_reached and not evidence.standardised:
        return Estimate(name, unit, "estimated", high - low, None, None, "observed", rows, seen)
    note = f"{seen}: the range can be wider; give --reward-range LOW HIGH"
    return Estimate(name, unit, "unreliable", high - low, None, None, "observed", rows, note)


def token_estimate(
    evidence: Evidence, log: MetricsLog | None, window: tuple[int, int] | None
) -> Estimate:
    """Return the mean completion length."""
    moments = evidence.moments.get("tokens")
    if moments is None or not moments.sums[0] > 0:
        return logged_token_estimate(log, window, evidence.level)
    value, error, interval = _ratio(moments, evidence.level, 1, 0)
    rows = round(moments.sums[0])
    name, unit = "costs.rollout.tokens", "tokens"
    return Estimate(
        name,
        unit,
        "estimated",
        value,
        error,
        interval,
        "mean",
        rows,
        _TOKENS_ARE_FOR,
        pasted=False,
    )


def logged_token_estimate(
    log: MetricsLog | None, window: tuple[int, int] | None, level: float
) -> Estimate:
    """Return the mean completion length that a trainer logs."""
    name, unit = "costs.rollout.tokens", "tokens"
    logged = log.mean("tokens", window) if log is not None else None
    if logged is None:
        missing = "no completion lengths: give --tokens-field, or --metrics with a mean length"
        return Estimate.unavailable(name, unit, "mean", missing)
    return logged_mean_estimate(name, unit, logged, level, _TOKENS_ARE_FOR)


def logged_mean_estimate(
    name: str, unit: str, logged: LoggedMean, level: float, note: str
) -> Estimate:
    """Return what a trainer logs, averaged over steps; no scenario key."""
    return Estimate(
        name,
        unit,
        "estimated",
        logged.value,
        logged.standard_error,
        mean_interval(logged, level),
        "metrics-mean",
        logged.steps,
        note,
        pasted=False,
    )


def mean_interval(logged: LoggedMean, level: float) -> tuple[float, float] | None:
    """Return Student's interval of a mean over steps; None for a single step."""
    error = logged.standard_error
    return None if error is None else _around(logged.value, error, logged.steps - 1, level)


def _ratio(
    moments: Moments, level: float, top: int, bottom: int, centre: float = 0.0
) -> tuple[float, float, tuple[float, float]]:
    """Return mean over rows, its standard error and Student interval, prompts independent."""

    def ratio(sums: Sums) -> Sums:
        return np.array([sums[top] / sums[bottom]])

    values, covariance = linearise(moments, ratio)
    value, error = float(values[0]) + centre, math.sqrt(max(float(covariance[0, 0]), 0.0))
    return value, error, _around(value, error, moments.clusters - 1, level)


def _around(value: float, error: float, freedom: int, level: float) -> tuple[float, float]:
    from scipy.special import stdtrit

    reach = float(stdtrit(max(freedom, 1), (1 + level) / 2)) * error
    return value - reach, value + reach


@dataclass(frozen=True)
class TailEvidence:
    """The tail and the estimates that come from it."""

    summary: TailSummary
    estimates: tuple[Estimate, ...]
    choice: Choice | None
    warnings: tuple[CalibrationWarning, ...]


def tail_evidence(evidence: Evidence) -> TailEvidence | None:
    """Return what the rows' log-ratios say; None without log-ratios."""
    moments, histogram = evidence.moments.get("log_ratio"), evidence.histogram
    if moments is None or histogram is None or histogram.samples == 0:
        return None
    kl, error, interval = _ratio(moments, evidence.level, 1, 0)
    rows = moments.sums[0]
    centred = kl - evidence.settings.log_ratio_centre
    deviation = math.sqrt(max(moments.sums[2] / rows - centred**2, 0.0))
    effect = _magnitude_effect(moments, histogram, kl**2 + deviation**2)
    fits = fit_tails(histogram, kl, deviation, effect)
    shares = tail_summary.design_effects(moments, tuple(range(4, 4 + aggregates.THRESHOLDS)))
    summary = TailSummary(histogram, fits, shares, evidence.level)
    problem = _kl_problem(evidence, kl, interval)
    status: Status = "unreliable" if problem else "estimated"
    best = fits[0] if fits else None
    gaussian = best is not None and best.family == "gaussian"
    estimate = Estimate(
        "log_ratio.kl",
        _NATS,
        status,
        kl,
        error,
        interval,
        "mean-log-ratio",
        round(rows),
        problem,
        pasted=gaussian,
    )
    others = (
        () if best is None else _field_estimates(best, status, problem, histogram.samples, evidence)
    )
    choice = None
    if best is not None:
        required = tuple(f"log_ratio.{field}" for field, _ in best.parameters)
        choice = Choice("log_ratio.family", best.family, required)
    warnings = () if problem is None else (_kl_warning(evidence, problem),)
    return TailEvidence(summary, (estimate, *others), choice, warnings)


def _kl_warning(evidence: Evidence, problem: str) -> CalibrationWarning:
    off_policy = _off_policy(evidence) is not None
    return CalibrationWarning("heavy-weights" if off_policy else "kl-unstable", problem)


def _off_policy(evidence: Evidence) -> float | None:
    moments = evidence.moments.get("behaviour")
    if moments is None or moments.sums[0] == 0:
        return None
    distance = moments.sums[1] / moments.sums[0]
    return distance if abs(distance) > _OFF_POLICY else None


def _kl_problem(evidence: Evidence, kl: float, interval: tuple[float, float]) -> str | None:
    distance = _off_policy(evidence)
    if distance is not None:
        return (
            f"another policy sampled these rollouts (log-probabilities differ by {distance:.3g}"
            " nats on average): take rollouts of the policy itself"
        )
    if kl <= 0:
        return "the mean log-ratio is not positive: a policy hardly moved, or swapped fields"
    clusters = evidence.moments["log_ratio"].clusters
    if clusters < _HARDLY_ANY_PROMPTS:
        return f"{clusters} prompts are too few for an interval: use more prompts or steps"
    if interval[0] <= 0:
        return f"the mean {kl:.3g} nats is not told from 0: use more rollouts"
    return None


def _magnitude_effect(moments: Moments, histogram: LogHistogram, square: float) -> float:
    """Return the design effect of the mean of ``|l|``, whose mean square is ``square``."""

    def mean(sums: Sums) -> Sums:
        return np.array([sums[3] / sums[0]])

    _, covariance = linearise(moments, mean)
    rows = moments.sums[0]
    row_variance = square - histogram.mean**2
    return tail_summary.effect_of(float(covariance[0, 0]), row_variance, rows)


def _field_estimates(
    fit: TailFit, status: Status, problem: str | None, samples: int, evidence: Evidence
) -> tuple[Estimate, ...]:
    from scipy.special import ndtri

    reach = float(ndtri((1 + evidence.level) / 2))
    found = []
    for (field, value), error in zip(fit.parameters, fit.standard_errors, strict=True):
        if field == "kl":
            continue
        known = math.isfinite(error)
        if field == "mu":
            interval = (value - reach * error, value + reach * error)
        else:
            interval = (
                value * math.exp(-reach * error / value),
                value * math.exp(reach * error / value),
            )
        found.append(
            Estimate(
                f"log_ratio.{field}",
                "1" if field in {"shape", "sigma"} else _NATS,
                status,
                value,
                error if known else None,
                interval if known and math.isfinite(interval[1]) else None,
                f"maximum-likelihood-{fit.family}",
                samples,
                problem or _poor_fit(fit),
            )
        )
    return tuple(found)


def _poor_fit(fit: TailFit) -> str | None:
    if fit.ks_distance <= _POOR_FIT:
        return None
    return (
        f"the best family is still {fit.ks_distance:.2f} away from the logs (Kolmogorov-Smirnov):"
        " consider family empirical with samples of the log-ratio"
    )


def logged_kl_estimate(
    logged: LoggedKl,
) -> tuple[Estimate, tuple[CalibrationWarning, ...]]:
    """Return the mean KL from a trainer's own log."""
    ratio = logged.mean / logged.median if logged.median > 0 else math.inf
    note = (
        f"median over steps of {logged.key}, {logged.remark}; mean {logged.mean:.4g},"
        f" largest step {logged.largest:.4g}; the tail is not in this log ({LOG_IT})"
    )
    unstable = not 1 / _UNSTABLE_RATIO < ratio < _UNSTABLE_RATIO or (
        logged.largest > _LARGE_STEP * logged.median
    )
    warnings = (
        CalibrationWarning(
            "kl-unstable",
            f"mean {logged.mean:.4g} and median {logged.median:.4g} of the logged KL differ much,"
            f" or one step is far out ({logged.largest:.4g}): log the sequence log-ratio",
        ),
    )
    if logged.median <= 0:
        bad = f"the logged {logged.key} is not positive"
        return Estimate.unavailable("log_ratio.kl", _NATS, "metrics-median", bad), ()
    estimate = Estimate(
        "log_ratio.kl",
        _NATS,
        "estimated",
        logged.median,
        None,
        logged.interval,
        "metrics-median",
        logged.steps,
        note,
    )
    return estimate, warnings if unstable else ()


def kl_per_token_estimate(per_token: float, tokens: Estimate) -> Estimate:
    """Return the mean KL from a KL per token and the mean length."""
    if tokens.value is None:
        note = "--kl-per-token needs the mean length: --tokens-field, or --metrics"
        return Estimate.unavailable("log_ratio.kl", _NATS, "kl-per-token", note)
    interval = tokens.interval
    return Estimate(
        "log_ratio.kl",
        _NATS,
        "estimated",
        per_token * tokens.value,
        None if tokens.standard_error is None else per_token * tokens.standard_error,
        None if interval is None else (per_token * interval[0], per_token * interval[1]),
        "kl-per-token",
        tokens.sample_size,
        f"{per_token:g} nats a token as given, times the mean length; nothing is known of the tail",
    )


def no_kl_estimate() -> Estimate:
    """Return that nothing is known of the KL, and what to log."""
    note = f"no log-ratio, no metrics log with a KL and no --kl-per-token; {LOG_IT}"
    return Estimate.unavailable("log_ratio.kl", _NATS, "mean-log-ratio", note)


def looks_filtered(totals: aggregates.GroupTotals, mean_share: float) -> bool:
    """Return whether groups of equal rewards are missing that independent rollouts would show.

    Rollouts of one prompt are alike, so that real groups are equal more often than this.
    """
    if not totals.two_valued or totals.equal > 0 or totals.several == 0:
        return False
    size = totals.rows / totals.groups
    equal = mean_share**size + (1 - mean_share) ** size
    return bool((1 - equal) ** totals.several < 0.05)


def looks_standardised(mean: float, deviation: float, totals: aggregates.GroupTotals) -> bool:
    """Return whether rewards have mean 0 and standard deviation 1, or every group mean 0."""
    if deviation == 0:
        return False
    whole = abs(mean) < 0.05 and abs(deviation - 1) < 0.05
    return whole or (totals.several > 1 and totals.group_mean_spread < 1e-3 * deviation)
