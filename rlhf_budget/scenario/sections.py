"""From the written forms of each section to its resolved form, with all rules.

Every function reads one section, notes what is wrong and returns the resolved values: ranges and
``unknown`` at their middle, GPU tokens as money, ``chi2`` as coverage, and so on. What a function
returns is only used when nothing wrong was noted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.scenario import assumptions
from rlhf_budget.scenario.keys import FAMILIES, KEYS, LARGEST_GROUP, POLICIES
from rlhf_budget.scenario.reading import UNKNOWN, Reader, plain_number, shown

if TYPE_CHECKING:
    from collections.abc import Callable

Section = dict[str, Any]

VERIFIABLE: Final = "verifiable"
CURVE: Final = ("floor", "scale", "exponent")
DEFAULT_LARGEST_GROUP: Final = 256
_SECONDS_PER_HOUR: Final = 3600


def _present(**values: Any) -> Section:
    return {name: value for name, value in values.items() if value is not None}


# --- objective


def read_objective(reader: Reader) -> Section:
    """Read ``objective``."""
    if not reader.mapping("objective"):
        return {}
    return _present(
        kl_coefficient=reader.number("objective.kl_coefficient"),
        reward_range=_reward_range(reader),
        failure_probability=reader.number("objective.failure_probability"),
    )


def _reward_range(reader: Reader) -> float | None:
    key = "objective.reward_range"
    value = reader.get(key)
    if not isinstance(value, list):
        length: float | None = reader.number(key)
        return length
    ends = [plain_number(end) for end in value]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or not ends[0] < ends[1]:
        found = ", ".join(map(shown, value[:3]))
        reader.problem(key, f"the list [{found}]", "[low, high], two numbers with low < high")
        return None
    length = float(ends[1]) - float(ends[0])
    if not math.isfinite(length):
        reader.problem(key, f"{shown(value)} that is too wide", "high - low below 1.8e308")
    return length


# --- log-ratio


def read_log_ratio(reader: Reader, samples: tuple[float, ...] | None) -> Section:
    """Read ``log_ratio``.

    Parameters
    ----------
    reader
        Where to read from.
    samples
        What the file of an empirical tail holds; None where it names no file, or a bad one.
    """
    if reader.get("log_ratio") == UNKNOWN:
        allowed = "a mapping such as {family: gaussian, kl: unknown}"
        reader.problem("log_ratio", UNKNOWN, allowed)
        return {}
    if not reader.mapping("log_ratio"):
        return {}
    family = reader.word("log_ratio.family")
    if family is None:
        return {}
    _check_fields(reader, family)
    if family == "gaussian":
        return {"family": family, **_gaussian(reader)}
    if family == "empirical":
        return {"family": family, **_empirical(reader, samples)}
    return {
        "family": family,
        **{name: _family_number(reader, family, name) for name in FAMILIES[family]},
    }


def _check_fields(reader: Reader, family: str) -> None:
    """Note fields that belong to other families."""
    written = reader.get("log_ratio")
    for name in written:
        owners = [other for other, fields in FAMILIES.items() if name in fields]
        if owners and family not in owners:
            allowed = f"for family {family}: {', '.join(FAMILIES[family])}"
            of = "family" if len(owners) == 1 else "families"
            reader.problem(f"log_ratio.{name}", f"a field of {of} {', '.join(owners)}", allowed)


def _family_number(reader: Reader, family: str, name: str, *, optional: bool = False) -> Any:
    key = f"log_ratio.{name}"
    rules = FAMILIES[family][name]
    if not reader.has(key):
        if not optional:
            reader.problem(key, "nothing", f"{rules.allowed}: {rules.description}")
        return None
    if reader.get(key) == UNKNOWN and rules.unknown:
        return reader.assume(key, "unknown", *assumptions.KL_RANGE)
    return reader.number(key, rules)


def _gaussian(reader: Reader) -> Section:
    per_token = [name for name in ("kl_per_token", "tokens") if reader.has(f"log_ratio.{name}")]
    if not per_token:
        kl = _family_number(reader, "gaussian", "kl")
    elif reader.has("log_ratio.kl"):
        reader.problem(
            "log_ratio.kl", f"kl beside {per_token[0]}", "kl, or kl_per_token and tokens"
        )
        kl = None
    else:
        rate = _family_number(reader, "gaussian", "kl_per_token")
        tokens = _family_number(reader, "gaussian", "tokens")
        kl = None if rate is None or tokens is None else rate * tokens
        if kl is not None and not 0 < kl < math.inf:
            reader.problem("log_ratio.kl_per_token", f"a product of {kl}", "a finite KL above 0")
    return _present(kl=kl, std=_family_number(reader, "gaussian", "std", optional=True))


def _empirical(reader: Reader, samples: tuple[float, ...] | None) -> Section:
    if reader.has("log_ratio.samples"):
        if reader.has("log_ratio.file"):
            reader.problem("log_ratio.file", "file beside samples", "samples or file, one of them")
        return _present(samples=reader.numbers("log_ratio.samples"))
    if not reader.has("log_ratio.file"):
        reader.problem("log_ratio.samples", "nothing", "a list of numbers, or file: a file of them")
    return _present(samples=samples)


def mean_absolute(log_ratio: Section) -> float:
    """Return ``E|l|`` in nats: the KL for the gaussian, the mean of the tail for other families.

    Sources: docs/theory.md section 4, ``E(|l| - t)+`` at ``t = 0``. Infinite where it overflows.
    """
    try:
        return _MEANS[log_ratio["family"]](log_ratio)
    except OverflowError:
        return math.inf


_MEANS: Final[dict[str, Callable[[Section], float]]] = {
    "gaussian": lambda law: law["kl"],
    "exponential": lambda law: law["mean"],
    "half_normal": lambda law: law["scale"] * math.sqrt(2 / math.pi),
    "gamma": lambda law: law["shape"] * law["scale"],
    "weibull": lambda law: law["scale"] * math.exp(math.lgamma(1 + 1 / law["shape"])),
    "lognormal": lambda law: math.exp(law["mu"] + law["sigma"] ** 2 / 2),
    "lomax": lambda law: law["scale"] / (law["shape"] - 1),
    "empirical": lambda law: math.fsum(map(abs, law["samples"])) / len(law["samples"]),
}


# --- bound


def read_bound(reader: Reader, reward_range: float | None) -> Section:
    """Read ``bound``; ``unknown`` variances scale with the square of the reward range."""
    if not reader.mapping("bound"):
        return {}
    policy = reader.word("bound.policy")
    concentration = reader.word("bound.concentration")
    ranges = {
        "prompt_variance": assumptions.PROMPT_VARIANCE_RANGE,
        "rollout_variance": assumptions.ROLLOUT_VARIANCE_RANGE,
    }
    variances = {
        name: _scaled_number(reader, f"bound.{name}", ends, reward_range)
        for name, ends in ranges.items()
    }
    _check_policy(reader, policy)
    _check_concentration(reader, concentration, policy)
    return _present(
        concentration=concentration,
        policy=policy,
        candidates=reader.number("bound.candidates"),
        posterior_kl=reader.number("bound.posterior_kl"),
        sgd=_read_sgd(reader) if reader.has("bound.sgd") else None,
        **variances,
    )


def _scaled_number(
    reader: Reader, key: str, ends: tuple[float, float], reward_range: float | None
) -> Any:
    """Read a number in units of reward^2, for which ``unknown`` stands for a share of R^2.

    A key below one that is ``unknown`` is unknown itself.
    """
    if UNKNOWN not in (reader.get(key), reader.get(key.rpartition(".")[0])):
        return reader.number(key)
    if reward_range is None:
        return None
    square = reward_range**2
    low, high = ends[0] * square, ends[1] * square
    if not math.isfinite(high):
        reader.problem("objective.reward_range", shown(reward_range), f"less, with {key}: unknown")
        return None
    return reader.assume(key, "unknown", low, high)


def _check_policy(reader: Reader, policy: str | None) -> None:
    if policy is None:
        return
    for other, names in POLICIES.items():
        for name in names:
            key = f"bound.{name}"
            if other == policy and not reader.has(key):
                rules = KEYS[key]
                reader.problem(key, "nothing", f"{rules.allowed}, with policy {policy}")
            elif other != policy and reader.has(key):
                reader.problem(key, f"{name} with policy {policy}", f"policy: {other} beside it")


def _check_concentration(reader: Reader, concentration: str | None, policy: str | None) -> None:
    if concentration != "bernstein":
        return
    for name in ("prompt_variance", "rollout_variance"):
        if not reader.has(f"bound.{name}"):
            allowed = f"{KEYS[f'bound.{name}'].allowed}, with concentration bernstein"
            reader.problem(f"bound.{name}", "nothing", allowed)
    if policy in ("pac_bayes", "sgd"):
        reader.problem(
            "bound.concentration",
            f"bernstein with policy {policy}",
            f"hoeffding or prompt_mean with policy {policy}; bernstein goes with the policies "
            "fixed and finite_class only",
        )


def _read_sgd(reader: Reader) -> Section | None:
    if not reader.mapping("bound.sgd"):
        return None
    lists = {
        name: reader.numbers(f"bound.sgd.{name}")
        for name in ("hessian_eigenvalues", "gradient_noise_eigenvalues")
    }
    hessian, noise = lists.values()
    if hessian is not None and noise is not None and len(hessian) != len(noise):
        reader.problem(
            "bound.sgd.gradient_noise_eigenvalues",
            f"{len(noise)} eigenvalues beside {len(hessian)} of the Hessian",
            "two lists of the same length, eigenvector by eigenvector",
        )
    numbers = {
        name: reader.number(f"bound.sgd.{name}")
        for name in ("learning_rate", "batch_size", "prior_std", "distance")
    }
    return _present(**numbers, **lists)


# --- costs


def read_costs(reader: Reader) -> tuple[Section, frozenset[str]]:
    """Read ``costs``; also return the key paths of the prices that come from GPU tokens."""
    if not reader.mapping("costs"):
        return {}, frozenset()
    gpu = _read_gpu(reader)
    derived: set[str] = set()
    prompt = _read_prompt_cost(reader, gpu, derived)
    rollout = _read_rollout_cost(reader, gpu, derived)
    costs = _present(
        prompt=prompt,
        rollout=rollout,
        label=reader.number("costs.label"),
        fixed=reader.number("costs.fixed"),
    )
    return costs, frozenset(derived)


def _read_gpu(reader: Reader) -> Section:
    if not reader.has("costs.gpu") or not reader.mapping("costs.gpu"):
        return {}
    names = ("prefill", "decode", "train")
    speeds = {name: reader.number(f"costs.gpu.{name}_tokens_per_second") for name in names}
    return _present(hourly_rate=reader.number("costs.gpu.hourly_rate"), **speeds)


def _is_mapping(reader: Reader, key: str, names: set[str]) -> bool:
    """Whether the value is written as a mapping that is no range."""
    value = reader.get(key)
    return isinstance(value, dict) and (not value or bool(value.keys() & names))


def _read_prompt_cost(reader: Reader, gpu: Section, derived: set[str]) -> Section | None:
    if not _is_mapping(reader, "costs.prompt", {"acquisition", "existing", "prefill", "tokens"}):
        price = reader.number("costs.prompt")
        return None if price is None else {"acquisition": price, "existing": 0, "prefill": 0.0}
    tokens = reader.number("costs.prompt.tokens")
    if tokens is not None and not reader.has("costs.prompt.prefill"):
        prefill = _gpu_money(reader, gpu, "costs.prompt.tokens", {"prefill": tokens})
        derived.add("costs.prompt.prefill")
    else:
        prefill = reader.number("costs.prompt.prefill")
    return _present(
        acquisition=reader.number("costs.prompt.acquisition"),
        existing=reader.number("costs.prompt.existing"),
        prefill=prefill,
    )


def _read_rollout_cost(reader: Reader, gpu: Section, derived: set[str]) -> float | None:
    if not _is_mapping(reader, "costs.rollout", {"tokens", "scoring", "train"}):
        price: float | None = reader.number("costs.rollout")
        return price
    derived.add("costs.rollout")
    tokens = reader.number("costs.rollout.tokens")
    scoring = reader.number("costs.rollout.scoring")
    spent = {} if tokens is None else {"decode": tokens}
    if reader.truth("costs.rollout.train") and tokens is not None:
        prompt_tokens = reader.get("costs.prompt.tokens")
        if not reader.has("costs.prompt.tokens"):
            allowed = "the mean length of a prompt, in tokens, since costs.rollout.train is true"
            reader.problem("costs.prompt.tokens", "nothing", allowed)
        elif reader.sound("costs.prompt.tokens"):
            spent["train"] = _again(reader, "costs.prompt.tokens", prompt_tokens) + tokens
    money = _gpu_money(reader, gpu, "costs.rollout.tokens", spent)
    return None if money is None or scoring is None else scoring + money


def _again(reader: Reader, key: str, value: Any) -> float:
    """Return the value of a constant that was read before, without listing it as assumed twice."""
    for assumption in reader.assumed:
        if assumption.constant == key:
            return assumption.value
    return float(value)


def _gpu_money(reader: Reader, gpu: Section, key: str, spent: dict[str, float]) -> float | None:
    """Return the price of processing tokens, noting what is missing for it."""
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


# --- reward model


def read_reward_model(
    reader: Reader, reward_range: float | None, kl: float | None
) -> Section | str:
    """Read ``reward_model``.

    Parameters
    ----------
    reader
        Where to read from.
    reward_range
        R; an unknown error is a share of its square. None where it is wrong.
    kl
        KL of the policy from the reference in nats, for an unknown coverage. None where it is not
        known; infinite where it is wrong, which is noted elsewhere.
    """
    value = reader.get("reward_model")
    if value == VERIFIABLE:
        return VERIFIABLE
    if not isinstance(value, dict):
        found = shown(value) if reader.has("reward_model") else "nothing"
        reader.problem("reward_model", found, KEYS["reward_model"].allowed)
        return {}
    values = _present(
        coverage_kind=reader.word("reward_model.coverage_kind"),
        error=_read_error(reader, reward_range),
        existing_labels=reader.number("reward_model.existing_labels"),
        label_policy=reader.word("reward_model.label_policy"),
    )
    coverage = _read_coverage(reader, kl)
    if not (reader.has("reward_model.coverage") or reader.has("reward_model.chi2")):
        _check_coverage_needed(reader, values)
    return values | _present(coverage=coverage)


def _read_coverage(reader: Reader, kl: float | None) -> float | None:
    coverage: float | None = None
    if reader.has("reward_model.chi2"):
        if reader.has("reward_model.coverage"):
            allowed = "coverage or chi2, one of them (coverage = sqrt(1 + chi2))"
            reader.problem("reward_model.chi2", "chi2 beside coverage", allowed)
            return None
        if reader.get("reward_model.chi2") == UNKNOWN:
            reader.problem("reward_model.chi2", UNKNOWN, "a number >= 0, or coverage: unknown")
            return None
        chi2 = reader.number("reward_model.chi2")
        coverage = None if chi2 is None else math.sqrt(1 + chi2)
    elif reader.get("reward_model.coverage") == UNKNOWN:
        coverage = _unknown_coverage(reader, kl)
    else:
        coverage = reader.number("reward_model.coverage")
    return coverage


def _unknown_coverage(reader: Reader, kl: float | None) -> float | None:
    key = "reward_model.coverage"
    if kl is None:
        reader.problem(
            key,
            "unknown where the KL divergence is not known",
            "a number >= 1: unknown stands for 1 to e^(KL/2), which needs log_ratio and an "
            "objective.kl_coefficient above 0",
        )
        return None
    if not math.isfinite(kl):
        return None
    try:
        low, high = assumptions.coverage_range(kl)
    except OverflowError:
        allowed = "a number >= 1: e^(KL/2) is beyond the largest number"
        reader.problem(key, f"unknown at a KL of {kl:g} nats", allowed)
        return None
    return reader.assume(key, "unknown", low, high)


def _check_coverage_needed(reader: Reader, values: Section) -> None:
    """Note a missing coverage, unless every label comes from the current policy."""
    if values.get("label_policy") == "current" and values.get("existing_labels") == 0:
        return
    if reader.sound("reward_model.label_policy", "reward_model.existing_labels"):
        reader.problem(
            "reward_model.coverage",
            "nothing",
            f"{KEYS['reward_model.coverage'].allowed}; or chi2; neither is needed with "
            "label_policy: current and no existing labels",
        )


def _read_error(reader: Reader, reward_range: float | None) -> Section | float | None:
    key = "reward_model.error"
    if reader.get(key) != UNKNOWN and not _is_mapping(reader, key, set(CURVE)):
        error: float | None = reader.number(key)
        return error
    return _present(
        floor=_scaled_number(reader, f"{key}.floor", assumptions.ERROR_FLOOR_RANGE, reward_range),
        scale=_scaled_number(reader, f"{key}.scale", assumptions.ERROR_SCALE_RANGE, reward_range),
        exponent=_scaled_number(reader, f"{key}.exponent", assumptions.ERROR_EXPONENT_RANGE, 1.0),
    )


# --- limits and the allocation to beat


def read_limits(reader: Reader) -> Section:
    """Read ``limits``, defaults filled in."""
    if not reader.mapping("limits"):
        return {}
    return {
        "prompts": _read_range(reader, "limits.prompts", least=1),
        "rollouts_per_prompt": _read_group_limits(reader),
        "labels": _read_range(reader, "limits.labels", least=0),
        "clip_threshold": _read_range(reader, "limits.clip_threshold", least=0.0),
    }


def _read_range(reader: Reader, key: str, *, least: float, most: float | None = None) -> Section:
    value = reader.get(key)
    if reader.has(key) and not isinstance(value, dict):
        fixed = _fixed(reader, key)
        return {"min": fixed, "max": fixed}
    low = reader.number(f"{key}.min")
    high = reader.number(f"{key}.max")
    low = least if low is None and not reader.has(f"{key}.min") else low
    high = most if high is None and not reader.has(f"{key}.max") else high
    if low is not None and high is not None and low > high:
        found = f"min {low:g} above max {high:g}"
        default = "" if reader.has(f"{key}.max") else " (the default)"
        reader.problem(key, found + default, "min <= max")
    return _present(min=low, max=high)


def _fixed(reader: Reader, key: str) -> float | None:
    """Read a limit that is one number; the rules are those of its least value."""
    rules = KEYS[f"{key}.min"]
    number = plain_number(reader.get(key))
    whole = rules.kind != "whole" or (number is not None and number == int(number))
    if number is None or not rules.admits(number) or not whole:
        allowed = f"{rules.allowed}, or a mapping of {', '.join(_names(key))}"
        reader.problem(key, shown(reader.get(key)), allowed)
        return None
    return int(number) if rules.kind == "whole" else float(number)


def _names(key: str) -> list[str]:
    return [path.rpartition(".")[2] for path in KEYS if path.startswith(f"{key}.")]


def _read_group_limits(reader: Reader) -> Section:
    key = "limits.rollouts_per_prompt"
    if not reader.has(f"{key}.choices"):
        return _read_range(reader, key, least=1, most=DEFAULT_LARGEST_GROUP)
    if reader.has(f"{key}.min") or reader.has(f"{key}.max"):
        reader.problem(f"{key}.choices", "choices beside min or max", "choices, or min and max")
        return {}
    choices = reader.numbers(f"{key}.choices")
    if choices is not None and len(set(choices)) < len(choices):
        allowed = f"distinct whole numbers from 1 to {LARGEST_GROUP}"
        reader.problem(f"{key}.choices", "the same number twice", allowed)
    return _present(choices=None if choices is None else tuple(sorted(choices)))


def read_current(reader: Reader) -> Section | None:
    """Read ``current``, None where it is not written."""
    if not reader.has("current") or not reader.mapping("current"):
        return None
    names = ("prompts", "rollouts_per_prompt", "labels", "clip_threshold")
    return _present(**{name: reader.number(f"current.{name}") for name in names})
