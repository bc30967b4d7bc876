"""What every calibration returns: estimates with intervals, their source, their warnings.

The four calibrations (rollouts, reward model, coverage, costs) share these shapes; a subclass of
:class:`Calibration` adds its own (a tail, groups, a curve) through :meth:`Calibration.parts`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from rlhf_budget.errors import CalibrationError
from rlhf_budget.scenario.records import AS_MAPPING, NOT_IN_JSON, Record, json_form

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rlhf_budget.calibrate.agreement.calibration import VoteCounts
    from rlhf_budget.calibrate.reward_model.calibration import ReportedCurve
    from rlhf_budget.calibrate.rollouts.groups import GroupShare
    from rlhf_budget.calibrate.rollouts.tail_summary import TailSummary
    from rlhf_budget.scenario import units

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
    "missing-steps",
]
Fragment = dict[str, Any]
"""Nested mapping of constants that pastes into a scenario."""

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Estimate(Record):
    """One constant of a scenario, estimated from data."""

    constant: str
    """Key path in a scenario, such as ``bound.prompt_variance``."""
    unit: str
    """Unit of value, standard error and interval."""
    status: Status
    """``estimated``, ``unreliable`` (a value, with a reason in ``note``) or ``unavailable``."""
    value: units.OwnUnit | None
    """The estimate; None where unavailable."""
    standard_error: units.OwnUnit | None
    """Standard error in the same unit; None where unknown or not applicable."""
    interval: tuple[units.OwnUnit, units.OwnUnit] | None
    """Interval at the calibration's level; None where unknown or not applicable."""
    method: str
    """Short name of the estimator."""
    sample_size: units.Count
    """Number of independent units behind the value (prompt groups, rollouts, steps, points); 0
    where it was given, not estimated."""
    note: str | None = None
    """What a reader must know: why unreliable or unavailable, and what to log."""
    pasted: bool = field(default=True, metadata=NOT_IN_JSON)
    """False for what is no scenario key: it stays out of the fragment."""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.status == "unavailable"):
            raise ValueError(
                f"{self.constant}: a value and the status {self.status} exclude each other"
            )

    @classmethod
    def of(
        cls,
        constant: str,
        unit: str,
        method: str,
        sample_size: int,
        value: float,
        standard_error: float | None = None,
        interval: tuple[float, float] | None = None,
        *,
        doubt: str | None = None,
        note: str | None = None,
        pasted: bool = True,
    ) -> Self:
        """Return an estimate: ``unreliable`` where there is a doubt, which begins its note."""
        status: Status = "unreliable" if doubt else "estimated"
        told = "; ".join(part for part in (doubt, note) if part) or None
        numbers = (value, standard_error, interval)
        return cls(constant, unit, status, *numbers, method, sample_size, told, pasted)

    @classmethod
    def unavailable(cls, constant: str, unit: str, method: str, note: str) -> Self:
        """Return the estimate that the data do not give; ``note`` says why and what to log."""
        return cls(constant, unit, "unavailable", None, None, None, method, 0, note)


@dataclass(frozen=True, slots=True)
class CalibrationWarning(Record):
    """Something in the data that the reader must act on."""

    code: WarningCode
    """Stable code."""
    message: str
    """What was seen, and what to do."""


@dataclass(frozen=True, slots=True)
class Skip(Record):
    """Rows that were read and not used, for one reason."""

    reason: str
    """Short name of the reason, such as ``null-reward``."""
    count: units.Count
    """Number of rows."""


@dataclass(frozen=True, slots=True)
class GroupSizes(Record):
    """Rollouts per prompt group among the rows used."""

    json_names: ClassVar = ("min=least", "mean", "max=most")

    least: units.Rollouts
    """Smallest group."""
    mean: units.RealRollouts
    """Mean group."""
    most: units.Rollouts
    """Largest group."""


@dataclass(frozen=True, slots=True)
class FileSkip(Record):
    """A file without a readable row."""

    file: str
    """Its path."""
    reason: str
    """Why no row could be read."""


@dataclass(frozen=True, slots=True)
class RowCount(Record):
    """What became of the rows."""

    read: units.Count
    """Rows in the files."""
    used: units.Count
    """Rows behind the estimates; ``read`` less all ``skipped``."""
    skipped: tuple[Skip, ...]
    """Rows left out, by reason."""


@dataclass(frozen=True, slots=True)
class Source(Record):
    """Where the numbers come from."""

    json_names: ClassVar = (
        "files",
        "trainer",
        "fields",
        "rows",
        "files_skipped=unread",
        "steps",
        "prompts",
        "rollouts_per_prompt",
    )

    files: tuple[str, ...] = ()
    """Files that were read; empty for a frame in memory."""
    trainer: str | None = None
    """Trainer whose format was recognised; None where fields were given by hand."""
    fields: tuple[tuple[str, str | None], ...] = field(default=(), metadata=AS_MAPPING)
    """Pairs (role, field name), such as ``("reward", "score")``; None for a role without field."""
    rows_read: int = 0
    """Rows in the files."""
    rows_used: int = 0
    """Rows behind the estimates; ``rows_read`` less all ``skipped``."""
    skipped: tuple[Skip, ...] = ()
    """Rows left out, by reason."""
    steps: tuple[units.Step, units.Step] | None = None
    """First and last training step used."""
    files_skipped: tuple[tuple[str, str], ...] = ()
    """Pairs (file, why) of files without a readable row."""
    prompts: units.Prompts = 0
    """Prompt groups used: one prompt at one step is one group."""
    rollouts_per_prompt: GroupSizes | None = None
    """Sizes of these groups; None where rows are not rollouts."""

    @classmethod
    def counted(
        cls, files: Iterable[str | Path], used: int, reasons: Iterable[str], **known: Any
    ) -> Self:
        """Return the source of rows of which some were used, the others left out for reasons."""
        counts = Counter(reasons)
        return cls(
            files=tuple(map(str, files)),
            rows_read=used + counts.total(),
            rows_used=used,
            skipped=tuple(Skip(reason, count) for reason, count in sorted(counts.items())),
            **known,
        )

    @property
    def rows(self) -> RowCount:
        """What became of the rows."""
        return RowCount(self.rows_read, self.rows_used, self.skipped)

    @property
    def unread(self) -> tuple[FileSkip, ...]:
        """Files without a readable row."""
        return tuple(FileSkip(file, reason) for file, reason in self.files_skipped)


@dataclass(frozen=True, slots=True)
class Choice:
    """A word in the fragment that goes with estimated numbers, such as a tail's family."""

    key: str
    """Key path in a scenario."""
    value: str
    """The word."""
    requires: tuple[str, ...]
    """Constants that must all be in the fragment, or the word is left out."""


def require_level(level: float) -> None:
    """Raise CalibrationError unless a level of intervals is between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise CalibrationError(f"the level must be between 0 and 1, found {level:g}")


@dataclass(frozen=True)
class Calibration(Record):
    """Constants from data: what the four ``calibrate`` commands have in common."""

    command: ClassVar[str] = "calibrate"
    json_names: ClassVar = (
        "level",
        "source",
        "estimates",
        "tail",
        "groups",
        "curve=reported_curve",
        "agreement=votes",
        "fragment",
    )

    level: units.Share
    """Level of all intervals."""
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
        """Return the nested mapping that pastes into a scenario, and words that go with it."""
        accepted = {"estimated", "unreliable"} if include_unreliable else {"estimated"}
        taken = {e.constant: e.value for e in self.estimates if e.pasted and e.status in accepted}
        chosen = {c.key: c.value for c in self.choices if taken.keys() >= set(c.requires)}
        fragment: Fragment = {}
        for key_path, value in (*chosen.items(), *taken.items()):
            *parents, leaf = key_path.split(".")
            inner = fragment
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[leaf] = value
        return fragment

    @property
    def tail(self) -> TailSummary | None:
        """Distribution of the log-ratio; None but for rollouts that hold one."""
        return None

    @property
    def groups(self) -> tuple[GroupShare, ...] | None:
        """Informative groups by size; None but for rollouts whose reward takes two values."""
        return None

    @property
    def reported_curve(self) -> ReportedCurve | None:
        """Loss of a reward model against labels; None but for reward models."""
        return None

    @property
    def votes(self) -> VoteCounts | None:
        """Votes behind an agreement; None but for preference sets."""
        return None

    def to_dict(self, *, include_unreliable: bool = False) -> dict[str, Any]:
        """Return the whole result as JSON holds it (interface: ``calibrate``)."""
        import rlhf_budget

        return {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "rlhf-budget", "version": getattr(rlhf_budget, "__version__", "0")},
            "command": self.command,
            "warnings": json_form(self.warnings),
            **json_form(self),
            "fragment": self.fragment(include_unreliable=include_unreliable),
        }
