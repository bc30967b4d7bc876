"""What a page shows: documents, constants with their sources, and plans over the budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.errors import InfeasibleError, ScenarioError
from rlhf_budget.planning.advice import advise
from rlhf_budget.planning.planner import with_information
from rlhf_budget.planning.swings import swings
from rlhf_budget.report.comparison_document import comparison_document
from rlhf_budget.report.document import Column, Paragraph, Row, Section, Table
from rlhf_budget.report.first_screen import first_screen
from rlhf_budget.report.numbers import integer, money, significant
from rlhf_budget.report.plan_document import money_section, plan_document, uncertain_section
from rlhf_budget.report.robust_words import information_section
from rlhf_budget.report.underway import course, underway
from rlhf_budget.report.words import amount, buys_labels, count, listing, mark
from rlhf_budget.scenario.keys import KEYS
from rlhf_budget.scenario.leaves import guesses
from rlhf_budget.studies.comparison import compare
from rlhf_budget.studies.sweeps import Over, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rlhf_budget.planning.results import Plan
    from rlhf_budget.planning.swings import Swings
    from rlhf_budget.report.document import Document, Value
    from rlhf_budget.scenario.models import Scenario
    from rlhf_budget.studies.comparison import Comparison, Entry
    from rlhf_budget.studies.sweeps import Sweep

STOPS: Final = 61
"""Budgets of the slider; an odd number, so that the scenario's own is in the middle."""
REACH: Final = 10.0
"""The slider goes from the budget divided by this to the budget times this."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that the slider moves."""

    key: str
    """Key path in the plan's JSON."""
    title: str
    """What it is called, with its unit."""
    write: Callable[[float], str]
    """How it is written."""


@dataclass(frozen=True, slots=True)
class PlanContent:
    """A scenario's part of the page."""

    name: str
    """Name of the column."""
    plan: Plan
    """Its plan."""
    first: Document
    """What a decision needs."""
    money: Section
    """Where the money goes."""
    run: tuple[Section, ...]
    """What is behind and to come in a run under way, with the verdict; empty before a run."""
    unknown: tuple[Section, ...]
    """What is not known, what it moves and what it is worth; empty where all is known."""
    swings: Swings | None
    """How far each constant that is not known moves the plan; None where all is known."""
    rest: tuple[Section, ...]
    """Everything else that the plan says."""
    frontier: Sweep
    """Plans over the budget."""
    quantities: tuple[Quantity, ...]
    """What the slider moves."""
    constants: Section
    """Every constant with its source."""


@dataclass(frozen=True, slots=True)
class PageContent:
    """All that a page shows."""

    title: str
    """Title of the page."""
    plans: tuple[PlanContent, ...]
    """One for each scenario that has a plan, the baseline first."""
    comparison: Comparison
    """All scenarios, also those without a plan."""
    sides: Document | None
    """Scenarios side by side; None where there is one only."""
    command: str
    """What makes this page again."""


def page_content(
    entries: Sequence[Entry], *, command: str, tolerance: float, information: bool = False
) -> PageContent:
    """Plan scenarios, the first of which is the baseline, and gather what a page of them shows.

    ``information`` adds what each constant is worth knowing, which takes long.

    Raises
    ------
    ScenarioError
        As :func:`rlhf_budget.compare` does.
    InfeasibleError
        Where no scenario has a plan.
    """
    compared = compare(entries, tolerance=tolerance)
    plans = tuple(
        _plan_content(
            column.name,
            with_information(column.plan) if information else column.plan,
            tolerance,
        )
        for column in compared.columns
        if column.plan is not None
    )
    if not plans:
        raise next(c.outcome for c in compared.columns if isinstance(c.outcome, InfeasibleError))
    several = len(compared.columns) > 1
    return PageContent(
        title=listing([column.name for column in compared.columns]),
        plans=plans,
        comparison=compared,
        sides=comparison_document(compared) if several else None,
        command=command,
    )


def _plan_content(name: str, plan: Plan, tolerance: float) -> PlanContent:
    budget = plan.scenario.budget or plan.cost.total
    over = Over("budget", budgets(budget), "log")
    money, run, advice = money_section(plan), underway(plan), advise(plan)
    unknown = [uncertain_section(plan, advice), information_section(plan)]
    own = (money, run, *unknown)
    first = first_screen(plan, advice, elsewhere="below")
    return PlanContent(
        name=name,
        plan=plan,
        first=replace(first, sections=tuple(part for part in first.sections if part not in own)),
        money=money,
        run=(Section("", (Paragraph(course(plan)),)), run) if run.parts else (),
        unknown=tuple(part for part in (*unknown, _worth(plan)) if part.parts),
        swings=_swings(plan),
        rest=tuple(part for part in plan_document(plan, advice).sections if part not in own),
        frontier=sweep(plan.scenario, over, tolerance=tolerance),
        quantities=_quantities(plan),
        constants=constants_section(plan),
    )


def _swings(plan: Plan) -> Swings | None:
    try:
        return swings(plan)
    except ScenarioError:
        return None


def _worth(plan: Plan) -> Section:
    """How to learn what knowing is worth, where there are ranges and it was not asked for."""
    if plan.information is not None or not plan.assumed:
        return Section("", ())
    text = "What each range is worth knowing, in bound and in money: make the page with "
    return Section("", (Paragraph(f"{text}--information, which takes a minute or so.", "note"),))


def budgets(budget: float) -> tuple[float, ...]:
    """Stops of the slider: round budgets around this one, and this one itself."""
    middle = STOPS // 2
    around = (budget * REACH ** ((i - middle) / middle) for i in range(STOPS) if i != middle)
    return tuple(sorted({budget, *(float(f"{stop:.2g}") for stop in around)}))


# --- the slider ----------------------------------------------------------------------------------


def _quantities(plan: Plan) -> tuple[Quantity, ...]:
    currency, labels = plan.scenario.currency, buys_labels(plan.scenario)
    clips = plan.allocation.clip_threshold is not None
    shift = plan.scenario.reward_model != "verifiable"
    bought = "labels to buy" if plan.progress is None else "labels in all"
    found = [
        Quantity("allocation.prompts", "prompts", integer),
        Quantity("allocation.rollouts_per_prompt", "rollouts per prompt", integer),
        Quantity("allocation.labels", bought, integer) if labels else None,
        Quantity("allocation.clip_threshold", "clip threshold, nats", significant)
        if clips
        else None,
        Quantity("bound.total", "bound", significant),
        Quantity("bound.sampling", "  sampling", significant),
        Quantity("bound.reward_shift", "  reward shift", significant) if shift else None,
        Quantity("bound.kl_clipping", "  KL clipping", significant) if clips else None,
        Quantity("cost.total", f"cost, {currency}", money),
        Quantity("cost.prompts", "  prompts", money),
        Quantity("cost.rollouts", "  rollouts", money),
        Quantity("cost.labels", "  labels", money) if labels else None,
    ]
    return tuple(quantity for quantity in found if quantity is not None)


def stops(content: PlanContent) -> list[dict[str, Any]]:
    """Return what the slider shows at each budget: numbers at full precision, and as written."""
    currency = content.plan.scenario.currency
    found: list[dict[str, Any]] = []
    for point in content.frontier.points:
        entry: dict[str, Any] = {
            "budget": point.value,
            "says": amount(float(point.value), currency),
        }
        if point.planned is None:
            entry["nothing"] = str(point.outcome)
        else:
            best = point.planned.optimum
            parts = {name: getattr(best, name).to_dict() for name in _PARTS}
            numbers = {q.key: _look_up(parts, q.key) for q in content.quantities}
            entry["values"] = {
                q.key: [numbers[q.key], q.write(numbers[q.key])] for q in content.quantities
            }
            if best.bound.vacuous:
                entry["note"] = "No guarantee here: the bound is not below the reward range."
            if best.status != "optimal":
                entry["note"] = "Not proved to be the best."
        found.append(entry)
    return found


def slider_table(content: PlanContent) -> Table:
    """The plan at the scenario's own budget, in the slider's rows."""
    parts = {name: getattr(content.plan, name).to_dict() for name in _PARTS}
    return Table(
        (Column(""), Column(f"at {amount(_budget(content.plan), content.plan.scenario.currency)}")),
        tuple(Row((q.title, q.write(_look_up(parts, q.key)))) for q in content.quantities),
    )


def frontier_table(content: PlanContent) -> Table:
    """Every stop of the slider, for readers without scripts."""
    currency = content.plan.scenario.currency
    columns = [Column(f"budget, {currency}", "money")]
    columns += [Column(q.title.strip()) for q in content.quantities]
    rows = []
    for stop in stops(content):
        cells = [stop["values"][q.key][1] for q in content.quantities] if "values" in stop else None
        empty = ["no plan", *[""] * (len(columns) - 2)]
        rows.append(Row((stop["budget"], *(cells or empty))))
    return Table((*columns,), (*rows,))


def _budget(plan: Plan) -> float:
    return plan.cost.budget or plan.cost.total


def _look_up(parts: Mapping[str, Mapping[str, Any]], key: str) -> float:
    part, name = key.split(".")
    return float(parts[part][name] or 0.0)


_PARTS: Final = ("allocation", "bound", "cost")

# --- constants -----------------------------------------------------------------------------------


def constants_section(plan: Plan) -> Section:
    """Every constant of a plan with its unit and where it comes from."""
    rows = [
        Row((key, value, _unit(key, plan.scenario), _source(key, plan)))
        for key, value in _leaves(plan.scenario.inputs())
    ]
    columns = (Column("constant"), Column("value", "plain"), Column("unit"), Column("source"))
    guessed = len(guesses(plan.scenario))
    told = f"{count(guessed, 'source')} say that the constant is a guess."
    said = (Paragraph(told, "note"),) if guessed else ()
    return Section("Every constant, and where it comes from", (Table(columns, (*rows,)), *said))


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Value]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        elif isinstance(value, list):
            numbers = ", ".join(str(entry) for entry in value[:8])
            yield path + name, numbers if len(value) <= 8 else f"{len(value)} values"
        else:
            yield path + name, value


def _unit(key: str, scenario: Scenario) -> str:
    rules = KEYS.get(key)
    return rules.unit.replace("currency", scenario.currency) if rules else ""


def _source(key: str, plan: Plan) -> str:
    """What the scenario says of a constant's source, or of the section that holds it."""
    scenario = plan.scenario
    path = key.split(".")
    holders = [".".join(path[:end]) for end in range(len(path), 0, -1)]
    said = next((scenario.sources[name] for name in holders if name in scenario.sources), None)
    if said is not None:
        return said
    if mark(plan, key):
        return "assumed: the middle of a range"
    first, *others = (scenario.written(name) for name in (key, *holders))
    from_other = key in _DERIVED and scenario.is_written(_DERIVED[key])
    held = any(other is not None and not isinstance(other, dict) for other in others)
    return "not said" if first is not None or from_other or held else "default"


_DERIVED: Final = {
    "costs.prompt.prefill": "costs.prompt.tokens",
    "log_ratio.kl": "log_ratio.kl_per_token",
    "reward_model.coverage": "reward_model.chi2",
}
"""Constant -> the key that may stand for it in a scenario."""
