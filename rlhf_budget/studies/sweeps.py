"""One constant over a range of values, planned at each."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

import numpy as np

from rlhf_budget.errors import InfeasibleError, Problem, RlhfBudgetError, ScenarioError
from rlhf_budget.optimum.certified import TOLERANCE, Optimum
from rlhf_budget.planning.binding import binding
from rlhf_budget.planning.insight import current
from rlhf_budget.planning.marginal import marginal
from rlhf_budget.planning.notices import notices
from rlhf_budget.planning.planner import optimise_each_robustly, plan_many
from rlhf_budget.planning.questions import answers
from rlhf_budget.scenario.failure import Failure, failure
from rlhf_budget.scenario.keys import KEYS
from rlhf_budget.scenario.records import Record, Tabular
from rlhf_budget.scenario.units import Unit
from rlhf_budget.scenario.yaml_source import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rlhf_budget.bound.results import Allocation, Bound
    from rlhf_budget.optimum.money import Cost
    from rlhf_budget.planning.results import Marginal, Robust
    from rlhf_budget.planning.uncertainty import Robustness
    from rlhf_budget.scenario import units
    from rlhf_budget.scenario.models import Scenario

Scale = Literal["log", "linear"]
Value = Annotated[float | str | bool, Unit("in the constant's unit")]
PointStatus = Literal["optimal", "not_proved", "infeasible", "invalid"]

STATUSES: Final[tuple[PointStatus, ...]] = ("optimal", "not_proved", "infeasible", "invalid")
ENOUGH: Final = 0.05
"""A doubling of the budget that lowers the bound by less than this share of it buys little."""
MOST_DOUBLINGS: Final = 40
"""Doublings looked at, those of the largest budgets: 12 powers of ten."""
LARGEST: Final = 1e300
"""Budget that is not doubled any more."""
ROUNDING: Final = 1e-9
"""Of a logarithm to base two: a range of a whole number of doublings has them all."""
BATCH: Final = 200
"""Points planned at once: enough to share the work, few enough to tell how far it is."""


@dataclass(frozen=True, slots=True)
class Over(Record):
    """What a sweep goes over."""

    json_names: ClassVar = ("key", "scale", "from=first", "to=last", "points")

    key: str
    """Key path of the constant."""
    values: tuple[Value, ...]
    """Values to plan at, in the constant's unit."""
    scale: Scale | None = None
    """Spacing: constant ratio (``log``) or step (``linear``); None for a list of values."""

    @property
    def first(self) -> Value | None:
        """First value; None for a list."""
        return None if self.scale is None else self.values[0]

    @property
    def last(self) -> Value | None:
        """Last value; None for a list."""
        return None if self.scale is None else self.values[-1]

    @property
    def points(self) -> units.Positive:
        """Number of values."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class PlannedPoint:
    """A plan at one value."""

    optimum: Optimum
    """The certified best allocation there."""
    marginal: Marginal | None
    """Value of more money there; None for a robust plan."""
    binding: tuple[str, ...]
    """Key paths of limits that bind and cost something."""
    warnings: tuple[str, ...]
    """Codes of the warnings that the plan has there."""
    robust: Robust | None = None
    """What the risk of a robust plan is worth there."""

    @property
    def judged(self) -> float:
        """What the plan is judged by: its bound, or where it is robust its risk, reward units."""
        return self.optimum.bound.total if self.robust is None else self.robust.value


@dataclass(frozen=True, slots=True)
class Point(Record):
    """One value of the constant, and what came of it."""

    json_names: ClassVar = (
        "value",
        "status",
        "planned.optimum.allocation",
        "planned.optimum.bound",
        "planned.optimum.cost",
        "planned.optimum.certificate",
        "planned.marginal",
        "planned.robust",
        "binding",
        "warnings",
        "error",
    )

    value: Value
    """Value of the constant."""
    outcome: PlannedPoint | InfeasibleError | ScenarioError
    """The plan, or why there is none."""

    @property
    def planned(self) -> PlannedPoint | None:
        """The plan, if there is one."""
        return self.outcome if isinstance(self.outcome, PlannedPoint) else None

    @property
    def status(self) -> PointStatus:
        """How it ended."""
        if isinstance(self.outcome, PlannedPoint):
            return self.outcome.optimum.status
        return "infeasible" if isinstance(self.outcome, InfeasibleError) else "invalid"

    @property
    def binding(self) -> tuple[str, ...]:
        """Key paths of limits that bind and cost something."""
        return self.planned.binding if self.planned else ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Codes of the plan's warnings."""
        return self.planned.warnings if self.planned else ()

    @property
    def error(self) -> Failure | None:
        """Why there is no plan."""
        return None if isinstance(self.outcome, PlannedPoint) else failure(self.outcome)


@dataclass(frozen=True, slots=True)
class PointCount(Record):
    """How many points ended how."""

    optimal: units.Count
    """Planned, and proved."""
    not_proved: units.Count
    """Planned, and not proved within the tolerance."""
    infeasible: units.Count
    """Nothing fits the budget."""
    invalid: units.Count
    """The value is no legal one."""


@dataclass(frozen=True, slots=True)
class Held(Record):
    """An allocation that a scenario has anyway."""

    allocation: Allocation
    """The four decisions."""
    bound: Bound
    """The bound there."""
    cost: Cost
    """What it costs."""


@dataclass(frozen=True, slots=True)
class Doubling(Record):
    """What twice a budget buys."""

    budget: units.Money
    """The budget."""
    bound: units.BoundTerm
    """The best bound within it."""
    doubled: units.BoundTerm
    """The best bound within twice the budget."""

    json_names: ClassVar = ("...", "buys")

    @property
    def buys(self) -> units.Relative:
        """How much lower the bound is then, as a fraction of it."""
        return 1.0 - self.doubled / self.bound if self.bound > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Sweep(Tabular):
    """A scenario planned at many values of one constant."""

    json_names: ClassVar = (
        "scenario=scenario.name",
        "scenario.currency",
        "scenario.inputs",
        "over",
        "points",
        "summary",
        "current",
        "doublings",
        "enough",
    )

    scenario: Scenario
    """The scenario as it is."""
    over: Over
    """What was changed."""
    points: tuple[Point, ...]
    """One for each value, in their order."""
    current: Held | None
    """Over the budget: what the scenario does now, to stand beside the frontier."""
    doublings: tuple[Doubling, ...] = ()
    """Over the budget: what each doubling of it buys, through the scenario's own; empty for robust
    plans."""

    @property
    def enough(self) -> units.Money | None:
        """Least of these budgets from which on no doubling buys 5 % of the bound; None for none."""
        few = itertools.takewhile(lambda each: each.buys < ENOUGH, reversed(self.doublings))
        return min((each.budget for each in few), default=None)

    @property
    def planned(self) -> tuple[tuple[Value, PlannedPoint], ...]:
        """The values that have a plan, with it."""
        return tuple(
            (point.value, point.planned) for point in self.points if point.planned is not None
        )

    @property
    def summary(self) -> PointCount:
        """How many points ended how."""
        ended = Counter(point.status for point in self.points)
        return PointCount(**{status: ended[status] for status in STATUSES})

    def rows(self) -> list[dict[str, Any]]:
        """Return one mapping per point, for CSV and data frames."""
        rows = []
        for point in self.points:
            entry = point.to_dict()
            error = entry.pop("error")
            entry["warnings"] = [{"code": code} for code in entry["warnings"]]
            message = None if error is None else error["message"]
            rows.append({"scenario": self.scenario.name, "key": self.over.key, **entry,
                         "error": message})  # fmt: skip
        return [{k: v for k, v in row.items() if v is not None} for row in rows]


def sweep(
    scenario: Scenario,
    over: Over,
    *,
    tolerance: float = TOLERANCE,
    robust: Robustness | None = None,
    on_points: Callable[[int], None] | None = None,
) -> Sweep:
    """Plan a scenario at every value of one constant.

    Each point has the numbers of ``plan`` with ``--set key=value``; many are planned at once.

    Parameters
    ----------
    scenario
        Everything but the constant.
    over
        The constant and its values: :func:`spaced` or :func:`listed`.
    tolerance
        Relative gap at which a plan counts as proved.
    robust
        Plan for all that the ranges allow at every value, on shared draws.
    on_points
        Called with the number of points done, now and then.

    Returns
    -------
    Sweep
        One point for each value; infeasible and illegal ones are marked.

    Raises
    ------
    ScenarioError
        Where no value is legal, with what is wrong with the first.
    """
    points: list[Point] = []
    batch = BATCH if robust is None else 1
    for start in range(0, len(over.values), batch):
        points += _points(scenario, over.key, over.values[start : start + batch], tolerance, robust)
        if on_points is not None:
            on_points(len(points))
    if all(isinstance(point.outcome, ScenarioError) for point in points):
        raise next(p.outcome for p in points if isinstance(p.outcome, ScenarioError))
    if over.key != "budget":
        return Sweep(scenario, over, tuple(points), None)
    ladder = () if robust is not None else tuple(_doublings(scenario, over, tolerance))
    return Sweep(scenario, over, tuple(points), _current(points), ladder)


def _points(
    scenario: Scenario,
    key: str,
    values: Sequence[Value],
    tolerance: float,
    robust: Robustness | None,
) -> Iterator[Point]:
    variants = [_variant(scenario, key, value) for value in values]
    legal = [variant for variant in variants if not isinstance(variant, ScenarioError)]
    outcomes = iter(
        _plans(legal, tolerance) if robust is None else _robust_plans(legal, robust, tolerance)
    )
    for value, variant in zip(values, variants, strict=True):
        yield Point(value, variant if isinstance(variant, ScenarioError) else next(outcomes))


def _variant(scenario: Scenario, key: str, value: Value) -> Scenario | ScenarioError:
    try:
        variant = scenario.with_values({key: value})
    except ScenarioError as error:
        return error
    if variant.budget is None:
        return ScenarioError((Problem("budget", "nothing", "a positive amount of money"),))
    return variant


def _plans(
    scenarios: Sequence[Scenario], tolerance: float
) -> list[PlannedPoint | InfeasibleError | ScenarioError]:
    outcomes = plan_many(scenarios, tolerance=tolerance)
    optima = [outcome for outcome in outcomes if isinstance(outcome, Optimum)]
    limits = iter(answers([binding(optimum) for optimum in optima], tolerance))
    planned: list[PlannedPoint | InfeasibleError | ScenarioError] = []
    for outcome in outcomes:
        if isinstance(outcome, Optimum):
            codes = tuple(notice.code for notice in notices(outcome))
            planned.append(PlannedPoint(outcome, marginal(outcome), next(limits), codes))
        elif isinstance(outcome, (InfeasibleError, ScenarioError)):
            planned.append(outcome)
        else:
            raise outcome
    return planned


def _robust_plans(
    scenarios: Sequence[Scenario], robust: Robustness, tolerance: float
) -> Iterator[PlannedPoint | InfeasibleError | ScenarioError]:
    for outcome in optimise_each_robustly(scenarios, robust, tolerance=tolerance):
        if isinstance(outcome, (InfeasibleError, ScenarioError)):
            yield outcome
        elif isinstance(outcome, RlhfBudgetError):
            raise outcome
        else:
            codes = tuple(notice.code for notice in outcome.warnings)
            yield PlannedPoint(outcome.optimum, None, (), codes, outcome.robust)


def _current(points: Sequence[Point]) -> Held | None:
    """The scenario's ``current``, which no budget changes, beside any of the plans."""
    planned = next((point.planned for point in points if point.planned is not None), None)
    now = None if planned is None else current(planned.optimum)
    return None if now is None else Held(now.allocation, now.bound, now.cost)


def _doublings(scenario: Scenario, over: Over, tolerance: float) -> Iterator[Doubling]:
    """Double budgets from the first to the last, through the scenario's own where it is between."""
    budgets = [float(value) for value in over.values if not isinstance(value, str) and value > 0]
    if not budgets:
        return
    first, last = min(budgets), min(max(budgets), LARGEST)
    own = scenario.budget
    through = own if own is not None and first <= own <= last else first
    most, down = (
        math.floor(math.log2(high) - math.log2(low) + ROUNDING)
        for low, high in ((through, last), (first, through))
    )
    ladder = [through * 2.0**at for at in range(max(-down, most - MOST_DOUBLINGS + 1), most + 2)]
    # A budget below what a run under way has spent is no budget.
    variants = {each: _variant(scenario, "budget", each) for each in ladder}
    legal = {each: v for each, v in variants.items() if not isinstance(v, ScenarioError)}
    planned = plan_many(tuple(legal.values()), tolerance=tolerance)
    for budget, (once, twice) in zip(legal, itertools.pairwise(planned), strict=False):
        if isinstance(once, Optimum) and isinstance(twice, Optimum):
            yield Doubling(budget, once.bound.total, twice.bound.total)


# --- values --------------------------------------------------------------------------------------


def parse_over(text: str, *, points: int, scale: Scale | None) -> Over:
    """Parse ``KEY=FROM:TO`` or ``KEY=V1,V2,…``.

    Raises
    ------
    ValueError
        Where it is neither, with what is allowed.
    """
    key, equals, written = (part.strip() for part in text.partition("="))
    if not (key and equals and written):
        raise ValueError(f"'{text}' is not KEY=FROM:TO or KEY=V1,V2,… .")
    low, colon, high = written.partition(":")
    if not colon:
        return listed(key, [_value(entry) for entry in written.split(",")])
    ends = _value(low), _value(high)
    if any(isinstance(end, (str, bool)) for end in ends):
        raise ValueError(f"'{written}' is not a range of two numbers FROM:TO.")
    return spaced(key, float(ends[0]), float(ends[1]), points=points, scale=scale)


def spaced(
    key: str, low: float, high: float, *, points: int = 40, scale: Scale | None = None
) -> Over:
    """Space values evenly between two ends, which are among them.

    Parameters
    ----------
    key
        Key path. Where it must be whole, values are rounded and repeats dropped.
    low, high
        Ends, in the constant's unit.
    points
        How many values, before repeats are dropped.
    scale
        ``log`` for a constant ratio, ``linear`` for a constant step; by default ``log`` where both
        ends are positive.

    Raises
    ------
    ValueError
        Where the ends do not ascend, or ``log`` is asked for without positive ends.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"FROM {low:g} must not be above TO {high:g}.")
    chosen: Scale = scale or ("log" if low > 0 else "linear")
    if chosen == "log" and low <= 0:
        raise ValueError(f"a log scale needs ends above 0, not {low:g}: use --scale linear.")
    space = np.geomspace if chosen == "log" else np.linspace
    values = [float(value) for value in space(low, high, points if low < high else 1)]
    values[0], values[-1] = low, high
    if _must_be_whole(key):
        values = [float(round(value)) for value in values]
    distinct = tuple(_written(key, value) for value in dict.fromkeys(values))
    return Over(key, distinct, chosen)


def listed(key: str, values: Sequence[Value]) -> Over:
    """Take a list of values as it is; where the key must be whole they are rounded."""
    rounded = (
        _written(key, value) if isinstance(value, (int, float)) else value for value in values
    )
    return Over(key, tuple(dict.fromkeys(rounded)))


def _must_be_whole(key: str) -> bool:
    """Whether the key, or the limit that a plain number fixes, is a whole number."""
    rules = KEYS.get(f"{key}.min") or KEYS.get(key)
    return rules is not None and rules.kind == "whole"


def _written(key: str, value: float) -> Value:
    whole = _must_be_whole(key) and not isinstance(value, bool)
    return round(value) if whole else value


def _value(text: str) -> Value:
    """Read one value as a scenario file would."""
    try:
        value = read_yaml(text.strip(), "--over").values
    except ScenarioError as error:
        raise ValueError(f"'{text}': {error}") from None
    if isinstance(value, (int, float, str)):
        return value
    raise ValueError(f"'{text}' is not a number or a word.")
