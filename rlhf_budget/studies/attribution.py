"""Where the difference between two plans comes from, group of constants by group.

The best bound is a function of seven groups of constants. Going from one scenario to another in
some order changes one group after another; a group's Shapley value is what its change brings on
average over all orders (Shapley 1953, "A value for n-person games"). The values add up to the
difference, and a group that does not differ gets nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args

from rlhf_budget.errors import RlhfBudgetError, ScenarioError
from rlhf_budget.optimum.certified import TOLERANCE, Optimum
from rlhf_budget.planning.planner import optimise_each_robustly, plan_many
from rlhf_budget.scenario.models import Scenario
from rlhf_budget.scenario.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rlhf_budget.planning.results import Plan
    from rlhf_budget.planning.uncertainty import Robustness
    from rlhf_budget.scenario import units

Method = Literal["shapley", "one_at_a_time"]
Metric = Literal["bound.total", "robust.value"]

Group = Literal[
    "budget",
    "costs",
    "objective",
    "bound",
    "reward_model",
    "log_ratio",
    "limits",
]
GROUPS: Final[tuple[Group, ...]] = get_args(Group)
"""Groups of constants, each a section of the scenario, in the order of the output."""
_WITH: Final[dict[str, tuple[str, ...]]] = {"bound": ("groups",), "budget": ("progress",)}
"""Sections that are counted with another."""


@dataclass(frozen=True, slots=True)
class Contribution(Record):
    """What one group brings to the difference."""

    group: Group
    """Section of the scenario."""
    changed: tuple[str, ...]
    """Key paths that differ in it."""
    contribution: units.Reward
    """Its part of the difference."""
    planned: bool
    """False where the change of this group alone cannot be planned; its part is then in the
    residual."""


@dataclass(frozen=True, slots=True)
class Attribution(Record):
    """The difference between two best bounds, split by groups of constants."""

    metric: Metric
    """What is attributed: the bound, or of robust plans the risk that they minimise."""
    method: Method
    """``shapley``, or ``one_at_a_time`` where a mixture of both scenarios cannot be planned."""
    total: units.Reward
    """The difference."""
    residual: units.Reward
    """The difference less all contributions."""
    groups: Annotated[tuple[Contribution, ...], units.Length(7, 7)]
    """All groups, in the order of :data:`GROUPS`."""


def attribute(
    baseline: Plan,
    other: Plan,
    *,
    tolerance: float = TOLERANCE,
    robust: Robustness | None = None,
) -> Attribution:
    """Split the difference of two plans' bounds, or risks, by groups of constants.

    Every mixture, the groups of the one scenario and the rest of the other, is planned anew; they
    are all solved at once.

    Parameters
    ----------
    baseline, other
        The plans, each within its budget.
    tolerance
        Relative gap at which a mixture's plan counts as proved.
    robust
        What the plans were asked for, where they are robust ones; every mixture is then too.

    Returns
    -------
    Attribution
        Shapley values; where a mixture is infeasible or no legal scenario, what each group
        changes on its own, with the residual that this leaves.
    """
    changed = _changed(baseline.scenario, other.scenario, ranges=robust is not None)
    differing = [group for group in GROUPS if changed[group]]
    totals = _totals(baseline, other, differing, tolerance, robust)
    method: Method = "one_at_a_time" if None in totals.values() else "shapley"
    known = {mixture: total for mixture, total in totals.items() if total is not None}
    shares = shapley(differing, known) if method == "shapley" else _alone(differing, known)
    total = judged(other) - judged(baseline)
    return Attribution(
        metric="bound.total" if robust is None else "robust.value",
        method=method,
        total=total,
        residual=total - math.fsum(shares.values()),
        groups=tuple(
            Contribution(
                group=group,
                changed=changed[group],
                contribution=shares.get(group, 0.0),
                planned=group in shares or not changed[group],
            )
            for group in GROUPS
        ),
    )


def judged(plan: Plan) -> float:
    """What a plan is judged by: its bound, or where it is robust its risk, reward units."""
    return plan.bound.total if plan.robust is None else plan.robust.value


def shapley(players: Sequence[str], values: Mapping[frozenset[str], float]) -> dict[str, float]:
    """Return the Shapley value of each player, from what every set of players attains.

    It is ``sum over S without it of |S|!(d - |S| - 1)!/d! * (v(S with it) - v(S))``.
    """
    d = len(players)
    shares = {}
    for player in players:
        others = [name for name in players if name != player]
        shares[player] = math.fsum(
            (values[before | {player}] - values[before]) / (d * math.comb(d - 1, len(before)))
            for before in _subsets(others)
        )
    return shares


def _alone(groups: Sequence[str], totals: Mapping[frozenset[str], float]) -> dict[str, float]:
    """What each group changes on its own, where that can be planned."""
    start = totals[frozenset()]
    return {
        group: totals[frozenset({group})] - start
        for group in groups
        if frozenset({group}) in totals
    }


def _subsets(names: Sequence[str]) -> Iterator[frozenset[str]]:
    for size in range(len(names) + 1):
        yield from map(frozenset, combinations(names, size))


def _totals(
    baseline: Plan,
    other: Plan,
    groups: Sequence[str],
    tolerance: float,
    robust: Robustness | None,
) -> dict[frozenset[str], float | None]:
    """The best bound, or the least risk, of every mixture; None where it cannot be planned."""
    totals: dict[frozenset[str], float | None] = dict.fromkeys(_subsets(groups))
    totals[frozenset(groups)] = judged(other)
    totals[frozenset()] = judged(baseline)
    legal = {
        mixture: scenario
        for mixture in totals
        if 0 < len(mixture) < len(groups)
        and (scenario := _mixed(baseline.scenario, other.scenario, mixture)) is not None
    }
    mixtures = tuple(legal.values())
    if robust is None:
        outcomes = plan_many(mixtures, tolerance=tolerance)
        values = (each.bound.total if isinstance(each, Optimum) else None for each in outcomes)
    else:
        robustly = optimise_each_robustly(mixtures, robust, tolerance=tolerance)
        values = (
            None if isinstance(each, RlhfBudgetError) else each.robust.value for each in robustly
        )
    totals.update(zip(legal, values, strict=True))
    return totals


def _mixed(baseline: Scenario, other: Scenario, groups: Iterable[str]) -> Scenario | None:
    """The baseline with some groups of the other scenario; None where that is not legal."""
    sections = [section for group in groups for section in (group, *_WITH.get(group, ()))]
    mixture = baseline.with_sections(other, sections)
    try:
        Scenario(**mixture.inputs())
    except ScenarioError:
        return None
    # The copy keeps exact prices and tails, which a scenario read back from numbers has not.
    return mixture


def _changed(one: Scenario, other: Scenario, *, ranges: bool) -> dict[str, tuple[str, ...]]:
    """Key paths that differ, by group; of ``ranges`` also where only their ends do."""
    changed = changed_keys(one.inputs(), other.inputs())
    if not ranges:
        return changed
    ends = [{each.constant: (each.low, each.high) for each in s.assumed} for s in (one, other)]
    for constant in {**ends[0], **ends[1]}:
        group = constant.partition(".")[0]
        if ends[0].get(constant) != ends[1].get(constant) and constant not in changed[group]:
            changed[group] = (*changed[group], constant)
    return changed


def changed_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Key paths that differ between two resolved scenarios, by group."""
    return {
        group: tuple(
            difference
            for section in (group, *_WITH.get(group, ()))
            for difference in _differences(section, one.get(section), other.get(section))
        )
        for group in GROUPS
    }


def _differences(path: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            yield from _differences(f"{path}.{name}", one.get(name), other.get(name))
    elif one != other:
        yield path
