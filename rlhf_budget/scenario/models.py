"""A scenario in its resolved form: frozen models, one for each section.

Units and limits of every field are those of ``rlhf_budget.scenario.keys.KEYS``.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SerializeAsAny

from rlhf_budget.errors import Problem, ScenarioError
from rlhf_budget.scenario.assumptions import Assumption  # noqa: TC001 - pydantic needs it
from rlhf_budget.scenario.key import REQUIRED, Key
from rlhf_budget.scenario.keys import FAMILIES, KEYS
from rlhf_budget.scenario.layers import read_written
from rlhf_budget.scenario.merge import path_of
from rlhf_budget.scenario.overrides import with_values
from rlhf_budget.scenario.resolve import Resolution, resolve
from rlhf_budget.scenario.written import Written, plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from rlhf_budget.tails import Tail


def _described(key: Key) -> Any:
    unit = f" ({key.unit})" if key.unit else ""
    default = ... if key.default is REQUIRED else key.default
    return Field(
        default,
        description=f"{key.description}{unit}.",
        ge=key.at_least,
        gt=key.above,
        le=key.at_most,
        lt=key.below,
    )


def _key(path: str) -> Any:
    return _described(KEYS[path])


class Section(BaseModel):
    """Base of all sections: frozen, no unknown fields, no conversions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True
    )


class Objective(Section):
    """What is maximised, and with which certainty."""

    kl_coefficient: float = _key("objective.kl_coefficient")
    reward_range: float = _key("objective.reward_range")
    failure_probability: float = _key("objective.failure_probability")


class Sgd(Section):
    """SGD as an Ornstein-Uhlenbeck process."""

    learning_rate: float = _key("bound.sgd.learning_rate")
    batch_size: int = _key("bound.sgd.batch_size")
    hessian_eigenvalues: tuple[float, ...]
    gradient_noise_eigenvalues: tuple[float, ...]
    prior_std: float = _key("bound.sgd.prior_std")
    distance: float = _key("bound.sgd.distance")


class BoundSettings(Section):
    """Which bound is minimised."""

    concentration: Literal["hoeffding", "prompt_mean", "bernstein"] = "hoeffding"
    policy: Literal["fixed", "finite_class", "pac_bayes", "sgd"] = "fixed"
    candidates: int | None = _key("bound.candidates")
    posterior_kl: float | None = _key("bound.posterior_kl")
    prompt_variance: float | None = _key("bound.prompt_variance")
    rollout_variance: float | None = _key("bound.rollout_variance")
    sgd: Sgd | None = None


class PromptCost(Section):
    """What a prompt costs: acquisition beyond those that exist, and prefill for every one."""

    acquisition: float = _key("costs.prompt.acquisition")
    existing: int = _key("costs.prompt.existing")
    prefill: float = _key("costs.prompt.prefill")


class Costs(Section):
    """What things cost, in the scenario's currency."""

    prompt: PromptCost
    rollout: float = _key("costs.rollout")
    label: float | None = _key("costs.label")
    fixed: float = _key("costs.fixed")
    _derived: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def derived(self) -> frozenset[str]:
        """Key paths of prices computed from GPU tokens: their float is their exact value."""
        return self._derived


class ErrorCurve(Section):
    """Mean squared error of the reward model: ``floor + scale * labels**(-exponent)``."""

    floor: float = _key("reward_model.error.floor")
    scale: float = _key("reward_model.error.scale")
    exponent: float = _key("reward_model.error.exponent")


class RewardModel(Section):
    """How well the reward model knows the reward."""

    coverage: float | None = _key("reward_model.coverage")
    coverage_kind: Literal["density", "features"] = "density"
    error: ErrorCurve | float
    existing_labels: int = _key("reward_model.existing_labels")
    label_policy: Literal["behaviour", "current"] = "behaviour"


class LogRatio(Section):
    """Law of the log-ratio of policy and reference on whole responses."""

    family: str

    @cached_property
    def cached_tail(self) -> Tail:
        """The tail, made once; callers use ``tail()``."""
        return self._new_tail()

    def tail(self) -> Tail:
        """Return the law of ``|l|``, in nats."""
        return self.cached_tail

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, without the tail made for the old values."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("cached_tail", None)
        return copy

    def _new_tail(self) -> Tail:
        raise NotImplementedError


def _law(family: str, name: str) -> Any:
    return _described(FAMILIES[family][name])


class GaussianLogRatio(LogRatio):
    """A normal log-ratio of mean ``kl``."""

    family: Literal["gaussian"] = "gaussian"
    kl: float = _law("gaussian", "kl")
    std: float | None = _law("gaussian", "std")

    def _new_tail(self) -> Tail:
        from rlhf_budget import tails  # noqa: PLC0415 - reading a scenario needs no tails

        std = math.sqrt(2 * self.kl) if self.std is None else self.std
        return tails.Gaussian(kl=self.kl, std=std)


class ExponentialLogRatio(LogRatio):
    """An exponential absolute log-ratio."""

    family: Literal["exponential"] = "exponential"
    mean: float = _law("exponential", "mean")

    def _new_tail(self) -> Tail:
        from rlhf_budget import tails  # noqa: PLC0415 - reading a scenario needs no tails

        return tails.Exponential(mean=self.mean)


class HalfNormalLogRatio(LogRatio):
    """A folded normal log-ratio of mean 0."""

    family: Literal["half_normal"] = "half_normal"
    scale: float = _law("half_normal", "scale")

    def _new_tail(self) -> Tail:
        from rlhf_budget import tails  # noqa: PLC0415 - reading a scenario needs no tails

        return tails.HalfNormal(scale=self.scale)


class GammaLogRatio(LogRatio):
    """A gamma absolute log-ratio."""

    family: Literal["gamma"] = "gamma"
    shape: float = _law("gamma", "shape")
    scale: float = _law("gamma", "scale")

    def _new_tail(self) -> Tail:
        from rlhf_budget import tails  # noqa: PLC0415 - reading a scenario needs no tails

        return tails.Gamma(shape=self.shape, scale=self.scale)


class WeibullLogRatio(LogRatio):
    """A Weibull absolute log-ratio."""

    family: Literal["weibull"] = "weibull"
    shape: float = _law("weibull", "shape")
    scale: float = _law("weibull", "scale")

    def _new_tail(self) -> Tail:
        from rlhf_budget import tails  # noqa: PLC0415 - reading a scenario needs no tails

        return tails.Weibull(shape=self.shape, scale=self.scale)


class LogNormalLogRatio(LogRatio):
    """A lognormal absolute log-ratio."""

    family: Literal["lognormal"] = "lognormal"
    mu: float = _law("lognormal", "mu")
    sigma: float = _law("lognormal", "sigma")

    def _new_tail(self) -> Tail:
        from rlhf_budget import tails  # noqa: PLC0415 - reading a scenario needs no tails

        return tails.LogNormal(mu=self.mu, sigma=self.sigma)


class LomaxLogRatio(LogRatio):
    """A Lomax (shifted Pareto) absolute log-ratio."""

    family: Literal["lomax"] = "lomax"
    shape: float = _law("lomax", "shape")
    scale: float = _law("lomax", "scale")

    def _new_tail(self) -> Tail:
        from rlhf_budget import tails  # noqa: PLC0415 - reading a scenario needs no tails

        return tails.Lomax(shape=self.shape, scale=self.scale)


class EmpiricalLogRatio(LogRatio):
    """Observed log-ratios, each with the same weight."""

    family: Literal["empirical"] = "empirical"
    samples: tuple[float, ...] = Field(description="Log-ratios of whole responses (nats).")

    def _new_tail(self) -> Tail:
        from rlhf_budget import tails  # noqa: PLC0415 - reading a scenario needs no tails

        return tails.Empirical(self.samples)


_LOG_RATIOS: Final[dict[str, type[LogRatio]]] = {
    "gaussian": GaussianLogRatio,
    "exponential": ExponentialLogRatio,
    "half_normal": HalfNormalLogRatio,
    "gamma": GammaLogRatio,
    "weibull": WeibullLogRatio,
    "lognormal": LogNormalLogRatio,
    "lomax": LomaxLogRatio,
    "empirical": EmpiricalLogRatio,
}


class IntegerRange(Section):
    """Limits of a whole number; ``max`` None where there is none."""

    min: int
    max: int | None = None


class NumberRange(Section):
    """Limits of a number; ``max`` None where there is none."""

    min: float
    max: float | None = None


class RolloutLimits(Section):
    """Limits of the rollouts of a prompt: ``min`` and ``max``, or sorted ``choices``."""

    min: int | None = _key("limits.rollouts_per_prompt.min")
    max: int | None = _key("limits.rollouts_per_prompt.max")
    choices: tuple[int, ...] | None = None


class Limits(Section):
    """What the plan may choose from."""

    prompts: IntegerRange
    rollouts_per_prompt: RolloutLimits
    labels: IntegerRange
    clip_threshold: NumberRange


class CurrentAllocation(Section):
    """The allocation to beat."""

    prompts: int = _key("current.prompts")
    rollouts_per_prompt: int = _key("current.rollouts_per_prompt")
    labels: int = _key("current.labels")
    clip_threshold: float | None = _key("current.clip_threshold")


class Scenario(Section):
    """A scenario with every constant resolved.

    Built from keyword arguments in the forms of the scenario file (mappings, ranges, ``unknown``),
    or by ``load_scenario``.

    Raises
    ------
    ScenarioError
        With everything that is wrong.
    FileAccessError
        When a file of log-ratios cannot be read.

    Examples
    --------
    >>> scenario = Scenario(
    ...     budget=4000,
    ...     objective={"kl_coefficient": 0},
    ...     costs={"prompt": 0.01, "rollout": 0.003},
    ...     reward_model="verifiable",
    ... )
    >>> scenario.costs.prompt.acquisition
    0.01
    """

    name: str = _key("name")
    currency: str = _key("currency")
    budget: float | None = _key("budget")
    objective: Objective
    bound: BoundSettings
    costs: Costs
    reward_model: Literal["verifiable"] | RewardModel
    log_ratio: SerializeAsAny[LogRatio] | None
    limits: Limits
    current: CurrentAllocation | None
    sources: dict[str, str]
    checks: dict[str, dict[str, float]]
    scenarios: dict[str, dict[str, Any]]
    assumed: tuple[Assumption, ...]
    """Constants given as a range or as unknown, with the value taken."""

    _written: Written = PrivateAttr()

    def __init__(self, **written: Any) -> None:
        self._fill(read_written(written))

    @classmethod
    def from_written(cls, written: Written, like: Scenario | None = None) -> Scenario:
        """Resolve what is written in files.

        Parameters
        ----------
        written
            Merged values with their places, and the problems found so far.
        like
            A scenario whose tail is taken over where it is the same, so that it is not made anew.

        Raises
        ------
        ScenarioError
            With everything that is wrong.
        """
        scenario = cls.__new__(cls)
        scenario._fill(written, like)  # noqa: SLF001 - its own
        return scenario

    def _fill(self, written: Written, like: Scenario | None = None) -> None:
        resolution = resolve(written)
        problems = _all_problems(written, resolution)
        if problems:
            raise ScenarioError(problems)
        super().__init__(**_sections(resolution, like))
        self._written = written

    def inputs(self) -> dict[str, Any]:
        """Return every constant of the plan, resolved, in plain JSON types.

        Defaults are filled in and absent keys left out. Read back as a scenario it gives the same
        plan: what only labels or judges a plan (name, current, checks, ...) is not in it.
        """
        sections = {
            "objective": self.objective,
            "bound": self.bound,
            "costs": self.costs,
            "reward_model": self.reward_model,
            "log_ratio": self.log_ratio,
            "limits": self.limits,
        }
        budget = {} if self.budget is None else {"budget": self.budget}
        return budget | {
            name: section.model_dump(mode="json", exclude_none=True)
            if isinstance(section, Section)
            else section
            for name, section in sections.items()
            if section is not None
        }

    def with_values(self, values: Mapping[str, Any]) -> Scenario:
        """Return the scenario with some keys set, as the option ``--set`` does.

        Parameters
        ----------
        values
            Key path, such as ``costs.label``, -> the value, in any form that a file allows; None
            takes the key out. Constants that depend on it, such as an unknown coverage, are
            resolved anew.

        Raises
        ------
        ScenarioError
            With everything that is wrong with the scenario then.
        """
        plain_values = {key: plain(value) for key, value in values.items()}
        return self.from_written(with_values(self._written, plain_values), like=self)

    def is_written(self, key: str) -> bool:
        """Whether a key path stands in the scenario as written, rather than being a default."""
        node: Any = self._written.values
        for name in path_of(key):
            if not isinstance(node, dict) or name not in node:
                return False
            node = node[name]
        return True


def _all_problems(written: Written, resolution: Resolution) -> tuple[Problem, ...]:
    """Return the problems by file and line.

    A value that YAML itself got wrong is read as absent, which is not worth a second mention.
    """
    reported = {problem.key for problem in written.problems}
    resolved = (
        problem
        for problem in resolution.problems
        if not (problem.key in reported and problem.found.startswith(("nothing", "null")))
    )
    by_place = sorted(
        (*written.problems, *resolved), key=lambda problem: (problem.file or "", problem.line or 0)
    )
    return tuple(by_place)


def _sections(resolution: Resolution, like: Scenario | None) -> dict[str, Any]:
    """Return the models of the resolved sections, by field of the scenario."""
    values = dict(resolution.values)
    costs = Costs(**values["costs"])
    costs._derived = resolution.derived  # noqa: SLF001 - of this module
    log_ratio = None
    if values["log_ratio"] is not None:
        log_ratio = _LOG_RATIOS[values["log_ratio"]["family"]](**values["log_ratio"])
        if like is not None and like.log_ratio == log_ratio:
            log_ratio = like.log_ratio
    return {
        **values,
        "costs": costs,
        "log_ratio": log_ratio,
        "assumed": resolution.assumed,
    }
