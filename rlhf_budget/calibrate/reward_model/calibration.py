"""How the error of a reward model falls with labels, from its evaluation losses.

Preferences identify a reward model's error within a prompt only, and an evaluation loss bounds it:
with Bradley-Terry logits ``Δ = s(r₁ - r₂)`` and the excess loss ``e`` over the Bayes loss,
``L ≤ e/(s² σ')`` (derived in docs/theory.md, section 6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from rlhf_budget.calibrate.estimates import Calibration, CalibrationWarning, Estimate, Source
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
    log = _log_of(points)
    pairs, source, runs = list(log.points), log.source, log.runs
    bayes = None if agreement is None else 2.0 * math.log(2.0) * (1.0 - agreement)
    bend = _curvature(curvature, agreement, logit_scale * (reward_range[1] - reward_range[0]))
    settings = {"bayes_loss": bayes, "logit_scale": logit_scale, "curvature": bend}
    missing = _missing(pairs, log.accuracies)
    if missing is not None:
        return RewardModelConstants(
            level=level,
            source=source,
            estimates=_unavailable(missing),
            warnings=(*_kind_warnings(log), CalibrationWarning("curve-not-identified", missing)),
            **settings,  # type: ignore[arg-type]
        )
    curve = fit_learning_curve(pairs, lower_limit=bayes or 0.0, level=level)
    doubts = _doubts(curve, bayes)
    reasons = [*log.doubts, *doubts]
    return RewardModelConstants(
        level=level,
        source=source,
        estimates=_estimates(curve, bend, logit_scale, reasons, _remark(curve, runs)),
        warnings=(*_kind_warnings(log), *_warnings(curve, doubts)),
        curve=curve,
        **settings,  # type: ignore[arg-type]
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
    if not 0.0 < level < 1.0:
        raise CalibrationError(f"the level must be between 0 and 1, found {level:g}")


def _log_of(points: Iterable[tuple[float, float]] | LossLog) -> LossLog:
    if isinstance(points, LossLog):
        return points
    pairs = sorted((float(labels), float(loss)) for labels, loss in points)
    source = Source(rows_read=len(pairs), rows_used=len(pairs))
    kind = kind_of((), [loss for _, loss in pairs], from_run=False)
    doubts = tuple(text for text in (kind.refused, kind.doubt) if text)
    return LossLog(tuple(pairs), source, doubts=doubts)


def _kind_warnings(log: LossLog) -> tuple[CalibrationWarning, ...]:
    return tuple(
        CalibrationWarning("not-a-reward-model", text) for text in (*log.refused, *log.doubts)
    )


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


def _missing(pairs: list[tuple[float, float]], accuracies: int) -> str | None:
    counts = {labels for labels, _ in pairs}
    if len(counts) >= 2:
        return None
    if accuracies and not counts:
        return f"{accuracies} accuracies and no loss: an accuracy gives no error; {_HOW_TO_LOG}"
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
    counts = {point.labels for point in curve.points}
    doubts = []
    pairs = [(point.labels, point.loss) for point in curve.points]
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
    if _touches_an_end(curve) and curve.falls:
        doubts.append("no exponent is ruled out at one end of its range (0 to 2)")
    if bayes is not None and (_contradicts(curve, bayes) or falls > curve.falls):
        doubts.append(
            f"losses go below {bayes:.4g}, the least that annotators of this agreement allow: the "
            "agreement is too low, or the loss is no mean -log sigmoid of a margin"
        )
    return doubts


def _contradicts(curve: LearningCurve, bayes: float) -> bool:
    """Whether losses are below the Bayes loss by more than their noise."""
    points = [(point.labels, point.loss) for point in curve.points]
    if min(loss for _, loss in points) >= bayes:
        return False
    free = fit_learning_curve(points, level=_BEYOND_NOISE).loss_limit_interval
    return free is None or free[1] < bayes


def _touches_an_end(curve: LearningCurve) -> bool:
    if curve.exponent_interval is None:
        return False
    low, high = curve.exponent_interval
    return low == 0.0 or high >= LARGEST_EXPONENT


def _remark(curve: LearningCurve, runs: int | None) -> str:
    counts = [point.labels for point in curve.points]
    remark = f"measured from {min(counts):,.0f} to {max(counts):,.0f} labels"
    if runs == 1:
        remark += (
            "; these are losses on one run's way, which is the optimiser's too: separate runs, one "
            "a number of labels, are better"
        )
    return remark


def _estimates(
    curve: LearningCurve,
    bend: LogitCurvature | None,
    logit_scale: float,
    reasons: list[str],
    remark: str,
) -> tuple[Estimate, ...]:
    note = "; ".join([*reasons, remark])

    def estimate(
        constant: str, unit: str, value: float, interval: tuple[float, float] | None
    ) -> Estimate:
        return Estimate(
            constant,
            unit,
            "unreliable" if reasons else "estimated",
            value,
            None,
            interval,
            _METHOD,
            len(curve.points),
            note,
            # An exponent with another curve's scale would be an error off by orders of magnitude.
            pasted=bend is not None,
        )

    exponent = estimate(_EXPONENT, "1", curve.exponent, curve.exponent_interval)
    if bend is None:
        floor, scale, _ = _unavailable(_HOW_TO_AGREE)
        told = f"{exponent.note}; not for the scenario without a scale that goes with it"
        return floor, scale, replace(exponent, note=told)
    unit_error = 1.0 / (logit_scale**2 * bend.value)
    excess = curve.loss_limit - curve.lower_limit
    excess_range = _shifted(curve.loss_limit_interval, -curve.lower_limit)
    return (
        estimate(_FLOOR, "reward^2", excess * unit_error, _scaled(excess_range, unit_error)),
        estimate(
            _SCALE,
            "reward^2",
            curve.amplitude * unit_error,
            _scaled(curve.amplitude_interval, unit_error),
        ),
        exponent,
    )


def _shifted(interval: tuple[float, float] | None, by: float) -> tuple[float, float] | None:
    return None if interval is None else (interval[0] + by, interval[1] + by)


def _scaled(interval: tuple[float, float] | None, by: float) -> tuple[float, float] | None:
    return None if interval is None else (interval[0] * by, interval[1] * by)


def _warnings(curve: LearningCurve, reasons: list[str]) -> tuple[CalibrationWarning, ...]:
    if not reasons:
        return ()
    fits = ""
    if curve.exponent_interval is not None:
        low, high = curve.exponent_interval
        fits = f" Exponents from {low:.2g} to {high:.2g} fit as well."
    message = (
        f"the data do not identify the curve: {'; '.join(reasons)}.{fits} Add runs on more labels, "
        "spread over a factor of ten or more, or give the constants a range in the scenario"
    )
    return (CalibrationWarning("curve-not-identified", message),)
