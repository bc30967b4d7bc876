"""Overrides: JSON Merge Patch (RFC 7396), and what a scenario's keys displace when they change."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.scenario.families import FAMILIES
from rlhf_budget.scenario.keys import FREE_MAPPINGS, KEYS, POLICIES

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

Mapping_ = dict[str, Any]

_EITHER_OR: Final[tuple[tuple[str, frozenset[str], frozenset[str]], ...]] = (
    ("reward_model", frozenset({"coverage"}), frozenset({"chi2"})),
    ("log_ratio", frozenset({"kl"}), frozenset({"kl_per_token", "tokens"})),
    ("log_ratio", frozenset({"samples"}), frozenset({"file"})),
    ("limits.rollouts_per_prompt", frozenset({"choices"}), frozenset({"min", "max"})),
    ("limits.group_size", frozenset({"choices"}), frozenset({"min", "max"})),
    ("costs.rollout", frozenset({"low", "high"}), frozenset({"tokens", "scoring", "train"})),
    (
        "costs.prompt",
        frozenset({"low", "high"}),
        frozenset({"acquisition", "existing", "prefill", "tokens"}),
    ),
    (
        "reward_model.error",
        frozenset({"low", "high"}),
        frozenset({"floor", "scale", "exponent"}),
    ),
)
"""(mapping, keys of one way to write it, keys of the other): a patch that writes one way drops the
other from what it is applied to."""


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a JSON Merge Patch (RFC 7396, section 2) to any JSON-like value, which is not changed.

    Mappings are merged key by key, None deletes a key, everything else replaces the target; the
    result may share parts with both arguments.
    """
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def merge_scenario(target: Mapping_, patch: Mapping_) -> Mapping_:
    """Apply a patch to a scenario as written so far: displaced keys go first, then RFC 7396.

    The named ``scenarios`` are patches themselves, so their nulls are kept. Neither argument is
    changed.
    """
    result: Mapping_ = merge_patch(displace(target, patch), {**patch, "scenarios": None})
    scenarios = _merge_named(target.get("scenarios"), patch.get("scenarios"), patch)
    if scenarios is not None:
        result["scenarios"] = scenarios
    return result


def _merge_named(target: Any, patch: Any, whole: Mapping_) -> Any:
    if patch is None:
        return None if "scenarios" in whole else target
    if not isinstance(patch, dict) or not isinstance(target, dict):
        return patch
    result = dict(target)
    for name, changes in patch.items():
        if changes is None:
            result.pop(name, None)
        else:
            result[name] = _compose(result.get(name), changes)
    return result


def _compose(first: Any, second: Any) -> Any:
    """Return one patch for two that follow each other."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return second
    result = displace(first, second)
    for key, value in second.items():
        result[key] = _compose(result.get(key), value)
    return result


def displace(target: Mapping_, patch: Mapping_) -> Mapping_:
    """Return the target without the keys that the patch makes obsolete.

    A changed ``log_ratio.family`` or ``bound.policy`` drops the fields that the new one does not
    have; of two ways to write the same constant the patch's stays. Neither argument is changed.
    """
    result = dict(target)
    for path, one, other in _EITHER_OR:
        new = {name for name, value in _written(patch, path).items() if value is not None}
        if new & one and not new & other:
            _remove(result, path, other)
        elif new & other and not new & one:
            _remove(result, path, one)
    if _written(patch, "costs.prompt").get("tokens") is not None:
        _remove(result, "costs.prompt", {"prefill"})
    laws: Mapping_ = {name: law.fields for name, law in FAMILIES.items()}
    choices: tuple[tuple[str, str, Mapping_], ...] = (
        ("log_ratio", "family", laws),
        ("bound", "policy", {**POLICIES}),
    )
    for path, choice, fields in choices:
        changes = _written(patch, path)
        chosen = changes.get(choice) or KEYS[f"{path}.{choice}"].default
        if choice in changes and isinstance(chosen, str) and chosen in fields:
            _remove(result, path, {*chain(*fields.values())} - {*fields[chosen]})
    return result


def _written(tree: Mapping_, path: str) -> Mapping_:
    node: Any = tree
    for name in path.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _remove(result: Mapping_, path: str, names: AbstractSet[str]) -> None:
    """Remove names from the mapping at path, copying the mappings on the way there."""
    node = result
    for step in path.split("."):
        below = node.get(step)
        if not isinstance(below, dict):
            return
        node[step] = node = dict(below)
    for name in names & node.keys():
        del node[name]


def path_of(key: str) -> tuple[str, ...]:
    """Split a key path, minding the mappings whose own keys have dots.

    ``sources.costs.label`` is the entry ``costs.label`` of ``sources``, and
    ``checks.bound.total.max`` the key ``max`` of the entry ``bound.total`` of ``checks``.
    """
    top, _, rest = key.partition(".")
    if top not in FREE_MAPPINGS or not rest:
        return tuple(key.split("."))
    entry, _, last = rest.rpartition(".")
    if top == "checks" and entry and last in ("min", "max"):
        return top, entry, last
    return top, rest


def patch_for(path: tuple[str, ...], value: Any) -> Mapping_:
    """Return the patch that sets one value at a path."""
    patch = value
    for name in reversed(path):
        patch = {name: patch}
    return dict(patch)
