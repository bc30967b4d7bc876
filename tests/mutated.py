"""Scenarios that nobody would write: examples with a few keys changed beyond reason."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import random

ROOT = Path(__file__).parents[1]
FILES = (
    *sorted((ROOT / "examples" / "configs").glob("*.yaml")),
    *sorted((ROOT / "tests" / "data" / "slow").glob("*.yaml")),
)
EDGES = (0, 1, 2, 0.5, 1e-300, 1e-12, 1e-6, 1e6, 1e9, 1e12, 1e15, 1e100, 1e300, 0.999999999)
WORDS = {
    "concentration": ("hoeffding", "prompt_mean", "bernstein"),
    "label_policy": ("behaviour", "current"),
    "coverage_kind": ("density", "features"),
}
LOG_RATIOS: tuple[dict[str, Any], ...] = (
    {"family": "exponential", "mean": 8.0},
    {"family": "half_normal", "scale": 9.0},
    {"family": "gamma", "shape": 0.7, "scale": 12.0},
    {"family": "weibull", "shape": 0.4, "scale": 5.0},
    {"family": "lognormal", "mu": 1.5, "sigma": 1.2},
    {"family": "lomax", "shape": 1.1, "scale": 3.0},
    {"family": "empirical", "samples": [0.0, 1.0, 1.0, -3.0, 7.5, 20.0]},
)


def mutated(random: random.Random) -> dict[str, Any]:
    """An example, or one of its own scenarios, with one to four changes; it may not be legal."""
    written = yaml.safe_load(random.choice(FILES).read_text(encoding="utf-8"))
    for key in ("scenarios", "checks", "sources"):
        written.pop(key, None)
    for _ in range(random.randint(1, 4)):
        random.choice((_number, _number, _number, _number, _drop, _word, _part))(written, random)
    return written


def _leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in _leaves(value, (*path, key))]
    return [path]


def _parent(written: dict[str, Any], path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        written = written[key]
    return written


def _number(written: dict[str, Any], random: random.Random) -> None:
    """Scale a number by a power of ten, or set it to an edge."""
    paths = _leaves(written)
    numbers = [p for p in paths if isinstance(_parent(written, p)[p[-1]], (int, float))]
    if not numbers:
        return
    path = random.choice(numbers)
    node, value = _parent(written, path), _parent(written, path)[path[-1]]
    if random.random() < 0.6:
        changed = value * 10.0 ** random.uniform(-12, 12)
    else:
        changed = random.choice(EDGES)
    whole = isinstance(value, int) and math.isfinite(changed) and random.random() < 0.9
    node[path[-1]] = int(changed) if whole else changed


def _drop(written: dict[str, Any], random: random.Random) -> None:
    path = random.choice(_leaves(written))
    del _parent(written, path)[path[-1]]


def _word(written: dict[str, Any], random: random.Random) -> None:
    paths = [path for path in _leaves(written) if path[-1] in WORDS]
    if paths:
        path = random.choice(paths)
        _parent(written, path)[path[-1]] = random.choice(WORDS[path[-1]])


def _part(written: dict[str, Any], random: random.Random) -> None:
    """Replace a part of the scenario by another kind of it."""
    changes: tuple[dict[str, Any], ...] = (
        *({"log_ratio": copy.deepcopy(law)} for law in LOG_RATIOS),
        {"bound": {"policy": "pac_bayes", "posterior_kl": 10.0 ** random.uniform(-6, 6)}},
        {"bound": {"concentration": "bernstein", "prompt_variance": 0.1, "rollout_variance": 0.2}},
        {"limits": {"rollouts_per_prompt": {"max": 1024}}},
        {"limits": {"clip_threshold": {"max": 10.0 ** random.uniform(-3, 3)}}},
        {"limits": {}},
        {"costs": {"prompt": 0, "rollout": 10.0 ** random.uniform(-9, 3), "label": 1.0}},
        {"costs": {"prompt": 3.0, "rollout": 0, "label": 10.0 ** random.uniform(-9, 3)}},
        {
            "reward_model": {
                "coverage": random.choice((1.0, 2.0, 1e3)),
                "existing_labels": random.choice((0, 7, 10**6)),
                "label_policy": random.choice(("behaviour", "current")),
                "error": {
                    "floor": random.choice((0.0, 1e-9, 0.3, 1.0)),
                    "scale": 10.0 ** random.uniform(-9, 9),
                    "exponent": 10.0 ** random.uniform(-9, 1),
                },
            }
        },
    )
    written.update(copy.deepcopy(random.choice(changes)))
