"""From a scenario to a simulation: its plan and rivals tried in many worlds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from rlhf_budget.bound.inequalities import confidence, policy_complexity
from rlhf_budget.bound.terms import evaluate, scenario_tail
from rlhf_budget.errors import Problem, ScenarioError
from rlhf_budget.optimum.case import prepare
from rlhf_budget.optimum.certified import optimise
from rlhf_budget.planning.results import Notice
from rlhf_budget.simulation.evaluation.results import (
    InequalityCheck,
    Simulation,
    TermCheck,
    TermName,
    TriedAllocation,
    Validity,
    VersusPlan,
    WorldSummary,
    WorstWorld,
)
from rlhf_budget.simulation.evaluation.trials import Claim, Entry, Protocol, try_world
from rlhf_budget.simulation.evaluation.world import WorldSpec, path_strengths
from rlhf_budget.simulation.parallel import try_worlds, untriable
from rlhf_budget.simulation.results import WorldConstant, Worlds, constants_at, count_wins
from rlhf_budget.simulation.rivals import find_rivals, left_out_notices, not_the_same_money
from rlhf_budget.simulation.statistics import clopper_pearson, mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlhf_budget.bound.results import Allocation
    from rlhf_budget.scenario.models import Scenario
    from rlhf_budget.scenario.sections.bound import BoundSettings
    from rlhf_budget.simulation.evaluation.trials import Outcome, WorldRecord

Constants = Literal["true", "scenario"]

DEFAULT_CHECKPOINTS = 10
MOST_CHECKPOINTS = 10_000


def simulate(
    scenario: Scenario,
    *,
    worlds: int = 50,
    replicates: int = 200,
    seed: int = 0,
    constants: Constants = "true",
    jobs: int = 1,
    world: WorldSpec | None = None,
    on_world: Callable[[int], None] | None = None,
) -> Simulation:
    """Try a scenario's plan and its rivals in worlds where the true error is known.

    The plan is made once, from the scenario's constants. Every world has its own true reward,
    labels, reward model and checkpoints; all that the bound speaks of is summed exactly there
    (docs/validation.md). Parameters and exceptions are those of :func:`rlhf_budget.simulate`, and
    ``world``, the family of worlds, which by default follows the scenario.
    """
    problems = []
    if scenario.bound.policy == "sgd":
        allowed = "fixed, finite_class or pac_bayes: worlds have no gradient noise to simulate"
        problems.append(Problem("bound.policy", "sgd", allowed))
    problems += untriable(scenario)
    if (scenario.bound.candidates or 1) > MOST_CHECKPOINTS:
        allowed = f"at most {MOST_CHECKPOINTS:,} candidates: each is a simulated checkpoint"
        problems.append(Problem("bound.candidates", str(scenario.bound.candidates), allowed))
    if problems:
        raise ScenarioError(tuple(problems))
    plan = optimise(scenario).allocation
    rivals, left_out = find_rivals(scenario, plan)
    allocations = [("plan", plan), *((rival.name, rival.allocation) for rival in rivals)]
    entries = []
    for name, allocation in allocations:
        claim = None
        if constants == "scenario":
            bound = evaluate(scenario, allocation)
            claim = Claim(*map(np.asarray, (bound.sampling, bound.reward_shift, bound.kl_clipping)))
        entries.append(Entry(name, allocation, claim))
    protocol = protocol_for(scenario, world or world_for(scenario), replicates)
    records = try_worlds(
        partial(try_world, protocol, tuple(entries)),
        worlds=worlds,
        seed=seed,
        jobs=jobs,
        on_world=on_world,
    )
    numbers, done = tuple(records), tuple(records.values())
    plans = tuple(record.outcomes[0] for record in done)
    validity = judge_validity(numbers, plans, protocol)
    ratios = [o.bound.total / o.error_quantile for o in plans if o.error_quantile > 0]
    notices = [
        *_violated(validity, constants),
        *left_out_notices(left_out),
        *not_the_same_money(scenario, allocations),
    ]
    return Simulation(
        scenario=scenario.name,
        currency=scenario.currency,
        seed=seed,
        constants=constants,
        world=_describe(scenario, protocol, plan, done),
        worlds=Worlds(worlds, len(done), replicates),
        validity=validity,
        looseness=mean_interval(ratios) if ratios else None,
        terms=_check_terms(plans),
        allocations=_tried(scenario, entries, done),
        warnings=tuple(notices),
    )


def world_for(scenario: Scenario) -> WorldSpec:
    """Describe worlds that are like the scenario where a finite world can be."""
    model, tail = scenario.reward_model, scenario_tail(scenario)
    finite = scenario.bound.policy == "finite_class"
    checkpoints = (scenario.bound.candidates if finite else None) or DEFAULT_CHECKPOINTS
    strengths, named = path_strengths(checkpoints)
    finished = None
    if model != "verifiable" and isinstance(model.error, (int, float)):
        finished = float(model.error)
    return WorldSpec(
        reward_range=scenario.objective.reward_range,
        kl_coefficient=scenario.objective.kl_coefficient,
        coverage_kind="density" if model == "verifiable" else model.coverage_kind,
        verifiable=model == "verifiable",
        finished_error=finished,
        mean_log_ratio=None if tail is None else float(tail.excess(0.0)),
        strengths=strengths,
        named=named,
    )


def protocol_for(scenario: Scenario, spec: WorldSpec, replicates: int) -> Protocol:
    """Describe what every world of a study has in common."""
    delta = scenario.objective.failure_probability
    own, growth = own_confidence(scenario.bound, delta)
    model = scenario.reward_model
    policy = scenario.bound.policy
    return Protocol(
        spec=spec,
        concentration=scenario.bound.concentration,
        policy="fixed" if policy == "sgd" else policy,
        failure_probability=delta,
        confidence=own,
        confidence_growth=growth,
        existing_labels=0 if model == "verifiable" else model.existing_labels,
        labels_on_current=model != "verifiable" and model.label_policy == "current",
        replicates=replicates,
    )


def own_confidence(settings: BoundSettings, failure_probability: float) -> tuple[float, float]:
    """Return Λ without the policy's complexity, which every trial adds, and Λ's growth in ln n."""
    whole, growth = confidence(settings, failure_probability)
    return whole - policy_complexity(settings), growth


# --- what was found ------------------------------------------------------------------------------


def judge_validity(
    numbers: tuple[int, ...], outcomes: tuple[Outcome, ...], protocol: Protocol
) -> Validity:
    """Compare how often the bound held, one outcome a world, with what it promises."""
    promised = 1.0 - protocol.failure_probability
    covered, trials = sum(o.covered for o in outcomes), len(outcomes) * protocol.replicates
    worst = min(range(len(outcomes)), key=lambda index: outcomes[index].covered)
    interval = clopper_pearson(covered, trials)
    return Validity(
        promised=promised,
        trials=trials,
        covered=covered,
        share=covered / trials,
        interval=interval,
        worst_world=WorstWorld(numbers[worst], outcomes[worst].covered / protocol.replicates),
        holds=interval[1] >= promised,
    )


def _check_terms(outcomes: tuple[Outcome, ...]) -> tuple[TermCheck, ...]:
    pairs: dict[TermName, list[tuple[float, float]]] = {
        "sampling": [(o.bound.sampling, o.sampling_error) for o in outcomes],
        "reward_shift": [(o.bound.reward_shift, o.reward_bias) for o in outcomes],
        "kl_clipping": [(o.bound.kl_clipping, o.clipping_bias) for o in outcomes],
    }
    checks = []
    for term, values in pairs.items():
        bound = sum(claimed for claimed, _ in values) / len(values)
        actual = mean_interval([error for _, error in values])
        ratio = bound / actual.mean if actual.mean > 0 else None
        checks.append(TermCheck(term, bound, actual, ratio))
    return tuple(checks)


def _tried(
    scenario: Scenario, entries: list[Entry], records: tuple[WorldRecord, ...]
) -> tuple[TriedAllocation, ...]:
    prices = prepare(scenario).prices
    plans = [record.outcomes[0] for record in records]
    tried = []
    for index, entry in enumerate(entries):
        outcomes = [record.outcomes[index] for record in records]
        bought = entry.allocation
        versus = None
        if index > 0:
            pairs = list(zip(outcomes, plans, strict=True))
            versus = VersusPlan(
                mean_interval([rival.error - plan.error for rival, plan in pairs]),
                mean_interval([rival.quality - plan.quality for rival, plan in pairs]),
                count_wins(plan.quality > rival.quality for rival, plan in pairs),
            )
        tried.append(
            TriedAllocation(
                name=entry.name,
                allocation=bought,
                cost=prices.cost(bought.prompts, bought.rollouts_per_prompt, bought.labels),
                bound_total=sum(o.bound.total for o in outcomes) / len(outcomes),
                error=mean_interval([o.error for o in outcomes]),
                quality=mean_interval([o.quality for o in outcomes]),
                versus_plan=versus,
            )
        )
    return tuple(tried)


def _describe(
    scenario: Scenario, protocol: Protocol, plan: Allocation, records: tuple[WorldRecord, ...]
) -> WorldSummary:
    outcomes = [record.outcomes[0] for record in records]
    constants = tuple(
        WorldConstant(name, value, mean_interval([getattr(o, name) for o in outcomes]))
        for name, value in constants_at(scenario, plan).items()
    )
    checks = [record.inequalities for record in records]
    of = len(checks)
    return WorldSummary(
        spec=protocol.spec,
        judged=protocol.policy,
        new_labels_on="current" if protocol.labels_on_current else protocol.spec.behaviour,
        constants=constants,
        inequalities=(
            InequalityCheck("coverage-above-kl", sum(c.coverage_above_kl for c in checks), of),
            InequalityCheck("fresh-labels", sum(c.fresh_labels for c in checks), of),
        ),
    )


# --- what is doubtful ----------------------------------------------------------------------------


def _violated(validity: Validity, constants: Constants) -> list[Notice]:
    if validity.holds:
        return []
    reason = (
        "the constants used are the worlds' own, so the bound itself fails: please report it"
        if constants == "true"
        else "the worlds are harder than the scenario's constants say: compare them under "
        "world.constants, and try --constants true"
    )
    message = (
        f"The error is within the bound in {validity.share:.2%} of the trials, "
        f"{validity.promised:.6g} was promised; {reason}."
    )
    return [Notice("bound-violated", message)]
