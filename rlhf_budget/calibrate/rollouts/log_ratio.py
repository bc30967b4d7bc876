"""From aggregates, or a trainer's own log, to the log-ratio: its mean, its tail, its families."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlhf_budget.calibrate.estimates import CalibrationWarning, Choice, Estimate, WarningCode
from rlhf_budget.calibrate.logs import groups
from rlhf_budget.calibrate.moments import linearise, mean_of_rows
from rlhf_budget.calibrate.rollouts import tail_summary
from rlhf_budget.calibrate.rollouts.evidence import LOG_IT, Evidence
from rlhf_budget.calibrate.rollouts.tail_fits import TailFit, fit_tails
from rlhf_budget.calibrate.rollouts.tail_summary import TailSummary

if TYPE_CHECKING:
    from rlhf_budget.calibrate.logs.metrics.log import LoggedKl, MetricsLog
    from rlhf_budget.calibrate.rollouts.results import RolloutOptions

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
    # How much prompts' likeness widens the mean of |l|, which carries over to what is fitted.
    _, variance = linearise(moments, lambda sums: np.array([sums[3] / sums[0]]))
    row_variance = kl**2 + deviation**2 - histogram.mean**2
    effect = tail_summary.effect_of(float(variance[0, 0]), row_variance, rows)
    fits = fit_tails(histogram, kl, deviation, effect)
    shares = tail_summary.design_effects(moments, tuple(range(4, 4 + groups.THRESHOLDS)))
    summary = TailSummary(histogram, fits, shares, evidence.level)
    problem = _kl_problem(evidence, kl, interval)
    best = fits[0] if fits else None
    about = ("log_ratio.kl", _NATS, "mean-log-ratio", round(rows), kl, error, interval)
    gaussian = best is not None and best.family == "gaussian"
    estimates = [Estimate.of(*about, doubt=problem, pasted=gaussian)]
    choice = None
    if best is not None:
        estimates += _field_estimates(best, problem, histogram.samples, evidence.level)
        required = tuple(f"log_ratio.{field}" for field, _ in best.parameters)
        choice = Choice("log_ratio.family", best.family, required)
    warnings: tuple[CalibrationWarning, ...] = ()
    if problem is not None:
        off_policy = _off_policy(evidence) is not None
        code: WarningCode = "heavy-weights" if off_policy else "kl-unstable"
        warnings = (CalibrationWarning(code, problem),)
    return TailEvidence(summary, tuple(estimates), choice, warnings)


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


def _field_estimates(
    fit: TailFit, problem: str | None, samples: int, level: float
) -> list[Estimate]:
    from scipy.special import ndtri

    reach = float(ndtri((1 + level) / 2))
    note = None
    if problem is None and fit.ks_distance > _POOR_FIT:
        note = (
            f"the best family is still {fit.ks_distance:.2f} away from the logs"
            " (Kolmogorov-Smirnov): consider family empirical with samples of the log-ratio"
        )
    found = []
    for (field, value), error in zip(fit.parameters, fit.standard_errors, strict=True):
        if field == "kl":
            continue
        if field == "mu":
            low, high = value - reach * error, value + reach * error
        else:
            widening = math.exp(reach * error / value)
            low, high = value * math.exp(-reach * error / value), value * widening
        unit = "1" if field in {"shape", "sigma"} else _NATS
        about = (f"log_ratio.{field}", unit, f"maximum-likelihood-{fit.family}", samples, value)
        known = error if math.isfinite(error) else None
        interval = (low, high) if math.isfinite(error) and math.isfinite(high) else None
        found.append(Estimate.of(*about, known, interval, doubt=problem, note=note))
    return found


def logged_kl_estimate(logged: LoggedKl) -> tuple[Estimate, list[CalibrationWarning]]:
    """Return the mean KL from a trainer's own log."""
    if logged.median <= 0:
        bad = f"the logged {logged.key} is not positive"
        return Estimate.unavailable("log_ratio.kl", _NATS, "metrics-median", bad), []
    note = (
        f"median over steps of {logged.key}, {logged.remark}; mean {logged.mean:.4g},"
        f" largest step {logged.largest:.4g}; the tail is not in this log ({LOG_IT})"
    )
    ratio = logged.mean / logged.median
    unstable = not 1 / _UNSTABLE_RATIO < ratio < _UNSTABLE_RATIO or (
        logged.largest > _LARGE_STEP * logged.median
    )
    about = ("log_ratio.kl", _NATS, "metrics-median", logged.steps)
    found = (logged.median, None, logged.interval)
    if not unstable:
        return Estimate.of(*about, *found, note=note), []
    message = (
        f"mean {logged.mean:.4g} and median {logged.median:.4g} of the logged KL differ much,"
        f" or one step is far out ({logged.largest:.4g}): log the sequence log-ratio"
    )
    return Estimate.of(*about, *found, doubt=note), [CalibrationWarning("kl-unstable", message)]


def kl_per_token_estimate(per_token: float, tokens: Estimate) -> Estimate:
    """Return the mean KL from a KL per token and the mean length."""
    if tokens.value is None:
        note = "--kl-per-token needs the mean length: --tokens-field, or --metrics"
        return Estimate.unavailable("log_ratio.kl", _NATS, "kl-per-token", note)
    error, interval = tokens.standard_error, tokens.interval
    return Estimate.of(
        "log_ratio.kl",
        _NATS,
        "kl-per-token",
        tokens.sample_size,
        per_token * tokens.value,
        None if error is None else per_token * error,
        None if interval is None else (per_token * interval[0], per_token * interval[1]),
        note=f"{per_token:g} nats a token as given, times the mean length; nothing is known of the"
        " tail",
    )
