"""Check a proof: nothing is searched, and nothing that the file says is trusted.

A proof claims that a plan's bound is at most ``total``, and that no plan within the limits and the
budget has a bound below ``lower_bound``. It is right if

1. the plan is within the limits and the budget, and its bound is at most ``total``;
2. the boxes hold every (K, n) that can be paid for, and do not overlap;
3. no plan in a box has a bound below ``lower_bound``.

Two corners of a box settle 3. Prices are not negative, so nowhere in it is more money left for
labels than at its fewest prompts and rollouts. And the bound falls in n, K and m, so nowhere is it
below its value at the most prompts and rollouts with that many labels. With silent groups it
falls in their size too, of which K is a multiple. Money is exact (integers).
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from flint import ctx

from rlhf_budget.errors import ProofError
from rlhf_budget.optimum.proof.ball_tails import ball
from rlhf_budget.optimum.proof.balls import Bound
from rlhf_budget.optimum.proof.reading import group_sizes

if TYPE_CHECKING:
    from rlhf_budget.optimum.proof.reading import Proof

BITS, CAP = 128, 10**12
"""Precision of the balls; what prompts and labels never exceed."""


def verify(proof: Proof) -> None:
    """Check a proof; raise ProofError with what fails."""
    with ctx.workprec(BITS):
        bound = Bound(proof.scenario)
        rules = Rules(proof.scenario, bound)
        check_plan(proof, rules, bound)
        check_cover(proof, rules)
        check_boxes(proof, rules, bound)


class Rules:
    """What a plan may be, and what it costs in whole units of money."""

    def __init__(self, scenario: dict[str, Any], bound: Bound) -> None:
        costs, limits = scenario["costs"], scenario["limits"]
        prompt, sizes = costs["prompt"], group_sizes(limits)
        amounts = [scenario["budget"] - costs["fixed"], prompt["acquisition"], prompt["prefill"]]
        amounts += [costs["rollout"], costs.get("label", Fraction(0))]
        unit = math.lcm(*(amount.denominator for amount in amounts))
        self.money, *self.prices = (int(amount * unit) for amount in amounts)
        self.existing = int(prompt["existing"])
        # A group of one is surely silent, which makes its bound infinite.
        self.sizes = {K: size for K, size in sizes.items() if size > 1 or bound.groups is None}
        self.prompts, labels = (
            (int(limits[key]["min"]), min(CAP, int(limits[key].get("max", CAP))))
            for key in ("prompts", "labels")
        )
        self.labels, self.clip = labels if bound.buys_labels else (0, 0), limits["clip_threshold"]

    def left(self, n: int, K: int, m: int) -> int:
        """Money that n prompts, K rollouts of each and m labels leave; below 0: too dear."""
        acquisition, prefill, rollout, label = self.prices
        prompts = acquisition * max(0, n - self.existing) + prefill * n
        return self.money - prompts - rollout * n * K - label * m


def check_plan(proof: Proof, rules: Rules, bound: Bound) -> None:
    """The plan can be had, and its bound is at most the total."""
    n, K, m, τ = proof[2:6]
    (least, most), (fewest, largest) = rules.prompts, rules.labels
    if not (least <= n <= most and K in rules.sizes and fewest <= m <= largest):
        raise ProofError("the plan is outside the limits")
    clips = τ is not None and rules.clip["min"] <= τ <= rules.clip.get("max", τ)
    if clips != (bound.penalty is not None):
        raise ProofError("the plan's clip threshold is missing, or outside its limits")
    if rules.left(n, K, m) < 0:
        raise ProofError("the plan costs more than the budget")
    if not bound.at(n, K, m, rules.sizes[K], τ) <= ball(proof.total):
        raise ProofError("the plan's bound is not shown to be at most the total claimed")


def check_cover(proof: Proof, rules: Rules) -> None:
    """Each allowed (K, n) that can be paid for with the fewest labels lies in exactly one box."""
    if any(first >= second for first, second in pairwise(proof.boxes)):
        raise ProofError("the boxes are not in ascending order")
    for K in rules.sizes:
        n, most = rules.prompts
        intervals = sorted(box[2:] for box in proof.boxes if box[0] <= K <= box[1])
        for low, high in (*intervals, (CAP + 1, CAP + 1)):
            if low < n:
                raise ProofError(f"{low:,} prompts with {K} rollouts of each lie in two boxes")
            # Where n cannot be paid for, no larger n can.
            if n < low and n <= most and rules.left(n, K, rules.labels[0]) >= 0:
                raise ProofError(f"{n:,} prompts with {K} rollouts of each lie in no box")
            n = high + 1


def check_boxes(proof: Proof, rules: Rules, bound: Bound) -> None:
    """No plan in a box has a bound below the claim."""
    claim, (fewest, most), label = ball(proof.lower_bound), rules.labels, rules.prices[-1]
    for index, (K_low, K_high, low, high) in enumerate(proof.boxes):
        left = rules.left(low, K_low, fewest)
        sizes = [size for K, size in rules.sizes.items() if K_low <= K <= K_high]
        if left < 0 or not sizes:
            continue  # nothing in the box is allowed and can be paid for
        m = min(most, fewest + left // label) if label else most
        if not bound.below(high, K_high, m, max(sizes), claim) >= claim:
            box = f"box {index} ({low:,} to {high:,} prompts, {K_low} to {K_high} rollouts of each)"
            raise ProofError(f"{box} is not shown to hold no plan below the claim")
