"""A scenario in its resolved form: frozen dataclasses, one for each section.

Limits and descriptions of every constant are in ``rlhf_budget.scenario.keys.KEYS``; the values here
have passed them. Plain dataclasses, since importing a validation library costs more than a plan.
"""

from __future__ import annotations

import copy
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final, Literal

from rlhf_budget.errors import Problem, ScenarioError
from rlhf_budget.scenario.layers import read_written
from rlhf_budget.scenario.merge import path_of
from rlhf_budget.scenario.overrides import with_values
from rlhf_budget.scenario.resolve import Resolution, resolve
from rlhf_budget.scenario.schedule import group_sizes
from rlhf_budget.scenario.written import plain
from rlhf_budget.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from rlhf_budget.scenario.assumptions import Assumption
    from rlhf_budget.scenario.written import Written


class Section:
    """Base of all sections."""

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """Return a copy with some fields changed, unvalidated: for values known to be legal."""
        changed = copy.copy(self)
        changed.__dict__.update(update)
        return changed


@dataclass(frozen=True)
class Objective(Section):
    """What is maximised, and with which certainty."""

    kl_coefficient: float
    """beta, reward per nat."""
    reward_range: float
    """R, length of the interval of rewards, reward units."""
    failure_probability: float
    """delta, a probability."""


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


@dataclass(frozen=True)
class ErrorCurve(Section):
    """Mean squared error of the reward model: ``floor + scale * labels**(-exponent)``."""

    floor: float
    """Reward units squared."""
    scale: float
    """Reward units squared, at one label."""
    exponent: float
    """Power of the number of labels."""


@dataclass(frozen=True)
class RewardModel(Section):
    """How well the reward model knows the reward."""

    coverage: float | None
    """C >= 1; None where every label comes from the current policy."""
    coverage_kind: Literal["density", "features"]
    """What C was measured on."""
    error: ErrorCurve | float
    """Learning curve, or the mean squared error of a finished reward model (reward units
    squared)."""
    existing_labels: int
    """Labels owned, a count."""
    label_policy: Literal["behaviour", "current"]
    """Whose rollouts new labels compare."""


@dataclass(frozen=True)
class LogRatio(Section):
    """Law of the log-ratio of policy and reference on whole responses.

    The fields that its family does not have are None.
    """

    family: str
    """Name of the family, as in ``rlhf_budget.scenario.families``."""
    kl: float | None = None
    """Gaussian: mean of the log-ratio, nats per sequence."""
    std: float | None = None
    """Gaussian: standard deviation, nats; None stands for ``sqrt(2 kl)``."""
    mean: float | None = None
    """Exponential: mean of the magnitude, nats."""
    shape: float | None = None
    """Gamma, weibull, lomax: no unit."""
    scale: float | None = None
    """Half_normal, gamma, weibull, lomax: nats."""
    mu: float | None = None
    """Lognormal: mean of ``ln |l|``, ln nats."""
    sigma: float | None = None
    """Lognormal: standard deviation of ``ln |l|``, ln nats."""
    samples: tuple[float, ...] | None = field(default=None, repr=False)
    """Empirical: nats per sequence."""


@dataclass(frozen=True)
class IntegerRange(Section):
    """Limits of a whole number."""

    min: int
    """Least, a count."""
    max: int | None = None
    """Largest, a count; None where there is none."""


@dataclass(frozen=True)
class NumberRange(Section):
    """Limits of a number."""

    min: float
    """Least, nats."""
    max: float | None = None
    """Largest, nats; None where there is none."""


@dataclass(frozen=True)
class RolloutLimits(Section):
    """Limits of the rollouts of a prompt: ``min`` and ``max``, or ``choices``."""

    min: int | None = None
    """Least, a count."""
    max: int | None = None
    """Largest, a count."""
    choices: tuple[int, ...] | None = None
    """Counts to choose from, ascending."""


@dataclass(frozen=True)
class Limits(Section):
    """What the plan may choose from."""

    prompts: IntegerRange
    """Prompts."""
    rollouts_per_prompt: RolloutLimits
    """Rollouts of each prompt."""
    labels: IntegerRange
    """New labels."""
    clip_threshold: NumberRange
    """Clip threshold."""
    group_size: RolloutLimits | None = None
    """Rollouts drawn together; None where the file says nothing of epochs."""
    epochs: IntegerRange | None = None
    """Visits to each prompt, beside a group size."""

    @property
    def group_sizes(self) -> dict[int, int]:
        """Every allowed number of rollouts per prompt, ascending -> its group size."""
        size, epochs = self.group_size, self.epochs
        return group_sizes(
            vars(self.rollouts_per_prompt),
            vars(size) if size else None,
            vars(epochs) if epochs else None,
        )


@dataclass(frozen=True)
class Groups(Section):
    """Rewards of 0 and 1: how often a group's rewards are all equal, and so teach nothing."""

    mean: float
    """Mean reward, a share of the way from the lower to the higher value."""
    correlation: float
    """Intraclass correlation, a fraction."""


@dataclass(frozen=True)
class CurrentAllocation(Section):
    """The allocation to beat."""

    prompts: int
    """A count."""
    rollouts_per_prompt: int
    """A count."""
    labels: int
    """A count."""
    clip_threshold: float | None = None
    """Nats; None stands for the best for the other three."""


@dataclass(frozen=True)
class Progress(Section):
    """What is behind, in a run under way."""

    prompts: int
    """Prompts used, a count."""
    rollouts_per_prompt: float
    """Rollouts of each; the harmonic mean where groups differ."""
    labels: int
    """Labels bought, a count."""
    cost: float
    """Currency spent."""


@dataclass(frozen=True)
class Scenario(Section):
    """A scenario with every constant resolved.

    Built from keyword arguments in the forms of the scenario file (mappings, ranges, ``unknown``),
    or by ``load_scenario``.

    Raises
    ------
    ScenarioError
        With everything that is wrong.
    FileAccessError
        When a file that it names cannot be read.

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

    name: str
    """Name; by default the stem of the file."""
    currency: str
    """Label of the currency."""
    budget: float | None
    """Currency; None where only a target can be planned for."""
    objective: Objective
    """What is maximised."""
    bound: BoundSettings
    """Which bound is minimised."""
    costs: Costs
    """What things cost."""
    reward_model: RewardModel | Literal["verifiable"]
    """How well the reward model knows the reward."""
    log_ratio: LogRatio | None
    """Law of the log-ratio; may be None at a KL coefficient of 0."""
    groups: Groups | None
    """Rewards of 0 and 1 in groups; None where rewards are not, or nothing is known of them."""
    limits: Limits
    """What the plan may choose from."""
    current: CurrentAllocation | None
    """The allocation to beat."""
    progress: Progress | None
    """What is behind; None before a run."""
    sources: dict[str, str]
    """Key path -> where the constant comes from."""
    checks: dict[str, dict[str, float]]
    """Key path of a result -> ``min``, ``max`` or both."""
    scenarios: dict[str, dict[str, Any]]
    """Name -> the keys that it changes, as written."""
    assumed: tuple[Assumption, ...]
    """Constants given as a range or as unknown, with the value taken."""
    _written: Written = field(compare=False, repr=False)

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
        self.__dict__.update(_models(resolution), _written=written)
        if like is not None and like.log_ratio == self.log_ratio:
            self.__dict__["log_ratio"] = like.log_ratio

    def __repr__(self) -> str:
        return f"Scenario({self.name!r}, budget={self.budget}, currency={self.currency!r})"

    def inputs(self) -> dict[str, Any]:
        """Return every constant of the plan, resolved, in plain JSON types.

        Defaults are filled in and absent keys left out. Read back as a scenario it gives the same
        plan: what only labels or judges a plan (name, current, checks, ...) is not in it.
        """
        values = {name: plain(getattr(self, name)) for name in _INPUTS}
        return {name: value for name, value in values.items() if value is not None}

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
        return self.written(key, missing=_MISSING) is not _MISSING

    def written(self, key: str, *, missing: Any = None) -> Any:
        """Return what stands at a key path in the scenario as written, else ``missing``."""
        node: Any = self._written.values
        for name in path_of(key):
            if not isinstance(node, dict) or name not in node:
                return missing
            node = node[name]
        return node


_MISSING: Final = object()
"""Stands for a key that is not written, where null is."""
_INPUTS: Final = (
    "budget",
    "objective",
    "bound",
    "costs",
    "reward_model",
    "log_ratio",
    "groups",
    "limits",
    "progress",
)


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


def _models(resolution: Resolution) -> dict[str, Any]:
    """Return the fields of a scenario from its resolved values."""
    values = resolution.values
    return values | {
        "objective": Objective(**values["objective"]),
        "bound": _bound(values["bound"]),
        "costs": _costs(values["costs"], resolution.derived),
        "reward_model": _reward_model(values["reward_model"]),
        "log_ratio": _log_ratio(values["log_ratio"]),
        "groups": Groups(**values["groups"]) if values["groups"] else None,
        "limits": _limits(values["limits"]),
        "current": CurrentAllocation(**values["current"]) if values["current"] else None,
        "progress": Progress(**values["progress"]) if values["progress"] else None,
        "assumed": resolution.assumed,
    }


def _bound(values: dict[str, Any]) -> BoundSettings:
    sgd = values.get("sgd")
    return BoundSettings(**{**values, "sgd": Sgd(**sgd) if sgd else None})


def _costs(values: dict[str, Any], derived: frozenset[str]) -> Costs:
    prompt = PromptCost(**values["prompt"])
    return Costs(prompt, values["rollout"], values.get("label"), values["fixed"], derived=derived)


def _reward_model(values: dict[str, Any] | Literal["verifiable"]) -> Any:
    if not isinstance(values, dict):
        return values
    error = values["error"]
    error = ErrorCurve(**error) if isinstance(error, dict) else error
    return RewardModel(**{"coverage": None, **values, "error": error})


def _log_ratio(values: dict[str, Any] | None) -> LogRatio | None:
    return None if values is None else LogRatio(**values)


def _limits(values: dict[str, Any]) -> Limits:
    return Limits(
        prompts=IntegerRange(**values["prompts"]),
        rollouts_per_prompt=RolloutLimits(**values["rollouts_per_prompt"]),
        labels=IntegerRange(**values["labels"]),
        clip_threshold=NumberRange(**values["clip_threshold"]),
        group_size=RolloutLimits(**values["group_size"]) if values["group_size"] else None,
        epochs=IntegerRange(**values["epochs"]) if values["epochs"] else None,
    )
