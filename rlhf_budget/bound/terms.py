"""The bound, one small function per term, and their sum.

The bound on ``|Ĵ − J*|`` is ``S(n, K, τ) + C·√L(m) + β·E(|ℓ| − τ)₊`` (docs/theory.md, after
arXiv:2602.21765). Every formula here takes floats or arrays, so that the solver and the report
evaluate the same functions. Symbols: n prompts, K rollouts per prompt, m labels, τ clip threshold,
β KL coefficient, R reward range, δ failure probability, Λ confidence, C coverage, L reward error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rlhf_budget.bound.groups import informative_share, past_share, shares_of
from rlhf_budget.bound.inequalities import INEQUALITIES, Shape, confidence, policy_complexity
from rlhf_budget.bound.results import Bound
from rlhf_budget.bound.tails import tail_of
from rlhf_budget.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.bound.tails import Tail
    from rlhf_budget.scenario.models import Scenario
    from rlhf_budget.scenario.sections.limits import Limits

    Number = float | NDArray[np.float64]

LabelKind = Literal["none", "behaviour", "current"]


class Constants(NamedTuple):
    """theory.md's symbols for one scenario, as floats, or for many, as arrays of shape (S,)."""

    label_kind: LabelKind
    """Whether labels are bought (``none``: no), and from which policy."""
    shape: Shape
    """Parts of the concentration inequality."""
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
    """N₀, and with it the labels bought earlier in a run."""
    past_prompts: Number = 0.0
    """n₀, prompts behind in a run under way."""
    past_rollouts: Number = 0.0
    """K₀, rollouts of each of them."""
    past_share: Number = 1.0
    """Share of those groups that teach."""


# --- sampling ------------------------------------------------------------------------------------


def sampling_shape(
    constants: Constants, n: Number, K: Number, share: Number = 1.0
) -> tuple[Number, Number]:
    """Return ``(S₀, S₁)`` of ``S = S₀ + (R + 2βτ)·S₁``; both decrease in n and in K.

    With silent groups both are divided by the share of groups that teach (docs/theory.md, silent
    groups): as it is at most 1, the sum stays a bound. Parts of weight 0 are left out, as most
    inequalities have one or two of the four.
    """
    c, shape = constants, constants.shape
    drawn = seen = wide = n
    if _counts(c.past_prompts):
        seen, drawn, n, K, wide = _with_past(c, n, K, share)
    elif _counts(shape.rollouts):
        drawn = n * K
    prompts_Λ = c.confidence + c.confidence_growth * np.log(seen)
    s0: Number = 0.0
    s1: Number = 0.0
    if _counts(shape.prompts):
        s1 = s1 + shape.prompts * np.sqrt(prompts_Λ / (2.0 * n))
    if _counts(shape.rollouts):
        rollouts_Λ = c.confidence + c.confidence_growth * np.log(drawn)
        s1 = s1 + shape.rollouts * np.sqrt(rollouts_Λ / (2.0 * n * K))
    if _counts(shape.deviation):
        variance = c.prompt_variance + c.rollout_variance / K
        s0 = s0 + shape.deviation * np.sqrt(2.0 * variance * prompts_Λ / n)
    if _counts(shape.width):
        s1 = s1 + shape.width * (prompts_Λ / (3.0 * wide))
    return s0 / share, s1 / share


def _with_past(
    c: Constants, n: Number, K: Number, share: Number
) -> tuple[Number, Number, Number, Number, Number]:
    """Prompts and rollouts of a whole run, then what they are worth in groups like those to come.

    Of n₀ groups of K₀ and n of K, the second step of Theorem 1 averages n₀ + n means of variance
    proxies ``1/K₀`` and ``1/K``, as equal groups with ``(n₀ + n)²/(n₀/K₀ + n/K)`` rollouts in all
    do. Where groups are silent, a group counts by the square of its own share of those that teach.
    Poor groups can dilute good ones: a learner may leave them out, so that what is worth less than
    what is behind counts as that (docs/theory.md, a run that is under way).

    Returns
    -------
    tuple
        Prompts and rollouts that Λ grows with; prompts, rollouts of each, and prompts for the range
        of one, by which the sampling term is evaluated.
    """
    n0, K0 = c.past_prompts, np.maximum(c.past_rollouts, 1.0)
    like = n0 * np.square(c.past_share / share)
    seen, prompts = n0 + n, like + n
    drawn = np.maximum(np.square(seen) / (n0 / K0 + n / K), n0 * K0)
    rollouts = np.square(prompts) / (like / K0 + n / K)
    first = np.maximum(n0, 1.0)
    prompts = np.maximum(prompts, like * _growth(c, seen, first))
    rollouts = np.maximum(rollouts, like * K0 * _growth(c, drawn, first * K0))
    return seen, drawn, prompts, rollouts / prompts, n0 * c.past_share / share + n


def _growth(c: Constants, now: Number, first: Number) -> Number:
    """Λ of a sample by that of its first part."""
    Λ, grows = c.confidence, c.confidence_growth
    return (Λ + grows * np.log(now)) / (Λ + grows * np.log(first))


def _counts(weight: Number) -> bool:
    """Whether a part is there; what no stacked scenario has is the float 0."""
    return not isinstance(weight, float) or weight > 0.0


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


# --- one scenario, prepared ----------------------------------------------------------------------


def constants_of(scenario: Scenario) -> Constants:
    """Extract theory.md's symbols from a scenario."""
    settings, model = scenario.bound, scenario.reward_model
    Λ, growth = confidence(settings, scenario.objective.failure_probability)
    behind = scenario.progress
    C, floor, scale, exponent, existing = 1.0, 0.0, 0.0, 1.0, 0.0
    kind: LabelKind = "none"
    if model != "verifiable":
        C = 1.0 if model.coverage is None else model.coverage
        if isinstance(model.error, (int, float)):
            floor = float(model.error)
        else:
            floor, scale, exponent = model.error.floor, model.error.scale, model.error.exponent
            existing = float(model.existing_labels + (behind.labels if behind else 0))
            kind = model.label_policy
    return Constants(
        label_kind=kind,
        shape=INEQUALITIES[settings.concentration].shape,
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
        past_prompts=float(behind.prompts) if behind else 0.0,
        past_rollouts=float(behind.rollouts_per_prompt) if behind else 0.0,
        past_share=past_share(scenario),
    )


def scenario_tail(scenario: Scenario) -> Tail | None:
    """The law of ``|ℓ|``, or None where β = 0 and none is needed."""
    if scenario.objective.kl_coefficient == 0 or scenario.log_ratio is None:
        return None
    return tail_of(scenario.log_ratio)


def rollout_choices(limits: Limits) -> tuple[int, ...]:
    """Every K that the limits allow, ascending."""
    return tuple(limits.group_sizes)


class BoundFunction(NamedTuple):
    """The bound of one scenario as a function of the allocation, with everything prepared.

    n, K and m are what is still to buy; an allocation counts what is behind in a run, too.
    """

    scenario: Scenario
    """What it is the bound of."""
    constants: Constants
    """Its symbols, floats."""
    tail: Tail | None
    """Law of ``|ℓ|``; None where β = 0."""
    shares: dict[int, float]
    """Allowed K -> share of groups that teach; empty where all do."""
    policy_complexity: float
    """``ln M`` or ``KL(Q‖P)``, nats."""

    @property
    def limits(self) -> Limits:
        """Where τ may lie, and how far n, K and m can go."""
        return self.scenario.limits

    def shape(self, n: float, K: float) -> tuple[float, float]:
        """``S₀`` and ``S₁``, at fractional n and K too.

        Raises
        ------
        ScenarioError
            Where no group of K rollouts teaches.
        """
        share = 1.0
        if self.shares:
            share = self.shares.get(round(K)) or informative_share(self.scenario, round(K))
        if share == 0.0:
            found = f"{round(K)} with groups"
            wrong = Problem("rollouts_per_prompt", found, "2 at least: one teaches nothing")
            raise ScenarioError((wrong,))
        s0, s1 = sampling_shape(self.constants, float(n), float(K), share)
        return float(s0), float(s1)

    def sampling_and_clipping(
        self, n: float, K: float, τ: float | None = None
    ) -> tuple[float, float, float | None]:
        """``S(n, K, τ)``, ``β·E(|ℓ| − τ)₊`` and τ, which is the best one where not given."""
        s0, s1 = self.shape(n, K)
        β, R = float(self.constants.kl_coefficient), float(self.constants.reward_range)
        if self.tail is None:
            return s0 + R * s1, 0.0, None
        if τ is None:
            τ = best_clip_threshold(self.tail, s1, self.limits)
        return s0 + (R + 2.0 * β * τ) * s1, β * float(self.tail.excess(τ)), τ

    def least(self, n: float, K: float) -> float:
        """``G(n, K)``, at fractional n and K too: sampling and clipping at the best τ."""
        s0, s1 = self.shape(n, K)
        value = s0 + float(self.constants.reward_range) * s1
        if self.tail is None:
            return value
        τ = best_clip_threshold(self.tail, s1, self.limits)
        return value + float(self.constants.kl_coefficient) * kl_penalty(self.tail, s1, τ)

    def shift(self, m: float) -> float:
        """``ρ(m)``."""
        return float(reward_shift(self.constants, float(m)))

    def to_come(self, prompts: int, labels: int) -> tuple[int, int]:
        """Of the prompts and labels of a whole run, those that are still to buy."""
        behind = self.scenario.progress
        if behind is None:
            return prompts, labels
        return max(0, prompts - behind.prompts), max(0, labels - behind.labels)

    def total(self, allocation: Allocation) -> float:
        """The bound at an allocation, reward units."""
        n, m = self.to_come(allocation.prompts, allocation.labels)
        K, τ = allocation.rollouts_per_prompt, allocation.clip_threshold
        sampling, clipping, _ = self.sampling_and_clipping(n, K, τ)
        return sampling + self.shift(m) + clipping

    def at(self, allocation: Allocation) -> Bound:
        """The bound at an allocation, term by term."""
        n, labels = self.to_come(allocation.prompts, allocation.labels)
        K, τ = allocation.rollouts_per_prompt, allocation.clip_threshold
        sampling, clipping, τ = self.sampling_and_clipping(n, K, τ)
        shift, m = self.shift(labels), float(labels)
        total = sampling + shift + clipping
        clipped = None if self.tail is None or τ is None else float(self.tail.survival(τ))
        return Bound(
            total=total,
            sampling=sampling,
            reward_shift=shift,
            kl_clipping=clipping,
            irreducible=self.infimum(),
            vacuous=total >= float(self.constants.reward_range),
            coverage=float(coverage(self.constants, m)),
            reward_error=float(reward_error(self.constants, m)),
            clipped_share=clipped,
            policy_complexity=self.policy_complexity,
        )

    def infimum(self) -> float:
        """The bound's infimum over all budgets within the limits (docs/theory.md, infimum)."""
        c, limits = self.constants, self.limits
        if limits.labels.max is not None or c.label_kind == "none":
            shift = self.shift(self.to_come(0, limits.labels.max or 0)[1])
        else:
            C = 1.0 if c.label_kind == "current" else float(c.coverage)
            shift = C * math.sqrt(min(float(c.reward_range) ** 2, float(c.error_floor)))
        most = limits.prompts.max
        shapes = [(0.0, 0.0)]
        if most is not None:
            # A limit near the largest float would make 2nK infinite, and its share of Λ no number.
            n = min(self.to_come(most, 0)[0], 10**300)
            shapes = [self.shape(n, K) for K in self.best_rollouts()]
        R = float(c.reward_range)
        return min(shift + s0 + R * s1 + self._least_penalty(s1) for s0, s1 in shapes)

    def best_rollouts(self) -> list[int]:
        """The K of which one is best where money is no matter: the most of each group size."""
        most = {size: K for K, size in self.limits.group_sizes.items()}
        return list(most.values()) if self.shares else [max(most.values())]

    def _least_penalty(self, s1: float) -> float:
        most, β = self.limits.clip_threshold.max, float(self.constants.kl_coefficient)
        if self.tail is None:
            return 0.0
        if s1 == 0.0:
            return 0.0 if most is None else β * float(self.tail.excess(most))
        return β * kl_penalty(self.tail, s1, best_clip_threshold(self.tail, s1, self.limits))


def bound_of(scenario: Scenario) -> BoundFunction:
    """Prepare a scenario's bound."""
    rollouts = () if scenario.groups is None else rollout_choices(scenario.limits)
    return BoundFunction(
        scenario=scenario,
        constants=constants_of(scenario),
        tail=scenario_tail(scenario),
        shares=dict(zip(rollouts, shares_of(scenario, rollouts), strict=True)),
        policy_complexity=policy_complexity(scenario.bound),
    )


def evaluate(scenario: Scenario, allocation: Allocation) -> Bound:
    """Evaluate the bound at an allocation, whatever the limits and the budget say.

    A ``clip_threshold`` of None stands for the best one where β > 0.
    """
    return bound_of(scenario).at(allocation)


# --- many scenarios at once ----------------------------------------------------------------------


def stack(constants: Sequence[Constants]) -> Constants:
    """Combine constants of one label kind into arrays of shape (S,).

    What all scenarios share is an array of shape (1,), which broadcasts, and what none has is 0.
    """
    kinds, shapes, *columns = zip(*constants, strict=True)
    shape = Shape(*(_column(part) for part in zip(*shapes, strict=True)))
    return Constants(kinds[0], shape, *(_column(column) for column in columns))


def _column(values: Sequence[Number]) -> Number:
    if not any(values):
        return 0.0
    return np.array(values[:1] if len(set(values)) == 1 else values, dtype=np.float64)


def take(constants: Constants, index: NDArray[np.int64] | slice) -> Constants:
    """Select scenarios by index: arrays of shape (S,) become arrays of ``index``'s shape."""
    if isinstance(index, slice):
        return constants
    kind, shape, *columns = constants
    picked = Shape(*(taken(part, index) for part in shape))
    return Constants(kind, picked, *(taken(each, index) for each in columns))


def taken(column: Number, index: NDArray[np.int64] | slice) -> Number:
    """Select entries of one stacked constant; what all scenarios share stays of shape (1,)."""
    if isinstance(column, float) or column.size == 1:
        return column
    return column[index]
