"""Constants of a scenario by key path: read one, or change one without planning anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rlhf_budget.scenario.models import Scenario

SECTIONS = ("budget", "objective", "bound", "costs", "reward_model", "log_ratio", "groups")
"""Where constants stand, in the order of the scenario file."""


def positive_leaves(scenario: Scenario) -> Iterator[tuple[str, float]]:
    """Yield key path and value of every positive number of ``inputs`` but limits and lists."""
    inputs = scenario.inputs()
    for section in SECTIONS:
        if section in inputs:
            yield from _walk(section, inputs[section])


def _walk(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _walk(f"{path}.{key}", entry)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        yield path, float(value)


def guesses(scenario: Scenario) -> tuple[str, ...]:
    """Key paths whose source says that they are guesses."""
    return tuple(
        key
        for key, source in scenario.sources.items()
        if source.strip().lower().startswith("guess")
    )


def with_leaf(scenario: Scenario, path: str, value: float) -> Scenario:
    """Return a copy with one constant changed, unvalidated: for derivatives at legal values."""
    changed: Scenario = _changed(scenario, path.split("."), value)
    return changed


def _changed(model: Any, keys: list[str], value: float) -> Any:
    if len(keys) == 1:
        return model.model_copy(update={keys[0]: value})
    inner = _changed(getattr(model, keys[0]), keys[1:], value)
    return model.model_copy(update={keys[0]: inner})
