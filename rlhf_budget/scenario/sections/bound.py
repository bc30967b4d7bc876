"""``bound``: the concentration inequality, the kind of policy, and their constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rlhf_budget.scenario import assumptions
from rlhf_budget.scenario.keys import KEYS, POLICIES
from rlhf_budget.scenario.sections.common import Section, present, scaled_number
from rlhf_budget.scenario.suggestions import allowed_mapping
from rlhf_budget.scenario.values import dataclass

if TYPE_CHECKING:
    from rlhf_budget.scenario.reading import Reader
    from rlhf_budget.scenario.sections.common import Values


@dataclass(frozen=True)
class Sgd(Section):
    """SGD as an Ornstein-Uhlenbeck process."""

    learning_rate: float
    """Learning rate eta."""
    batch_size: int
    """Samples in a batch."""
    hessian_eigenvalues: tuple[float, ...]
    """Eigenvalues of the Hessian at the optimum."""
    gradient_noise_eigenvalues: tuple[float, ...]
    """Eigenvalues of the gradient-noise covariance, in the same order."""
    prior_std: float
    """Standard deviation s of the prior."""
    distance: float
    """Distance of the optimum from the prior's mean."""


@dataclass(frozen=True)
class BoundSettings(Section):
    """Which bound is minimised; constants that are not needed may be None."""

    concentration: Literal["hoeffding", "prompt_mean", "bernstein"]
    """Concentration inequality."""
    policy: Literal["fixed", "finite_class", "pac_bayes", "sgd"]
    """How the policy depends on the data."""
    candidates: int | None = None
    """Candidates of ``finite_class``, a count."""
    posterior_kl: float | None = None
    """KL(Q||P) of ``pac_bayes``, nats."""
    prompt_variance: float | None = None
    """Variance between prompts, reward units squared."""
    rollout_variance: float | None = None
    """Mean variance within a prompt, reward units squared."""
    sgd: Sgd | None = None
    """Constants of ``sgd``."""


def read_bound(reader: Reader, reward_range: float | None) -> Values:
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
        name: scaled_number(reader, f"bound.{name}", ends, reward_range)
        for name, ends in ranges.items()
    }
    _check_policy(reader, policy)
    _check_concentration(reader, concentration, policy)
    return present(
        concentration=concentration,
        policy=policy,
        candidates=reader.number("bound.candidates"),
        posterior_kl=reader.number("bound.posterior_kl"),
        sgd=_read_sgd(reader) if reader.has("bound.sgd") else None,
        **variances,
    )


def _check_policy(reader: Reader, policy: str | None) -> None:
    if policy is None:
        return
    for other, names in POLICIES.items():
        for name in names:
            key = f"bound.{name}"
            if other == policy and not reader.has(key):
                rules = KEYS[key]
                allowed = rules.allowed if rules.kind != "mapping" else allowed_mapping(key)
                reader.problem(key, "nothing", f"{allowed}, with policy {policy}")
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


def _read_sgd(reader: Reader) -> Values | None:
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
    return present(**numbers, **lists)
