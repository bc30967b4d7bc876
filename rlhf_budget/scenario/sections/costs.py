"""``costs``: prices, plain or from GPU tokens."""

from __future__ import annotations

import math
from dataclasses import field
from typing import TYPE_CHECKING, Final

from rlhf_budget.scenario.keys import KEYS
from rlhf_budget.scenario.sections.common import Section, is_mapping, present
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from rlhf_budget.scenario.reading import Reader
    from rlhf_budget.scenario.sections.common import Values

_SECONDS_PER_HOUR: Final = 3600


@dataclass(frozen=True)
class PromptCost(Section):
    """What a prompt costs: acquisition beyond those that exist, and prefill for every one."""

    acquisition: float
    """Currency per new prompt."""
    existing: int
    """Prompts owned, a count."""
    prefill: float
    """Currency per prompt."""


@dataclass(frozen=True)
class Costs(Section):
    """What things cost."""

    prompt: PromptCost
    """Price of prompts."""
    rollout: float
    """Currency per rollout."""
    label: float | None
    """Currency per label; None where none are bought and no price is given."""
    fixed: float
    """Currency, spent whatever the plan."""
    derived: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """Key paths of prices computed from GPU tokens: their float is their exact value."""


def read_costs(reader: Reader) -> tuple[Values, frozenset[str]]:
    """Read ``costs``; also return the key paths of the prices that come from GPU tokens."""
    if not reader.mapping("costs"):
        return {}, frozenset()
    gpu = _read_gpu(reader)
    derived: set[str] = set()
    prompt = _read_prompt_cost(reader, gpu, derived)
    rollout = _read_rollout_cost(reader, gpu, derived)
    costs = present(
        prompt=prompt,
        rollout=rollout,
        label=reader.number("costs.label"),
        fixed=reader.number("costs.fixed"),
    )
    return costs, frozenset(derived)


def _read_gpu(reader: Reader) -> Values:
    if not reader.has("costs.gpu") or not reader.mapping("costs.gpu"):
        return {}
    names = ("prefill", "decode", "train")
    speeds = {name: reader.number(f"costs.gpu.{name}_tokens_per_second") for name in names}
    return present(hourly_rate=reader.number("costs.gpu.hourly_rate"), **speeds)


def _read_prompt_cost(reader: Reader, gpu: Values, derived: set[str]) -> Values | None:
    if not is_mapping(reader, "costs.prompt", {"acquisition", "existing", "prefill", "tokens"}):
        price = reader.number("costs.prompt")
        return None if price is None else {"acquisition": price, "existing": 0, "prefill": 0.0}
    tokens = reader.number("costs.prompt.tokens")
    if tokens is not None and not reader.has("costs.prompt.prefill"):
        prefill = _gpu_money(reader, gpu, "costs.prompt.tokens", {"prefill": tokens})
        derived.add("costs.prompt.prefill")
    else:
        prefill = reader.number("costs.prompt.prefill")
    return present(
        acquisition=reader.number("costs.prompt.acquisition"),
        existing=reader.number("costs.prompt.existing"),
        prefill=prefill,
    )


def _read_rollout_cost(reader: Reader, gpu: Values, derived: set[str]) -> float | None:
    if not is_mapping(reader, "costs.rollout", {"tokens", "scoring", "train"}):
        price: float | None = reader.number("costs.rollout")
        return price
    derived.add("costs.rollout")
    tokens = reader.number("costs.rollout.tokens")
    scoring = reader.number("costs.rollout.scoring")
    spent = {} if tokens is None else {"decode": tokens}
    if reader.truth("costs.rollout.train") and tokens is not None:
        prompt_tokens = _prompt_tokens(reader)
        if prompt_tokens is not None:
            spent["train"] = prompt_tokens + tokens
    money = _gpu_money(reader, gpu, "costs.rollout.tokens", spent)
    return None if money is None or scoring is None else scoring + money


def _prompt_tokens(reader: Reader) -> float | None:
    """Return the length of a prompt, which was read with the price of prompts."""
    key = "costs.prompt.tokens"
    if not reader.sound(key):
        return None
    if not reader.has(key):
        allowed = "the mean length of a prompt, in tokens, since costs.rollout.train is true"
        reader.problem(key, "nothing", allowed)
        return None
    assumed = (each.value for each in reader.assumed if each.constant == key)
    return next(assumed, None) or float(reader.get(key))


def _gpu_money(reader: Reader, gpu: Values, key: str, spent: dict[str, float]) -> float | None:
    """Return the price of processing tokens, noting what is missing for it."""
    if reader.faulty("costs.gpu"):
        return None
    if not reader.has("costs.gpu"):
        allowed = "hourly_rate and tokens per second of one GPU, since a cost is given in tokens"
        reader.problem("costs.gpu", f"nothing, beside {key}", allowed)
        return None
    seconds = 0.0
    for work, tokens in spent.items():
        speed_key = f"costs.gpu.{work}_tokens_per_second"
        if not reader.has(speed_key):
            reader.problem(speed_key, "nothing", f"{KEYS[speed_key].allowed}, for {key}")
        elif reader.sound(speed_key):
            seconds += tokens / gpu[work]
    money: float = seconds * gpu.get("hourly_rate", 0.0) / _SECONDS_PER_HOUR
    if not math.isfinite(money):
        reader.problem(key, "a price beyond the largest number", "fewer tokens, or a faster GPU")
    return money
