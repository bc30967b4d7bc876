"""Lognormal magnitudes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import ClassVar

from rlhf_budget.bound.tails.elementary import (
    ROOT_HALF,
    ROOT_PI,
    Number,
    erfc,
    exp,
    expm1,
    log_quotient,
    minimum,
    upper_normal_quantile,
    where,
)
from rlhf_budget.bound.tails.parametric import Parametric, require_finite_mean, require_positive

NARROW = 0.1
"""Largest sigma of a lognormal that needs the narrow form of its excess."""


GAUSS_LEGENDRE = (  # ten points on [-1, 1], DLMF table 3.5.2; the nodes come with both signs
    (0.14887433898163121089, 0.29552422471475287017),
    (0.4333953941292471908, 0.26926671930999635509),
    (0.67940956829902440623, 0.219086362515982044),
    (0.86506336668898451073, 0.14945134915058059315),
    (0.97390652851717172008, 0.066671344308688137594),
)


def narrow_erfc_difference(low: Number, width: float) -> Number:
    """``erfc(low) - erfc(low + width)`` for a small width, by quadrature."""
    half = 0.5 * width
    total = 0.0 * low
    for node, weight in GAUSS_LEGENDRE:
        left = low + half * (1.0 - node)
        right = low + half * (1.0 + node)
        total = total + weight * (exp(-left * left) + exp(-right * right))
    return (width / ROOT_PI) * total


@dataclass(frozen=True)
class LogNormal(Parametric):
    """``ln |l| ~ N(mu, sigma²)``."""

    family: ClassVar[str] = "lognormal"
    mu: float
    """Mean of ``ln |l|``, with ``|l|`` in nats."""
    sigma: float
    """Standard deviation of ``ln |l|``."""

    def __post_init__(self) -> None:
        require_positive(sigma=self.sigma)
        if not -700.0 <= self.mu <= 700.0:
            raise ValueError(f"mu must lie between -700 and 700, found {self.mu!r}")
        require_finite_mean(self._mean)

    @cached_property
    def _mean(self) -> float:
        return exp(self.mu + 0.5 * self.sigma * self.sigma)

    @cached_property
    def _median(self) -> tuple[float, float]:
        """``exp(mu)`` as a float, and the rest that its rounding leaves."""
        exact = Decimal(self.mu).exp()
        nearest = float(exact)
        return nearest, float(exact - Decimal(nearest))

    def _argument(self, t: Number) -> Number:
        return log_quotient(t, *self._median) * (ROOT_HALF / self.sigma)

    def _survival(self, t: Number) -> Number:
        return 0.5 * erfc(self._argument(t))

    def _excess(self, t: Number) -> Number:
        upper = self._argument(t)
        lower = upper - ROOT_HALF * self.sigma
        survival = 0.5 * erfc(upper)
        # Share of the mean that lies above t: the survival under the law tilted by |l|.
        share = 0.5 * erfc(lower)
        # A finite limit keeps infinity times zero out.
        excess = self._mean * share - minimum(t, 1e308) * survival
        if self.sigma > NARROW:
            return excess
        # Far below the median the difference does not cancel, far above both terms are 0.
        cancels = (t > 0.5 * self._median[0]) & (survival > 0.0)
        return where(cancels, self._narrow_excess(t, lower, share), excess)

    def _narrow_excess(self, t: Number, lower: Number, share: Number) -> Number:
        """Excess without the difference that cancels for a small ``sigma``.

        With ``z = (ln t - mu)/sigma`` the mean is ``t·exp(sigma²/2 - sigma·z)``, so the excess is
        ``t·[(mean/t - 1) Φ(sigma - z) + (Φ(sigma - z) - Φ(-z))]``. It equals the integral of
        docs/theory.md, section 4. Both parts start from the same rounded ``lower``, because a
        common shift of it then leaves their sum alone.
        """
        growth = expm1(0.5 * self.sigma * self.sigma - log_quotient(t, *self._median))
        between = 0.5 * narrow_erfc_difference(lower, ROOT_HALF * self.sigma)
        return t * (growth * share + between)

    def _inverse(self, p: Number) -> Number:
        return self._median[0] * exp(self.sigma * upper_normal_quantile(p))
