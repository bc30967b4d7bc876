"""The mappings whose keys the user chooses: ``sources``, ``checks`` and ``scenarios``."""

from __future__ import annotations

from typing import Any, Final

from rlhf_budget.scenario.keys import CHILDREN, KEYS, RANGE_ENDS
from rlhf_budget.scenario.reading import Reader, plain_number, shown
from rlhf_budget.scenario.suggestions import hint

_ALLOCATION: Final = ("prompts", "rollouts_per_prompt", "labels", "clip_threshold", "rollouts")
_BOUND: Final = (
    "total",
    "sampling",
    "reward_shift",
    "kl_clipping",
    "irreducible",
    "coverage",
    "reward_error",
    "clipped_share",
    "policy_complexity",
)
_COST: Final = ("total", "prompts", "rollouts", "labels", "fixed", "budget", "unspent")

_ROBUST: Final = (
    "value",
    "bound",
    *(f"distribution.{name}" for name in ("p5", "p50", "p95", "mean")),
)


def _result_keys() -> tuple[str, ...]:
    groups = {"allocation": _ALLOCATION, "bound": _BOUND, "cost": _COST}
    plan = [f"{group}.{name}" for group, names in groups.items() for name in names]
    return (
        *plan,
        *(f"current.{key}" for key in plan),
        "guarantee",
        "guess_count",
        *(f"robust.{key}" for key in _ROBUST),
        *(f"robust.current.{key}" for key in (*_ROBUST, "excess", "excess_relative")),
        "groups.informative_share",
        "groups.rollouts_per_informative_group",
        "current.excess",
        "current.excess_relative",
        "certificate.lower_bound",
        "certificate.relative_gap",
        "certificate.evaluations",
        "closed_form.rollouts_per_prompt",
        "marginal.bound_per_currency",
        "near_optimal.within",
        "near_optimal.least_cost",
        "target.bound",
        "target.least_cost",
        "target.least_cost_lower_bound",
        "target.relative_gap",
    )


RESULT_KEYS: Final = _result_keys()
"""Numbers of a plan that ``checks`` may limit, by their key path in the plan's JSON."""


def read_sources(reader: Reader) -> dict[str, str]:
    """Read ``sources``: a known key path -> a text."""
    if not reader.has("sources") or not reader.mapping("sources"):
        return {}
    sources = {}
    for key, value in reader.get("sources").items():
        path = ("sources", key)
        if key not in KEYS and not _is_range_end(key):
            allowed = f"the key path of a constant{hint(key, KEYS)}"
            reader.problem(f"sources.{key}", f"unknown key path '{key}'", allowed, path)
        elif isinstance(value, dict):
            allowed = f"a text; for a key below, its whole path: '{key}.{next(iter(value), '…')}'"
            reader.problem(f"sources.{key}", shown(value), allowed, path)
        elif not isinstance(value, str):
            reader.problem(f"sources.{key}", shown(value), "a text", path)
        else:
            sources[key] = value
    return sources


def _is_range_end(key: str) -> bool:
    parent, _, name = key.rpartition(".")
    return name in RANGE_ENDS and name in CHILDREN.get(parent, ())


def read_checks(reader: Reader) -> dict[str, dict[str, float]]:
    """Read ``checks``: a key path of the plan's result -> ``min``, ``max`` or both."""
    if not reader.has("checks") or not reader.mapping("checks"):
        return {}
    checks = {}
    for key, value in reader.get("checks").items():
        if key not in RESULT_KEYS:
            allowed = f"a number of the plan, such as bound.total{hint(key, RESULT_KEYS)}"
            reader.problem(f"checks.{key}", f"unknown key path '{key}'", allowed, ("checks", key))
        else:
            checks[key] = _read_gate(reader, key, value)
    return checks


def _read_gate(reader: Reader, key: str, value: Any) -> dict[str, float]:
    path = ("checks", key)
    if not isinstance(value, dict) or not value:
        reader.problem(f"checks.{key}", shown(value), "a mapping of min, max or both", path)
        return {}
    gate = {}
    for name, limit in value.items():
        number = plain_number(limit)
        if name not in ("min", "max"):
            reader.problem(f"checks.{key}.{name}", f"the key '{name}'", "min or max", (*path, name))
        elif number is None:
            reader.problem(f"checks.{key}.{name}", shown(limit), "a number", (*path, name))
        else:
            gate[name] = float(number)
    if gate.get("min", 0.0) > gate.get("max", gate.get("min", 0.0)):
        reader.problem(f"checks.{key}", "min above max", "min <= max", path)
    return gate


def read_scenarios(reader: Reader) -> dict[str, dict[str, Any]]:
    """Read ``scenarios``: a name -> a mapping of the keys to change.

    Whether a named scenario is right as a whole shows when it is used.
    """
    if not reader.has("scenarios") or not reader.mapping("scenarios"):
        return {}
    scenarios = {}
    for name, changes in reader.get("scenarios").items():
        path = ("scenarios", name)
        if isinstance(changes, dict):
            scenarios[name] = changes
        else:
            allowed = "a mapping of the keys to change"
            reader.problem(f"scenarios.{name}", shown(changes), allowed, path)
    return scenarios
