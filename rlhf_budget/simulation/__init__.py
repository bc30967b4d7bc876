"""Worlds where the truth is known: which allocation trains best, and does the bound hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from rlhf_budget.simulation.evaluation import study as evaluation_study
from rlhf_budget.simulation.evaluation.results import Simulation
from rlhf_budget.simulation.evaluation.world import WorldSpec
from rlhf_budget.simulation.training import study as training_study
from rlhf_budget.simulation.training.results import TrainingStudy

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlhf_budget.scenario.models import Scenario

__all__ = ["Simulation", "TrainingStudy", "WorldSpec", "simulate"]

Study = Literal["training", "evaluation"]


def simulate(
    scenario: Scenario,
    *,
    study: Study = "training",
    worlds: int = 50,
    replicates: int | None = None,
    seed: int = 0,
    constants: Literal["true", "scenario"] = "true",
    jobs: int = 1,
    on_world: Callable[[int], None] | None = None,
) -> TrainingStudy | Simulation:
    """Try a scenario's plan and its rivals in worlds where the truth is known.

    Parameters
    ----------
    scenario
        With a budget.
    study
        ``training``: each allocation trains policies, whose true objective is known.
        ``evaluation``: policies are given; does the bound hold, and how loose is it?
    worlds
        Random worlds, at least 1.
    replicates
        Trainings of an allocation (by default 4, at least 2) or estimates of the objective (200)
        in each world.
    seed
        Of all randomness; the result depends on it and not on ``jobs``.
    constants
        Of the ``evaluation`` alone: whose constants the bound uses, each world's own (``true``) or
        the ``scenario``'s.
    jobs
        Processes, at least 1. With more, a script must guard its main part by
        ``if __name__ == "__main__"``.
    on_world
        Called with the number of worlds done so far.

    Returns
    -------
    TrainingStudy or Simulation
        Of the worlds that are done, should Ctrl-C end it early.

    Raises
    ------
    ScenarioError
        Where the scenario cannot be tried: without a budget, with a run under way, with fewer than
        2 trainings; in the evaluation also by ``sgd`` and with too many candidates.
    InfeasibleError
        Where no allocation fits the budget.
    KeyboardInterrupt
        When interrupted before the first world is done.
    """
    size: Any = {"worlds": worlds, "seed": seed, "jobs": jobs, "on_world": on_world}
    if study == "training":
        return training_study.study_training(scenario, replicates=replicates or 4, **size)
    return evaluation_study.simulate(
        scenario, replicates=replicates or 200, constants=constants, **size
    )
