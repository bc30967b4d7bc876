"""The learning curve of a reward model: evaluation loss against labels.

``loss(m) = loss_limit + amplitude · m^(-exponent)`` is fitted by least squares within
``loss_limit ≥ lower_limit``, ``amplitude ≥ 0`` and an exponent in (0, 2]. For a given exponent the
other two are a line's intercept and slope, so the exponent is profiled: every exponent is tried,
no starting point decides, and what fits as well is known. Free fits run away where a curve has
not yet flattened (derived in docs/theory.md, section 6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rlhf_budget.errors import CalibrationError
from rlhf_budget.scenario.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from rlhf_budget.scenario import units

    Array = NDArray[np.float64]

LARGEST_EXPONENT = 2.0
"""Largest exponent that a fit may take."""
SMALLEST_EXPONENT = 0.005
"""Smallest exponent tried; a range that reaches it is reported as reaching 0."""

_PARAMETERS = 3
_GRID = np.geomspace(SMALLEST_EXPONENT, LARGEST_EXPONENT, 300)
_ZOOM_POINTS = 41
_ZOOMS = 7
_EXACT = 1e-24  # squared losses closer than this, relative to the squared losses, are one fit


@dataclass(frozen=True, slots=True)
class CurvePoint(Record):
    """One evaluation of a reward model."""

    json_names: ClassVar = ("labels=written_labels", "loss", "fitted")

    labels: float
    """Distinct preference labels that it was trained on."""
    loss: units.NatsPerPair
    """Evaluation loss."""
    fitted: units.NatsPerPair
    """The fitted curve at these labels."""

    @property
    def written_labels(self) -> units.RealLabels:
        """Distinct preference labels that it was trained on."""
        return int(self.labels) if self.labels.is_integer() else self.labels


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """A fitted learning curve and everything that fits as well."""

    points: tuple[CurvePoint, ...]
    """The data, by labels."""
    level: float
    """Level of the intervals, a share in (0, 1)."""
    lower_limit: float
    """Least loss that any reward model can reach, nats per pair."""
    loss_limit: units.NatsPerPair
    """Loss that no labels can beat."""
    amplitude: units.NatsPerPair
    """Excess loss at one label: the factor of ``labels^(-exponent)``."""
    exponent: units.Number
    """How fast the excess falls, in (0, 2]."""
    loss_limit_interval: tuple[float, float] | None
    """Profile interval; None where there are too few points for one."""
    amplitude_interval: tuple[float, float] | None
    """Profile interval; None where there are too few points for one."""
    exponent_interval: tuple[float, float] | None
    """Profile interval: all exponents that fit as well; None where points are too few."""
    straight: bool
    """Whether a straight line in labels or in log labels fits as well: no flattening is seen."""
    threshold: float
    """Largest sum of squared residuals of a curve that fits as well, nats squared."""

    @property
    def falls(self) -> bool:
        """Whether the loss falls with labels at all."""
        return self.amplitude > 0.0

    def loss_at(self, labels: Array) -> Array:
        """Return the fitted loss at an array of labels, nats per pair."""
        return self.loss_limit + self.amplitude * labels**-self.exponent


def fit_learning_curve(
    points: Iterable[tuple[float, float]], *, lower_limit: float = 0.0, level: float = 0.95
) -> LearningCurve:
    """Fit a bounded power law to evaluation losses by profiling its exponent.

    Points are pairs (labels, loss): labels positive, losses in nats per pair, at least two
    different numbers of labels; equal labels are repetitions. ``lower_limit`` is the least possible
    loss (at least 0): the Bayes loss where it is known.

    The profile intervals hold every value of a constant for which the best of the other two has a
    sum of squared residuals within ``1 + F/(points - 3)`` of the least, ``F`` being the quantile of
    Fisher's law with 1 and ``points - 3`` degrees of freedom (Bates and Watts 1988, *Nonlinear
    Regression Analysis*, section 6.1). They hold for independent errors of equal spread; what all
    points share, such as one evaluation set, is not in them. Where several exponents fit exactly
    (two numbers of labels), the flattest is returned.

    Raises CalibrationError if there are fewer than two numbers of labels, or a value is not finite
    and positive.
    """
    ordered = sorted((float(labels), float(loss)) for labels, loss in points)
    _require_curve(ordered)
    profile = _Profile.of(ordered, lower_limit)
    exponent = profile.best_exponent()
    fit = profile.at(np.array([exponent]))
    least = float(fit.squares[0])
    threshold = _threshold(least, len(ordered), level)
    region = None if threshold is None else profile.region(exponent, threshold)
    amplitude = float(fit.amplitude[0]) * profile.centre**exponent
    loss_limit = float(fit.loss_limit[0])
    fitted = [loss_limit + amplitude * labels**-exponent for labels, _ in ordered]
    return LearningCurve(
        points=tuple(
            CurvePoint(labels, loss, value)
            for (labels, loss), value in zip(ordered, fitted, strict=True)
        ),
        level=level,
        lower_limit=lower_limit,
        loss_limit=loss_limit,
        amplitude=amplitude,
        exponent=exponent,
        loss_limit_interval=None if region is None else region.loss_limits(),
        amplitude_interval=None if region is None else region.amplitudes(),
        exponent_interval=None if region is None else region.exponents(),
        straight=threshold is not None and profile.straight_squares() <= threshold,
        threshold=least if threshold is None else threshold,
    )


def curve_band(curve: LearningCurve, labels: Array) -> tuple[Array, Array]:
    """Return the lowest and highest loss of all curves that fit as well, at an array of labels."""
    profile = _Profile.of([(p.labels, p.loss) for p in curve.points], curve.lower_limit)
    return profile.region(curve.exponent, curve.threshold).losses(labels)


def _require_curve(points: list[tuple[float, float]]) -> None:
    for labels, loss in points:
        if not (math.isfinite(labels) and labels > 0.0 and math.isfinite(loss) and loss >= 0.0):
            raise CalibrationError(
                f"a point of a learning curve needs positive labels and a loss of at least 0, "
                f"found labels {labels:g} with loss {loss:g}"
            )
    if len({labels for labels, _ in points}) < 2:
        raise CalibrationError(
            "a learning curve needs losses at two or more different numbers of labels"
        )


def _threshold(least_squares: float, count: int, level: float) -> float | None:
    from scipy import special

    freedom = count - _PARAMETERS
    if freedom < 1:
        return None
    quantile = float(special.stdtrit(freedom, 0.5 + level / 2.0))
    return least_squares * (1.0 + quantile**2 / freedom)


@dataclass(frozen=True, slots=True)
class _Fit:
    """The best bounded line for each of several exponents."""

    squares: Array
    loss_limit: Array
    amplitude: Array  # of (labels/centre)^(-exponent)


@dataclass(frozen=True, slots=True)
class _Profile:
    """Least squares in two constants as a function of the third, the exponent."""

    labels: Array
    losses: Array
    lower_limit: float
    centre: float  # labels are divided by it, so that slopes of all exponents are of one size

    @classmethod
    def of(cls, points: list[tuple[float, float]], lower_limit: float) -> _Profile:
        labels = np.array([labels for labels, _ in points])
        losses = np.array([loss for _, loss in points])
        return cls(labels, losses, lower_limit, float(np.exp(np.log(labels).mean())))

    def powers(self, exponents: Array) -> Array:
        powers: Array = np.exp(-np.outer(exponents, np.log(self.labels / self.centre)))
        return powers

    def at(self, exponents: Array) -> _Fit:
        powers = self.powers(exponents)
        free_amplitude, free_limit = self.free_line(powers)
        bound_amplitude = (powers @ (self.losses - self.lower_limit)) / (powers**2).sum(axis=1)
        binds = free_limit < self.lower_limit
        amplitude = np.where(binds, bound_amplitude, free_amplitude)
        limit = np.where(binds, self.lower_limit, free_limit)
        level_loss = max(float(self.losses.mean()), self.lower_limit)
        limit = np.where(amplitude < 0.0, level_loss, limit)
        amplitude = np.maximum(amplitude, 0.0)
        residuals = self.losses - limit[:, None] - amplitude[:, None] * powers
        return _Fit((residuals**2).sum(axis=1), limit, amplitude)

    def free_line(self, powers: Array) -> tuple[Array, Array]:
        means = powers.mean(axis=1)
        centred = powers - means[:, None]
        amplitude = (centred @ (self.losses - self.losses.mean())) / (centred**2).sum(axis=1)
        return amplitude, self.losses.mean() - amplitude * means

    def best_exponent(self) -> float:
        exponents = _GRID
        tolerance = _EXACT * float((self.losses**2).sum())
        for _ in range(_ZOOMS):
            squares = self.at(exponents).squares
            best = int(np.argmax(squares <= squares.min() + tolerance))
            low = exponents[max(best - 1, 0)]
            high = exponents[min(best + 1, exponents.size - 1)]
            found = float(exponents[best])
            exponents = np.linspace(low, high, _ZOOM_POINTS)
        return found

    def region(self, exponent: float, threshold: float) -> _Region:
        inside = self.at(_GRID).squares <= threshold
        if inside.any():
            first, last = int(np.argmax(inside)), int(inside.size - 1 - np.argmax(inside[::-1]))
        else:  # the region lies between two points of the grid
            first = int(np.searchsorted(_GRID, exponent))
            last = first - 1
        low, high = SMALLEST_EXPONENT, LARGEST_EXPONENT
        if first > 0:
            low = self._edge(min(float(_GRID[first]), exponent), float(_GRID[first - 1]), threshold)
        if last < _GRID.size - 1:
            high = self._edge(max(float(_GRID[last]), exponent), float(_GRID[last + 1]), threshold)
        exponents = np.append(np.linspace(low, high, 200), exponent)
        fits = self.at(exponents).squares <= threshold
        fits[-1] = True
        return _Region(self, exponents[fits], threshold)

    def _edge(self, inside: float, outside: float, threshold: float) -> float:
        for _ in range(_ZOOMS):
            steps = np.linspace(inside, outside, _ZOOM_POINTS)
            beyond = self.at(steps).squares > threshold
            beyond[0], beyond[-1] = False, True
            first = int(np.argmax(beyond))
            inside, outside = float(steps[first - 1]), float(steps[first])
        return inside

    def straight_squares(self) -> float:
        """Return the squares that a straight line leaves, in labels or in their logarithm."""
        rest = self.losses - self.losses.mean()
        squares = []
        for abscissa in (np.log(self.labels), self.labels):
            centred = abscissa - abscissa.mean()
            slope = (centred @ rest) / (centred @ centred)
            squares.append(float(((rest - slope * centred) ** 2).sum()))
        return min(squares)


@dataclass(frozen=True, slots=True)
class _Region:
    """All curves whose squared residuals are within the threshold.

    For one exponent they fill an ellipse of (loss_limit, amplitude), cut by the lower limit; the
    extremes of a linear function on it have closed forms.
    """

    profile: _Profile
    exponents_inside: Array
    threshold: float

    def exponents(self) -> tuple[float, float]:
        low, high = float(self.exponents_inside.min()), float(self.exponents_inside.max())
        return (0.0 if low <= SMALLEST_EXPONENT else low), high

    def loss_limits(self) -> tuple[float, float]:
        low, high = self._extremes(np.ones(self._size), np.zeros(self._size))
        lower_limit = self.profile.lower_limit
        return max(float(low.min()), lower_limit), max(float(high.max()), lower_limit)

    def amplitudes(self) -> tuple[float, float]:
        low, high = self._extremes(np.zeros(self._size), np.ones(self._size))
        unit = self.profile.centre**self.exponents_inside
        return max(float((low * unit).min()), 0.0), max(float((high * unit).max()), 0.0)

    def losses(self, labels: Array) -> tuple[Array, Array]:
        lows, highs = np.empty_like(labels), np.empty_like(labels)
        for index, count in enumerate(labels):
            power = (count / self.profile.centre) ** -self.exponents_inside
            low, high = self._extremes(np.ones(self._size), power)
            lows[index], highs[index] = low.min(), high.max()
        return np.maximum(lows, self.profile.lower_limit), highs

    @property
    def _size(self) -> int:
        return self.exponents_inside.size

    def _extremes(self, of_limit: Array, of_amplitude: Array) -> tuple[Array, Array]:
        """Return the least and largest ``of_limit·limit + of_amplitude·amplitude`` per exponent."""
        profile = self.profile
        powers = profile.powers(self.exponents_inside)
        amplitude, limit = profile.free_line(powers)
        residuals = profile.losses - limit[:, None] - amplitude[:, None] * powers
        room = np.maximum(self.threshold - (residuals**2).sum(axis=1), 0.0)
        count, sums, squares = powers.shape[1], powers.sum(axis=1), (powers**2).sum(axis=1)
        determinant = count * squares - sums**2
        # Of {z : z'Mz ≤ room}, the extremes along d are ± M⁻¹d·√(room / d'M⁻¹d).
        limit_step = (squares * of_limit - sums * of_amplitude) / determinant
        amplitude_step = (count * of_amplitude - sums * of_limit) / determinant
        reach = of_limit * limit_step + of_amplitude * amplitude_step
        stretch = np.sqrt(room / reach)
        middle = of_limit * limit + of_amplitude * amplitude
        low, high = middle - stretch * reach, middle + stretch * reach
        edge_low, edge_high = self._edge_extremes(powers, of_limit, of_amplitude)
        low_cut = limit - stretch * limit_step < profile.lower_limit
        high_cut = limit + stretch * limit_step < profile.lower_limit
        return np.where(low_cut, edge_low, low), np.where(high_cut, edge_high, high)

    def _edge_extremes(
        self, powers: Array, of_limit: Array, of_amplitude: Array
    ) -> tuple[Array, Array]:
        """Return the extremes where the loss limit stands at its lower limit."""
        excess = self.profile.losses - self.profile.lower_limit
        squares = (powers**2).sum(axis=1)
        amplitude = (powers @ excess) / squares
        residuals = excess - amplitude[:, None] * powers
        room = np.maximum(self.threshold - (residuals**2).sum(axis=1), 0.0)
        half = np.abs(of_amplitude) * np.sqrt(room / squares)
        middle = of_limit * self.profile.lower_limit + of_amplitude * amplitude
        return middle - half, middle + half
