"""The example scenarios load, are honest about their sources, and plan to something sensible."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from rlhf_budget import Plan, Scenario, load_scenario, plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "examples" / "configs").glob("*.yaml"))
CONSTANTS = ("budget", "objective", "bound", "costs", "reward_model", "log_ratio", "current")
INVENTED = "helpful-assistant"

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def load(file: Path, scenario: str | None = None) -> Scenario:
    return load_scenario(file, scenario=scenario)


def written(file: Path) -> dict[str, Any]:
    mapping: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return mapping


def constants(value: Any, path: str) -> Iterator[str]:
    """Key paths of the numbers below ``path``; a range is one constant."""
    if isinstance(value, dict) and not value.keys() <= {"low", "high"}:
        for key, below in value.items():
            yield from constants(below, f"{path}.{key}")
    elif value == "unknown" or not isinstance(value, (str, bool)):
        yield path


def ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def is_guess(text: str) -> bool:
    return text == "guess" or text.startswith("guess: ")


@cache
def published_runs() -> ModuleType:
    file = ROOT / "benchmarks" / "published_runs.py"
    spec = importlib.util.spec_from_file_location("published_runs", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def planned(file: Path) -> Plan:
    """Plan an example once, for the tests and for the page alike."""
    result: Plan = published_runs().planned(file.stem)
    return result


def test_there_are_at_least_six_published_runs() -> None:
    assert len([file for file in FILES if file.stem != INVENTED]) >= 6


@each_file
def test_it_loads_with_each_of_its_scenarios(file: Path) -> None:
    scenario = load(file)
    assert scenario.name == file.stem
    for name in scenario.scenarios:
        assert load(file, name).current is not None


@each_file
def test_every_constant_has_its_source(file: Path) -> None:
    mapping = written(file)
    missing = [
        path
        for section in CONSTANTS
        if section in mapping
        for path in constants(mapping[section], section)
        if not mapping["sources"].keys() & set(ancestors(path))
    ]
    assert missing == []


@each_file
def test_every_guess_is_marked_as_one(file: Path) -> None:
    sources = load(file).sources
    assert [key for key, text in sources.items() if "guess" in text and not is_guess(text)] == []


@each_file
def test_what_papers_do_not_say_is_a_guess(file: Path) -> None:
    """Prices, the reward model and the tail's family are in none of the papers."""
    scenario = load(file)
    prices = ("costs.label", "costs.gpu", "costs.rollout", "costs.prompt.acquisition")
    unpublished = (*prices, "reward_model.coverage", "reward_model.error", "log_ratio.family")
    cited = [
        key
        for key in unpublished
        if key in scenario.sources and not is_guess(scenario.sources[key])
    ]
    assert cited == []


@each_file
def test_it_plans_to_a_proved_optimum(file: Path) -> None:
    result = planned(file)
    assert result.status == "optimal"
    assert result.certificate.proved
    assert not result.bound.vacuous


@each_file
def test_what_the_team_did_is_affordable_and_legal(file: Path) -> None:
    result = planned(file)
    assert result.current is not None
    assert result.current.violations == ()
    assert result.current.excess >= 0
    budget = result.cost.budget
    assert budget is not None
    assert result.current.cost.total <= budget
    if file.stem != INVENTED:
        assert result.current.cost.total >= 0.98 * budget, "the team's money, not more"


def test_the_first_example_has_something_to_say() -> None:
    result = planned(ROOT / "examples" / "configs" / f"{INVENTED}.yaml")
    assert result.bound.total < 0.5 * result.scenario.objective.reward_range
    assert result.allocation.rollouts_per_prompt > 1
    assert result.allocation.labels > 0
    assert result.current is not None
    assert result.current.excess_relative > 0.01


def test_with_a_pool_as_the_limit_the_best_k_rises_with_the_budget() -> None:
    """And its near-optimal range is wide: docs/published-runs.md."""
    scenario = load(ROOT / "examples" / "configs" / "instructgpt.yaml")
    results = [plan(scenario.with_values({"budget": b})) for b in (4e4, 1.6e5, 6.4e5)]
    best = [result.allocation.rollouts_per_prompt for result in results]
    assert all(result.allocation.prompts == 31_000 for result in results)
    assert best[0] < best[1] < best[2]
    for result in results:
        assert result.near_optimal is not None
        least, most = result.near_optimal.rollouts_per_prompt
        assert most >= 3 * least


def test_the_page_on_published_runs_is_current() -> None:
    """Otherwise run benchmarks/published_runs.py."""
    module = published_runs()
    page = module.PAGE.read_text(encoding="utf-8")
    assert module.render(page) == page
