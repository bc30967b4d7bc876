"""What a scenario file says of its objective, for the variances that are written into it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_budget.errors import FileAccessError, ScenarioError

if TYPE_CHECKING:
    from rlhf_budget.bound.tails import Tail

_INFINITE = 1e6
"""Mean square, in units of the mean squared, that counts as infinite."""


@dataclass(frozen=True, slots=True)
class ScenarioObjective:
    """The part of a scenario's objective that is not the reward."""

    kl_coefficient: float | None
    """β, reward per nat; None where the file does not say it yet."""
    log_ratio_deviation: float | None
    """Largest standard deviation that its log-ratio allows, nats; None where it has none."""


def read_objective(path: str | Path) -> ScenarioObjective:
    """Read the objective of a scenario file, which may lack other parts.

    Raises ScenarioError if the file is no YAML, FileAccessError if it cannot be read.
    """
    from rlhf_budget.bound.tails import tail_of
    from rlhf_budget.scenario import load_scenario
    from rlhf_budget.scenario.yaml_source import read_yaml

    path = Path(path)
    try:
        scenario = load_scenario(path)
    except ScenarioError:
        try:
            values = read_yaml(path.read_bytes().decode("utf-8", "replace"), str(path)).values
        except OSError as error:
            raise FileAccessError(f"{path}: {error.strerror or error}") from None
        objective = values.get("objective") if isinstance(values, dict) else None
        written = objective.get("kl_coefficient") if isinstance(objective, dict) else None
        if isinstance(written, bool) or not isinstance(written, int | float):
            return ScenarioObjective(None, None)
        return ScenarioObjective(float(written), None)
    deviation = None if scenario.log_ratio is None else deviation_of(tail_of(scenario.log_ratio))
    return ScenarioObjective(scenario.objective.kl_coefficient, deviation)


def deviation_of(tail: Tail) -> float:
    """Return the largest standard deviation of a log-ratio with this law, nats.

    A gaussian says its own. The others are laws of ``|l|`` alone, and ``Var(l) ≤ E l²``, which is
    ``2 ∫ E(|l| − t)₊ dt``; infinite where the tail is too heavy.
    """
    known = getattr(tail, "std", None)
    if isinstance(known, float):
        return known
    from scipy.integrate import quad

    mean = max(float(tail.excess(0.0)), 1e-300)

    def integrand(u: float) -> float:
        return float(tail.excess(math.exp(u) * mean)) * math.exp(u)

    # In units of the mean and on a logarithmic axis: heavy tails reach over many decades.
    total = float(quad(integrand, -40, 40, limit=500)[0])
    return math.sqrt(2 * total * mean) if total < _INFINITE * mean else math.inf
