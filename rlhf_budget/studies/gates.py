"""Gates for continuous integration: what a plan must satisfy for a change to pass."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from rlhf_budget.errors import (
    InfeasibleError,
    Problem,
    RlhfBudgetError,
    ScenarioError,
    UnreachableTargetError,
)
from rlhf_budget.optimum.certified import TOLERANCE, least_cost
from rlhf_budget.optimum.near_optimal import WITHIN
from rlhf_budget.planning.planner import plan, plan_of_proof, plan_robustly
from rlhf_budget.planning.results import Notice
from rlhf_budget.planning.saved import read_saved
from rlhf_budget.scenario.failure import Failure, failure
from rlhf_budget.scenario.free_mappings import RESULT_KEYS
from rlhf_budget.scenario.records import NOT_IN_JSON, Record, Result, Tabular
from rlhf_budget.scenario.suggestions import hint
from rlhf_budget.scenario.units import Unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rlhf_budget.planning.results import Plan
    from rlhf_budget.planning.uncertainty import Robustness
    from rlhf_budget.scenario import units
    from rlhf_budget.scenario.models import Scenario
    from rlhf_budget.studies.comparison import Entry

Operator = Literal["<=", ">=", "=="]
Operand = Annotated[float | bool, Unit("in its own unit")]

_REQUIREMENT: Final = re.compile(r"\s*([\w.]+)\s*(<=|>=|==)\s*(\S+)\s*")
_TRUTHS: Final = {"true": True, "false": False}
_SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Baseline(Record):
    """The plan of another version, which a gate compares with."""

    file: str
    """File that it was read from."""
    scenario: str
    """Name of its scenario."""
    tool_version: str
    """Version of the program that wrote it."""
    value: units.OwnUnit
    """Its value of the metric."""
    max_increase: units.Gap
    """Relative increase allowed."""
    inputs: Mapping[str, Any] = field(default_factory=dict, metadata=NOT_IN_JSON)
    """What it was planned for, as its JSON says."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to hold a plan against."""

    gate: str
    """Name of the gate."""
    source: str
    """Who asked for it: a flag, ``always``, or a key path of the file's ``checks``."""
    key: str
    """Key path in the plan's JSON."""
    operator: Operator
    """How the value must stand to the limit."""
    limit: Operand
    """The limit."""
    baseline: Baseline | None = None
    """The other version's plan, where the limit comes from one."""


@dataclass(frozen=True, slots=True)
class Gate(Record):
    """A rule with the plan's value and the verdict."""

    json_names: ClassVar = (
        "rule.gate",
        "rule.source",
        "rule.key",
        "rule.operator",
        "rule.limit",
        "value",
        "margin",
        "passed",
        "rule.baseline",
        "least_budget",
    )

    rule: Rule
    """What was asked."""
    value: Operand
    """The plan's value."""
    least_budget: units.Money | None = None
    """The least budget that would pass, where the gate limits the bound and fails; None where
    another budget does not help."""
    infimum: float | None = field(default=None, metadata=NOT_IN_JSON)
    """The bound that no budget goes below, reward units, where it is above the limit."""

    @property
    def margin(self) -> units.OwnUnit | None:
        """Room that is left, negative where the gate fails; None for truth values."""
        limit, value = self.rule.limit, self.value
        if isinstance(limit, bool) or isinstance(value, bool):
            return None
        if self.rule.operator == "==":
            return 0.0 - abs(value - limit)
        return limit - value if self.rule.operator == "<=" else value - limit

    @property
    def passed(self) -> bool:
        """Whether the value stands to the limit as asked."""
        margin = self.margin
        return self.value == self.rule.limit if margin is None else margin >= 0


@dataclass(frozen=True, slots=True)
class GateCount(Record):
    """How many gates."""

    gates: units.Positive
    """All gates."""
    passed: units.Count
    """Those that passed."""
    failed: units.Count
    """Those that failed."""


@dataclass(frozen=True, slots=True)
class Check(Result, Tabular):
    """A plan held against gates."""

    json_names: ClassVar = ("passed", "warn_only", "plan.status", "gates", "summary", "result=plan")

    plan: Plan
    """What was planned."""
    gates: tuple[Gate, ...]
    """Every gate, passed or failed."""
    warn_only: bool
    """Whether a failed gate is only told."""

    @property
    def passed(self) -> bool:
        """Whether all gates passed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Gate, ...]:
        """The gates that failed."""
        return tuple(gate for gate in self.gates if not gate.passed)

    @property
    def summary(self) -> GateCount:
        """How many passed and failed."""
        failed = len(self.failed)
        return GateCount(len(self.gates), len(self.gates) - failed, failed)

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """The plan's warnings, and what a gate compares that is not alike."""
        baselines = [gate.rule.baseline for gate in self.gates if gate.rule.baseline]
        others = [_another_scenario(base, self.plan.scenario) for base in baselines]
        if any(gate.rule.key.startswith("current.excess") for gate in self.gates):
            others.append(_beyond_budget(self.plan))
        return (*self.plan.warnings, *(notice for notice in others if notice is not None))

    def rows(self) -> list[dict[str, Any]]:
        """Return one mapping per gate."""
        return [gate.to_dict() for gate in self.gates]


def check(
    scenario: Scenario,
    rules: Sequence[Rule] = (),
    *,
    tolerance: float = TOLERANCE,
    within: float = WITHIN,
    warn_only: bool = False,
    proof: str | None = None,
    robust: Robustness | None = None,
) -> Check:
    """Plan a scenario and hold the plan against gates.

    Parameters
    ----------
    scenario
        What to plan; its own ``checks`` are gates too, and that the plan is proved always is.
    rules
        Further gates.
    tolerance
        Relative gap at which the plan counts as proved.
    within
        How far above its best the bound may be in the near-optimal ranges, as a fraction.
    warn_only
        Recorded in the result: whether a failure is only told.
    proof
        File of a proof: its plan is held against the gates and nothing is searched.
    robust
        Plan for all that the ranges allow; gates on the bound, and on how much worse ``current``
        is, then judge these over the draws (:data:`OVER_DRAWS`).

    Returns
    -------
    Check
        Every gate with value, limit, margin and verdict.

    Raises
    ------
    ScenarioError
        Where a gate cannot be evaluated: its key is unknown, no number, or null in this plan.
    InfeasibleError
        Where nothing within the limits fits the budget.
    ProofError
        Where the proof fails, or is of another scenario.
    """
    for rule in rules:
        _refuse_other_units(rule, scenario)
    if proof is not None:
        found = plan_of_proof(scenario, proof, tolerance=tolerance)
    elif robust is not None:
        found = plan_robustly(scenario, robust, tolerance=tolerance)
    else:
        found = plan(scenario, tolerance=tolerance, within=within)
    result = found.to_dict()
    always = PROVED if proof is None else replace(PROVED, source=f"--proof {proof}")
    every = (always, *rules, *scenario_rules(scenario))
    if robust is not None:
        every = tuple(map(_over_draws, every))
    problems: list[Problem] = []
    gates = [_evaluated(rule, result, problems) for rule in every]
    if problems:
        raise ScenarioError(tuple(problems))
    kept = [gate for gate in gates if gate is not None]
    if robust is None:
        kept = [_with_remedy(gate, scenario) for gate in kept]
    return Check(found, tuple(kept), warn_only)


def _over_draws(rule: Rule) -> Rule:
    """A gate on a robust plan judges it over the draws, unless it names its key itself."""
    if rule.gate == "require":
        return rule
    return replace(rule, key=OVER_DRAWS.get(rule.key, rule.key))


def _with_remedy(gate: Gate, scenario: Scenario) -> Gate:
    """Say which budget would pass, for a limit on the bound that this plan breaks."""
    rule = gate.rule
    if gate.passed or (rule.key, rule.operator) != ("bound.total", "<="):
        return gate
    try:
        return replace(gate, least_budget=least_cost(scenario, rule.limit).cost.total)
    except UnreachableTargetError as error:
        return replace(gate, infimum=error.infimum)
    except RlhfBudgetError:
        return gate


@dataclass(frozen=True, slots=True)
class CheckedScenario(Record):
    """One scenario of several, held against the gates."""

    json_names: ClassVar = (
        "name",
        "entry.file",
        "scenario=entry.file_scenario",
        "status",
        "passed",
        "check.gates",
        "check.summary",
        "error",
    )

    entry: Entry
    """What was planned."""
    outcome: Check | InfeasibleError
    """Its gates, or why nothing fits the budget."""

    @property
    def name(self) -> str:
        """Name of the file or of its scenario."""
        return self.entry.name

    @property
    def check(self) -> Check | None:
        """The gates, if there is a plan."""
        return self.outcome if isinstance(self.outcome, Check) else None

    @property
    def status(self) -> Literal["optimal", "not_proved", "infeasible"]:
        """How it ended."""
        return self.outcome.plan.status if isinstance(self.outcome, Check) else "infeasible"

    @property
    def passed(self) -> bool:
        """Whether there is a plan that passes all gates."""
        return isinstance(self.outcome, Check) and self.outcome.passed

    @property
    def error(self) -> Failure | None:
        """Why there is no plan."""
        return None if isinstance(self.outcome, Check) else failure(self.outcome)


@dataclass(frozen=True, slots=True)
class Checks(Result, Tabular):
    """Several scenarios held against the same gates and each against its own."""

    json_names: ClassVar = ("passed", "warn_only", "checks")

    checks: tuple[CheckedScenario, ...]
    """Every scenario, in order."""
    warn_only: bool
    """Whether a failed gate is only told."""

    @property
    def passed(self) -> bool:
        """Whether all scenarios passed."""
        return all(entry.passed for entry in self.checks)

    @property
    def feasible(self) -> bool:
        """Whether every scenario has a plan."""
        return all(entry.check is not None for entry in self.checks)

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """None: each plan's own warnings are in ``plan``."""
        return ()

    def rows(self) -> list[dict[str, Any]]:
        """Return one mapping per gate, with its scenario's name; infeasible ones have one row."""
        return [
            {"name": entry.name, "status": entry.status, **row}
            for entry in self.checks
            for row in (entry.check.rows() if entry.check else [{}])
        ]


def check_many(
    entries: Sequence[Entry],
    rules: Sequence[Rule] = (),
    *,
    tolerance: float = TOLERANCE,
    within: float = WITHIN,
    warn_only: bool = False,
    robust: Robustness | None = None,
) -> Checks:
    """Hold several scenarios against gates; one that is infeasible is told, not raised.

    Parameters
    ----------
    entries
        The scenarios, named.
    rules, tolerance, within, warn_only, robust
        As for :func:`check`.

    Raises
    ------
    ScenarioError
        As for :func:`check`, or where the same scenario is given twice.
    """
    entries = _told_apart(entries)

    def outcome(entry: Entry) -> Check | InfeasibleError:
        try:
            return check(
                entry.scenario,
                rules,
                tolerance=tolerance,
                within=within,
                warn_only=warn_only,
                robust=robust,
            )
        except InfeasibleError as error:
            return error

    return Checks(tuple(CheckedScenario(entry, outcome(entry)) for entry in entries), warn_only)


def _told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """Call those that share a name by their paths."""
    times = Counter(entry.name for entry in entries)
    found = [
        replace(entry, name=":".join(filter(None, (entry.file, entry.file_scenario))))
        if times[entry.name] > 1 and entry.file
        else entry
        for entry in entries
    ]
    twice = [name for name, count in Counter(e.name for e in found).items() if count > 1]
    if twice:
        problems = [Problem("", f"'{name}' twice", "each scenario once") for name in twice]
        raise ScenarioError(tuple(problems))
    return found


OVER_DRAWS: Final = {
    "bound.total": "robust.bound",
    "bound.vacuous": "robust.vacuous",
    "current.excess": "robust.current.excess",
    "current.excess_relative": "robust.current.excess_relative",
}
"""What is judged at the middle of every range -> the same of a robust plan, over the draws."""
PROVED: Final = Rule("proved", "always", "certificate.proved", "==", limit=True)
"""A plan that is not proved is no ground for a decision."""
INFORMATIVE: Final = Rule(
    "require_informative", "--require-informative", "bound.vacuous", "==", limit=False
)
"""The bound guarantees something."""


def max_bound(limit: float) -> Rule:
    """Limit the bound, reward units."""
    return Rule("max_bound", "--max-bound", "bound.total", "<=", limit)


def max_cost(limit: float) -> Rule:
    """Limit the cost, currency."""
    return Rule("max_cost", "--max-cost", "cost.total", "<=", limit)


def max_guesses(limit: int) -> Rule:
    """Limit how many constants are guesses, by their sources, or assumed from a range."""
    return Rule("max_guesses", "--max-guesses", "guess_count", "<=", limit)


def max_excess(limit: float) -> Rule:
    """Limit how much worse than the plan ``current`` may be, a fraction of the plan's bound."""
    return Rule("max_excess", "--max-excess", "current.excess_relative", "<=", limit)


def requirement(text: str) -> Rule:
    """Parse a requirement, such as ``allocation.prompts>=1000``.

    Raises
    ------
    ValueError
        Where it is none, with what is allowed.
    """
    match = _REQUIREMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not KEY>=VALUE, KEY<=VALUE or KEY==VALUE.")
    key, operator, written = match.groups()
    limit = _TRUTHS[written] if written in _TRUTHS else _number(written)
    if limit is None or (isinstance(limit, bool) and operator != "=="):
        raise ValueError(f"'{written}' in '{text}' is not a number, nor true or false after ==.")
    return Rule("require", f"--require {key}{operator}{written}", key, operator, limit)  # type: ignore[arg-type]


def fraction(text: str) -> float:
    """Parse a share: ``5%``, or a fraction from 0 to less than 1.

    Raises
    ------
    ValueError
        Where it is neither, so that ``5`` is never taken for 500 %.
    """
    stripped = text.strip()
    value = _number(stripped.removesuffix("%"))
    if value is None or value < 0:
        raise ValueError(f"'{text}' is not a share such as 5% or 0.05.")
    if stripped.endswith("%"):
        return value / 100.0
    if value >= 1:
        raise ValueError(f"'{text}' is ambiguous: write {text.strip()}%, or a fraction below 1.")
    return value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def scenario_rules(scenario: Scenario) -> Iterator[Rule]:
    """Return the gates of the scenario's own ``checks``."""
    operators: tuple[tuple[str, Operator], ...] = (("min", ">="), ("max", "<="))
    for key, limits in scenario.checks.items():
        for end, operator in operators:
            if end in limits:
                yield Rule("checks", f"checks.{key}.{end}", key, operator, limits[end])


def _evaluated(rule: Rule, result: Mapping[str, Any], problems: list[Problem]) -> Gate | None:
    value: Any = result
    for name in rule.key.split("."):
        if isinstance(value, dict) and name not in value:
            known = hint(rule.key, (*RESULT_KEYS, "certificate.proved", "bound.vacuous"))
            found = f"unknown key path '{rule.key}'"
            allowed = f"a number of the plan, such as bound.total{known}"
            problems.append(Problem(rule.source, found, allowed))
            return None
        value = value[name] if isinstance(value, dict) else None
    if not isinstance(value, (int, float)) or isinstance(value, bool) != isinstance(
        rule.limit, bool
    ):
        problems.append(_no_value(rule, value, result))
        return None
    return Gate(rule, value)


def _no_value(rule: Rule, value: Any, result: Mapping[str, Any]) -> Problem:
    kind = "true or false" if isinstance(rule.limit, bool) else "a number"
    if value is not None:
        what = "a truth value" if isinstance(value, bool) else "a text, list or mapping"
        return Problem(rule.source, f"{rule.key}, which is {what}", f"a key that is {kind}")
    over_draws = result.get("robust") or {}
    key = rule.key.removeprefix("robust.") if over_draws else rule.key
    first = key.split(".")[0]
    cure = {
        "current": "a scenario with current, the allocation to beat",
        "robust": "a gate on another key, or a robust plan: --robust",
        "target": "a gate on another key: target is for plan --target-bound",
    }
    missing = (over_draws or result).get(first) is None and first in cure
    allowed = cure[first] if missing else f"a key that is {kind} in this plan"
    return Problem(rule.source, f"{rule.key}, which this plan has not (null)", allowed)


# --- against another version ---------------------------------------------------------------------


def max_increase(
    file: str, increase: float, currency: str, metric: str, robust: Robustness | None = None
) -> Rule:
    """Limit how much worse than the plan in a JSON file a plan may be.

    Parameters
    ----------
    file
        Output of ``plan`` or ``check`` with ``--format json``.
    increase
        Relative increase allowed, a fraction.
    currency
        Currency of the plan to check; money is compared within one currency only.
    metric
        Key path to compare: ``bound.total`` or ``cost.total``.
    robust
        What the plan to check is asked for, where it is a robust one.

    Raises
    ------
    ScenarioError
        Where the file holds no plan, or one in another currency or of another risk.
    FileAccessError
        Where it cannot be read.
    """
    whole = read_saved(file)
    result: Any = whole.get("result", whole) if isinstance(whole, dict) else None
    key = metric if robust is None else OVER_DRAWS.get(metric, metric)
    value = result
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    problem = _risk_problem(result, robust, file) or _baseline_problem(whole, value, file)
    if problem is None and metric == "cost.total" and result.get("currency") != currency:
        found = f"a plan in {result.get('currency')}"
        problem = Problem("--against", found, f"a plan in {currency}", file)
    if problem is not None:
        raise ScenarioError((problem,))
    tool = whole.get("tool")
    version = str(tool.get("version", "")) if isinstance(tool, dict) else ""
    base = Baseline(
        file, str(result.get("scenario", "")), version, float(value), increase, _inputs(result)
    )
    rule = Rule("max_increase", "--against", key, "<=", base.value * (1.0 + increase))
    return replace(rule, baseline=base)


def _inputs(result: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = result.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _changed(baseline: Baseline, scenario: Scenario, section: str) -> list[str]:
    """Key paths of a section that both have and that differ."""
    theirs, ours = baseline.inputs.get(section), scenario.inputs().get(section)
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return []
    return [f"{section}.{k}" for k in theirs if k in ours and theirs[k] != ours[k]]


def _refuse_other_units(rule: Rule, scenario: Scenario) -> None:
    """Bounds in units of two reward ranges are no measure of each other."""
    key = "objective.reward_range"
    if (
        rule.baseline is None
        or rule.key == "cost.total"
        or key not in _changed(rule.baseline, scenario, "objective")
    ):
        return
    found = f"a plan for the reward range {rule.baseline.inputs['objective']['reward_range']:g}"
    allowed = f"a plan for the reward range {scenario.objective.reward_range:g}"
    raise ScenarioError((Problem("--against", found, allowed, rule.baseline.file),))


def _beyond_budget(plan: Plan) -> Notice | None:
    current = plan.current
    if current is None or current.cost.unspent is None or current.cost.unspent >= 0:
        return None
    return Notice(
        "current-beyond-budget",
        f"What is done now costs {-current.cost.unspent:,.6g} {plan.scenario.currency} more than "
        "the budget, and more money buys a lower bound: its excess says too little. Correct "
        "current, or ask for --require 'current.cost.unspent>=0' too.",
    )


def _another_scenario(baseline: Baseline, scenario: Scenario) -> Notice | None:
    """Warn where a plan seems to be no other version of this scenario's, but another's."""
    changed = [k for part in ("objective", "bound") for k in _changed(baseline, scenario, part)]
    told = []
    if baseline.scenario != scenario.name:
        told.append(f"it is called {baseline.scenario}, not {scenario.name}")
    if changed:
        told.append(f"{', '.join(changed)} {'differs' if len(changed) == 1 else 'differ'}")
    if not told:
        return None
    message = (
        f"{baseline.file} may be the plan of another scenario: {'; '.join(told)}. The change then "
        "says nothing; give a plan of an earlier version of this scenario."
    )
    return Notice("another-scenario", message)


def _risk_problem(result: Any, robust: Robustness | None, file: str) -> Problem | None:
    """Risks of two kinds, or a risk and a bound, are no measure of each other."""
    theirs = result.get("robust") if isinstance(result, dict) else None
    found = (theirs.get("risk"), theirs.get("level")) if isinstance(theirs, dict) else None
    asked = None if robust is None else (robust.risk, robust.level)
    if not isinstance(result, dict) or found == asked:
        return None
    return Problem("--against", _risk_words(found), _risk_words(asked), file)


def _risk_words(risk: tuple[Any, Any] | None) -> str:
    if risk is None:
        return "a plan made without --robust"
    name, level = risk
    return f"a plan made with --robust {name if level is None else f'{name}:{level:g}'}"


def _baseline_problem(whole: Any, value: Any, file: str) -> Problem | None:
    allowed = "what plan --format json prints"
    version = whole.get("schema_version") if isinstance(whole, dict) else None
    if version != _SCHEMA_VERSION:
        found = "no plan" if version is None else f"schema_version {version}"
        return Problem("--against", found, allowed, file)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return Problem("--against", f"no plan, but {whole.get('command')}", allowed, file)
    return None
