"""A simulation as a document: whether the bound holds, how loose it is, who ships better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_budget.report.document import Column, Paragraph, Row, Section, Table, arranged, warned
from rlhf_budget.report.numbers import integer, percent, significant
from rlhf_budget.report.words import count, listing

if TYPE_CHECKING:
    from rlhf_budget.report.document import Cell, Document
    from rlhf_budget.simulation.evaluation.results import Simulation, TriedAllocation, VersusPlan
    from rlhf_budget.simulation.statistics import Estimate

_TERMS = {
    "sampling": "sampling: finitely many prompts and rollouts",
    "reward_shift": "reward shift: error of the reward model",
    "kl_clipping": "KL clipping: bias of the clipped log-ratio",
}
CONSTANTS = {
    "mean_log_ratio": "mean absolute log-ratio, nats",
    "coverage": "coverage C",
    "reward_error": "reward error L, squared",
    "prompt_variance": "variance between prompts, squared",
    "rollout_variance": "variance within a prompt, squared",
}
"""Constant of a world -> how it is called."""
_JUDGED = {
    "fixed": "a checkpoint named beforehand (the KL-optimal one)",
    "finite_class": "the checkpoint that the estimates pick",
    "pac_bayes": "an average over checkpoints weighted by their estimates",
}


def simulation_document(simulation: Simulation) -> Document:
    """Arrange a simulation for reading."""
    return arranged(
        f"{simulation.scenario}, simulated",
        _verdict(simulation),
        Section("What each allocation ships", _shipped(simulation)),
        Section("Against the plan, paired by world", _against(simulation)),
        Section("What the bound is made of (reward units)", (_terms(simulation),)),
        Section("The worlds", _worlds(simulation)),
        warned(simulation.warnings),
    )


def simulation_rows(simulation: Simulation) -> list[dict[str, Any]]:
    """Return one mapping per allocation for CSV; intervals become ``low`` and ``high``."""
    whole = simulation.to_dict()
    common = {
        key: whole[key] for key in ("scenario", "currency", "seed", "constants", "worlds")
    } | {"validity": whole["validity"], "looseness": whole["looseness"]}
    rows = [{**common, **allocation} for allocation in whole["allocations"]]
    return [flat_row(row) for row in rows]


def flat_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row for CSV: without what is absent, intervals as ``low`` and ``high``."""
    present = {key: value for key, value in row.items() if value is not None}
    flat: dict[str, Any] = _without_lists(present)
    return flat


def _without_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        if name == "interval":
            flat["low"], flat["high"] = inner if inner is not None else (None, None)
        else:
            flat[name] = _without_lists(inner)
    return flat


# --- words ---------------------------------------------------------------------------------------


def _verdict(simulation: Simulation) -> Paragraph:
    validity = simulation.validity
    held = (
        f"{integer(validity.covered)} of {count(validity.trials, 'trial')} "
        f"({percent(validity.promised)} promised)"
    )
    if not validity.holds:
        return Paragraph(f"The bound is violated: it held in {held}.", "bad")
    loose = simulation.looseness
    size = (
        ""
        if loose is None
        else (f" It is {significant(loose.mean, digits=2)} times the error that it bounds.")
    )
    return Paragraph(f"The bound holds: it held in {held}.{size}", "good")


def _shipped(simulation: Simulation) -> tuple[Table | Paragraph, ...]:
    labels = simulation.world.spec.finished_error is None and not simulation.world.spec.verifiable
    columns = [
        Column("allocation"),
        Column("prompts", "integer"),
        Column("rollouts each", "integer"),
        *([Column("labels", "integer")] if labels else []),
        Column(f"cost, {simulation.currency}", "money"),
        Column("bound", "significant"),
        Column("true error", "significant"),
        Column("shipped J*", "significant"),
    ]

    def row(tried: TriedAllocation) -> Row:
        a = tried.allocation
        bought = (a.labels,) if labels else ()
        cells: tuple[Cell, ...] = (
            tried.name,
            a.prompts,
            a.rollouts_per_prompt,
            *bought,
            tried.cost.total,
            tried.bound_total,
            tried.error.mean,
            tried.quality.mean,
        )
        return Row(cells, emphasis=tried.versus_plan is None)

    note = (
        f"Means over {count(simulation.worlds.completed, 'world')} with "
        f"{count(simulation.worlds.replicates, 'replicate')} each. True error: |estimate - J*| of "
        f"{_JUDGED[simulation.world.judged]}. Shipped J*: true objective of the checkpoint with "
        "the best estimate; higher is better, and the plan is better where it is strictly higher."
    )
    table = Table(tuple(columns), tuple(row(tried) for tried in simulation.allocations), turns=True)
    return table, Paragraph(note, "note")


def _against(simulation: Simulation) -> tuple[Table | Paragraph, ...]:
    pairs = [(t.name, t.versus_plan) for t in simulation.allocations if t.versus_plan is not None]
    if not pairs:
        return ()
    columns = (
        Column("rival"),
        Column("error, rival - plan", "significant"),
        Column("95 % interval", "significant"),
        Column("J*, rival - plan", "significant"),
        Column("95 % interval", "significant"),
        Column("plan better in"),
    )
    rows = tuple(_versus_row(name, versus) for name, versus in pairs)
    return Table(columns, rows, turns=True), Paragraph(_outcome(pairs))


def _versus_row(name: str, versus: VersusPlan) -> Row:
    error, quality, wins = versus.error_difference, versus.quality_difference, versus.plan_wins
    share = f"{wins.worlds} of {wins.of} worlds"
    cells = (name, error.mean, error.interval, quality.mean, quality.interval, share)
    return Row(cells)


def _outcome(pairs: list[tuple[str, VersusPlan]]) -> str:
    """Say wins, losses and draws alike: by intervals that leave out 0."""
    quality = sorted_out([(name, versus.quality_difference) for name, versus in pairs])
    error = sorted_out([(name, versus.error_difference) for name, versus in pairs])
    sentences = (
        sentence("The plan ships better than", quality[-1]),
        sentence("It ships worse than", quality[1]),
        sentence("Shipped quality is not told apart from that of", quality[0]),
        sentence("Its true error is smaller than that of", error[1]),
        sentence("Its true error is larger than that of", error[-1]),
    )
    return " ".join(sentence for sentence in sentences if sentence)


def sorted_out(pairs: list[tuple[str, Estimate]]) -> dict[int, list[str]]:
    """Names by the sign of the rival's difference; 0 where its interval holds 0."""
    sides: dict[int, list[str]] = {-1: [], 0: [], 1: []}
    for name, difference in pairs:
        interval = difference.interval
        side = 0 if interval is None else int(interval[0] > 0) - int(interval[1] < 0)
        sides[side].append(name)
    return sides


def sentence(start: str, names: list[str]) -> str:
    """Return a sentence about names; nothing where there are none."""
    return f"{start} {listing(names)}." if names else ""


def _terms(simulation: Simulation) -> Table:
    columns = (
        Column(""),
        Column("bound", "significant"),
        Column("actual", "significant"),
        Column("times the actual", "significant"),
    )
    rows = tuple(
        Row((_TERMS[term.term], term.bound, term.actual.mean, term.ratio))
        for term in simulation.terms
    )
    return Table(columns, rows)


def _worlds(simulation: Simulation) -> tuple[Table | Paragraph, ...]:
    world = simulation.world
    columns = (
        Column("constant"),
        Column("scenario", "significant"),
        Column("worlds", "significant"),
    )
    rows = tuple(
        Row((CONSTANTS[c.constant], c.scenario, c.worlds.mean), "significant")
        for c in world.constants
    )
    held = listing([f"{c.inequality} in {c.held} of {c.of}" for c in world.inequalities])
    whose = "each world's own" if simulation.constants == "true" else "the scenario's"
    spec = world.spec
    note = (
        f"{spec.prompts} prompts with {spec.responses} responses each, {len(spec.strengths)} "
        "checkpoints from the reference policy to beyond the KL-optimal one. The bound uses "
        f"{whose} constants. A prompt's own level, which no preference identifies, is set to its "
        f"true value. Inequalities, summed exactly: {held}. Where worlds and scenario differ much, "
        "the comparison speaks of the worlds."
    )
    return Table(columns, rows), Paragraph(note, "note")
