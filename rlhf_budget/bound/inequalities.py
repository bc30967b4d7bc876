"""Concentration inequalities, each one entry, and what a policy chosen from the data costs them.

All of them have the shape ``S = S₀ + (R + 2βτ)·S₁`` (docs/theory.md, sampling term).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlhf_budget.scenario.sections.bound import BoundSettings, Sgd

    Number = float | NDArray[np.float64]


class Shape(NamedTuple):
    """Weights of the parts that ``S₀`` and ``S₁`` are sums of (n prompts, K rollouts of each)."""

    prompts: Number
    """Of ``√(Λ/2n)`` in S₁: Hoeffding on the prompts."""
    rollouts: Number
    """Of ``√(Λ/2nK)`` in S₁, Λ that of nK: Hoeffding on the rollouts, given their prompts."""
    deviation: Number
    """Of ``√(2(σ_p² + σ_r²/K)Λ/n)``, which is S₀: Bernstein, by the variances."""
    width: Number
    """Of ``Λ/3n`` in S₁: Bernstein, by the range."""


class Inequality(NamedTuple):
    """A concentration inequality: its shape, its Λ and what it needs."""

    shape: Shape
    """Weights of its parts."""
    tails: float
    """Probabilities that sum to δ: ``Λ = ln(tails/δ) + …``."""
    policies: frozenset[str]
    """Kinds of policy that it goes with, as in ``bound.policy``."""

    def allows(self, settings: BoundSettings) -> bool:
        """Whether a scenario's constants suffice for it."""
        known = settings.prompt_variance is not None and settings.rollout_variance is not None
        return settings.policy in self.policies and (known or not self.shape.deviation)


_ANY: Final = frozenset({"fixed", "finite_class", "pac_bayes", "sgd"})
_LOGARITHMIC: Final = frozenset({"pac_bayes", "sgd"})

INEQUALITIES: Final = {
    # arXiv:2602.21765, Theorem 1, and Theorem 2 for PAC-Bayes: two sides, δ/2 to each half.
    "hoeffding": Inequality(Shape(1.0, 1.0, 0.0, 0.0), 4.0, _ANY),
    # Hoeffding on the n independent prompt means (docs/theory.md).
    "prompt_mean": Inequality(Shape(1.0, 0.0, 0.0, 0.0), 2.0, _ANY),
    # On the prompt means: Boucheron, Lugosi, Massart 2013, Theorem 2.10 with c = range/3.
    "bernstein": Inequality(Shape(0.0, 0.0, 1.0, 1.0), 2.0, _ANY - _LOGARITHMIC),
}
"""Every inequality, as ``bound.concentration`` spells it."""


def ornstein_uhlenbeck_kl(sgd: Sgd) -> float:
    """Divergence of SGD's stationary law from the prior, in nats (docs/theory.md, SGD).

    ``½[tr Σ/s² + q²/s² − d + d·ln s² − ln det Σ]`` with ``Σ_i = ηN_i/(2bA_i)``.
    """
    hessian = np.asarray(sgd.hessian_eigenvalues, dtype=np.float64)
    noise = np.asarray(sgd.gradient_noise_eigenvalues, dtype=np.float64)
    scaled = sgd.learning_rate * noise / (2.0 * sgd.batch_size * hessian) / sgd.prior_std**2
    shift = (sgd.distance / sgd.prior_std) ** 2
    return float(0.5 * (np.sum(scaled - 1.0 - np.log(scaled)) + shift))


def policy_complexity(settings: BoundSettings) -> float:
    """``ln M`` of a finite class, ``KL(Q‖P)`` of a posterior, else 0 (nats)."""
    if settings.policy == "finite_class":
        return math.log(settings.candidates or 1)
    if settings.policy == "pac_bayes":
        return float(settings.posterior_kl or 0.0)
    if settings.policy == "sgd" and settings.sgd is not None:
        return ornstein_uhlenbeck_kl(settings.sgd)
    return 0.0


def confidence(settings: BoundSettings, failure_probability: float) -> tuple[float, float]:
    """Return ``(a, g)`` with ``Λ(count) = a + g·ln(count)``, nats (docs/theory.md, policies).

    PAC-Bayes adds ``ln √count``.
    """
    tails = INEQUALITIES[settings.concentration].tails
    constant = math.log(tails) - math.log(failure_probability) + policy_complexity(settings)
    growth = 0.5 if settings.policy in _LOGARITHMIC else 0.0
    return constant, growth
