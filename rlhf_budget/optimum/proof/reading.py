"""A proof's file, read strictly: nothing is guessed, nothing is passed over."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from rlhf_budget.errors import ProofError, ScenarioError
from rlhf_budget.scenario import load_scenario

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = TypeVar("Value")

HEADER = {"format": "rlhf-budget-proof", "version": 1}
COLUMNS = ("rollouts_low", "rollouts_high", "prompts_low", "prompts_high")
"""Of the boxes; both ends belong to a box."""
MOST_BYTES = 1 << 26
"""Of a file, unpacked."""
KNOWN: dict[str, set[str]] = {
    "budget": set(),
    "objective": {"kl_coefficient", "reward_range", "failure_probability"},
    "bound": {
        *("concentration", "policy", "candidates", "posterior_kl", "sgd"),
        *("prompt_variance", "rollout_variance"),
    },
    "costs": {"prompt", "rollout", "label", "fixed"},
    "reward_model": {
        *("coverage", "coverage_kind", "error", "existing_labels", "label_policy"),
    },
    "log_ratio": set(),
    "groups": {"mean", "correlation"},
    "limits": {
        *("prompts", "rollouts_per_prompt", "group_size", "epochs", "labels", "clip_threshold"),
    },
}
"""What the formulas of the checker take account of: a key that is new to it must not pass."""
_DECIMAL = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,1200})?([eE][-+]?[0-9]{1,3})?", re.ASCII)


class Proof(NamedTuple):
    """What a proof says; nothing of it is checked but that it is well formed."""

    name: str
    """Of the scenario."""
    scenario: Any
    """Its constants, complete and legal; every number an exact fraction."""
    prompts: int
    """n of the plan."""
    rollouts_per_prompt: int
    """K of the plan."""
    labels: int
    """m of the plan."""
    clip_threshold: Fraction | None
    """τ of the plan, nats; None where there is none."""
    total: Fraction
    """The plan's bound is at most this, reward units."""
    lower_bound: Fraction
    """No plan's bound is below this, reward units."""
    boxes: list[tuple[int, int, int, int]]
    """Least and most K, least and most n of each box."""

    @property
    def relative_gap(self) -> float:
        """How much better another plan could be at most, a fraction of the total."""
        return float((self.total - self.lower_bound) / self.total) if self.total else 0.0


def read(data: bytes) -> Proof:
    """Read a proof, packed by gzip or not; raise ProofError where it is not well formed."""
    try:
        values = json.loads(
            _unpacked(data).decode("utf-8"),
            object_pairs_hook=_distinct,
            parse_float=_no_number,
            parse_constant=_no_number,
            parse_int=lambda text: int(text) if len(text) <= 30 else _no_number(text),
        )
        if not isinstance(values, dict) or values.pop("sha256", None) != digest(values):
            raise ProofError("the file is no proof, or not as it was written: its sha256 differs")
        header = {key: values.pop(key) for key in HEADER}
        plan, claim, boxes = (values.pop(key) for key in ("plan", "claim", "boxes"))
        name, scenario = values.pop("name"), exact_scenario(values.pop("scenario"))
        counts = [plan.pop(key) for key in ("prompts", "rollouts_per_prompt", "labels")]
        threshold = _decimal(plan.pop("clip_threshold")) if "clip_threshold" in plan else None
        amounts = [_decimal(claim.pop(key)) for key in ("total", "lower_bound")]
        columns = [list(boxes.pop(column)) for column in COLUMNS]
        left = {**values, **plan, **claim, **boxes}
        if header != HEADER or type(header["version"]) is not int or left or type(name) is not str:
            raise ProofError(f"it is no proof of version 1: {', '.join(left) or header}"[:200])
        if any(type(number) is not int for number in chain(counts, *columns)):
            raise ProofError("something else stands where integers belong")
        n, K, m = counts
        total, lower_bound = amounts
        rows = list(zip(*columns, strict=True))
        return Proof(name, scenario, n, K, m, threshold, total, lower_bound, rows)
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        zlib.error,
        RecursionError,
    ) as error:
        raise ProofError(f"the file is no proof: {error}") from None


def _unpacked(data: bytes) -> bytes:
    if data[:2] == b"\x1f\x8b":
        unpacking = zlib.decompressobj(wbits=31)
        data = unpacking.decompress(data, MOST_BYTES + 1)
        if len(data) <= MOST_BYTES and (unpacking.unused_data or not unpacking.eof):
            raise ProofError("the file is cut, or more follows its end")
    if len(data) > MOST_BYTES:
        raise ProofError(f"the file holds more than {MOST_BYTES:,} bytes")
    return data


def digest(proof: dict[str, Any]) -> str:
    """Hash what a proof says: a guard against damage, none against malice."""
    text = json.dumps(proof, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def exact_scenario(written: Any) -> Any:
    """Turn the decimals of a scenario, which stand there as text, into fractions.

    It must be complete and legal (prices not negative, probabilities between 0 and 1, ...), by the
    rules of scenario files.
    """
    if not isinstance(written, dict) or "file" in written.get("log_ratio", ()):
        raise ProofError("the scenario is no mapping, or names other files")
    unknown = written.keys() - KNOWN.keys()
    for name, keys in KNOWN.items():
        unknown |= (
            written[name].keys() - keys if keys and type(written.get(name)) is dict else set()
        )
    if unknown:
        names = ", ".join(sorted(unknown))[:200]
        raise ProofError(f"the scenario has keys that this checker does not know: {names}")
    try:
        loaded = load_scenario(_mapped(written, float))
    except ScenarioError as error:
        raise ProofError(f"the scenario is wrong: {error}") from None
    if loaded.inputs() != _mapped(written, float):
        raise ProofError("the scenario is not complete, or has numbers that are not decimal texts")
    return _mapped(written, Fraction)


def known(arithmetic: Mapping[str, Value], name: str, kind: str) -> Value:
    """Look up what the checker knows of a tail or an inequality; raise ProofError where nothing."""
    if name not in arithmetic:
        raise ProofError(f"the checker has no interval arithmetic for the {kind} {name}")
    return arithmetic[name]


def group_sizes(limits: Any) -> dict[int, int]:
    """Each K allowed, ascending, with the size of its groups.

    Without ``group_size`` all rollouts of a prompt are one group. With it K is a size times a
    number of epochs; of several such sizes the largest, whose groups are silent least often.
    """
    wanted = _numbers(limits["rollouts_per_prompt"])
    if "group_size" not in limits:
        return {K: K for K in wanted}
    sizes, epochs = _numbers(limits["group_size"]), limits.get("epochs", {})
    least, most = epochs.get("min", 1), epochs.get("max", wanted[-1])
    made = {
        K: [each for each in sizes if K % each == 0 and least <= K // each <= most] for K in wanted
    }
    return {K: max(fitting) for K, fitting in made.items() if fitting}


def _numbers(limit: Any) -> list[int]:
    if "choices" in limit:
        return sorted(map(int, limit["choices"]))
    return list(range(int(limit["min"]), int(limit["max"]) + 1))


def _mapped(value: Any, kind: type[float | Fraction]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(each, kind) for key, each in value.items()}
    if isinstance(value, list):
        return [_mapped(each, kind) for each in value]
    if not isinstance(value, str):
        raise ProofError(f"{value!r:.60} stands in the scenario, where decimals are texts")
    return kind(value) if _DECIMAL.fullmatch(value) else value


def _decimal(text: Any) -> Fraction:
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise ProofError(f"{text!r:.60} stands where a decimal, as text, belongs")
    return Fraction(text)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ProofError("a key stands twice in one mapping")
    return dict(pairs)


def _no_number(text: str) -> NoReturn:
    raise ProofError(f"{text[:40]} stands where integers, or decimals as text, belong")
