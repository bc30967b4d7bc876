"""The exceptions of rlhf-budget.

Every exception that the package raises on purpose is in this tree::

    RlhfBudgetError
    ├── ScenarioError (also a ValueError)   a scenario file or value is wrong
    ├── InfeasibleError                     no allocation fits the budget and the limits
    ├── UnreachableTargetError              no budget reaches the target
    ├── LogError                            a log or table of runs cannot be read
    ├── CalibrationError                    the data do not give the constants asked for
    ├── TrainerError (also a ValueError)    a trainer would refuse what the plan asks of it
    ├── ProofError                          a proof does not prove what it claims
    ├── FileAccessError (also an OSError)   a file could not be read or written
    └── MissingExtraError (also an ImportError)  an optional package is not installed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from rlhf_budget.scenario import units


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a scenario."""

    json_names: ClassVar = ("file", "line", "key", "found", "allowed")

    key: str
    """Key path, such as ``costs.label``; empty for the file as a whole."""
    found: str
    """What stands there, as the user would recognise it."""
    allowed: str
    """What would be right."""
    file: str | None = None
    """File that wrote the value; None where it came from code."""
    line: units.Line | None = None
    """Line in that file."""

    @property
    def place(self) -> str:
        """Where it is: file, line and key, as far as they are known."""
        written = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (written, self.key) if part)

    @property
    def text(self) -> str:
        """What it is."""
        return f"found {self.found}; allowed: {self.allowed}"

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class RlhfBudgetError(Exception):
    """Base of all exceptions that rlhf-budget raises on purpose."""

    code: ClassVar[str] = "internal"
    """Stable name in JSON."""


class ScenarioError(RlhfBudgetError, ValueError):
    """A scenario is wrong; ``problems`` holds everything found in it."""

    code = "invalid"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class InfeasibleError(RlhfBudgetError):
    """No allocation within the limits fits the budget."""

    code = "infeasible"

    def __init__(
        self, message: str, *, least_budget: float, shortfall: float, limits: tuple[str, ...]
    ) -> None:
        super().__init__(message)
        self.least_budget = least_budget
        self.shortfall = shortfall
        self.limits = limits


class UnreachableTargetError(RlhfBudgetError):
    """No budget brings the bound down to the target."""

    code = "unreachable"

    def __init__(self, message: str, *, infimum: float, limits: tuple[str, ...]) -> None:
        super().__init__(message)
        self.infimum = infimum
        self.limits = limits


class LogError(RlhfBudgetError):
    """A log cannot be read; names the file, the row and the rule that it breaks."""

    code = "log"


class CalibrationError(RlhfBudgetError):
    """The data do not give the constants asked for."""

    code = "calibration"


class TrainerError(RlhfBudgetError, ValueError):
    """A trainer would refuse what the plan asks of it; names the nearest that it takes."""

    code = "trainer"


class ProofError(RlhfBudgetError):
    """A proof does not prove what it claims, or cannot be made."""

    code = "proof"


class FileAccessError(RlhfBudgetError, OSError):
    """A file could not be read or written."""

    code = "file-access"


class MissingExtraError(RlhfBudgetError, ImportError):
    """An optional package is missing; the message names the extra that brings it."""

    code = "missing-extra"
