"""From a written scenario to its resolved values: the sections, and the rules between them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.errors import ScenarioError
from rlhf_budget.scenario.free_mappings import read_checks, read_scenarios, read_sources
from rlhf_budget.scenario.keys import KEYS
from rlhf_budget.scenario.overrides import with_written
from rlhf_budget.scenario.reading import UNKNOWN, Reader
from rlhf_budget.scenario.samples import read_samples
from rlhf_budget.scenario.schedule import group_sizes
from rlhf_budget.scenario.sections.bound import read_bound
from rlhf_budget.scenario.sections.common import is_mapping
from rlhf_budget.scenario.sections.costs import read_costs
from rlhf_budget.scenario.sections.limits import (
    read_current,
    read_groups,
    read_limits,
    read_progress,
)
from rlhf_budget.scenario.sections.log_ratio import mean_absolute, read_log_ratio
from rlhf_budget.scenario.sections.objective import read_objective
from rlhf_budget.scenario.sections.reward_model import CURVE, VERIFIABLE, read_reward_model
from rlhf_budget.scenario.values import dataclass
from rlhf_budget.scenario.written import DEFAULT_NAME

if TYPE_CHECKING:
    from rlhf_budget.errors import Problem
    from rlhf_budget.scenario.assumptions import Assumption
    from rlhf_budget.scenario.written import SampleFiles, Written


@dataclass(frozen=True)
class Resolution:
    """What a written scenario says, or what is wrong with it."""

    values: dict[str, Any]
    """Resolved values by section; only to be used when there are no problems."""
    assumed: tuple[Assumption, ...]
    """Constants that stand for a range."""
    derived: frozenset[str]
    """Key paths of prices computed from GPU tokens."""
    problems: tuple[Problem, ...]
    """Everything that is wrong."""


def resolve(written: Written, *, check_ends: bool = True) -> Resolution:
    """Resolve a written scenario, and check it at both ends of every range as well.

    Files of log-ratios that are read now are added to the ``files`` of what is written.
    """
    resolution = _resolve_middle(written)
    if resolution.problems or not check_ends:
        return resolution
    problems = [
        problem
        for assumption in resolution.assumed
        for end, value in (("low", assumption.low), ("high", assumption.high))
        for problem in _problems_at_end(written, assumption.constant, end, value)
    ]
    return replace(resolution, problems=tuple(problems))


def _problems_at_end(written: Written, constant: str, end: str, value: float) -> list[Problem]:
    changed = replace(written, values=with_written(written.values, {constant: value}))
    return [
        replace(problem, found=f"{problem.found} (at the {end} end of {constant}, {value:g})")
        for problem in _resolve_middle(changed).problems
    ]


def _resolve_middle(written: Written) -> Resolution:
    reader = Reader(written.values, written.places)
    objective = read_objective(reader)
    log_ratio = _read_log_ratio(reader, objective, written.files)
    reward_range = objective.get("reward_range")
    costs, derived = read_costs(reader)
    values = {
        "name": reader.text("name") or DEFAULT_NAME,
        "currency": reader.text("currency"),
        "budget": reader.number("budget"),
        "objective": objective,
        "bound": read_bound(reader, reward_range),
        "costs": costs,
        "reward_model": read_reward_model(
            reader, reward_range, _known_kl(reader, objective, log_ratio)
        ),
        "log_ratio": log_ratio,
        "groups": read_groups(reader),
        "limits": read_limits(reader),
        "current": read_current(reader),
        "progress": read_progress(reader),
        "sources": read_sources(reader),
        "checks": read_checks(reader),
        "scenarios": read_scenarios(reader),
    }
    _check_labels(reader, values["limits"])
    _check_group_sizes(reader, values["limits"])
    _check_progress(reader, values)
    return Resolution(values, tuple(reader.assumed), derived, tuple(reader.problems))


def _read_log_ratio(
    reader: Reader, objective: dict[str, Any], files: SampleFiles
) -> dict[str, Any] | None:
    if not reader.has("log_ratio"):
        if objective.get("kl_coefficient") != 0:
            allowed = "a mapping such as {family: gaussian, kl: 12}; it may be left out at "
            reader.problem("log_ratio", "nothing", f"{allowed}objective.kl_coefficient 0")
        return None
    log_ratio = read_log_ratio(reader, _samples(reader, files))
    if reader.sound("log_ratio") and log_ratio["family"] != "empirical":
        mean = mean_absolute(log_ratio)
        if not 0 < mean < math.inf:
            found = f"a tail with a mean of {mean:g} nats"
            reader.problem("log_ratio", found, "a tail with a finite mean above 0")
    return log_ratio


def _samples(reader: Reader, files: SampleFiles) -> tuple[float, ...] | None:
    """Read the file of an empirical tail, once."""
    key = "log_ratio.file"
    file = reader.get(key)
    if not reader.has(key) or reader.get("log_ratio.family") != "empirical":
        return None
    if reader.text(key) is None or reader.has("log_ratio.samples"):
        return None
    if file not in files:
        try:
            files[file] = read_samples(file)
        except ScenarioError as error:
            reader.adopt(key, error.problems)
            return None
    return files[file]


def _known_kl(
    reader: Reader, objective: dict[str, Any], log_ratio: dict[str, Any] | None
) -> float | None:
    """Return E|l| in nats: None where it is not known or not needed, infinite where it is wrong."""
    if reader.get("reward_model.coverage") != UNKNOWN:
        return None
    if not reader.sound("log_ratio", "objective.kl_coefficient"):
        return math.inf
    if log_ratio is None or objective["kl_coefficient"] == 0:
        return None
    return mean_absolute(log_ratio)


def _check_labels(reader: Reader, limits: dict[str, Any]) -> None:
    """Check what depends on whether labels can be bought."""
    limited = limits.get("labels", {})
    kind = _reward_model_kind(reader)
    if kind in _WITHOUT_LABELS and limited.get("min", 0) > 0:
        key = "limits.labels.min" if reader.has("limits.labels.min") else "limits.labels"
        allowed = f"0, since no labels are bought with {_WITHOUT_LABELS[kind]}"
        reader.problem(key, f"{limited['min']:g}", allowed)
    needed = kind == "learning" and limited.get("max") != 0
    if needed and reader.sound("costs.label") and not reader.has("costs.label"):
        rules = KEYS["costs.label"]
        reader.problem("costs.label", "nothing", f"{rules.allowed}: {rules.description}")


def _check_group_sizes(reader: Reader, limits: dict[str, Any]) -> None:
    """Check that some group size times some epochs is an allowed number of rollouts."""
    if not limits.get("group_size") or not reader.sound("limits"):
        return
    if not group_sizes(limits["rollouts_per_prompt"], limits["group_size"], limits["epochs"]):
        allowed = "a group size of which some multiple is allowed by limits.rollouts_per_prompt"
        found = "no product of a group size and epochs that limits.rollouts_per_prompt allows"
        reader.problem("limits.group_size", found, allowed)


def _check_progress(reader: Reader, values: dict[str, Any]) -> None:
    """Check that what is behind fits the budget, the limits and the reward model."""
    behind = values["progress"]
    if not behind:
        return
    budget = values["budget"]
    if budget is not None and behind.get("cost", 0) > budget:
        found = f"{behind['cost']:.15g} spent of a budget of {budget:.15g}"
        reader.problem("progress.cost", found, "at most the budget, which is for the whole run")
    if behind.get("prompts", 0) > 0 and behind.get("rollouts_per_prompt", 1) < 1:
        found = f"{behind['rollouts_per_prompt']:g} for {behind['prompts']:,} prompts"
        reader.problem("progress.rollouts_per_prompt", found, "a number >= 1 and <= 1024")
    kind = _reward_model_kind(reader)
    if kind in _WITHOUT_LABELS and behind.get("labels", 0) > 0:
        allowed = f"0, since no labels are bought with {_WITHOUT_LABELS[kind]}"
        reader.problem("progress.labels", f"{behind['labels']:g}", allowed)
    for name in ("prompts", "labels"):
        most = values["limits"].get(name, {}).get("max")
        if most is not None and behind.get(name, 0) > most:
            allowed = f"at most limits.{name}.max, {most:g}, which is for the whole run"
            reader.problem(f"progress.{name}", f"{behind[name]:g}", allowed)


_WITHOUT_LABELS: Final = {
    "verifiable": "reward_model: verifiable",
    "finished": "one number for reward_model.error",
}


def _reward_model_kind(reader: Reader) -> str | None:
    """Return what kind of reward model is written, also where some of its constants are wrong."""
    if reader.get("reward_model") == VERIFIABLE:
        return "verifiable"
    if not reader.has("reward_model.error"):
        return None
    error = reader.get("reward_model.error")
    curve = error == UNKNOWN or is_mapping(reader, "reward_model.error", set(CURVE))
    return "learning" if curve else "finished"
