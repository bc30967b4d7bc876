"""What a plan says in sentences: the verdict, the reasons, the proof."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rlhf_budget.bound.terms import rollout_choices
from rlhf_budget.planning.advice import AS_GOOD
from rlhf_budget.report.document import Paragraph
from rlhf_budget.report.numbers import integer, money, percent, significant, small_percent
from rlhf_budget.report.robust_words import fits_seldom
from rlhf_budget.report.underway import course, rest_words
from rlhf_budget.report.words import (
    amount,
    buys_labels,
    confidence,
    least_rollouts,
    limit_words,
    listing,
    purchase,
)

if TYPE_CHECKING:
    from rlhf_budget.planning.results import CurrentPlan, Plan

CLEARLY_BELOW = 0.9
"""A near-optimal plan at this share of the budget or less is worth the headline."""
NEXT_SHARE = 0.01
"""The share of the money whose value is told as that of the next money."""

COVERED = 1e-9
"""A coverage of 1 up to this is not worth improving."""
ROUNDING = 1e-12
"""Relative gaps that are no more than the rounding of the bound itself."""


# --- the verdict ---------------------------------------------------------------------------------


def verdict(plan: Plan) -> Paragraph:
    """The answer in one line."""
    if plan.status != "optimal":
        return Paragraph(f"Not proved to be the best: {_headline(plan)}", "bad")
    if plan.bound.vacuous:
        return Paragraph(f"{_headline(plan)}{_waste(plan)} {_no_guarantee(plan)}", "warning")
    return Paragraph(_headline(plan))


def _headline(plan: Plan) -> str:
    if plan.progress is not None and plan.target is None:
        return course(plan)
    currency, total = plan.scenario.currency, significant(plan.bound.total)
    if plan.target is not None:
        least, rest = amount(plan.target.least_cost, currency), plan.to_come
        return (
            f"{least} is the least that brings the bound to {significant(plan.target.bound)}: "
            f"{rest_words(rest) if rest else purchase(plan.allocation, plan.scenario)}."
        )
    budget, near = plan.cost.budget or plan.cost.total, plan.near_optimal
    if near is not None and near.least_cost <= CLEARLY_BELOW * budget:
        share = f"{100 * near.within:g} %"
        cheap, whole = money(near.least_cost), amount(budget, currency)
        return f"{cheap} of {whole} already reach within {share} of the best bound, {total}."
    what = purchase(plan.allocation, plan.scenario)
    return f"Best use of {amount(budget, currency)}: {what}, for a bound of {total}."


def _waste(plan: Plan) -> str:
    current = plan.current
    if current is None or current.excess_relative <= AS_GOOD:
        return ""
    return f" The current allocation is {percent(current.excess_relative)} worse."


def _no_guarantee(plan: Plan) -> str:
    R = significant(plan.scenario.objective.reward_range)
    return f"No guarantee: a bound that is not below the reward range, {R}, only ranks spending."


# --- beside the allocation -----------------------------------------------------------------------


def current_words(plan: Plan, current: CurrentPlan) -> str:
    """What the current allocation wastes, and which limits it breaks."""
    costs = amount(current.cost.total, plan.scenario.currency)
    bounds = f"{significant(current.bound.total)} against {significant(plan.bound.total)}"
    excess = current.excess_relative
    if excess > AS_GOOD:
        compared = f"has a bound {percent(excess)} above the plan's ({bounds})"
    elif excess < -AS_GOOD:
        compared = f"has a bound {percent(-excess)} below the plan's ({bounds})"
    else:
        compared = "is as good as the plan"
    text = f"The current allocation costs {costs}{_dearer(plan, current)} and {compared}."
    violations, draws = current.violations, plan.robust and plan.robust.current
    if plan.robust and draws:
        violations = tuple(key for key in draws.violations if key != "budget")
        if violations != draws.violations:
            text += f" It {fits_seldom(plan.robust, draws)}."
    if not violations:
        return text
    broken = listing([_violation(key, plan, current) for key in violations])
    return f"{text} It is outside {broken}."


def _dearer(plan: Plan, current: CurrentPlan) -> str:
    """With a target the money is what is compared."""
    if plan.target is None or plan.cost.total <= 0:
        return ""
    relative = current.cost.total / plan.cost.total - 1.0
    return f" ({percent(abs(relative))} {'more' if relative > 0 else 'less'} than the plan)"


def _violation(key: str, plan: Plan, current: CurrentPlan) -> str:
    if key != "budget":
        return limit_words(key, plan.scenario)
    budget, currency = current.cost.budget or 0.0, plan.scenario.currency
    text = f"the budget of {amount(budget, currency)}"
    if amount(current.cost.total, currency) != amount(budget, currency):
        return text
    return f"{text}, by {current.cost.total - budget:.2g} {currency}"


def near_words(plan: Plan) -> str | None:
    """What the near-optimal ranges mean, and how to see the cheapest such plan."""
    near = plan.near_optimal
    if near is None:
        return None
    share = f"{100 * near.within:g} %"
    text = (
        f"Within {share}: how far each decision can move, the others re-optimised, "
        f"before the bound is {share} above its best."
    )
    if near.approximate:
        text += " The search for them stopped early: they may be too wide, never too narrow."
    budget = plan.cost.budget or plan.cost.total
    if near.least_cost > CLEARLY_BELOW * budget:
        return text
    target = rounded_up(plan.bound.total * (1.0 + near.within))
    return f"{text} The cheapest such plan: --target-bound {target}."


def rounded_up(value: float) -> str:
    """Four digits, never less than the value: a target that is surely within reach."""
    exponent = math.floor(math.log10(value)) - 4
    return f"{math.ceil(value / 10.0**exponent) * 10.0**exponent:.5g}"


# --- the reasons ---------------------------------------------------------------------------------


def reasons(plan: Plan) -> tuple[Paragraph, ...]:
    """Three reasons: what dominates, why so many rollouts per prompt, and what binds."""
    found = (
        Paragraph(_dominance(plan), label="Largest term"),
        Paragraph(_rollouts(plan), label="Rollouts per prompt"),
    )
    # Which limits bind is known of plans for one value of each constant only.
    return found if plan.robust else (*found, Paragraph(_binding(plan), label="What binds"))


def _dominance(plan: Plan) -> str:
    bound = plan.bound
    terms = {
        "sampling": bound.sampling,
        "reward shift": bound.reward_shift,
        "KL clipping": bound.kl_clipping,
    }
    name = max(terms, key=lambda term: terms[term])
    share = percent(terms[name] / bound.total) if bound.total > 0 else "all"
    return f"{name}, {share} of the bound. {_mover(plan, name)}"


def _mover(plan: Plan, term: str) -> str:
    if term == "sampling":
        return _sampling_mover(plan)
    if term == "KL clipping":
        return (
            "A higher clip threshold lowers it but makes sampling noisier; with more prompts the "
            "best threshold rises. A smaller objective.kl_coefficient lowers both."
        )
    if not buys_labels(plan.scenario):
        return (
            "No money in this plan moves it: only a better reward model (reward_model.error) or "
            "one trained nearer the current policy (reward_model.coverage) does."
        )
    kept = plan.bound.irreducible
    if kept >= 0.9 * plan.bound.total:
        left = (
            f"Labels hardly move it any more ({significant(kept)} of the bound stays at any price)"
        )
        return f"{left}: only reward_model.error.floor and reward_model.coverage do."
    if plan.bound.coverage <= 1.0 + COVERED:
        return "More labels lower it; they already come from the current policy."
    return (
        "More labels lower it, and so do labels from nearer the current policy (a smaller "
        "reward_model.coverage)."
    )


def _sampling_mover(plan: Plan) -> str:
    scenario, allocation = plan.scenario, plan.allocation
    rollouts_count = scenario.bound.concentration != "prompt_mean"
    at_most = allocation.rollouts_per_prompt == max(rollout_choices(scenario.limits))
    if allocation.prompts != scenario.limits.prompts.max:
        more = ", and to a lesser degree more rollouts of each" if rollouts_count else ""
        return f"More prompts lower it{more}."
    if rollouts_count and not at_most:
        return "No more prompts are allowed, so only more rollouts of each can lower it."
    return "No more prompts are allowed, and without them no money lowers it."


def _rollouts(plan: Plan) -> str:
    text = f"{_rollouts_reason(plan)} {_textbook(plan)}"
    near = plan.near_optimal
    if near is not None and near.rollouts_per_prompt[0] < near.rollouts_per_prompt[1]:
        low, high = near.rollouts_per_prompt
        text += f" Anything from {low} to {high} is within {100 * near.within:g} %."
    return text


def _rollouts_reason(plan: Plan) -> str:
    scenario, K = plan.scenario, plan.allocation.rollouts_per_prompt
    costs = scenario.costs
    if scenario.bound.concentration == "prompt_mean":
        return f"{K}, as under prompt_mean only the number of prompts counts."
    if costs.rollout == 0:
        return f"{K}, as rollouts cost nothing."
    if least_rollouts(scenario) == K:
        return f"{K}, the fewest allowed, as the money for another rollout buys more elsewhere."
    if plan.allocation.prompts == scenario.limits.prompts.max:
        return f"{K}, as no more prompts are allowed and money can only go into rollouts of each."
    prompt = costs.prompt.prefill
    if plan.allocation.prompts >= costs.prompt.existing:
        prompt += costs.prompt.acquisition
    if math.isinf(prompt / costs.rollout):
        return f"{K}, as beside a further prompt a rollout costs next to nothing."
    return f"{K}, as a further prompt costs {_times(prompt / costs.rollout)} a rollout."


def _times(ratio: float) -> str:
    """Say how many times as much."""
    return "as much as" if abs(ratio - 1.0) < 1e-9 else f"{significant(ratio, digits=3)} times"


def _textbook(plan: Plan) -> str:
    rule, value = plan.closed_form.rule, plan.closed_form.rollouts_per_prompt
    if value is None:
        return f"No textbook rule applies: {rule}."
    return f"The textbook rule gives {significant(value, digits=3)}: {rule}."


def _binding(plan: Plan) -> str:
    budget = "" if plan.target else ", only the budget"
    if not plan.binding:
        return f"no limit{budget}. {_next_money(plan)}"
    limits = listing([limit_words(key, plan.scenario) for key in plan.binding])
    less = "the plan would cost less" if plan.target else "the bound would be lower"
    return f"{limits}. Without, {less}. {_next_money(plan)}"


def _next_money(plan: Plan) -> str:
    if plan.marginal is None:
        return ""
    spent = plan.cost.budget or plan.cost.total
    slope = plan.marginal.bound_per_currency
    if slope == 0 or spent <= 0:
        return "More money would not lower the bound."
    step = 10.0 ** round(math.log10(NEXT_SHARE * spent))
    gain = -slope * step
    share = percent(gain / plan.bound.total)
    next_ = amount(step, plan.scenario.currency)
    return f"The next {next_} would lower the bound by {significant(gain, digits=2)} ({share})."


# --- the guarantee -------------------------------------------------------------------------------


def guarantee_words(plan: Plan) -> str:
    """With which probability the estimate is how far off, for which prompts, under what."""
    scenario, best = plan.scenario, plan.guarantees[0]
    R = scenario.objective.reward_range
    if best.total >= R:
        return (
            f"none: the smallest bound, {significant(best.total)} ({best.concentration}), is not "
            f"below the reward range, {significant(R)}. The allocation still ranks spending."
        )
    given = " If both variances are what they are given as." * (best.concentration == "bernstein")
    return (
        f"with probability {confidence(scenario)} the estimated objective is off by at most "
        f"{significant(best.total)} ({best.concentration}), {_for_which_policy(plan)}.{given}"
    )


def _for_which_policy(plan: Plan) -> str:
    complexity = significant(plan.bound.policy_complexity, digits=3)
    return {
        "fixed": "on prompts that were not used to train or choose the policy",
        "finite_class": f"also when the best of {plan.scenario.bound.candidates} policies is "
        "picked on these prompts",
        "pac_bayes": "also on the prompts trained on, if the posterior KL, which pays for that, "
        f"is at most {complexity} nats",
        "sgd": f"also on the prompts trained on: {complexity} nats of posterior KL pay for that",
    }[plan.scenario.bound.policy]


def group_words(plan: Plan) -> tuple[str, ...]:
    """How many groups teach, at the plan's group size and beside it; nothing without groups."""
    groups, K = plan.groups, plan.allocation.rollouts_per_prompt
    if groups is None:
        return ()
    size = plan.schedule.group_size if plan.schedule else K
    beside = listing(
        [f"{percent(near.informative_share)} of {near.group_size}" for near in groups.neighbours]
    )
    others = f" ({beside})" if beside else ""
    least = groups.least
    taken = significant(groups.rollouts_per_informative_group, digits=3)
    fewest = significant(least.rollouts_per_informative_group, digits=3)
    text = (
        f"{percent(groups.informative_share)} of groups of {size} have rewards that differ and "
        f"teach{others}. A group that teaches takes {taken} rollouts, the least is {fewest} in "
        f"groups of {least.rollouts_per_prompt}."
    )
    return (text,)


# --- the proof -----------------------------------------------------------------------------------


def proof(plan: Plan) -> str:
    """What the certificate says."""
    looked = f"({integer(plan.certificate.evaluations)} points and boxes examined)"
    gap = plan.certificate.relative_gap if plan.target is None else plan.target.relative_gap
    shared = ", judged by this risk on these draws," if plan.robust else ""
    what = (
        f"no allocation within the budget and the limits{shared} is better"
        if plan.target is None
        else "no allocation within the limits that reaches this bound costs less"
    )
    start = "Proved" if plan.certificate.proved else "Not proved to the tolerance, but"
    least = "a rounding error" if gap <= ROUNDING else small_percent(gap)
    colon = ":" if plan.certificate.proved else ""
    return f"{start}{colon} {what} by more than {least} {looked}."
