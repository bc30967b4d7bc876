"""Does the bound hold in every corner? A grid over allocations, concentrations and policies.

Each world is drawn once for all allocations, and each set of estimates is judged by every
concentration and policy kind, so that the whole grid costs little more than its estimates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from rlhf_budget.bound.results import Allocation
from rlhf_budget.scenario.sections.bound import BoundSettings
from rlhf_budget.simulation.evaluation import checkpoints, trials
from rlhf_budget.simulation.evaluation.study import own_confidence
from rlhf_budget.simulation.evaluation.world import WorldSpec, build_world
from rlhf_budget.simulation.statistics import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rlhf_budget.simulation.evaluation.checkpoints import Inequalities
    from rlhf_budget.simulation.evaluation.trials import Outcome, Protocol
    from rlhf_budget.simulation.evaluation.world import CoverageKind

Concentration = Literal["hoeffding", "prompt_mean", "bernstein"]

EXISTING_LABELS = 200
CLIP_THRESHOLD = 2.0
"""Nats; clips a good part of the log-ratios at the KL-optimal policy."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A concentration with a policy kind that it goes with."""

    concentration: Concentration
    """Name as in ``bound.concentration``."""
    policy: trials.PolicyKind
    """Name as in ``bound.policy``."""


KINDS = tuple(
    Kind(concentration, policy)
    for concentration in get_args(Concentration)
    for policy in get_args(trials.PolicyKind)
    if (concentration, policy) != ("bernstein", "pac_bayes")
)
"""All that the planner takes, but for ``sgd``, which no world simulates."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Worlds and labels of one part of the grid."""

    coverage_kind: CoverageKind
    """How C is measured; ``features`` has linear rewards."""
    labels_on_current: bool
    """Label policy: current, else behaviour."""
    labels: int
    """m, new labels."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the grid."""

    kind: Kind
    """Concentration and policy."""
    setting: Setting
    """Worlds and labels."""
    prompts: int
    """n."""
    rollouts_per_prompt: int
    """K."""
    covered: int
    """Trials within the bound."""
    trials: int
    """Trials."""
    looseness: float
    """Mean over worlds of the bound over the (1 − δ)-quantile of the error."""

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper–Pearson interval of the share covered."""
        return clopper_pearson(self.covered, self.trials)


@dataclass(frozen=True, slots=True)
class Grid:
    """All cells, and the exact inequalities of each world and reward model."""

    cells: tuple[Cell, ...]
    """Every combination."""
    inequalities: tuple[Inequalities, ...]
    """One per world, label policy, coverage kind and m."""


def coverage_grid(
    *,
    worlds: int,
    replicates: int,
    seed: int,
    prompts: tuple[int, ...] = (50, 500, 5000),
    rollouts_per_prompt: tuple[int, ...] = (1, 4, 16),
    labels: tuple[int, ...] = (100, 1000, 10_000),
    failure_probability: float = 0.05,
) -> Grid:
    """Judge the bound with true constants over a grid.

    Parameters
    ----------
    worlds
        Worlds of each setting.
    replicates
        Estimates in each world and allocation.
    seed
        Of all randomness.
    prompts
        Values of n.
    rollouts_per_prompt
        Values of K.
    labels
        Values of m, each beside 200 existing labels.
    failure_probability
        δ.
    """
    allocations = tuple(product(prompts, rollouts_per_prompt))
    cells: list[Cell] = []
    inequalities: list[Inequalities] = []
    for setting in _settings(labels):
        protocol = _protocol(setting, replicates, failure_probability)
        outcomes: dict[tuple[Kind, int, int], list[Outcome]] = {}
        for child in np.random.SeedSequence(seed).spawn(worlds):
            world = _World(protocol, setting, child)
            inequalities.append(world.inequalities)
            for n, K in allocations:
                for kind, outcome in world.outcomes(n, K):
                    outcomes.setdefault((kind, n, K), []).append(outcome)
        cells += [_cell(key, setting, found, replicates) for key, found in outcomes.items()]
    return Grid(tuple(cells), tuple(inequalities))


def _settings(labels: tuple[int, ...]) -> Iterator[Setting]:
    kinds: tuple[CoverageKind, ...] = ("density", "features")
    for kind, on_current, m in product(kinds, (False, True), labels):
        yield Setting(kind, on_current, m)


def _protocol(setting: Setting, replicates: int, delta: float) -> Protocol:
    return trials.Protocol(
        spec=WorldSpec(coverage_kind=setting.coverage_kind),
        concentration="hoeffding",
        policy="fixed",
        failure_probability=delta,
        confidence=0.0,
        confidence_growth=0.0,
        existing_labels=EXISTING_LABELS,
        labels_on_current=setting.labels_on_current,
        replicates=replicates,
    )


def _for_kind(protocol: Protocol, kind: Kind) -> Protocol:
    settings = BoundSettings(concentration=kind.concentration, policy=kind.policy)
    own, growth = own_confidence(settings, protocol.failure_probability)
    return replace(
        protocol,
        concentration=kind.concentration,
        policy=kind.policy,
        confidence=own,
        confidence_growth=growth,
    )


class _World:
    """One world with its reward model, ready for any n and K."""

    def __init__(self, protocol: Protocol, setting: Setting, seed: np.random.SeedSequence) -> None:
        own, pilot, existing, bought, rollouts = map(np.random.default_rng, seed.spawn(5))
        self.world = build_world(protocol.spec, own)
        policies = trials.label_policies(self.world, pilot)
        lesson = trials.train_reward(
            protocol, self.world, policies, setting.labels, (existing, bought)
        )
        self.path = checkpoints.train_path(self.world, lesson.reward)
        self.truth = checkpoints.exact_truth(
            self.world, lesson.reward, lesson.training, self.path, CLIP_THRESHOLD
        )
        self.summand = checkpoints.estimated_objective(
            self.world, lesson.reward, self.path, CLIP_THRESHOLD
        )
        self.inequalities = checkpoints.check_inequalities(self.world, lesson.training, self.path)
        self.protocol = protocol
        self.labels = setting.labels
        self.random = rollouts

    def outcomes(self, n: int, K: int) -> Iterator[tuple[Kind, Outcome]]:
        """Judge one set of estimates by every kind."""
        allocation = Allocation(n, K, self.labels, CLIP_THRESHOLD)
        estimates = trials.draw_estimates(
            self.world,
            self.path,
            self.summand,
            allocation,
            replicates=self.protocol.replicates,
            random=self.random,
        )
        for kind in KINDS:
            protocol = _for_kind(self.protocol, kind)
            judged = trials.judge(kind.policy, estimates, n, self.world.spec)
            claim = trials.claim_in_world(protocol, allocation, self.truth, judged)
            yield kind, trials.summarise(protocol, self.truth, estimates, judged, claim)


def _cell(
    key: tuple[Kind, int, int], setting: Setting, outcomes: list[Outcome], replicates: int
) -> Cell:
    kind, n, K = key
    ratios = [o.bound.total / o.error_quantile for o in outcomes if o.error_quantile > 0]
    return Cell(
        kind=kind,
        setting=setting,
        prompts=n,
        rollouts_per_prompt=K,
        covered=sum(o.covered for o in outcomes),
        trials=replicates * len(outcomes),
        looseness=float(np.mean(ratios)),
    )
