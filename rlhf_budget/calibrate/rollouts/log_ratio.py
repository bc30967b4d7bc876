"""From aggregates, or a trainer's own log, to the log-ratio: its mean, its tail, its families."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.calibrate.estimates import CalibrationWarning, Choice, Estimate, Status
from rlhf_budget.calibrate.logs import groups
from rlhf_budget.calibrate.moments import Moments, Sums, linearise, mean_of_rows
from rlhf_budget.calibrate.rollouts import tail_summary
from rlhf_budget.calibrate.rollouts.evidence import LOG_IT, Evidence
from rlhf_budget.calibrate.rollouts.tail_fits import TailFit, fit_tails
from rlhf_budget.calibrate.rollouts.tail_summary import TailSummary

if TYPE_CHECKING:
    from rlhf_budget.calibrate.logs.histogram import LogHistogram
    from rlhf_budget.calibrate.logs.metrics.log import LoggedKl, MetricsLog
    from rlhf_budget.calibrate.rollouts.calibration import RolloutOptions

_HARDLY_ANY_PROMPTS = 5
_UNSTABLE_RATIO = 1.5
_LARGE_STEP = 10.0
_OFF_POLICY = 0.5
_POOR_FIT = 0.1
_NATS = "nats per sequence"
LARGEST_PER_TOKEN = 12.0
"""Nats a token beyond which no mean KL is believed: vocabularies have up to ``e^12`` words."""


@dataclass(frozen=True)
class KlEvidence:
    """The KL's estimates, whatever they come from."""

    estimates: tuple[Estimate, ...]
    """``log_ratio.kl`` and, from rows, the tail's fields."""
    warnings: tuple[CalibrationWarning, ...]
    """What the reader must act on."""
    choices: tuple[Choice, ...]
    """The family that goes with them."""


def kl_estimates(
    tail: TailEvidence | None,
    tokens: Estimate,
    log: MetricsLog | None,
    window: tuple[int, int] | None,
    options: RolloutOptions,
) -> KlEvidence:
    """Return the KL by the best that there is: rows, a KL per token given, the trainer's log."""
    if tail is not None:
        choices = () if tail.choice is None else (tail.choice,)
        return _believable(KlEvidence(tail.estimates, tail.warnings, choices), tokens)
    warnings = [
        CalibrationWarning(
            "no-log-ratio",
            "these rows hold no sequence log-ratio, so that nothing is known of its tail;"
            f" {LOG_IT}",
        )
    ]
    if options.kl_per_token is not None:
        estimate = kl_per_token_estimate(options.kl_per_token, tokens)
    elif log is None:
        note = f"no log-ratio, no metrics log and no --kl-per-token; {LOG_IT}"
        estimate = Estimate.unavailable("log_ratio.kl", _NATS, "mean-log-ratio", note)
    elif (logged := log.kl(window, options.level, tokens.value)) is not None:
        estimate, unstable = logged_kl_estimate(logged)
        warnings += unstable
    else:
        note = f"no log-ratio in the rows, and {log.lack_of_kl(window)}; {LOG_IT}"
        estimate = Estimate.unavailable("log_ratio.kl", _NATS, "metrics-median", note)
    family = Choice("log_ratio.family", "gaussian", ("log_ratio.kl",))
    return _believable(KlEvidence((estimate,), tuple(warnings), (family,)), tokens)


def _believable(kl: KlEvidence, tokens: Estimate) -> KlEvidence:
    """Take back a mean that no model reaches: a policy that is sure of what its reference guesses.

    A reference that knows nothing gives each token of a vocabulary of ``e^12`` words 12 nats.
    """
    value, length = kl.estimates[0].value, tokens.value
    if value is None or not length or value <= LARGEST_PER_TOKEN * length:
        return kl
    note = (
        f"{value:.6g} nats a response of {length:.4g} tokens are {value / length:.3g} a token:"
        f" above {LARGEST_PER_TOKEN:g}, the logarithm of any vocabulary, the run diverged or the"
        " unit is wrong"
    )
    estimates = tuple(
        Estimate.unavailable(e.constant, e.unit, e.method, note) for e in kl.estimates
    )
    others = tuple(warning for warning in kl.warnings if warning.code != "kl-unstable")
    return KlEvidence(estimates, (*others, CalibrationWarning("kl-unstable", note)), ())


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
    kl, error, interval = mean_of_rows(moments, evidence.level, 1, 0)
    rows = moments.sums[0]
    centred = kl - evidence.settings.log_ratio_centre
    deviation = math.sqrt(max(moments.sums[2] / rows - centred**2, 0.0))
    effect = _magnitude_effect(moments, histogram, kl**2 + deviation**2)
    fits = fit_tails(histogram, kl, deviation, effect)
    shares = tail_summary.design_effects(moments, tuple(range(4, 4 + groups.THRESHOLDS)))
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
        "unreliable" if unstable else "estimated",
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
