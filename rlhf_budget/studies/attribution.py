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
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, get_args

from rlhf_budget.errors import ScenarioError
from rlhf_budget.optimum.certified import TOLERANCE, Optimum
from rlhf_budget.planning.planner import plan_many
from rlhf_budget.scenario.models import Scenario
from rlhf_budget.scenario.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rlhf_budget.planning.results import Plan
    from rlhf_budget.scenario import units

Method = Literal["shapley", "one_at_a_time"]

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

    json_names: ClassVar = ("metric", "...")

    method: Method
    """``shapley``, or ``one_at_a_time`` where a mixture of both scenarios cannot be planned."""
    total: units.Reward
    """The difference."""
    residual: units.Reward
    """The difference less all contributions."""
    groups: Annotated[tuple[Contribution, ...], units.Length(7, 7)]
    """All groups, in the order of :data:`GROUPS`."""

    @property
    def metric(self) -> Literal["bound.total"]:
        """What is attributed."""
        return "bound.total"


def attribute(baseline: Plan, other: Plan, *, tolerance: float = TOLERANCE) -> Attribution:
    """Split the difference of two plans' bounds by groups of constants.

    Every mixture, the groups of the one scenario and the rest of the other, is planned anew; they
    are all solved at once.

    Parameters
    ----------
    baseline, other
        The plans, each within its budget.
    tolerance
        Relative gap at which a mixture's plan counts as proved.

    Returns
    -------
    Attribution
        Shapley values; where a mixture is infeasible or no legal scenario, what each group
        changes on its own, with the residual that this leaves.
    """
    changed = changed_keys(baseline.scenario.inputs(), other.scenario.inputs())
    differing = [group for group in GROUPS if changed[group]]
    totals = _totals(baseline, other, differing, tolerance)
    method: Method = "one_at_a_time" if None in totals.values() else "shapley"
    known = {mixture: total for mixture, total in totals.items() if total is not None}
    shares = shapley(differing, known) if method == "shapley" else _alone(differing, known)
    total = other.bound.total - baseline.bound.total
    return Attribution(
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


def shapley(players: Sequence[str], values: Mapping[frozenset[str], float]) -> dict[str, float]:
    """Return the Shapley value of each player.

    Parameters
    ----------
    players
        Names.
    values
        What each set of players attains, for all subsets.

    Returns
    -------
    dict
        Name -> ``sum over S without it of |S|!(d - |S| - 1)!/d! * (v(S with it) - v(S))``.
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
    baseline: Plan, other: Plan, groups: Sequence[str], tolerance: float
) -> dict[frozenset[str], float | None]:
    """The best bound of every mixture; None where it cannot be planned."""
    totals: dict[frozenset[str], float | None] = dict.fromkeys(_subsets(groups))
    totals[frozenset(groups)] = other.bound.total
    totals[frozenset()] = baseline.bound.total
    legal = {
        mixture: scenario
        for mixture in totals
        if 0 < len(mixture) < len(groups)
        and (scenario := _mixed(baseline.scenario, other.scenario, mixture)) is not None
    }
    outcomes = plan_many(tuple(legal.values()), tolerance=tolerance)
    for mixture, outcome in zip(legal, outcomes, strict=True):
        totals[mixture] = outcome.bound.total if isinstance(outcome, Optimum) else None
    return totals


def _mixed(baseline: Scenario, other: Scenario, groups: Iterable[str]) -> Scenario | None:
    """The baseline with some groups of the other scenario; None where that is not legal."""
    sections = [section for group in groups for section in (group, *_WITH.get(group, ()))]
    mixture = baseline.model_copy(update={name: getattr(other, name) for name in sections})
    try:
        Scenario(**mixture.inputs())
    except ScenarioError:
        return None
    # The copy keeps exact prices and tails, which a scenario read back from numbers has not.
    return mixture


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
