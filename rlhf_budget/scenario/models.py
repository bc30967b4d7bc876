"""A scenario in its resolved form: frozen dataclasses, one for each section beside its reader.

Limits and descriptions of every constant are in ``rlhf_budget.scenario.keys.KEYS``; the values here
have passed them. Plain dataclasses, since importing a validation library costs more than a plan.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from rlhf_budget.errors import Problem, ScenarioError
from rlhf_budget.scenario.layers import read_written
from rlhf_budget.scenario.merge import path_of
from rlhf_budget.scenario.overrides import with_values
from rlhf_budget.scenario.resolve import Resolution, resolve
from rlhf_budget.scenario.sections.bound import BoundSettings, Sgd
from rlhf_budget.scenario.sections.common import Section
from rlhf_budget.scenario.sections.costs import Costs, PromptCost
from rlhf_budget.scenario.sections.limits import (
    CurrentAllocation,
    Groups,
    IntegerRange,
    Limits,
    NumberRange,
    Progress,
    RolloutLimits,
)
from rlhf_budget.scenario.sections.log_ratio import LogRatio
from rlhf_budget.scenario.sections.objective import Objective
from rlhf_budget.scenario.sections.reward_model import ErrorCurve, RewardModel
from rlhf_budget.scenario.values import dataclass
from rlhf_budget.scenario.written import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from rlhf_budget.scenario.assumptions import Assumption
    from rlhf_budget.scenario.written import Written


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
    def from_written(
        cls, written: Written, like: Scenario | None = None, *, check_ends: bool = True
    ) -> Scenario:
        """Resolve what is written in files.

        The tail of the scenario that it is ``like`` is taken over where it is the same, so that it
        is not made anew.

        Raises
        ------
        ScenarioError
            With everything that is wrong.
        """
        scenario = cls.__new__(cls)
        scenario._fill(written, like, check_ends=check_ends)  # noqa: SLF001 - its own
        return scenario

    def _fill(
        self, written: Written, like: Scenario | None = None, *, check_ends: bool = True
    ) -> None:
        resolution = resolve(written, check_ends=check_ends)
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

    def with_values(self, values: Mapping[str, Any], *, check_ends: bool = True) -> Scenario:
        """Return the scenario with some keys set, as the option ``--set`` does.

        Parameters
        ----------
        values
            Key path, such as ``costs.label``, -> the value, in any form that a file allows; None
            takes the key out. Constants that depend on it, such as an unknown coverage, are
            resolved anew.
        check_ends
            Whether both ends of every range that is left have to be legal, beside its middle.

        Raises
        ------
        ScenarioError
            With everything that is wrong with the scenario then.
        """
        plain_values = {key: plain(value) for key, value in values.items()}
        written = with_values(self._written, plain_values)
        return self.from_written(written, like=self, check_ends=check_ends)

    def with_sections(self, other: Scenario, names: Collection[str]) -> Scenario:
        """Return the scenario with some sections of another one, as that one resolved them."""
        texts = [scenario._written.values for scenario in (self, other)]  # noqa: SLF001 - its own
        ours = {name: text for name, text in texts[0].items() if name not in names}
        theirs = {name: text for name, text in texts[1].items() if name in names}

        def owner(entry: Assumption) -> Scenario:
            return other if entry.constant.partition(".")[0] in names else self

        assumed = [entry for entry in self.assumed if owner(entry) is self]
        assumed += [entry for entry in other.assumed if owner(entry) is other]
        return self.model_copy(
            update={name: getattr(other, name) for name in names}
            | {"assumed": (*assumed,), "_written": replace(self._written, values=ours | theirs)}
        )

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
    bound, costs, limits = values["bound"], values["costs"], values["limits"]
    reward_model = values["reward_model"]
    if isinstance(reward_model, dict):
        error = reward_model["error"]
        error = ErrorCurve(**error) if isinstance(error, dict) else error
        reward_model = RewardModel(**{"coverage": None, **reward_model, "error": error})
    return values | {
        "objective": Objective(**values["objective"]),
        "bound": BoundSettings(**bound | {"sgd": _unless_absent(Sgd, bound.get("sgd"))}),
        "costs": Costs(
            PromptCost(**costs["prompt"]),
            costs["rollout"],
            costs.get("label"),
            costs["fixed"],
            derived=resolution.derived,
        ),
        "reward_model": reward_model,
        "log_ratio": _unless_absent(LogRatio, values["log_ratio"]),
        "groups": _unless_absent(Groups, values["groups"]),
        "limits": Limits(
            prompts=IntegerRange(**limits["prompts"]),
            rollouts_per_prompt=RolloutLimits(**limits["rollouts_per_prompt"]),
            labels=IntegerRange(**limits["labels"]),
            clip_threshold=NumberRange(**limits["clip_threshold"]),
            group_size=_unless_absent(RolloutLimits, limits["group_size"]),
            epochs=_unless_absent(IntegerRange, limits["epochs"]),
        ),
        "current": _unless_absent(CurrentAllocation, values["current"]),
        "progress": _unless_absent(Progress, values["progress"]),
        "assumed": resolution.assumed,
    }


def _unless_absent(section: Callable[..., Any], values: dict[str, Any] | None) -> Any:
    return section(**values) if values else None
