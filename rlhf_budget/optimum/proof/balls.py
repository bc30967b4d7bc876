"""The bound over balls, as docs/theory.md states it: at its best τ it falls in n, in K and in m."""

from __future__ import annotations

from bisect import bisect, insort
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

from flint import arb

from rlhf_budget.optimum.proof.ball_tails import Empirical, Knot, Parametric, ball
from rlhf_budget.optimum.proof.reading import known

if TYPE_CHECKING:
    from fractions import Fraction


class Penalty:
    """``H(s) = min over τ of 2τs + E(|l| − τ)₊`` from below, no minimiser being trusted.

    As a minimum of lines in s, H is concave. At ``2s = P(t)`` the best τ is t, because the slope in
    τ, ``2s − P(τ)``, changes its sign there, and ``H = M(t)``. Between two such points H lies above
    the chord; beyond the points of the least and the most τ allowed, it is the line of that τ.
    """

    def __init__(self, law: Parametric | Empirical, least: Fraction, most: Fraction | None) -> None:
        never = Knot(arb.pos_inf(), arb(0), arb(0))
        self.law, self.knots = law, [law.knot(least)]
        if most != least:
            self.knots.append(never if most is None else law.knot(most))

    def below(self, s: arb, needed: arb) -> arb:
        """A number below H(s), sharpened until it is at least ``needed`` or that is hopeless."""
        x, knots = 2 * s, self.knots
        if len(knots) == 1 or x >= knots[0].share:
            return knots[0].line(x)
        if x <= knots[-1].share:
            return knots[-1].line(x)
        value = arb(0)  # H is never negative: what is left where balls cannot tell
        for step in range(200 if knots[-1].share < x < knots[0].share else 0):
            at = bisect(knots, 0, key=lambda knot: 0 if knot.share > x else 1)
            left, right = knots[at - 1], next(knot for knot in knots[at:] if knot.share < x)
            weight = (x - right.share) / (left.share - right.share)
            value = right.moment + weight * (left.moment - right.moment)
            if value >= needed or min(left.line(x), right.line(x)) < needed:
                break
            new = self.law.knot(self.law.between(left, right, x, step))
            if not left.threshold < new.threshold < right.threshold:
                break
            insort(knots, new, key=lambda knot: knot.threshold)
        return value


class Bound:
    """``S₀ + (R + 2βτ)·S₁ + ρ(m) + β·E(|l| − τ)₊`` of a scenario; n, K and m are exact."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        objective, settings = scenario["objective"], scenario["bound"]
        model, clip = scenario["reward_model"], scenario["limits"]["clip_threshold"]
        self.groups, self.concentration = scenario.get("groups"), settings["concentration"]
        self.β, self.R = ball(objective["kl_coefficient"]), ball(objective["reward_range"])
        sides = {"hoeffding": 4, "prompt_mean": 2, "bernstein": 2}
        tails = known(sides, self.concentration, "inequality")
        chance = ball(tails / objective["failure_probability"])
        self.confidence = chance.log() + policy_complexity(settings)
        self.growth = arb("0.5") if settings["policy"] in {"pac_bayes", "sgd"} else arb(0)
        self.variances = [ball(settings.get(f"{of}_variance", 0)) for of in ("prompt", "rollout")]
        self.penalty = None
        if self.β > 0:
            given = scenario["log_ratio"]
            law = Empirical(given["samples"]) if "samples" in given else Parametric(**given)
            self.penalty = Penalty(law, clip["min"], clip.get("max"))
        model = {"error": 0} if model == "verifiable" else model
        self.square, error = ball(model.get("coverage", 1)) ** 2, model["error"]
        self.existing = int(model.get("existing_labels", 0))
        self.fresh = model.get("label_policy") == "current"
        self.buys_labels = isinstance(error, dict)
        if self.buys_labels:
            self.curve = [ball(error[name]) for name in ("floor", "scale", "exponent")]
        else:
            self.finished = (self.square * ball(error)).sqrt()

    def sampling(self, n: int, K: int, size: int) -> tuple[arb, arb]:
        """``S₀`` and ``S₁``; where groups may be silent, both over the share that is not."""
        Λ = self.confidence + self.growth * arb(n).log()
        s0, s1 = arb(0), (Λ / (2 * n)).sqrt()
        if self.concentration == "hoeffding":
            s1 += ((self.confidence + self.growth * arb(n * K).log()) / (2 * n * K)).sqrt()
        elif self.concentration == "bernstein":
            s0 = (2 * (self.variances[0] + self.variances[1] / K) * Λ / n).sqrt()
            s1 = Λ / (3 * n)
        if self.groups is None:
            return s0, s1
        share = informative_share(self.groups["mean"], self.groups["correlation"], size)
        return s0 / share, s1 / share

    def shift(self, m: int) -> arb:
        """``ρ(m) = C(m)·√L(m)``."""
        if not self.buys_labels:
            return self.finished
        (floor, scale, exponent), labels = self.curve, self.existing + m
        error, square = self.R**2, self.square
        if labels > 0:
            error = error.min(floor + scale * arb(labels) ** -exponent)
        if self.fresh and m > 0:
            square = square / (1 + arb(m) / labels * (square - 1))
        return (square * error).sqrt()

    def below(self, n: int, K: int, m: int, size: int, claim: arb) -> arb:
        """A number below the bound at n, K, m and every τ allowed, sharpened towards a claim."""
        s0, s1 = self.sampling(n, K, size)
        value = s0 + self.R * s1 + self.shift(m)
        if self.penalty is None:
            return value
        return value + self.β * self.penalty.below(s1, (claim - value) / self.β)

    def at(self, n: int, K: int, m: int, size: int, τ: Fraction | None) -> arb:
        """A ball around the bound."""
        s0, s1 = self.sampling(n, K, size)
        value = s0 + self.R * s1 + self.shift(m)
        if self.penalty is None or τ is None:
            return value
        return value + self.β * self.penalty.law.knot(τ).line(2 * s1)


@lru_cache(maxsize=2048)
def informative_share(p: Fraction, ρ: Fraction, size: int) -> arb:
    """Share of groups whose 0/1 rewards differ: mean p, beta-binomial with correlation ρ."""
    r, draws = 1 - ρ, range(size)
    ones, zeros = (prod(ball((q * r + i * ρ) / (r + i * ρ)) for i in draws) for q in (p, 1 - p))
    return arb(1) - ones - zeros


def policy_complexity(settings: dict[str, Any]) -> arb:
    """``ln M``, ``KL(Q‖P)``, or that of SGD as an Ornstein–Uhlenbeck process; nats."""
    if settings["policy"] != "sgd":
        return ball(settings.get("posterior_kl", 0)) + ball(settings.get("candidates", 1)).log()
    sgd, prior = settings["sgd"], settings["sgd"]["prior_std"] ** 2
    total, rate = ball(sgd["distance"] ** 2 / prior), sgd["learning_rate"] / sgd["batch_size"]
    for N, A in zip(sgd["gradient_noise_eigenvalues"], sgd["hessian_eigenvalues"], strict=True):
        ratio = ball(rate * N / (2 * A) / prior)
        total += ratio - 1 - ratio.log()
    return total / 2
