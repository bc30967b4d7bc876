"""The bound, one small function per term, and their sum.

The bound on ``|Ĵ − J*|`` is ``S(n, K, τ) + C·√L(m) + β·E(|ℓ| − τ)₊`` (docs/theory.md, after
arXiv:2602.21765). Every formula here takes floats or arrays, so that the solver and the report
evaluate the same functions. Symbols: n prompts, K rollouts per prompt, m labels, τ clip threshold,
β KL coefficient, R reward range, δ failure probability, Λ confidence, C coverage, L reward error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from rlhf_budget.bound.groups import informative_share
from rlhf_budget.bound.tails import tail_of
from rlhf_budget.errors import Problem, ScenarioError
from rlhf_budget.scenario.records import Record
from rlhf_budget.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget.bound.tails import Tail
    from rlhf_budget.scenario import units
    from rlhf_budget.scenario.models import BoundSettings, Limits, Scenario, Sgd

    Number = float | NDArray[np.float64]

LabelKind = Literal["none", "behaviour", "current"]


@dataclass(frozen=True)
class Allocation(Record):
    """The four decisions."""

    json_names: ClassVar = ("...", "rollouts")

    prompts: units.Prompts
    """Distinct prompts n."""
    rollouts_per_prompt: units.RolloutsPerPrompt
    """Completions K of each prompt."""
    labels: units.Labels
    """Preference comparisons m to buy."""
    clip_threshold: units.Nats | None
    """Threshold τ on the log-ratio of whole responses; None where β = 0."""

    @property
    def rollouts(self) -> units.Rollouts:
        """Rollouts in all, ``n·K``."""
        return self.prompts * self.rollouts_per_prompt


@dataclass(frozen=True)
class Bound(Record):
    """The bound on the error of the estimated objective at one allocation, with its terms."""

    total: units.BoundTerm
    """Sum of the three terms."""
    sampling: units.BoundTerm
    """``S(n, K, τ)``: error from finitely many prompts and rollouts."""
    reward_shift: units.BoundTerm
    """``C·√L(m)``: error of the reward model on the current policy."""
    kl_clipping: units.BoundTerm
    """``β·E(|ℓ| − τ)₊``: bias from clipping the log-ratio."""
    irreducible: units.BoundTerm
    """Infimum of the total over all budgets within the limits."""
    vacuous: bool
    """True where the total is not below the reward range R."""
    coverage: units.Coverage
    """``C`` after the labels."""
    reward_error: units.SquaredReward
    """``L(m)``: mean squared error of the reward model."""
    clipped_share: units.Share | None
    """``P(|ℓ| > τ)``: responses beyond the clip threshold; None where β = 0."""
    policy_complexity: units.Nats
    """``ln M`` or ``KL(Q‖P)``, else 0."""


class Constants(NamedTuple):
    """theory.md's symbols for one scenario, as floats, or for many, as arrays of shape (S,)."""

    concentration: str
    """Which concentration inequality."""
    label_kind: LabelKind
    """Whether labels are bought (``none``: no), and from which policy."""
    kl_coefficient: Number
    """β."""
    reward_range: Number
    """R, reward units."""
    confidence: Number
    """The part of Λ that does not depend on the sample size, nats."""
    confidence_growth: Number
    """Coefficient of ``ln n`` in Λ: ½ for PAC-Bayes policies, else 0."""
    prompt_variance: Number
    """σ_p², reward units squared."""
    rollout_variance: Number
    """σ_r², reward units squared."""
    coverage: Number
    """C₀, of the existing labels' law."""
    error_floor: Number
    """L at infinitely many labels, reward units squared."""
    error_scale: Number
    """``scale`` in ``L(m)``."""
    error_exponent: Number
    """``exponent`` in ``L(m)``."""
    existing_labels: Number
    """N₀."""


# --- policy complexity ---------------------------------------------------------------------------


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

    Theorem 1 splits δ between prompts and rollouts (``ln 4/δ``); the inequalities on prompt means
    spend it once (``ln 2/δ``). PAC-Bayes adds ``ln √count``.
    """
    sides = 4.0 if settings.concentration == "hoeffding" else 2.0
    constant = math.log(sides) - math.log(failure_probability) + policy_complexity(settings)
    growth = 0.5 if settings.policy in {"pac_bayes", "sgd"} else 0.0
    return constant, growth


# --- sampling ------------------------------------------------------------------------------------


def hoeffding(n: Number, K: Number, prompts_Λ: Number, rollouts_Λ: Number) -> Number:
    """``S₁ = √(Λ/2n) + √(Λ/2nK)`` (arXiv:2602.21765, Theorem 1; Theorem 2 for PAC-Bayes)."""
    return np.sqrt(prompts_Λ / (2.0 * n)) + np.sqrt(rollouts_Λ / (2.0 * n * K))


def prompt_mean(n: Number, prompts_Λ: Number) -> Number:
    """``S₁ = √(Λ/2n)``: Hoeffding on the n independent prompt means (docs/theory.md)."""
    return np.sqrt(prompts_Λ / (2.0 * n))


def bernstein(
    n: Number, K: Number, Λ: Number, prompt_variance: Number, rollout_variance: Number
) -> tuple[Number, Number]:
    """``S₀ = √(2(σ_p² + σ_r²/K)Λ/n)`` and ``S₁ = Λ/3n``.

    Bernstein on the prompt means (Boucheron, Lugosi, Massart 2013, Theorem 2.10, c = range/3).
    """
    variance = prompt_variance + rollout_variance / K
    return np.sqrt(2.0 * variance * Λ / n), Λ / (3.0 * n)


def sampling_shape(
    constants: Constants, n: Number, K: Number, share: Number = 1.0
) -> tuple[Number, Number]:
    """Return ``(S₀, S₁)`` of ``S = S₀ + (R + 2βτ)·S₁``; both decrease in n and in K.

    With silent groups both are divided by the share of groups that teach (docs/theory.md, silent
    groups): as it is at most 1, the sum stays a bound.
    """
    s0, s1 = _shape(constants, n, K)
    return s0 / share, s1 / share


def _shape(constants: Constants, n: Number, K: Number) -> tuple[Number, Number]:
    c = constants
    prompts_Λ = c.confidence + c.confidence_growth * np.log(n)
    if c.concentration == "bernstein":
        return bernstein(n, K, prompts_Λ, c.prompt_variance, c.rollout_variance)
    if c.concentration == "prompt_mean":
        return 0.0, prompt_mean(n, prompts_Λ)
    rollouts_Λ = c.confidence + c.confidence_growth * np.log(n * K)
    return 0.0, hoeffding(n, K, prompts_Λ, rollouts_Λ)


# --- reward shift --------------------------------------------------------------------------------


def reward_error(constants: Constants, m: Number) -> Number:
    """``L(m) = min(R², floor + scale·(N₀ + m)^−exponent)``, and ``R²`` without any label.

    A finished or programmatic reward model has ``L = floor`` whatever m is.
    """
    c = constants
    if c.label_kind == "none":
        return c.error_floor + 0.0 * m
    labels = c.existing_labels + m
    worst = np.square(c.reward_range)
    some = labels > 0
    curve = c.error_floor + c.error_scale * np.where(some, labels, 1.0) ** -c.error_exponent
    return np.where(some, np.minimum(worst, curve), worst)


def coverage(constants: Constants, m: Number) -> Number:
    """``C(m)``: with labels on the current policy ``C² = C₀²/(1 + w(C₀² − 1))``, w their share.

    An upper bound for densities, exact for features (docs/theory.md, fresh labels).
    """
    c = constants
    if c.label_kind != "current":
        return c.coverage + 0.0 * m
    labels = c.existing_labels + m
    share = m / np.where(labels > 0, labels, 1.0)
    # hypot, since the square of a coverage of e^{KL/2} overflows from 710 nats on.
    return c.coverage / np.hypot(np.sqrt(1.0 - share), np.sqrt(share) * c.coverage)


def reward_shift(constants: Constants, m: Number) -> Number:
    """``ρ(m) = C(m)·√L(m)``; decreases in m."""
    return coverage(constants, m) * np.sqrt(reward_error(constants, m))


# --- KL clipping ---------------------------------------------------------------------------------


def best_clip_threshold(tail: Tail, s1: float, limits: Limits) -> float:
    """``τ* = inf{t ≥ 0 : P(|ℓ| > t) ≤ 2S₁}`` within its limits, in nats (arXiv:2602.21765)."""
    least, most = limits.clip_threshold.min, limits.clip_threshold.max
    threshold = float(tail.inverse_survival(2.0 * s1)) if 2.0 * s1 < 1.0 else 0.0
    return max(least, threshold if most is None else min(threshold, most))


def kl_penalty(tail: Tail, s1: float, τ: float) -> float:
    """``2τS₁ + E(|ℓ| − τ)₊``: what clipping at τ costs, per unit of β (nats)."""
    return 2.0 * τ * s1 + float(tail.excess(τ))


# --- the sum -------------------------------------------------------------------------------------


def constants_of(scenario: Scenario) -> Constants:
    """Extract theory.md's symbols from a scenario."""
    settings, model = scenario.bound, scenario.reward_model
    Λ, growth = confidence(settings, scenario.objective.failure_probability)
    C, floor, scale, exponent, existing = 1.0, 0.0, 0.0, 1.0, 0.0
    kind: LabelKind = "none"
    if model != "verifiable":
        C = 1.0 if model.coverage is None else model.coverage
        if isinstance(model.error, (int, float)):
            floor = float(model.error)
        else:
            floor, scale, exponent = model.error.floor, model.error.scale, model.error.exponent
            existing = float(model.existing_labels)
            kind = model.label_policy
    return Constants(
        concentration=settings.concentration,
        label_kind=kind,
        kl_coefficient=scenario.objective.kl_coefficient,
        reward_range=scenario.objective.reward_range,
        confidence=Λ,
        confidence_growth=growth,
        prompt_variance=settings.prompt_variance or 0.0,
        rollout_variance=settings.rollout_variance or 0.0,
        coverage=C,
        error_floor=floor,
        error_scale=scale,
        error_exponent=exponent,
        existing_labels=existing,
    )


def stack(constants: Sequence[Constants]) -> Constants:
    """Combine constants of one concentration and label kind into arrays of shape (S,).

    What all scenarios share is an array of shape (1,), which broadcasts.
    """
    concentration, label_kind, *columns = zip(*constants, strict=True)
    shared = (column[:1] if len(set(column)) == 1 else column for column in columns)
    return Constants(concentration[0], label_kind[0], *(np.array(column) for column in shared))


def take(constants: Constants, index: NDArray[np.int64] | slice) -> Constants:
    """Select scenarios by index: arrays of shape (S,) become arrays of ``index``'s shape."""
    concentration, label_kind, *columns = constants
    return Constants(concentration, label_kind, *(taken(each, index) for each in columns))


def taken(column: Number, index: NDArray[np.int64] | slice) -> Number:
    """Select entries of one stacked constant; what all scenarios share stays of shape (1,)."""
    column = np.asarray(column)
    return column if column.size == 1 else column[index]


def scenario_tail(scenario: Scenario) -> Tail | None:
    """The law of ``|ℓ|``, or None where β = 0 and none is needed."""
    if scenario.objective.kl_coefficient == 0 or scenario.log_ratio is None:
        return None
    return tail_of(scenario.log_ratio)


def infimum(scenario: Scenario) -> float:
    """The bound's infimum over all budgets within the limits (docs/theory.md, infimum)."""
    constants, limits = constants_of(scenario), scenario.limits
    shift = _least_reward_shift(constants, limits.labels.max)
    if limits.prompts.max is None:
        return float(shift + _least_penalty(scenario, 0.0))
    n = float(limits.prompts.max)
    shapes = (
        sampling_shape(constants, n, float(K), informative_share(scenario, K))
        for K in best_rollouts(scenario)
    )
    R = float(constants.reward_range)
    return shift + min(
        float(s0) + R * float(s1) + _least_penalty(scenario, float(s1)) for s0, s1 in shapes
    )


def best_rollouts(scenario: Scenario) -> list[int]:
    """The K of which one is best where money is no matter: the most of each group size."""
    most = {size: K for K, size in scenario.limits.group_sizes.items()}
    return list(most.values()) if scenario.groups else [max(most.values())]


def _least_reward_shift(constants: Constants, most_labels: int | None) -> float:
    if most_labels is not None or constants.label_kind == "none":
        return float(reward_shift(constants, float(most_labels or 0)))
    limit = 1.0 if constants.label_kind == "current" else float(constants.coverage)
    return limit * math.sqrt(min(float(constants.reward_range) ** 2, float(constants.error_floor)))


def _least_penalty(scenario: Scenario, s1: float) -> float:
    tail = scenario_tail(scenario)
    if tail is None:
        return 0.0
    β, most = scenario.objective.kl_coefficient, scenario.limits.clip_threshold.max
    if s1 == 0.0:
        return 0.0 if most is None else β * float(tail.excess(most))
    return β * kl_penalty(tail, s1, best_clip_threshold(tail, s1, scenario.limits))


def rollout_choices(limits: Limits) -> tuple[int, ...]:
    """Every K that the limits allow, ascending."""
    return tuple(limits.group_sizes)


def sampling_and_clipping(
    scenario: Scenario, constants: Constants, allocation: Allocation
) -> tuple[float, float, float | None]:
    """``S(n, K, τ)``, ``β·E(|ℓ| − τ)₊`` and ``P(|ℓ| > τ)``; τ is the best one where not given."""
    K = allocation.rollouts_per_prompt
    share = informative_share(scenario, K)
    if share == 0.0:
        wrong = Problem(
            "rollouts_per_prompt", f"{K} with groups", "2 at least: one teaches nothing"
        )
        raise ScenarioError((wrong,))
    shape = sampling_shape(constants, float(allocation.prompts), float(K), share)
    s0, s1 = (float(part) for part in shape)
    β, R = scenario.objective.kl_coefficient, scenario.objective.reward_range
    tail = scenario_tail(scenario)
    if tail is None:
        return s0 + R * s1, 0.0, None
    τ = allocation.clip_threshold
    if τ is None:
        τ = best_clip_threshold(tail, s1, scenario.limits)
    clipping, clipped_share = β * float(tail.excess(τ)), float(tail.survival(τ))
    return s0 + (R + 2.0 * β * τ) * s1, clipping, clipped_share


def evaluate(scenario: Scenario, allocation: Allocation) -> Bound:
    """Evaluate the bound at an allocation, whatever the limits and the budget say.

    Parameters
    ----------
    scenario
        Where the constants come from.
    allocation
        The four decisions; a ``clip_threshold`` of None stands for the best one where β > 0.

    Returns
    -------
    Bound
        Total and terms, in reward units.
    """
    constants, R = constants_of(scenario), scenario.objective.reward_range
    sampling, clipping, clipped_share = sampling_and_clipping(scenario, constants, allocation)
    m = float(allocation.labels)
    shift = float(reward_shift(constants, m))
    total = sampling + shift + clipping
    return Bound(
        total=total,
        sampling=sampling,
        reward_shift=shift,
        kl_clipping=clipping,
        irreducible=infimum(scenario),
        vacuous=total >= R,
        coverage=float(coverage(constants, m)),
        reward_error=float(reward_error(constants, m)),
        clipped_share=clipped_share,
        policy_complexity=policy_complexity(scenario.bound),
    )
