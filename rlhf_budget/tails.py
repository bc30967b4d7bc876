"""Tails of the sequence log-ratio: what clipping at a threshold leaves out.

For a log-ratio ``l`` (nats per sequence) each family gives three functions of ``|l|``:

* ``survival(t) = P(|l| > t)``,
* ``excess(t) = E(|l| - t)₊``, the integral of the survival from ``t`` on,
* ``inverse_survival(p) = inf{t >= 0 : P(|l| > t) <= p}``, which is 0 when ``p >= P(|l| > 0)``.

The formulas are those of docs/theory.md, section 4, in forms that keep about 1e-12 relative down to
a survival of 1e-12. A float gives a float, computed with ``math`` alone; an array gives an array of
the same shape. ``gamma`` (all three functions) and ``weibull`` (its excess) load ``scipy.special``
when they are first used; nothing else needs SciPy.
"""

from __future__ import annotations

import math
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FloatArray = NDArray[np.float64]
Number = TypeVar("Number", float, FloatArray)

_INFINITY = math.inf
_SMALLEST = math.ulp(0.0)
_LARGEST_BELOW_ONE = math.nextafter(1.0, 0.0)
_LARGEST_EXPONENT = math.log(1.7e308)
_ROOT_HALF = math.sqrt(0.5)
_ROOT_PI = math.sqrt(math.pi)
_STANDARD_NORMAL = NormalDist()
_NARROW = 0.1
"""Largest sigma of a lognormal that needs the narrow form of its excess."""
_GAUSS_LEGENDRE = (  # ten points on [-1, 1], DLMF table 3.5.2; the nodes come with both signs
    (0.14887433898163121089, 0.29552422471475287017),
    (0.4333953941292471908, 0.26926671930999635509),
    (0.67940956829902440623, 0.219086362515982044),
    (0.86506336668898451073, 0.14945134915058059315),
    (0.97390652851717172008, 0.066671344308688137594),
)


class Tail(Protocol):
    """What every family offers; see the module's text for the meaning of the three functions."""

    family: ClassVar[str]
    """Name of the family, as ``log_ratio.family`` spells it."""

    def survival(self, t: Number) -> Number:
        """``P(|l| > t)`` for thresholds ``t >= 0`` in nats."""

    def excess(self, t: Number) -> Number:
        """``E(|l| - t)₊`` in nats, for thresholds ``t >= 0`` in nats."""

    def inverse_survival(self, p: Number) -> Number:
        """Least ``t >= 0`` in nats with ``P(|l| > t) <= p``."""


# ---------------------------------------------------------------------------------------------
# Elementary functions of a float or an array. On floats they follow IEEE 754 (infinities, no
# exceptions), as NumPy does on arrays, so that each formula below is written once for both.
# ---------------------------------------------------------------------------------------------


def _exp(x: Number) -> Number:
    if isinstance(x, np.ndarray):
        return np.exp(x)
    return math.exp(x) if x < _LARGEST_EXPONENT else _INFINITY


def _expm1(x: Number) -> Number:
    if isinstance(x, np.ndarray):
        return np.expm1(x)
    return math.expm1(x) if x < _LARGEST_EXPONENT else _INFINITY


def _log(x: Number) -> Number:
    if isinstance(x, np.ndarray):
        return np.log(x)
    return math.log(x) if x > 0.0 else -_INFINITY


def _log1p(x: Number) -> Number:
    if isinstance(x, np.ndarray):
        return np.log1p(x)
    return math.log1p(x) if x > -1.0 else -_INFINITY


def _minimum(x: Number, limit: float) -> Number:
    if isinstance(x, np.ndarray):
        return np.minimum(x, limit)
    return min(x, limit)


def _maximum(x: Number, limit: float) -> Number:
    if isinstance(x, np.ndarray):
        return np.maximum(x, limit)
    return max(x, limit)


def _where(condition: Any, yes: Number, no: Number) -> Number:
    if isinstance(yes, np.ndarray):
        return np.where(condition, yes, no)
    return yes if condition else no


def _map(function: Callable[[float], float], x: Number) -> Number:
    if isinstance(x, np.ndarray):
        # A memoryview hands out floats without the list that tolist() would build first.
        values = np.fromiter(map(function, x.ravel().data), np.float64, x.size)
        return values.reshape(x.shape)
    return function(x)


def _erfc(x: Number) -> Number:
    # NumPy has no erfc, and scipy.special takes longer to import than a plan takes to compute.
    return _map(math.erfc, x)


def _integral_of_erfc(x: Number) -> Number:
    """``∫_x^∞ erfc``, the first repeated integral of erfc (DLMF 7.18.2)."""
    # Beyond 28 both terms are 0 in floats; the limit keeps infinity times zero out.
    x = _minimum(x, 28.0)
    return _exp(-x * x) / _ROOT_PI - x * _erfc(x)


def _upper_normal_quantile(p: Number) -> Number:
    """``z`` with ``P(Z > z) = p`` for a standard normal ``Z`` and ``0 < p < 1``."""
    return -_map(_STANDARD_NORMAL.inv_cdf, _maximum(p, _SMALLEST))


def _log_quotient(t: Number, scale: float, rest: float = 0.0) -> Number:
    """``ln(t / (scale + rest))``, with ``rest`` below the rounding of ``scale``.

    Near ``t = scale`` the difference is exact in floats and the quotient is not, and a narrow
    distribution multiplies the quotient's rounding by its shape.
    """
    near = abs(t - scale) < 0.5 * scale
    return _where(near, _log1p((t - scale - rest) / scale), _log(t / scale))


def _narrow_erfc_difference(low: Number, width: float) -> Number:
    """``erfc(low) - erfc(low + width)`` for a small width, by quadrature."""
    half = 0.5 * width
    total = 0.0 * low
    for node, weight in _GAUSS_LEGENDRE:
        left = low + half * (1.0 - node)
        right = low + half * (1.0 + node)
        total = total + weight * (_exp(-left * left) + _exp(-right * right))
    return (width / _ROOT_PI) * total


def _of_kind(x: Number, value: Any) -> Number:
    """Give what SciPy made of ``x`` back as ``x`` came: an array, or a plain float."""
    if isinstance(x, np.ndarray):
        return np.asarray(value)
    return float(value)


def _upper_gamma(shape: float, x: Number) -> Number:
    """Regularised upper incomplete gamma function ``Q(shape, x)``."""
    from scipy.special import gammaincc  # noqa: PLC0415 (loading it costs more than a plan)

    return _of_kind(x, gammaincc(shape, x))


def _gamma_kernel(shape: float, x: Number) -> Number:
    """``x^k e^(-x) / Γ(k)``, the density of a gamma variable times ``x``.

    A large shape ``k`` needs Loader's form (Loader 2000, "Fast and accurate computation of
    binomial probabilities"): ``√(k/2π)·exp(-k·(u - ln(1 + u)) - s(k))`` with ``u = (x - k)/k``
    and ``s`` the error of Stirling's formula (DLMF 5.11.1).
    """
    if shape < 20.0:
        return _exp(shape * _log(x) - x - math.lgamma(shape))
    inverse_square = 1.0 / (shape * shape)
    stirling = 1.0 / 1680.0
    for coefficient in (1.0 / 1260.0, 1.0 / 360.0, 1.0 / 12.0):
        stirling = coefficient - stirling * inverse_square
    deviance = shape * _minus_log1p((x - shape) / shape)
    height = _ROOT_HALF / _ROOT_PI * math.sqrt(shape)
    return height * _exp(-deviance - stirling / shape)


def _minus_log1p(u: Number) -> Number:
    """``u - ln(1 + u)``, for small ``u`` by the series of ``ln(1 + u) = 2 artanh(u / (2 + u))``."""
    r = u / (2.0 + u)
    square = r * r
    series = 0.0 * square + 1.0 / 23.0
    for denominator in range(21, 1, -2):
        series = 1.0 / denominator + square * series
    return _where(abs(u) < 0.25, r * (u - 2.0 * square * series), u - _log1p(u))


def _legendre_ratio(k: float, x: Number) -> Number:
    """``U(2, k + 1, x) / U(1, k + 1, x)`` of Kummer's function ``U``, as a continued fraction.

    The fraction comes from the recurrence in the first argument (DLMF 13.3.7), as Legendre's for
    the incomplete gamma function does. 60 terms suffice from two standard deviations above the
    mean on.
    """
    ratio = 0.0 * x
    for a in range(60, 1, -1):
        ratio = 1.0 / (x + (2.0 * a - 1.0 - k) - a * (a - k) * ratio)
    return ratio


def _require_positive(**parameters: float) -> None:
    for name, value in parameters.items():
        if not 0.0 < value < _INFINITY:
            raise ValueError(f"{name} must be a positive finite number, found {value!r}")


def _require_finite_mean(mean: float) -> None:
    if not 0.0 < mean < _INFINITY:
        raise ValueError(f"the mean of |log-ratio| must be positive and finite, found {mean!r}")


# ---------------------------------------------------------------------------------------------
# The parametric families
# ---------------------------------------------------------------------------------------------


class _Parametric:
    """Dispatch and limits common to the families with a density on ``(0, ∞)``.

    A family gives its formulas as ``_survival``, ``_excess`` and, for ``0 < p < 1``, ``_inverse``.
    """

    def survival(self, t: Number) -> Number:
        """Probability that the absolute log-ratio exceeds a threshold.

        Parameters
        ----------
        t : float or ndarray
            Thresholds in nats, at least 0; infinity is allowed.

        Returns
        -------
        float or ndarray
            ``P(|l| > t)``, of the kind and shape of ``t``.
        """
        if isinstance(t, np.ndarray):
            with np.errstate(all="ignore"):
                return self._survival(t)
        return self._survival(float(t))

    def excess(self, t: Number) -> Number:
        """Mean of what exceeds a threshold; the mean of ``|l|`` at ``t = 0``.

        Parameters
        ----------
        t : float or ndarray
            Thresholds in nats, at least 0; infinity is allowed.

        Returns
        -------
        float or ndarray
            ``E(|l| - t)₊`` in nats, never negative, of the kind and shape of ``t``.
        """
        if isinstance(t, np.ndarray):
            with np.errstate(all="ignore"):
                return np.maximum(self._excess(t), 0.0)
        return max(self._excess(float(t)), 0.0)

    def inverse_survival(self, p: Number) -> Number:
        """Least threshold exceeded with at most a given probability.

        Parameters
        ----------
        p : float or ndarray
            Probabilities, at least 0; everything from 1 on gives 0.

        Returns
        -------
        float or ndarray
            ``inf{t >= 0 : P(|l| > t) <= p}`` in nats, of the kind and shape of ``p``; infinite at
            ``p = 0``.
        """
        if isinstance(p, np.ndarray):
            with np.errstate(all="ignore"):
                inside = self._inverse(np.clip(p, _SMALLEST, _LARGEST_BELOW_ONE))
                return np.where(p >= 1.0, 0.0, np.where(p > 0.0, inside, _INFINITY))
        if p >= 1.0:
            return 0.0
        return self._inverse(float(p)) if p > 0.0 else _INFINITY

    def _survival(self, t: Number) -> Number:
        raise NotImplementedError

    def _excess(self, t: Number) -> Number:
        raise NotImplementedError

    def _inverse(self, p: Number) -> Number:
        raise NotImplementedError


@dataclass(frozen=True)
class Gaussian(_Parametric):
    """``l ~ N(kl, std²)``: a sum over tokens whose mean is the KL divergence that trainers log.

    For one prompt an exactly Gaussian log-ratio has ``std = √(2 kl)`` (docs/theory.md, section 4).
    """

    family: ClassVar[str] = "gaussian"
    kl: float
    """Mean of the log-ratio in nats, at least 0."""
    std: float
    """Standard deviation of the log-ratio in nats."""

    def __post_init__(self) -> None:
        _require_positive(std=self.std)
        if not 0.0 <= self.kl < _INFINITY:
            raise ValueError(f"kl must be a finite number of at least 0, found {self.kl!r}")

    def _survival(self, t: Number) -> Number:
        root_half = _ROOT_HALF / self.std
        return 0.5 * (_erfc((t - self.kl) * root_half) + _erfc((t + self.kl) * root_half))

    def _excess(self, t: Number) -> Number:
        root_half = _ROOT_HALF / self.std
        above = _integral_of_erfc((t - self.kl) * root_half)
        below = _integral_of_erfc((t + self.kl) * root_half)
        return (self.std * _ROOT_HALF) * (above + below)

    def _inverse(self, p: Number) -> Number:
        return _map(self._inverse_of_one, p)

    def _inverse_of_one(self, p: float) -> float:
        """Newton's method on the logarithm of the survival, kept in a bracket by bisection."""
        log_p = math.log(p)
        # Newton doubles the digits, so one step from here on reaches the rounding error.
        close = max(1e-9 * (1.0 - p), 4e-16)
        # The survival lies between its upper part alone and, as that part is the larger, twice it.
        low = max(0.0, self.kl + self.std * _upper_normal_quantile(p))
        high = max(0.0, self.kl + self.std * _upper_normal_quantile(0.5 * p))
        t = low if low > 0.0 else high
        for _ in range(100):
            survival = self._survival(t)
            difference = _log(survival) - log_p
            if difference > 0.0:
                low = t
            else:
                high = t
            height = self._height(t)
            following = t + self.std * (difference * survival / height) if height > 0.0 else high
            if abs(difference) <= close:
                return max(following, 0.0)
            if not low < following < high:
                following = 0.5 * (low + high)
            if following in (low, high):
                break
            t = following
        return high

    def _height(self, t: float) -> float:
        """Density of ``|l|`` at ``t`` in units of ``1/std``."""
        above = (t - self.kl) / self.std
        below = (t + self.kl) / self.std
        both = _exp(-0.5 * above * above) + _exp(-0.5 * below * below)
        return both * _ROOT_HALF / _ROOT_PI


@dataclass(frozen=True)
class Exponential(_Parametric):
    """``|l|`` exponential."""

    family: ClassVar[str] = "exponential"
    mean: float
    """Mean of the absolute log-ratio in nats."""

    def __post_init__(self) -> None:
        _require_positive(mean=self.mean)

    def _survival(self, t: Number) -> Number:
        return _exp(-t / self.mean)

    def _excess(self, t: Number) -> Number:
        return self.mean * _exp(-t / self.mean)

    def _inverse(self, p: Number) -> Number:
        return -self.mean * _log(p)


@dataclass(frozen=True)
class HalfNormal(_Parametric):
    """``|l| = scale·|Z|`` with ``Z`` standard normal."""

    family: ClassVar[str] = "half_normal"
    scale: float
    """Root mean square of the log-ratio in nats."""

    def __post_init__(self) -> None:
        _require_positive(scale=self.scale)

    def _survival(self, t: Number) -> Number:
        return _erfc(t * (_ROOT_HALF / self.scale))

    def _excess(self, t: Number) -> Number:
        return (self.scale / _ROOT_HALF) * _integral_of_erfc(t * (_ROOT_HALF / self.scale))

    def _inverse(self, p: Number) -> Number:
        return self.scale * _upper_normal_quantile(0.5 * p)


@dataclass(frozen=True)
class Gamma(_Parametric):
    """``|l|`` gamma with density ``∝ t^(shape - 1) exp(-t / scale)``.

    For shapes of 1e6 and more the survival is absolutely, not relatively, accurate where it is
    within 4e-6 of 1: to 3e-11 at 1e6, to 2e-6 at 1e8 (SciPy's series ends early there).
    """

    family: ClassVar[str] = "gamma"
    shape: float
    """Shape ``k``; 1 is the exponential."""
    scale: float
    """Scale in nats; the mean is ``shape·scale``."""

    def __post_init__(self) -> None:
        _require_positive(shape=self.shape, scale=self.scale)
        _require_finite_mean(self.shape * self.scale)

    def _survival(self, t: Number) -> Number:
        return self._survival_and_excess(t)[0]

    def _excess(self, t: Number) -> Number:
        return self.scale * self._survival_and_excess(t)[1]

    def _inverse(self, p: Number) -> Number:
        from scipy.special import gammainccinv  # noqa: PLC0415 (start-up time)

        return self.scale * _of_kind(p, gammainccinv(self.shape, p))

    def _survival_and_excess(self, t: Number) -> tuple[Number, Number]:
        """Survival, and excess in units of the scale.

        The excess is ``g(x) - (x - k) Q(k, x)`` with ``g`` the kernel below: the textbook
        ``k Q(k + 1, x) - x Q(k, x)`` with most of what cancels taken out. Far above the mean,
        where it still cancels, both integrals are Kummer functions (DLMF 13.4.4):
        ``Q = g(x) U(1, k + 1, x)`` and ``excess = g(x) x U(2, k + 2, x)``, whose quotient is
        ``1 + (k - 1) U(2, k + 1, x) / U(1, k + 1, x)`` by DLMF 13.3.10.
        """
        k = self.shape
        far_from = k + 2.0 * math.sqrt(k) + 1.5
        # A finite limit keeps infinity times zero out.
        x = _minimum(t / self.scale, 1e300)
        kernel = _gamma_kernel(k, x)
        near_x = _minimum(x, far_from)
        near = _upper_gamma(k, near_x)
        far_x = _maximum(x, far_from)
        ratio = _legendre_ratio(k, far_x)
        far = kernel / (far_x + 1.0 - k + (k - 1.0) * ratio)
        survival = _where(x > far_from, far, near)
        far_excess = far * (1.0 + (k - 1.0) * ratio)
        return survival, _where(x > far_from, far_excess, kernel - (near_x - k) * near)


@dataclass(frozen=True)
class Weibull(_Parametric):
    """``|l|`` Weibull: ``(|l| / scale)^shape`` is exponential."""

    family: ClassVar[str] = "weibull"
    shape: float
    """Shape ``k``; below 1 the tail is heavier than exponential."""
    scale: float
    """Scale in nats: the threshold that a share ``1/e`` exceeds."""

    def __post_init__(self) -> None:
        _require_positive(shape=self.shape, scale=self.scale)
        _require_finite_mean(self._mean)

    @cached_property
    def _mean(self) -> float:
        # The gamma function itself overflows for shapes below 0.0059.
        return _exp(math.log(self.scale) + math.lgamma(1.0 + min(1.0 / self.shape, 1e300)))

    def _power(self, t: Number) -> Number:
        return _exp(self.shape * _log_quotient(t, self.scale))

    def _survival(self, t: Number) -> Number:
        return _exp(-self._power(t))

    def _excess(self, t: Number) -> Number:
        power = self._power(t)
        excess = self._mean * _upper_gamma(1.0 / self.shape, power)
        # Where the power underflows nothing has been lost below t.
        return _where(power < 1e-290, self._mean - t, excess)

    def _inverse(self, p: Number) -> Number:
        return self.scale * _exp(_log(-_log(p)) / self.shape)


@dataclass(frozen=True)
class LogNormal(_Parametric):
    """``ln |l| ~ N(mu, sigma²)``."""

    family: ClassVar[str] = "lognormal"
    mu: float
    """Mean of ``ln |l|``, with ``|l|`` in nats."""
    sigma: float
    """Standard deviation of ``ln |l|``."""

    def __post_init__(self) -> None:
        _require_positive(sigma=self.sigma)
        if not -700.0 <= self.mu <= 700.0:
            raise ValueError(f"mu must lie between -700 and 700, found {self.mu!r}")
        _require_finite_mean(self._mean)

    @cached_property
    def _mean(self) -> float:
        return _exp(self.mu + 0.5 * self.sigma * self.sigma)

    @cached_property
    def _median(self) -> tuple[float, float]:
        """``exp(mu)`` as a float, and the rest that its rounding leaves."""
        exact = Decimal(self.mu).exp()
        nearest = float(exact)
        return nearest, float(exact - Decimal(nearest))

    def _argument(self, t: Number) -> Number:
        return _log_quotient(t, *self._median) * (_ROOT_HALF / self.sigma)

    def _survival(self, t: Number) -> Number:
        return 0.5 * _erfc(self._argument(t))

    def _excess(self, t: Number) -> Number:
        upper = self._argument(t)
        lower = upper - _ROOT_HALF * self.sigma
        survival = 0.5 * _erfc(upper)
        # Share of the mean that lies above t: the survival under the law tilted by |l|.
        share = 0.5 * _erfc(lower)
        # A finite limit keeps infinity times zero out.
        excess = self._mean * share - _minimum(t, 1e308) * survival
        if self.sigma > _NARROW:
            return excess
        # Far below the median the difference does not cancel, far above both terms are 0.
        cancels = (t > 0.5 * self._median[0]) & (survival > 0.0)
        return _where(cancels, self._narrow_excess(t, lower, share), excess)

    def _narrow_excess(self, t: Number, lower: Number, share: Number) -> Number:
        """Excess without the difference that cancels for a small ``sigma``.

        With ``z = (ln t - mu)/sigma`` the mean is ``t·exp(sigma²/2 - sigma·z)``, so the excess is
        ``t·[(mean/t - 1) Φ(sigma - z) + (Φ(sigma - z) - Φ(-z))]``. It equals the integral of
        docs/theory.md, section 4. Both parts start from the same rounded ``lower``, because a
        common shift of it then leaves their sum alone.
        """
        growth = _expm1(0.5 * self.sigma * self.sigma - _log_quotient(t, *self._median))
        between = 0.5 * _narrow_erfc_difference(lower, _ROOT_HALF * self.sigma)
        return t * (growth * share + between)

    def _inverse(self, p: Number) -> Number:
        return self._median[0] * _exp(self.sigma * _upper_normal_quantile(p))


@dataclass(frozen=True)
class Lomax(_Parametric):
    """``|l|`` Lomax (Pareto from 0 on): survival ``(1 + t / scale)^(-shape)``."""

    family: ClassVar[str] = "lomax"
    shape: float
    """Tail exponent, above 1 so that the mean is finite."""
    scale: float
    """Scale in nats; the mean is ``scale / (shape - 1)``."""

    def __post_init__(self) -> None:
        _require_positive(shape=self.shape, scale=self.scale)
        if self.shape <= 1.0:
            raise ValueError(f"shape must exceed 1 for a finite mean, found {self.shape!r}")
        _require_finite_mean(self.scale / (self.shape - 1.0))

    def _survival(self, t: Number) -> Number:
        return _exp(-self.shape * _log1p(t / self.scale))

    def _excess(self, t: Number) -> Number:
        above_one = self.shape - 1.0
        return self.scale / above_one * _exp(-above_one * _log1p(t / self.scale))

    def _inverse(self, p: Number) -> Number:
        return self.scale * _expm1(-_log(p) / self.shape)


# ---------------------------------------------------------------------------------------------
# Samples
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Empirical:
    """The law that puts the same weight on each of ``N`` observed log-ratios.

    The survival is a step function; the excess is exact and linear between samples.
    """

    family: ClassVar[str] = "empirical"
    samples: InitVar[Sequence[float] | FloatArray]
    """Log-ratios in nats, of either sign and in any order; at least one, all finite."""
    magnitudes: FloatArray = field(init=False)
    """Sorted absolute log-ratios in nats, read-only, shape ``(N,)``."""
    _excesses: FloatArray = field(init=False)
    """Excess in nats at each magnitude, read-only, shape ``(N,)``."""

    def __post_init__(self, samples: Sequence[float] | FloatArray) -> None:
        values = np.asarray(samples, dtype=np.float64)
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"samples must be a list of at least one, found shape {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError("samples must be finite numbers")
        magnitudes = np.sort(np.abs(values))
        # Summing what each gap between samples contributes cancels nothing, whereas the textbook
        # sum(samples above) - count·t loses all its digits where samples lie close together.
        above = np.arange(magnitudes.size - 1, 0, -1) / magnitudes.size
        gaps = np.diff(magnitudes) * above
        excesses = np.zeros_like(magnitudes)
        excesses[:-1] = np.cumsum(gaps[::-1], dtype=np.longdouble)[::-1]
        magnitudes.setflags(write=False)
        excesses.setflags(write=False)
        object.__setattr__(self, "magnitudes", magnitudes)
        object.__setattr__(self, "_excesses", excesses)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Empirical):
            return NotImplemented
        return self is other or np.array_equal(self.magnitudes, other.magnitudes)

    def __hash__(self) -> int:
        return hash((self.magnitudes.size, float(self.magnitudes[-1]), self.excess(0.0)))

    def __repr__(self) -> str:
        return f"Empirical(<{self.magnitudes.size} samples>)"

    def samples_above(self, t: float) -> int:
        """Count the samples whose magnitude strictly exceeds ``t`` nats."""
        return self.magnitudes.size - int(self.magnitudes.searchsorted(t, side="right"))

    def survival(self, t: Number) -> Number:
        """Share of the samples whose magnitude strictly exceeds a threshold.

        Parameters
        ----------
        t : float or ndarray
            Thresholds in nats, at least 0; infinity is allowed.

        Returns
        -------
        float or ndarray
            ``P(|l| > t)``, of the kind and shape of ``t``.
        """
        if isinstance(t, np.ndarray):
            below = self.magnitudes.searchsorted(t, side="right")
            return (self.magnitudes.size - below) / self.magnitudes.size
        return self.samples_above(t) / self.magnitudes.size

    def excess(self, t: Number) -> Number:
        """Mean over the samples of what their magnitude exceeds a threshold by.

        Parameters
        ----------
        t : float or ndarray
            Thresholds in nats, at least 0; infinity is allowed.

        Returns
        -------
        float or ndarray
            ``E(|l| - t)₊`` in nats, of the kind and shape of ``t``.
        """
        size = self.magnitudes.size
        if isinstance(t, np.ndarray):
            # At and beyond the largest sample its own line, cut off there, is already 0.
            cut = np.minimum(t, self.magnitudes[-1])
            following = np.minimum(self.magnitudes.searchsorted(cut, side="right"), size - 1)
            distances = self.magnitudes[following] - cut
            result: FloatArray = self._excesses[following] + (size - following) / size * distances
            return result
        above = self.samples_above(t)
        if above == 0:
            return 0.0
        distance = float(self.magnitudes[size - above]) - float(t)
        return float(self._excesses[size - above]) + above / size * distance

    def inverse_survival(self, p: Number) -> Number:
        """Least threshold that at most a given share of the samples exceeds.

        Parameters
        ----------
        p : float or ndarray
            Shares, at least 0; everything from 1 on gives 0.

        Returns
        -------
        float or ndarray
            ``inf{t >= 0 : P(|l| > t) <= p}`` in nats, of the kind and shape of ``p``: the order
            statistic that exactly ``k`` samples may exceed, ``k`` the largest with ``k/N <= p``.
        """
        size = self.magnitudes.size
        # The product may round across an integer, so k is set by the quotients that survival gives.
        if isinstance(p, np.ndarray):
            shares = np.clip(p, 0.0, 1.0)
            counts = np.floor(shares * size).astype(np.int64)
            counts += (counts + 1) / size <= shares
            counts -= counts / size > shares
            return np.where(counts < size, self.magnitudes[np.maximum(size - counts - 1, 0)], 0.0)
        share = min(max(p, 0.0), 1.0)
        above = int(share * size)
        above += (above + 1) / size <= share
        above -= above / size > share
        return float(self.magnitudes[size - above - 1]) if above < size else 0.0
