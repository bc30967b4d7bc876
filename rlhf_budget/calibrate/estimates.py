"""What every calibration returns: estimates with intervals, their source, their warnings.

The four calibrations (rollouts, reward model, coverage, costs) share these shapes; a subclass of
:class:`Calibration` adds its own (a tail, groups, a curve) through :meth:`Calibration.parts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from rlhf_budget.errors import CalibrationError

Status = Literal["estimated", "unreliable", "unavailable"]
WarningCode = Literal[
    "filtered-groups",
    "repeated-batches",
    "evaluation-rows",
    "dynamic-groups",
    "standardised-rewards",
    "few-prompts",
    "no-log-ratio",
    "kl-unstable",
    "curve-not-identified",
    "heavy-weights",
    "steps-unknown",
    "not-a-reward-model",
    "log-alone",
    "few-pairs",
]
Fragment = dict[str, Any]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """One constant of a scenario, estimated from data."""

    constant: str
    """Key path in a scenario, such as ``bound.prompt_variance``."""
    unit: str
    """Unit of value, standard error and interval."""
    status: Status
    """``estimated``, ``unreliable`` (a value, with a reason in ``note``) or ``unavailable``."""
    value: float | None
    """The estimate; None where unavailable."""
    standard_error: float | None
    """Standard error in the same unit; None where unknown or not applicable."""
    interval: tuple[float, float] | None
    """Interval at the calibration's level; None where unknown or not applicable."""
    method: str
    """Short name of the estimator."""
    sample_size: int
    """Number of independent units behind the value (prompt groups, rollouts, steps, points)."""
    note: str | None = None
    """What a reader must know: why unreliable or unavailable, and what to log."""
    pasted: bool = True
    """False for what is no scenario key: it stays out of the fragment (not in JSON)."""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.status == "unavailable"):
            raise ValueError(
                f"{self.constant}: a value and the status {self.status} exclude each other"
            )

    @classmethod
    def unavailable(cls, constant: str, unit: str, method: str, note: str) -> Self:
        """Return the estimate that the data do not give; ``note`` says why and what to log."""
        return cls(constant, unit, "unavailable", None, None, None, method, 0, note)

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as JSON holds it."""
        return {
            "constant": self.constant,
            "unit": self.unit,
            "status": self.status,
            "value": self.value,
            "standard_error": self.standard_error,
            "interval": None if self.interval is None else list(self.interval),
            "method": self.method,
            "sample_size": self.sample_size,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class CalibrationWarning:
    """Something in the data that the reader must act on."""

    code: WarningCode
    """Stable code."""
    message: str
    """What was seen, and what to do."""

    def to_dict(self) -> dict[str, str]:
        """Return the warning as JSON holds it."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Skip:
    """Rows that were read and not used, for one reason."""

    reason: str
    """Short name of the reason, such as ``null-reward``."""
    count: int
    """Number of rows."""


@dataclass(frozen=True, slots=True)
class GroupSizes:
    """Rollouts per prompt group among the rows used."""

    least: int
    """Smallest group, in rollouts."""
    mean: float
    """Mean group, in rollouts."""
    most: int
    """Largest group, in rollouts."""

    def to_dict(self) -> dict[str, float]:
        """Return the sizes as JSON holds them."""
        return {"min": self.least, "mean": self.mean, "max": self.most}


@dataclass(frozen=True, slots=True)
class Source:
    """Where the numbers come from."""

    files: tuple[str, ...] = ()
    """Files that were read; empty for a frame in memory."""
    trainer: str | None = None
    """Trainer whose format was recognised; None where fields were given by hand."""
    fields: tuple[tuple[str, str | None], ...] = ()
    """Pairs (role, field name), such as ``("reward", "score")``; None for a role without field."""
    rows_read: int = 0
    """Rows in the files."""
    rows_used: int = 0
    """Rows behind the estimates; ``rows_read`` less all ``skipped``."""
    skipped: tuple[Skip, ...] = ()
    """Rows left out, by reason."""
    steps: tuple[int, int] | None = None
    """First and last training step used."""
    files_skipped: tuple[tuple[str, str], ...] = ()
    """Pairs (file, why) of files without a readable row."""
    prompts: int = 0
    """Prompt groups used: one prompt at one step is one group."""
    rollouts_per_prompt: GroupSizes | None = None
    """Sizes of these groups; None where rows are not rollouts."""

    def to_dict(self) -> dict[str, Any]:
        """Return the source as JSON holds it."""
        sizes = self.rollouts_per_prompt
        return {
            "files": list(self.files),
            "trainer": self.trainer,
            "fields": dict(self.fields),
            "rows": {
                "read": self.rows_read,
                "used": self.rows_used,
                "skipped": [{"reason": s.reason, "count": s.count} for s in self.skipped],
            },
            "files_skipped": [{"file": f, "reason": why} for f, why in self.files_skipped],
            "steps": None if self.steps is None else list(self.steps),
            "prompts": self.prompts,
            "rollouts_per_prompt": None if sizes is None else sizes.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """A word in the fragment that goes with estimated numbers, such as a tail's family."""

    key: str
    """Key path in a scenario."""
    value: str
    """The word."""
    requires: tuple[str, ...]
    """Constants that must all be in the fragment, or the word is left out."""


def build_fragment(
    estimates: tuple[Estimate, ...],
    *,
    choices: tuple[Choice, ...] = (),
    include_unreliable: bool = False,
) -> Fragment:
    """Return the nested mapping that pastes into a scenario.

    Parameters
    ----------
    estimates
        Candidates; only ``estimated`` ones that are scenario keys are taken.
    choices
        Words to write beside them.
    include_unreliable
        Take ``unreliable`` values too.
    """
    accepted = {"estimated", "unreliable"} if include_unreliable else {"estimated"}
    taken = {e.constant: e.value for e in estimates if e.pasted and e.status in accepted}
    fragment: Fragment = {}
    for choice in choices:
        if all(constant in taken for constant in choice.requires):
            _put(fragment, choice.key, choice.value)
    for constant, value in taken.items():
        _put(fragment, constant, value)
    return fragment


def _put(fragment: Fragment, key_path: str, value: object) -> None:
    *parents, leaf = key_path.split(".")
    inner = fragment
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[leaf] = value


@dataclass(frozen=True)
class Calibration:
    """Constants from data: what the four ``calibrate`` commands have in common."""

    command: ClassVar[str] = "calibrate"

    level: float
    """Level of all intervals, a share in (0, 1)."""
    source: Source
    """Files, fields and rows behind the numbers."""
    estimates: tuple[Estimate, ...]
    """Every constant that the command can give, unavailable ones too."""
    warnings: tuple[CalibrationWarning, ...] = ()
    """What the reader must act on."""
    choices: tuple[Choice, ...] = ()
    """Words that the fragment carries beside the numbers (not in JSON)."""

    def estimate(self, constant: str) -> Estimate:
        """Return the estimate of one constant.

        Raises
        ------
        CalibrationError
            If the command does not give that constant.
        """
        for candidate in self.estimates:
            if candidate.constant == constant:
                return candidate
        known = ", ".join(e.constant for e in self.estimates)
        raise CalibrationError(f"no constant {constant}; there are {known}")

    def fragment(self, *, include_unreliable: bool = False) -> Fragment:
        """Return the nested mapping that pastes into a scenario."""
        return build_fragment(
            self.estimates, choices=self.choices, include_unreliable=include_unreliable
        )

    def parts(self) -> dict[str, Any]:
        """Return what a subclass adds to JSON: ``tail``, ``groups``, ``curve``, ``agreement``."""
        return {}

    def to_dict(self, *, include_unreliable: bool = False) -> dict[str, Any]:
        """Return the whole result as JSON holds it (interface: ``calibrate``)."""
        import rlhf_budget

        return {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "rlhf-budget", "version": getattr(rlhf_budget, "__version__", "0")},
            "command": self.command,
            "warnings": [warning.to_dict() for warning in self.warnings],
            "level": self.level,
            "source": self.source.to_dict(),
            "estimates": [estimate.to_dict() for estimate in self.estimates],
            "tail": None,
            "groups": None,
            "curve": None,
            "agreement": None,
            **self.parts(),
            "fragment": self.fragment(include_unreliable=include_unreliable),
        }
