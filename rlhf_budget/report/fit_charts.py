"""Pictures of fits: a reward model's learning curve, and the log-ratio's tail.

They show what a table cannot: whether the curve has begun to flatten, and which family follows the
logs where few of them are left. Altair draws, through the extra ``plot``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlhf_budget.bound.tails import make_tail
from rlhf_budget.calibrate.reward_model.calibration import RewardModelConstants
from rlhf_budget.calibrate.reward_model.learning_curve import curve_band
from rlhf_budget.calibrate.rollouts.results import RolloutConstants
from rlhf_budget.errors import CalibrationError, FileAccessError, MissingExtraError
from rlhf_budget.report.charts import SUFFIXES, rendered
from rlhf_budget.report.data import write_whole

if TYPE_CHECKING:
    from rlhf_budget.calibrate.estimates import Calibration
    from rlhf_budget.calibrate.reward_model.learning_curve import LearningCurve
    from rlhf_budget.calibrate.rollouts.tail_summary import TailSummary

_BLUE, _ORANGE, _GREY = "#2f6690", "#c8553d", "#6b7280"
_FAMILY_COLOURS = ("#c8553d", "#3d8c7d", "#8e5ea2", "#b8860b", "#5b7db1", "#7a7a7a", "#a04668")
_WIDTH, _HEIGHT = 560, 340
_STEPS = 160
_REACH = 4.0  # the curve is drawn this much beyond the last point, where it is an extrapolation
_LEAST_SURVIVORS = 0.5


def fit_chart(calibration: Calibration) -> Any:
    """Return the chart of what a calibration fitted.

    Raises
    ------
    CalibrationError
        If it fitted nothing that can be drawn.
    MissingExtraError
        Without the extra ``plot``.
    """
    if isinstance(calibration, RewardModelConstants) and calibration.curve is not None:
        return learning_curve_chart(calibration, calibration.curve)
    if isinstance(calibration, RolloutConstants) and calibration.tail is not None:
        return tail_chart(calibration.tail)
    why = "; ".join(e.note for e in calibration.estimates if e.value is None and e.note)
    raise CalibrationError(f"nothing to draw: {why or 'this calibration has no fitted curve'}")


def learning_curve_chart(found: RewardModelConstants, curve: LearningCurve) -> Any:
    """Return the chart of a learning curve: points, fit, band, and the loss no labels can beat."""
    altair = _altair()
    counts = [point.labels for point in curve.points]
    labels = np.geomspace(min(counts) / 1.2, max(counts) * _REACH, _STEPS)
    scale = altair.Scale(type="log", nice=False)
    axis = altair.Axis(format="~s", labelOverlap="greedy", labelSeparation=12)
    horizontal = altair.X("labels:Q", title="preference labels", scale=scale, axis=axis)
    line = _rows(labels=labels, loss=curve.loss_at(labels))
    base = altair.Chart(altair.Data(values=line)).encode(x=horizontal)
    layers = [base.mark_line(color=_BLUE, strokeWidth=2).encode(y=_losses(altair, "loss"))]
    if curve.exponent_interval is not None:
        low, high = curve_band(curve, labels)
        rows = _rows(labels=labels, low=low, high=high)
        band = altair.Chart(altair.Data(values=rows)).mark_area(color=_BLUE, opacity=0.18)
        around = band.encode(x=horizontal, y=_losses(altair, "low"), y2="high:Q")
        layers.insert(0, around)
    points = _rows(labels=counts, loss=[point.loss for point in curve.points])
    dots = altair.Chart(altair.Data(values=points)).encode(x=horizontal, y=_losses(altair, "loss"))
    layers.append(dots.mark_point(filled=True, size=55, color=_ORANGE, opacity=1))
    layers += _limits(altair, found, curve, horizontal, float(labels[0]))
    reliable = all(estimate.status == "estimated" for estimate in found.estimates[-1:])
    subtitle = (
        f"loss = {curve.loss_limit:.3g} + {curve.amplitude:.3g} · labels^(−{curve.exponent:.3g})"
    )
    if not reliable:
        subtitle += "; the data do not identify it: the band shows what fits as well"
    elif curve.exponent_interval is not None:
        subtitle += f"; band: {curve.level:.0%} of curves that fit as well"
    return _framed(altair, layers, "Reward-model loss by preference labels", subtitle)


def _losses(altair: Any, field: str) -> Any:
    return altair.Y(
        f"{field}:Q", title="evaluation loss (nats per pair)", scale=altair.Scale(zero=False)
    )


def _limits(
    altair: Any, found: RewardModelConstants, curve: LearningCurve, horizontal: Any, first: float
) -> list[Any]:
    """Return level lines: the fitted limit, and the least loss that annotators allow."""
    lines = [(curve.loss_limit, f"fitted limit {curve.loss_limit:.3f}", _BLUE, -6)]
    if found.bayes_loss is not None:
        told = f"no labels beat {found.bayes_loss:.3f} (annotators' agreement)"
        if curve.loss_limit == curve.lower_limit:
            lines = []
            told += "; the fitted limit stands there"
        lines.append((found.bayes_loss, told, _GREY, 12))
    layers = []
    for level, text, colour, shift in lines:
        chart = altair.Chart(altair.Data(values=[{"loss": level, "labels": first, "text": text}]))
        vertical = _losses(altair, "loss")
        layers.append(
            chart.mark_rule(color=colour, strokeDash=[5, 4], strokeWidth=1.2).encode(y=vertical)
        )
        words = chart.mark_text(align="left", dx=4, dy=shift, color=colour, fontSize=11)
        layers.append(words.encode(x=horizontal, y=vertical, text="text:N"))
    return layers


def tail_chart(tail: TailSummary) -> Any:
    """Return the chart of a log-ratio's tail: the logs, and every family that was fitted."""
    altair = _altair()
    samples = tail.histogram.samples
    nats = np.linspace(0.0, tail.histogram.largest, _STEPS)
    least = _LEAST_SURVIVORS / samples
    observed = _rows(
        nats=nats, share=[tail.survival(float(t)) for t in nats], law=["logs"] * nats.size
    )
    fitted = [row for fit in tail.fits for row in _family_rows(fit, nats, least)]
    names = [_family_label(fit) for fit in tail.fits]
    colours = altair.Scale(domain=["logs", *names], range=[_BLUE, *_FAMILY_COLOURS[: len(names)]])
    scale = altair.Scale(type="log", domain=[least, 1.0], clamp=True)
    encoding = {
        "x": altair.X("nats:Q", title="absolute log-ratio |ℓ| of a response (nats)"),
        "y": altair.Y("share:Q", title="share of responses above", scale=scale),
        "color": altair.Color("law:N", title=None, scale=colours),
    }
    dashes = altair.Scale(domain=["yes", "no"], range=[[1, 0], [4, 3]])
    visible = [row for row in observed if row["share"] >= least]
    layers = [
        altair.Chart(altair.Data(values=fitted))
        .mark_line(strokeWidth=1.6)
        .encode(**encoding, strokeDash=altair.StrokeDash("chosen:N", legend=None, scale=dashes)),
        altair.Chart(altair.Data(values=visible))
        .mark_line(strokeWidth=3, interpolate="step-after")
        .encode(**encoding),
    ]
    chosen = next((fit.family for fit in tail.fits if fit.chosen), None)
    subtitle = f"{samples:,} responses; " + (
        f"solid: {chosen}, the best fit" if chosen else "no family fits"
    )
    return _framed(altair, layers, "Tail of the log-ratio", subtitle)


def _family_label(fit: Any) -> str:
    return f"{fit.family} (best)" if fit.chosen else str(fit.family)


def _family_rows(fit: Any, nats: Any, least: float) -> list[dict[str, Any]]:
    law = make_tail(fit.family, **dict(fit.parameters))
    shares = np.asarray(law.survival(nats), dtype=float)
    chosen = "yes" if fit.chosen else "no"
    return [
        {"nats": float(t), "share": float(share), "law": _family_label(fit), "chosen": chosen}
        for t, share in zip(nats, shares, strict=True)
        if share >= least
    ]


def _rows(**columns: Any) -> list[dict[str, Any]]:
    names = list(columns)
    return [
        {n: v if isinstance(v, str) else float(v) for n, v in zip(names, values, strict=True)}
        for values in zip(*columns.values(), strict=True)
    ]


def _framed(altair: Any, layers: list[Any], title: str, subtitle: str) -> Any:
    chart = altair.layer(*layers).properties(
        width=_WIDTH,
        height=_HEIGHT,
        title=altair.TitleParams(title, subtitle=subtitle, anchor="start", subtitleColor=_GREY),
        background="white",
    )
    return chart.configure_axis(gridColor="#e5e7eb", domainColor="#9ca3af", tickColor="#9ca3af")


def _altair() -> Any:
    try:
        import altair  # noqa: ICN001, PLC0415 - an extra; its full name says what it is
    except ImportError:
        raise MissingExtraError("pictures need: pip install 'rlhf-budget[plot]'") from None
    return altair


def write_chart(chart: Any, path: str | Path) -> None:
    """Write a chart to a file, whole or not at all, as its name's ending says.

    Raises
    ------
    CalibrationError
        If the ending is none of ``.svg``, ``.png``, ``.pdf`` and ``.html``.
    FileAccessError
        If the file cannot be written.
    MissingExtraError
        Without the extra ``plot``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise CalibrationError(f"{path}: a picture is one of {', '.join(SUFFIXES)}")
    if not Path(path).parent.is_dir():
        raise FileAccessError(f"{path}: no such directory")
    write_whole(path, rendered(chart, suffix[1:], ppi=144))
