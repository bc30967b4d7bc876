"""How the error of a reward model falls with labels, from its evaluation losses.

Preferences identify a reward model's error within a prompt only, and an evaluation loss bounds it:
with Bradley-Terry logits ``Δ = s(r₁ - r₂)`` and the excess loss ``e`` over the Bayes loss,
``L ≤ e/(s² σ')`` (derived in docs/theory.md, section 6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from rlhf_budget.calibrate.estimates import (
    Calibration,
    CalibrationWarning,
    Estimate,
    Source,
    require_level,
)
from rlhf_budget.calibrate.reward_model.learning_curve import (
    LARGEST_EXPONENT,
    LearningCurve,
    fit_learning_curve,
)
from rlhf_budget.calibrate.reward_model.log_kind import kind_of
from rlhf_budget.calibrate.reward_model.loss_log import LossLog
from rlhf_budget.errors import CalibrationError
from rlhf_budget.scenario.records import Record
from rlhf_budget.scenario.units import Unit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rlhf_budget.scenario import units

Curvature = Literal["average", "worst"]

FEWEST_POINTS = 4
"""Numbers of labels below which three constants cannot be checked against the data."""
NEAR_CHANCE_LABELS = 2000
"""Reward models of every size were near chance below this (Gao, Schulman, Hilton 2022, 3.3)."""

_FLOOR, _SCALE, _EXPONENT = (f"reward_model.error.{n}" for n in ("floor", "scale", "exponent"))
_BEYOND_NOISE = 0.9999  # a limit that stands at its bound is below it half of the time
_METHOD = "bounded-power-law"
_HOW_TO_LOG = (
    "log the evaluation loss too (TRL: eval_strategy='steps' writes eval_loss; OpenRLHF: "
    "eval/eval_loss), as mean -log sigmoid(chosen - rejected)"
)
_HOW_TO_AGREE = (
    "give --agreement, the share of pairs on which two independent annotators agree: it bounds "
    "the loss that no reward model can beat"
)


@dataclass(frozen=True, slots=True)
class LogitCurvature(Record):
    """The curvature of the logistic loss that turns excess loss into squared error."""

    kind: Curvature
    """``average`` over pairs (an estimate) or ``worst`` on the reward range (a bound)."""
    value: Annotated[float, Unit("per squared logit")]
    """``σ'``."""


@dataclass(frozen=True, slots=True)
class ReportedCurve(Record):
    """The fitted curve with what it was read by."""

    json_names: ClassVar = ("fit.points", "fit.loss_limit", "fit.amplitude", "fit.exponent", "...")

    fit: LearningCurve
    """The curve."""
    bayes_loss: units.NatsPerPair | None
    """Lower bound on the loss of any reward model; None without an agreement."""
    logit_scale: Annotated[float, Unit("logits per reward unit")]
    """``s``."""
    curvature: LogitCurvature | None
    """``σ'`` behind floor and scale; None without an agreement."""


@dataclass(frozen=True)
class RewardModelConstants(Calibration):
    """Floor, scale and exponent of a reward model's error."""

    command: ClassVar[str] = "calibrate reward-model"

    curve: LearningCurve | None = None
    """The fitted curve; None where the data hold no loss at two numbers of labels."""
    bayes_loss: float | None = None
    """Lower bound on the loss of any reward model, nats per pair; None without an agreement."""
    logit_scale: float = 1.0
    """``s``: logits per unit of reward."""
    curvature: LogitCurvature | None = None
    """``σ'`` behind floor and scale; None without an agreement."""

    @property
    def reported_curve(self) -> ReportedCurve | None:
        """The curve with what it was read by; None where there is none."""
        if self.curve is None:
            return None
        return ReportedCurve(self.curve, self.bayes_loss, self.logit_scale, self.curvature)


def reward_model(
    points: Iterable[tuple[float, float]] | LossLog,
    *,
    agreement: float | None = None,
    logit_scale: float = 1.0,
    curvature: Curvature = "average",
    reward_range: tuple[float, float] = (0.0, 1.0),
    level: float = 0.95,
) -> RewardModelConstants:
    """Estimate how a reward model's error falls with labels.

    Parameters
    ----------
    points
        Pairs (labels, evaluation loss in nats per pair), or what
        :func:`~rlhf_budget.calibrate.reward_model.loss_log.read_losses` returns.
    agreement
        Share of pairs, in [0.5, 1), on which two independent annotators agree. Without it the
        error is not known, only its exponent.
    logit_scale
        ``s``: logits per unit of reward, so that a preference has the logit ``s(r₁ - r₂)``.
    curvature
        ``average``: the mean of ``σ'``, which is ``(1 - agreement)/2``; an estimate. ``worst``:
        ``σ'(s·R)``, a bound that can exceed it by 50 to 100 times.
    reward_range
        Least and largest reward, for ``worst``.
    level
        Level of the intervals.

    Returns
    -------
    RewardModelConstants
        ``reward_model.error.floor``, ``.scale`` and ``.exponent``; ``unreliable`` where the data do
        not identify the curve, ``unavailable`` where they do not hold it.

    Raises
    ------
    CalibrationError
        If a number is out of its range.

    Notes
    -----
    The error is that on the training law, centred within each prompt. Floor, scale and exponent
    belong together: an end of one interval beside an end of another is no curve that fits. What
    all evaluations share, such as one evaluation set, is not in the intervals.
    """
    _require_settings(agreement, logit_scale, reward_range, level)
    log = points if isinstance(points, LossLog) else _log_of(points)
    bayes = None if agreement is None else 2.0 * math.log(2.0) * (1.0 - agreement)
    bend = _curvature(curvature, agreement, logit_scale * (reward_range[1] - reward_range[0]))
    warnings = [
        CalibrationWarning("not-a-reward-model", text) for text in (*log.refused, *log.doubts)
    ]
    missing = _missing(log)
    if missing is not None:
        fit, estimates = None, _unavailable(missing)
        warnings.append(CalibrationWarning("curve-not-identified", missing))
    else:
        fit = fit_learning_curve(log.points, lower_limit=bayes or 0.0, level=level)
        doubts = _doubts(fit, bayes)
        estimates = _estimates(fit, bend, logit_scale, [*log.doubts, *doubts], runs=log.runs)
        if doubts:
            warnings.append(_warning(fit, doubts))
    return RewardModelConstants(
        level=level,
        source=log.source,
        estimates=estimates,
        warnings=tuple(warnings),
        curve=fit,
        bayes_loss=bayes,
        logit_scale=logit_scale,
        curvature=bend,
    )


def _require_settings(
    agreement: float | None, logit_scale: float, reward_range: tuple[float, float], level: float
) -> None:
    if agreement is not None and not 0.5 <= agreement < 1.0:
        raise CalibrationError(
            f"agreement must be at least 0.5 and below 1, found {agreement:g}: two annotators "
            "who choose independently agree on half of all pairs or more, and where they always "
            "agree the losses say nothing of the size of errors"
        )
    if not (logit_scale > 0.0 and math.isfinite(logit_scale)):
        raise CalibrationError(f"the logit scale must be above 0, found {logit_scale:g}")
    if not reward_range[0] < reward_range[1]:
        raise CalibrationError(
            f"the reward range must ascend, found {reward_range[0]:g} {reward_range[1]:g}"
        )
    require_level(level)


def _log_of(points: Iterable[tuple[float, float]]) -> LossLog:
    pairs = sorted((float(labels), float(loss)) for labels, loss in points)
    source = Source(rows_read=len(pairs), rows_used=len(pairs))
    kind = kind_of((), [loss for _, loss in pairs], from_run=False)
    doubts = tuple(text for text in (kind.refused, kind.doubt) if text)
    return LossLog(tuple(pairs), source, doubts=doubts)


def _curvature(
    kind: Curvature, agreement: float | None, logit_range: float
) -> LogitCurvature | None:
    if agreement is None:
        return None
    if kind == "average":
        return LogitCurvature(kind, (1.0 - agreement) / 2.0)
    decay = math.exp(-logit_range)
    slope = decay / (1.0 + decay) ** 2
    if slope < 1e-300:
        raise CalibrationError(
            f"logits of {logit_range:g} leave no curvature to bound an error by; "
            "lower the logit scale or take the average curvature"
        )
    return LogitCurvature(kind, slope)


def _missing(log: LossLog) -> str | None:
    """Return why there is no curve to fit; None where there is one."""
    counts = {labels for labels, _ in log.points}
    if len(counts) >= 2:
        return None
    if log.accuracies and not counts:
        return f"{log.accuracies} accuracies and no loss: an accuracy gives no error; {_HOW_TO_LOG}"
    found = "no loss" if not counts else f"losses at one number of labels ({min(counts):g})"
    return (
        f"{found}: a curve needs four or more numbers of labels; train on parts of the labels, or "
        "evaluate during the first epoch"
    )


def _unavailable(why: str) -> tuple[Estimate, ...]:
    units = ((_FLOOR, "reward^2"), (_SCALE, "reward^2"), (_EXPONENT, "1"))
    return tuple(Estimate.unavailable(name, unit, _METHOD, why) for name, unit in units)


def _doubts(curve: LearningCurve, bayes: float | None) -> list[str]:
    """Return every reason why the data do not identify the curve."""
    pairs = [(point.labels, point.loss) for point in curve.points]
    counts = {labels for labels, _ in pairs}
    doubts = []
    falls = curve.falls or (bayes is not None and fit_learning_curve(pairs).falls)
    if not falls:
        doubts.append("the loss does not fall with labels")
    if len(counts) < FEWEST_POINTS:
        doubts.append(
            f"{len(counts)} different numbers of labels cannot check three constants, "
            f"which takes {FEWEST_POINTS} or more"
        )
    if curve.straight:
        doubts.append(
            "the loss still falls like a straight line in labels or in their logarithm, so its "
            "limit is not seen"
        )
    if max(counts) < NEAR_CHANCE_LABELS:
        doubts.append(
            f"all points are below {NEAR_CHANCE_LABELS:,} labels, where reward models are near "
            "chance, and say nothing about more"
        )
    ends = curve.exponent_interval
    if ends is not None and (ends[0] == 0.0 or ends[1] >= LARGEST_EXPONENT) and curve.falls:
        doubts.append("no exponent is ruled out at one end of its range (0 to 2)")
    if bayes is not None and (_contradicts(pairs, bayes) or falls > curve.falls):
        doubts.append(
            f"losses go below {bayes:.4g}, the least that annotators of this agreement allow: the "
            "agreement is too low, or the loss is no mean -log sigmoid of a margin"
        )
    return doubts


def _contradicts(pairs: list[tuple[float, float]], bayes: float) -> bool:
    """Whether losses are below the Bayes loss by more than their noise."""
    if min(loss for _, loss in pairs) >= bayes:
        return False
    free = fit_learning_curve(pairs, level=_BEYOND_NOISE).loss_limit_interval
    return free is None or free[1] < bayes


def _estimates(
    curve: LearningCurve,
    bend: LogitCurvature | None,
    logit_scale: float,
    reasons: list[str],
    *,
    runs: int | None,
) -> tuple[Estimate, ...]:
    counts = [point.labels for point in curve.points]
    note = f"measured from {min(counts):,.0f} to {max(counts):,.0f} labels"
    if runs == 1:
        note += (
            "; these are losses on one run's way, which is the optimiser's too: separate runs, one "
            "a number of labels, are better"
        )
    doubt = "; ".join(reasons)
    if bend is None:
        floor, scale, _ = _unavailable(_HOW_TO_AGREE)
        note += "; not for the scenario without a scale that goes with it"
    else:
        unit_error = 1.0 / (logit_scale**2 * bend.value)

        def error(constant: str, loss: float, ends: tuple[float, float] | None) -> Estimate:
            interval = None if ends is None else (ends[0] * unit_error, ends[1] * unit_error)
            about = (constant, "reward^2", _METHOD, len(counts), loss * unit_error, None)
            return Estimate.of(*about, interval, doubt=doubt, note=note)

        least, ends = curve.lower_limit, curve.loss_limit_interval
        excess = None if ends is None else (ends[0] - least, ends[1] - least)
        floor = error(_FLOOR, curve.loss_limit - least, excess)
        scale = error(_SCALE, curve.amplitude, curve.amplitude_interval)
    about_exponent = (_EXPONENT, "1", _METHOD, len(counts), curve.exponent, None)
    return (
        floor,
        scale,
        # An exponent with another curve's scale would be an error off by orders of magnitude.
        Estimate.of(
            *about_exponent,
            curve.exponent_interval,
            doubt=doubt,
            note=note,
            pasted=bend is not None,
        ),
    )


def _warning(curve: LearningCurve, doubts: list[str]) -> CalibrationWarning:
    fits = ""
    if curve.exponent_interval is not None:
        low, high = curve.exponent_interval
        fits = f" Exponents from {low:.2g} to {high:.2g} fit as well."
    message = (
        f"the data do not identify the curve: {'; '.join(doubts)}.{fits} Add runs on more labels, "
        "spread over a factor of ten or more, or give the constants a range in the scenario"
    )
    return CalibrationWarning("curve-not-identified", message)
