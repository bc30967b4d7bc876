"""A simulation as a document: whether the bound holds, how loose it is, who ships better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_budget.report.document import Paragraph, Section, arranged, tabulated, warned
from rlhf_budget.report.numbers import integer, percent, significant
from rlhf_budget.report.words import count, listing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.report.document import Document, Table
    from rlhf_budget.simulation.evaluation.results import Simulation, VersusPlan
    from rlhf_budget.simulation.results import Wins, WorldConstant
    from rlhf_budget.simulation.statistics import Estimate

_TERMS = {
    "sampling": "sampling: finitely many prompts and rollouts",
    "reward_shift": "reward shift: error of the reward model",
    "kl_clipping": "KL clipping: bias of the clipped log-ratio",
}
_CONSTANTS = {
    "mean_log_ratio": "mean absolute log-ratio, nats",
    "coverage": "coverage C",
    "reward_error": "reward error L, squared",
    "prompt_variance": "variance between prompts, squared",
    "rollout_variance": "variance within a prompt, squared",
}
_JUDGED = {
    "fixed": "a checkpoint named beforehand (the KL-optimal one)",
    "finite_class": "the checkpoint that the estimates pick",
    "pac_bayes": "an average over checkpoints weighted by their estimates",
}


def simulation_document(simulation: Simulation) -> Document:
    """Arrange a simulation for reading."""
    terms = tabulated(
        simulation.terms,
        ("", "text", lambda term: _TERMS[term.term]),
        ("bound", "significant", lambda term: term.bound),
        ("actual", "significant", lambda term: term.actual.mean),
        ("times the actual", "significant", lambda term: term.ratio),
    )
    return arranged(
        f"{simulation.scenario}, simulated",
        _verdict(simulation),
        Section("What each allocation ships", _shipped(simulation)),
        Section("Against the plan, paired by world", _against(simulation)),
        Section("What the bound is made of (reward units)", (terms,)),
        Section("The worlds", _worlds(simulation)),
        warned(simulation.warnings),
    )


def simulation_rows(simulation: Simulation) -> list[dict[str, Any]]:
    """Return one mapping per allocation for CSV; intervals become ``low`` and ``high``."""
    whole = simulation.to_dict()
    shared = ("scenario", "currency", "seed", "constants", "worlds", "validity", "looseness")
    common = {key: whole[key] for key in shared}
    return [flat_row({**common, **allocation}) for allocation in whole["allocations"]]


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
        else f" It is {significant(loose.mean, digits=2)} times the error that it bounds."
    )
    return Paragraph(f"The bound holds: it held in {held}.{size}", "good")


def _shipped(simulation: Simulation) -> tuple[Table | Paragraph, ...]:
    labels = simulation.world.reward_model == "fitted"
    table = tabulated(
        simulation.allocations,
        ("allocation", "text", lambda tried: tried.name),
        ("prompts", "integer", lambda tried: tried.allocation.prompts),
        ("rollouts each", "integer", lambda tried: tried.allocation.rollouts_per_prompt),
        ("labels", "integer", lambda tried: tried.allocation.labels) if labels else None,
        (f"cost, {simulation.currency}", "money", lambda tried: tried.cost.total),
        ("bound", "significant", lambda tried: tried.bound_total),
        ("true error", "significant", lambda tried: tried.error.mean),
        ("shipped J*", "significant", lambda tried: tried.quality.mean),
        first=lambda tried: tried.versus_plan is None,
        turns=True,
    )
    note = (
        f"Means over {count(simulation.worlds.completed, 'world')} with "
        f"{count(simulation.worlds.replicates, 'replicate')} each. True error: |estimate - J*| of "
        f"{_JUDGED[simulation.world.judged]}. Shipped J*: true objective of the checkpoint with "
        "the best estimate; higher is better, and the plan is better where it is strictly higher."
    )
    return table, Paragraph(note, "note")


def _against(simulation: Simulation) -> tuple[Table | Paragraph, ...]:
    pairs = [(t.name, t.versus_plan) for t in simulation.allocations if t.versus_plan is not None]
    if not pairs:
        return ()
    table = tabulated(
        pairs,
        ("rival", "text", lambda pair: pair[0]),
        ("error, rival - plan", "significant", lambda pair: pair[1].error_difference.mean),
        ("95 % interval", "significant", lambda pair: pair[1].error_difference.interval),
        ("J*, rival - plan", "significant", lambda pair: pair[1].quality_difference.mean),
        ("95 % interval", "significant", lambda pair: pair[1].quality_difference.interval),
        ("plan better in", "text", lambda pair: won(pair[1].plan_wins)),
        turns=True,
    )
    return table, Paragraph(_outcome(pairs))


def won(wins: Wins) -> str:
    """Say in how many worlds the plan is better."""
    return f"{wins.worlds} of {wins.of} worlds"


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


def constants_table(constants: Sequence[WorldConstant], where: str) -> Table:
    """Show the scenario's constants beside those of the worlds."""
    return tabulated(
        constants,
        ("constant", "text", lambda each: _CONSTANTS[each.constant]),
        ("scenario", "significant", lambda each: each.scenario),
        (where, "significant", lambda each: each.worlds.mean),
        format_="significant",
    )


def _worlds(simulation: Simulation) -> tuple[Table | Paragraph, ...]:
    world = simulation.world
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
    return constants_table(world.constants, "worlds"), Paragraph(note, "note")
