"""Warnings of a plan: what is doubtful, and what to do next."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rlhf_budget.bound.groups import informative_share
from rlhf_budget.bound.results import CAP
from rlhf_budget.bound.tails import tail_of
from rlhf_budget.planning.results import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rlhf_budget.optimum.certified import Optimum
    from rlhf_budget.planning.results import WorthKnowing

IMPLAUSIBLE_NATS = 1000.0
"""No response of a usable policy is further from the reference, in nats."""
UNSPENT_SHARE = 0.01
"""Share of the budget left over that is worth a word."""
SPENT_OTHERWISE = 2.0
"""Money spent is worth a word where it is this many times what prices say, or the inverse."""
FEW_SAMPLES = 10
"""Fewer samples than these above the threshold do not describe a tail."""


def notices(optimum: Optimum) -> tuple[Notice, ...]:
    """Every warning that applies, the gravest first."""
    found = (check(optimum) for check in _CHECKS)
    return tuple(notice for notice in found if notice is not None)


def _not_proved(optimum: Optimum) -> Notice | None:
    if optimum.certificate.proved:
        return None
    gap = optimum.certificate.relative_gap
    if optimum.target is not None:
        gap = optimum.target.relative_gap
    return Notice(
        "not-proved",
        f"The search stopped with a gap of {gap:.2g}: a better plan may exist. Allow a larger "
        "--tolerance if that gap is small enough, or narrow the limits.",
    )


def _vacuous(optimum: Optimum) -> Notice | None:
    bound, R = optimum.bound, optimum.scenario.objective.reward_range
    if not bound.vacuous:
        return None
    hope = (
        "No budget changes that: the reward model's floor, its coverage or a limit must improve."
        if bound.irreducible >= R
        else "See the sensitivities for the constants that would help most, or raise the budget."
    )
    return Notice(
        "vacuous-bound",
        f"The bound {bound.total:.3g} is not below the reward range {R:.3g}, so it guarantees "
        f"nothing; the allocation still ranks how money reduces it. {hope}",
    )


def _coverage_below_kl(optimum: Optimum) -> Notice | None:
    model, log_ratio = optimum.scenario.reward_model, optimum.scenario.log_ratio
    if model == "verifiable" or log_ratio is None or model.coverage is None:
        return None
    if model.coverage_kind != "density":
        return None
    if model.label_policy == "current" and not model.existing_labels:
        return None
    kl = getattr(log_ratio, "kl", None)
    kl = float(tail_of(log_ratio).excess(0.0)) if kl is None else float(kl)
    if 2.0 * math.log(model.coverage) >= kl:
        return None
    least = math.exp(min(kl / 2.0, 700.0))
    return Notice(
        "coverage-below-kl",
        f"coverage {model.coverage:.4g} is impossible for labels from the reference policy: at a "
        f"KL of {kl:.3g} nats it would be at least {least:.3g}. It can be right if the labels "
        "came from near the current policy (for new ones say label_policy: current), or if it "
        "was measured on the reward model's features (say coverage_kind: features). Otherwise "
        "raise it.",
    )


def _implausible_kl(optimum: Optimum) -> Notice | None:
    log_ratio, τ = optimum.scenario.log_ratio, optimum.allocation.clip_threshold
    if log_ratio is None or optimum.scenario.objective.kl_coefficient == 0.0:
        return None
    kl = getattr(log_ratio, "kl", None)
    kl = float(tail_of(log_ratio).excess(0.0)) if kl is None else float(kl)
    if max(kl, τ or 0.0) <= IMPLAUSIBLE_NATS:
        return None
    what = f"A KL of {kl:,.6g} nats a response"
    if kl <= IMPLAUSIBLE_NATS:
        what = f"A clip threshold of {τ:,.6g} nats a response"
    return Notice(
        "implausible-kl",
        f"{what} is beyond any policy that still writes text: the run diverged, or the unit is "
        "wrong (log_ratio is per whole response, in nats). Plan nothing on it; measure the "
        "log-ratio on a sound checkpoint (calibrate rollouts).",
    )


def _no_kl_estimate(optimum: Optimum) -> Notice | None:
    limit = optimum.scenario.limits.clip_threshold.max
    if optimum.allocation.clip_threshold != 0.0 or limit == 0.0:
        return None
    return Notice(
        "no-kl-estimate",
        "The best clip threshold is 0: with so few prompts no KL penalty can be estimated at all. "
        "Raise the budget, or lower objective.kl_coefficient.",
    )


def _few_tail_samples(optimum: Optimum) -> Notice | None:
    tail, τ = optimum.case.bound.tail, optimum.allocation.clip_threshold
    samples_above = getattr(tail, "samples_above", None)
    if samples_above is None or τ is None or samples_above(τ) >= FEW_SAMPLES:
        return None
    return Notice(
        "few-tail-samples",
        f"Only {samples_above(τ)} of the log-ratio samples lie above the clip threshold "
        f"{τ:.4g}, too few to describe the tail. Give more samples, or fit a family.",
    )


def _planned_by_evaluation(optimum: Optimum) -> Notice | None:
    rule = optimum.scenario.bound.concentration
    if rule == "hoeffding":
        return None
    return Notice(
        "planned-by-evaluation",
        f"bound.concentration: {rule} plans for judging a policy that is there already: it makes "
        "prompts and rollouts look so good that labels take the money and a policy in training is "
        "left untrained. To plan a training run write concentration: hoeffding; the guarantee is "
        "taken from the tightest inequality all the same.",
    )


def _silent_groups(optimum: Optimum) -> Notice | None:
    scenario, K = optimum.scenario, optimum.allocation.rollouts_per_prompt
    share = informative_share(scenario, K)
    if share >= 0.5 or optimum.to_come[0] == 0:
        return None
    size = scenario.limits.group_sizes.get(K, K)
    return Notice(
        "silent-groups",
        f"{100 * (1 - share):.3g} % of groups of {size} would have equal rewards and teach a "
        "trainer that compares within groups nothing. Allow larger groups (limits), choose prompts "
        "of middling difficulty, or sample until groups differ (dynamic sampling).",
    )


def _policy_fixed(optimum: Optimum) -> Notice | None:
    if optimum.scenario.is_written("bound.policy"):
        return None
    return Notice(
        "policy-fixed",
        "The bound is for a policy chosen before seeing these prompts. Whoever trains on them "
        "plans for a learned policy: write policy: pac_bayes and posterior_kl: {low: 5, high: 60} "
        "(nats, where nothing better is known). policy: finite_class is for picking one of a few "
        "checkpoints, policy: fixed for judging one that is there already.",
    )


def _unlimited(optimum: Optimum) -> Notice | None:
    a = optimum.allocation
    decisions = {"prompts": a.prompts, "labels": a.labels}
    capped = [name for name, value in decisions.items() if value == CAP]
    if not capped:
        return None
    return Notice(
        "unlimited",
        f"{' and '.join(capped)} stand at the cap of 10^12: nothing in the scenario limits them. "
        f"Give a price or {' and '.join(f'limits.{name}.max' for name in capped)}.",
    )


def _assumed_constants(optimum: Optimum) -> Notice | None:
    names = [entry.constant for entry in optimum.scenario.assumed]
    if not names:
        return None
    return Notice(
        "assumed-constants",
        f"{', '.join(names)}: not known exactly, so the middle of the range was used. See how the "
        "allocation moves at both ends, and measure first what moves it, if anything measures it "
        "(calibrate).",
    )


def worth_of_prices(worth: Sequence[WorthKnowing]) -> tuple[Notice, ...]:
    """Say that a price's worth depends on how often the plan without it has to fit the budget."""
    names = [entry.constant for entry in worth if entry.constant.startswith("costs.")]
    if not names:
        return ()
    return (
        Notice(
            "worth-of-prices",
            f"The worth of knowing {', '.join(names)} includes what keeping the budget costs: "
            "without it one plan has to fit the --affordable share of all draws, with it each "
            "plan that share of its own. A small share hides the worth of a price.",
        ),
    )


def _spent_otherwise(optimum: Optimum) -> Notice | None:
    scenario, behind = optimum.scenario, optimum.scenario.progress
    if behind is None:
        return None
    costs, prompt = scenario.costs, scenario.costs.prompt
    expected = (
        costs.fixed
        + prompt.acquisition * max(0, behind.prompts - prompt.existing)
        + (prompt.prefill + costs.rollout * behind.rollouts_per_prompt) * behind.prompts
        + (costs.label or 0.0) * behind.labels
    )
    if expected / SPENT_OTHERWISE <= behind.cost <= expected * SPENT_OTHERWISE:
        return None
    # The harmonic mean of groups that differ tells the fewest rollouts that they can hold.
    differ = not float(behind.rollouts_per_prompt).is_integer()
    if differ and behind.cost > expected:
        return None
    told = (
        f"progress.cost is {behind.cost:,.6g} {scenario.currency}, but what is behind costs "
        f"{'at least ' if differ else ''}{expected:,.6g} at the scenario's prices."
    )
    cause = (
        "What is missing from it (labels, prompts, fixed costs) is planned as if it were still "
        "there to spend; if prices were lower, correct costs."
        if behind.cost < expected
        else "The rest is planned at those prices: if they were higher, correct costs."
    )
    return Notice("spent-otherwise", f"{told} {cause}")


def _diluted_groups(optimum: Optimum) -> Notice | None:
    c, (n, K, _) = optimum.case.constants, optimum.to_come
    n0, K0 = float(c.past_prompts), float(c.past_rollouts)
    counts_rollouts = c.shape.rollouts or (c.shape.deviation and c.rollout_variance)
    if n == 0 or n0 == 0 or not counts_rollouts:
        return None
    if (n0 + n) ** 2 / (n0 / K0 + n / K) >= n0 * K0:
        return None
    return Notice(
        "diluted-groups",
        f"So few new groups of {K} after {n0:,.0f} of {K0:.4g} dilute the mean over all rollouts. "
        "The bound counts all prompts, but rollouts as if the new ones were left out: it ranks "
        "spending and guarantees nothing. Allow larger groups (limits), or stop generating.",
    )


def _unspent_budget(optimum: Optimum) -> Notice | None:
    cost, currency = optimum.cost, optimum.scenario.currency
    if cost.budget is None or cost.unspent is None or cost.unspent <= UNSPENT_SHARE * cost.budget:
        return None
    return Notice(
        "unspent-budget",
        f"{cost.unspent:,.6g} of {cost.budget:,.6g} {currency} buy nothing that lowers the bound "
        "within the limits. Raise the limits that bind, or spend the money elsewhere.",
    )


_CHECKS: tuple[Callable[[Optimum], Notice | None], ...] = (
    _not_proved,
    _spent_otherwise,
    _implausible_kl,
    _coverage_below_kl,
    _vacuous,
    _no_kl_estimate,
    _few_tail_samples,
    _unlimited,
    _unspent_budget,
    _diluted_groups,
    _assumed_constants,
    _silent_groups,
    _planned_by_evaluation,
    _policy_fixed,
)
