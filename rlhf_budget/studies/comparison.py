"""Scenarios side by side: their plans, the differences and where these come from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, get_args

from rlhf_budget.errors import InfeasibleError, Problem, ScenarioError
from rlhf_budget.optimum.certified import TOLERANCE
from rlhf_budget.optimum.near_optimal import WITHIN
from rlhf_budget.planning.planner import plan, plan_robustly
from rlhf_budget.planning.results import Notice, Plan
from rlhf_budget.scenario.failure import Failure, failure
from rlhf_budget.scenario.load import load_scenarios
from rlhf_budget.scenario.records import NOT_IN_JSON, Record, Result, Tabular
from rlhf_budget.studies.attribution import Attribution, attribute

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rlhf_budget.planning.uncertainty import Robustness
    from rlhf_budget.scenario import units
    from rlhf_budget.scenario.models import Scenario

Lower = Literal[
    "robust.value",
    "bound.total",
    "bound.sampling",
    "bound.reward_shift",
    "bound.kl_clipping",
    "bound.irreducible",
    "bound.coverage",
    "bound.reward_error",
    "cost.total",
]
LOWER_IS_BETTER: Final[tuple[Lower, ...]] = get_args(Lower)
"""Numbers of a plan of which the smallest is the best."""
IN_REWARD_UNITS: Final = frozenset(
    {
        "robust.value",
        "bound.total",
        "bound.sampling",
        "bound.reward_shift",
        "bound.kl_clipping",
        "bound.irreducible",
        "bound.reward_error",
    }
)
"""Numbers that say nothing beside those of another reward range, but as shares of their own."""
_PARTS: Final = ("allocation", "bound", "cost")


@dataclass(frozen=True, slots=True)
class Entry:
    """A scenario to compare, and what to call it."""

    name: str
    """Name of the column."""
    scenario: Scenario
    """What to plan."""
    file: str | None = None
    """File that it comes from."""
    file_scenario: str | None = None
    """Name among the file's ``scenarios``; None for the file itself."""


@dataclass(frozen=True, slots=True)
class ComparedPlan(Record):
    """One column: a scenario and its plan, or why there is none."""

    json_names: ClassVar = (
        "name",
        "entry.file",
        "scenario=entry.file_scenario",
        "status",
        "result=plan",
        "error",
    )

    entry: Entry
    """What was planned."""
    outcome: Plan | InfeasibleError
    """The plan, or why nothing fits the budget."""

    @property
    def name(self) -> str:
        """Name of the column."""
        return self.entry.name

    @property
    def plan(self) -> Plan | None:
        """The plan, if there is one."""
        return self.outcome if isinstance(self.outcome, Plan) else None

    @property
    def status(self) -> Literal["optimal", "not_proved", "infeasible"]:
        """How it ended."""
        return self.outcome.status if isinstance(self.outcome, Plan) else "infeasible"

    @property
    def error(self) -> Failure | None:
        """Why there is no plan."""
        return None if isinstance(self.outcome, Plan) else failure(self.outcome)


@dataclass(frozen=True, slots=True)
class ValueDifference(Record):
    """One number of a plan beside the baseline's."""

    json_names: ClassVar = ("...", "absolute", "relative")

    key: str
    """Key path in the plan's JSON."""
    baseline: units.OwnUnit | None
    """The baseline's number; None where it has none."""
    value: units.OwnUnit | None
    """The column's number; None where it has none."""

    @property
    def absolute(self) -> units.OwnUnit | None:
        """``value − baseline``."""
        if self.baseline is None or self.value is None:
            return None
        return self.value - self.baseline

    @property
    def relative(self) -> units.Relative | None:
        """The same as a fraction of the baseline's size; None where that is 0."""
        if self.absolute is None or not self.baseline:
            return None
        return self.absolute / abs(self.baseline)


@dataclass(frozen=True, slots=True)
class Difference(Record):
    """One column against the baseline."""

    name: str
    """Name of the column."""
    values: tuple[ValueDifference, ...]
    """Every number of allocation, bound and cost."""
    attribution: Attribution
    """Where the difference of the bound comes from."""


@dataclass(frozen=True, slots=True)
class Best(Record):
    """Who has the best of one number."""

    key: Lower
    """Key path in the plan's JSON; lower is better."""
    names: tuple[str, ...]
    """The columns that have it; several where they are the same within the tolerance. Where reward
    ranges differ, numbers in reward units are judged as shares of their ranges."""


@dataclass(frozen=True, slots=True)
class Comparison(Result, Tabular):
    """Scenarios side by side."""

    currency: str
    """Label of all money."""
    baseline: str
    """Name of the column that the others are compared with."""
    tolerance: float = field(metadata=NOT_IN_JSON)
    """Relative differences below this are none."""
    columns: tuple[ComparedPlan, ...]
    """All columns, infeasible ones too."""
    differences: tuple[Difference, ...]
    """Each feasible column but the baseline, against it; empty where the baseline is infeasible."""
    best: tuple[Best, ...]
    """The best of each number that has one."""

    @property
    def reference(self) -> ComparedPlan:
        """The baseline's column."""
        return next(column for column in self.columns if column.name == self.baseline)

    @property
    def feasible(self) -> bool:
        """Whether every column has a plan."""
        return all(column.plan is not None for column in self.columns)

    @property
    def ranges_differ(self) -> bool:
        """Whether reward units of one column are not those of another."""
        return _ranges_differ(self.columns)

    def as_share(self, name: str, value: ValueDifference) -> ValueDifference:
        """Return a difference from the baseline in shares of each column's own reward range."""
        ranges = {c.name: c.entry.scenario.objective.reward_range for c in self.columns}
        base, own = value.baseline, value.value
        return ValueDifference(
            value.key,
            None if base is None else base / ranges[self.baseline],
            None if own is None else own / ranges[name],
        )

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """The warnings of all columns; one of several columns names them together."""
        found: dict[Notice, list[str]] = {}
        for column in self.columns:
            for notice in column.plan.warnings if column.plan else ():
                found.setdefault(notice, []).append(column.name)
        return tuple(
            Notice(notice.code, f"{', '.join(names)}: {notice.message}")
            for notice, names in found.items()
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return one mapping per column, for CSV and data frames."""
        return [
            {
                "name": column.name,
                "file": column.entry.file,
                "file_scenario": column.entry.file_scenario,
                **(column.plan.to_dict() if column.plan else {"status": "infeasible"}),
            }
            for column in self.columns
        ]


def compare(
    scenarios: Mapping[str, Scenario] | Sequence[Entry],
    *,
    baseline: str | None = None,
    tolerance: float = TOLERANCE,
    within: float = WITHIN,
    robust: Robustness | None = None,
) -> Comparison:
    """Plan scenarios and set them side by side.

    Parameters
    ----------
    scenarios
        Name -> scenario; or entries, which also say where a scenario comes from.
    baseline
        Name of the one to compare the others with; by default the first.
    tolerance
        Relative gap at which a plan counts as proved, and below which numbers are the same.
    within
        How far above its best the bound may be in the near-optimal ranges, as a fraction.
    robust
        Plan for all that the ranges allow, every column on the same draws of the constants that
        it does not know; the risk is then what is compared and attributed.

    Returns
    -------
    Comparison
        The plans, infeasible scenarios included, their differences and the attribution of each.

    Raises
    ------
    ScenarioError
        For different currencies, two of one name, an unknown baseline or none at all, or a
        scenario without a budget.

    Examples
    --------
    >>> compare({"people": scenario, "model": cheaper}).best[0].names  # doctest: +SKIP
    ('model',)
    """
    entries = _entries(scenarios)
    chosen = _checked(entries, baseline)
    columns = tuple(
        ComparedPlan(entry, _outcome(entry, tolerance, within, robust)) for entry in entries
    )
    reference = next(column for column in columns if column.name == chosen).plan
    others = [(c.name, c.plan) for c in columns if c.name != chosen and c.plan is not None]
    return Comparison(
        currency=entries[0].scenario.currency,
        baseline=chosen,
        tolerance=tolerance,
        columns=columns,
        differences=tuple(
            Difference(
                name,
                _values(reference, other),
                attribute(reference, other, tolerance=tolerance, robust=robust),
            )
            for name, other in (others if reference is not None else ())
            if reference is not None
        ),
        best=tuple(_best(columns, tolerance)),
    )


def _entries(scenarios: Mapping[str, Scenario] | Sequence[Entry]) -> tuple[Entry, ...]:
    if hasattr(scenarios, "items"):
        return tuple(Entry(name, scenario) for name, scenario in scenarios.items())
    return tuple(scenarios)


def _checked(entries: Sequence[Entry], baseline: str | None) -> str:
    """Return the baseline's name, or report everything that keeps these from being compared."""
    names = [entry.name for entry in entries]
    problems = []
    if not entries:
        problems.append(Problem("", "no scenario", "one scenario or more to compare"))
    for name, times in Counter(names).items():
        if times > 1:
            files = ", ".join(dict.fromkeys(e.file or "" for e in entries if e.name == name))
            found = f"{times} columns called '{name}' ({files})"
            problems.append(Problem("", found, "a name of its own for each: NAME=FILE"))
    currencies = list(dict.fromkeys(entry.scenario.currency for entry in entries))
    if len(currencies) > 1:
        found = f"different currencies: {', '.join(currencies)}"
        problems.append(Problem("currency", found, "one currency for all"))
    if baseline is not None and baseline not in names:
        problems.append(Problem("", f"the baseline '{baseline}'", f"one of {', '.join(names)}"))
    if problems:
        raise ScenarioError(tuple(problems))
    return names[0] if baseline is None else baseline


def _outcome(
    entry: Entry, tolerance: float, within: float, robust: Robustness | None
) -> Plan | InfeasibleError:
    try:
        if robust is None:
            return plan(entry.scenario, tolerance=tolerance, within=within)
        return plan_robustly(entry.scenario, robust, tolerance=tolerance)
    except InfeasibleError as error:
        return error


def _numbers(found: Plan) -> dict[str, float | None]:
    parts = {name: getattr(found, name).to_dict() for name in _PARTS}
    if found.robust is not None:
        value, spread = {"value": found.robust.value}, found.robust.distribution.to_dict()
        parts = {"robust": value, "robust.distribution": spread} | parts
    return {
        f"{part}.{name}": value
        for part, values in parts.items()
        for name, value in values.items()
        if not isinstance(value, bool)
    }


def _values(reference: Plan, other: Plan) -> tuple[ValueDifference, ...]:
    before, after = _numbers(reference), _numbers(other)
    return tuple(
        ValueDifference(key, before[key], after[key])
        for key in before
        if before[key] is not None or after[key] is not None
    )


def _ranges_differ(columns: Sequence[ComparedPlan]) -> bool:
    ranges = {c.entry.scenario.objective.reward_range for c in columns if c.plan is not None}
    return len(ranges) > 1


def _best(columns: Sequence[ComparedPlan], tolerance: float) -> Iterator[Best]:
    ranges = {column.name: column.entry.scenario.objective.reward_range for column in columns}
    differ = _ranges_differ(columns)
    numbers = {column.name: _numbers(column.plan) for column in columns if column.plan is not None}
    some = next(iter(numbers.values()), {})
    for key in (key for key in LOWER_IS_BETTER if key in some):
        shares = differ and key in IN_REWARD_UNITS
        values = {
            name: float(parts[key] or 0.0) / (ranges[name] if shares else 1.0)
            for name, parts in numbers.items()
        }
        least = min(values.values())
        names = tuple(
            name for name, value in values.items() if value - least <= tolerance * abs(least)
        )
        yield Best(key, names)


# --- columns from files --------------------------------------------------------------------------


def load_entries(
    sources: Sequence[str], *, set_values: Sequence[str] = (), named: bool = True
) -> tuple[Entry, ...]:
    """Load files and all of their named scenarios as columns.

    Parameters
    ----------
    sources
        ``FILE`` or ``NAME=FILE``; ``-`` is standard input.
    set_values
        ``KEY=VALUE`` for every scenario.
    named
        Whether the files' named scenarios are wanted too.

    Returns
    -------
    tuple of Entry
        Each file, called NAME or by its stem, followed by its scenarios, called by their own
        names, or ``NAME:scenario`` where a name repeats.

    Raises
    ------
    ScenarioError
        With everything that is wrong with any scenario.
    FileAccessError
        When a file cannot be read.
    """
    loaded = [
        (name, file, own, scenario)
        for name, file in map(_named, sources)
        for own, scenario in load_scenarios(
            file, set_values=set_values, budget_required=True
        ).items()
        if named or own is None
    ]
    repeated = Counter(own if own is not None else name for name, _, own, _ in loaded)
    return tuple(
        Entry(_column_name(name, own, repeated), scenario, file, own)
        for name, file, own, scenario in loaded
    )


def _column_name(name: str, own: str | None, repeated: Mapping[str, int]) -> str:
    if own is None:
        return name
    return f"{name}:{own}" if repeated[own] > 1 else own


def _named(source: str) -> tuple[str, str]:
    """Split ``NAME=FILE``; a file whose own name has an equals sign is a file."""
    name, equals, file = source.partition("=")
    if equals and name and not Path(source).exists():
        return name, file
    return ("stdin" if source == "-" else Path(source).stem), source
