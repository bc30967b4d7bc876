"""The law of ``|l|`` over balls: which share lies above t, and what that share contributes.

Each family is two formulas, for a threshold ``t ≥ 0`` in nats: the share ``P(t) = P(|l| > t)``, and
the moment ``M(t) = E[|l|; |l| > t]``, from which ``E(|l| − t)₊ = M(t) − t·P(t)``. Balls are
intervals that surely hold the true value (Arb, through python-flint).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from flint import arb, fmpq

from rlhf_budget.optimum.proof.reading import known

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Law = Callable[..., tuple[arb, arb]]


def ball(number: Fraction | int) -> arb:
    """The ball of an exact number."""
    return arb(fmpq(number.numerator, number.denominator))


def normal(z: arb) -> tuple[arb, arb]:
    """``P(Z > z)`` and the density at z of a standard normal Z."""
    return (z / arb(2).sqrt()).erfc() / 2, (-z * z / 2).exp() / (2 * arb.pi()).sqrt()


def gaussian(t: arb, kl: arb, std: arb | None = None) -> tuple[arb, arb]:
    """``l ~ N(kl, std²)``, by default ``std² = 2·kl``; ``|l|`` exceeds t where l or −l does."""
    std = (2 * kl).sqrt() if std is None else std
    (up, height_up), (down, height_down) = normal((t - kl) / std), normal((t + kl) / std)
    return up + down, kl * (up - down) + std * (height_up + height_down)


def exponential(t: arb, mean: arb) -> tuple[arb, arb]:
    """Density ``e^(−t/mean)/mean``."""
    share = (-t / mean).exp()
    return share, (mean + t) * share


def half_normal(t: arb, scale: arb) -> tuple[arb, arb]:
    """``|l| = scale·|Z|``."""
    above, height = normal(t / scale)
    return 2 * above, 2 * scale * height


def gamma(t: arb, shape: arb, scale: arb) -> tuple[arb, arb]:
    """Density proportional to ``t^(shape−1)·e^(−t/scale)``."""
    share = (t / scale).gamma_upper(shape, regularized=1)
    return share, shape * scale * (t / scale).gamma_upper(shape + 1, regularized=1)


def weibull(t: arb, shape: arb, scale: arb) -> tuple[arb, arb]:
    """``(|l|/scale)^shape`` is exponential of mean 1."""
    power = (t / scale) ** shape
    return (-power).exp(), scale * power.gamma_upper(1 + 1 / shape)


def lognormal(t: arb, mu: arb, sigma: arb) -> tuple[arb, arb]:
    """``ln|l| ~ N(mu, sigma²)``."""
    mean = (mu + sigma * sigma / 2).exp()
    if t == 0:
        return arb(1), mean
    z = (t.log() - mu) / sigma
    return normal(z)[0], mean * normal(z - sigma)[0]


def lomax(t: arb, shape: arb, scale: arb) -> tuple[arb, arb]:
    """``P(t) = (1 + t/scale)^(−shape)``; the excess is its integral from t on."""
    share = (1 + t / scale) ** -shape
    return share, t * share + (scale + t) * share / (shape - 1)


_ALL = gaussian, exponential, half_normal, gamma, weibull, lognormal, lomax
LAWS: dict[str, Law] = {law.__name__: law for law in _ALL}
"""Families; their parameters are called as in a scenario."""


class Knot(NamedTuple):
    """A threshold t, infinite for no clipping at all, with ``P(t)`` and ``M(t)``."""

    threshold: arb
    share: arb
    moment: arb

    def line(self, x: arb) -> arb:
        """``t·x + E(|l| − t)₊``: the penalty of clipping at t, for ``x = 2s``."""
        return self.moment + (x - self.share) * self.threshold


class Parametric:
    """A family with a density."""

    def __init__(self, family: str, **parameters: Fraction) -> None:
        self.law = known(LAWS, family, "tail")
        self.parameters = {name: ball(value) for name, value in parameters.items()}

    def knot(self, t: Fraction) -> Knot:
        """Evaluate at a threshold."""
        return Knot(ball(t), *self.law(ball(t), **self.parameters))

    def between(self, left: Knot, right: Knot, x: arb, step: int) -> Fraction:
        """Guess the threshold whose share is x. Any would be right, so floats serve."""
        low, high = float(left.threshold), float(right.threshold)
        if high == math.inf:
            return Fraction(2 * low + float(self.law(arb(0), **self.parameters)[1]))
        drop = float((left.share / right.share).log()) if right.share > 0 else math.inf
        if drop < 4 and step % 3:
            return Fraction(low + (high - low) * float((left.share / x).log()) / drop)
        middle = (low + high) / 2 if high < 4 * low else math.sqrt(low * high)
        return Fraction(max(middle, high / 64))


class Empirical:
    """Equal weight on each of N samples: rational, and linear between them."""

    def __init__(self, samples: Sequence[Fraction]) -> None:
        self.samples, self.size = sorted(map(abs, samples)), len(samples)
        self.unit = math.lcm(*(sample.denominator for sample in self.samples))
        self.sums = [0, *accumulate(int(each * self.unit) for each in reversed(self.samples))]

    def knot(self, t: Fraction) -> Knot:
        """Count and add up the samples above a threshold."""
        above = self.size - bisect_right(self.samples, t)
        moment = Fraction(self.sums[above], self.unit * self.size)
        return Knot(ball(t), ball(Fraction(above, self.size)), ball(moment))

    def between(self, _left: Knot, right: Knot, x: arb, step: int) -> Fraction:
        """Guess the least sample whose share is at most x, then the one before."""
        at = self.samples[max(0, self.size - 1 - int(float(x * self.size)))]
        new = step == 0 and right.threshold > ball(at)
        return at if new else self.samples[max(0, bisect_left(self.samples, at) - 1)]
