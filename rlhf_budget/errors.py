"""The exceptions of rlhf-budget.

Every exception that the package raises on purpose is in this tree::

    RlhfBudgetError
    ├── ScenarioError (also a ValueError)   a scenario file or value is wrong
    ├── InfeasibleError                     no allocation fits the budget and the limits
    ├── UnreachableTargetError              no budget reaches the target
    ├── LogError                            a log or table of runs cannot be read
    ├── CalibrationError                    the data do not give the constants asked for
    ├── FileAccessError (also an OSError)   a file could not be read or written
    └── MissingExtraError (also an ImportError)  an optional package is not installed
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a scenario."""

    key: str
    """Key path, such as ``costs.label``; empty for the file as a whole."""
    found: str
    """What stands there, as the user would recognise it."""
    allowed: str
    """What would be right."""
    file: str | None = None
    """File that wrote the value; None where it came from code."""
    line: int | None = None
    """Line in that file, from 1."""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        where = ": ".join(part for part in (place, self.key) if part)
        return f"{where}: found {self.found}; allowed: {self.allowed}"


class RlhfBudgetError(Exception):
    """Base of all exceptions that rlhf-budget raises on purpose."""


class ScenarioError(RlhfBudgetError, ValueError):
    """A scenario is wrong; ``problems`` holds everything found in it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class InfeasibleError(RlhfBudgetError):
    """No allocation within the limits fits the budget."""

    def __init__(
        self, message: str, *, least_budget: float, shortfall: float, limits: tuple[str, ...]
    ) -> None:
        super().__init__(message)
        self.least_budget = least_budget
        self.shortfall = shortfall
        self.limits = limits


class UnreachableTargetError(RlhfBudgetError):
    """No budget brings the bound down to the target."""

    def __init__(self, message: str, *, infimum: float, limits: tuple[str, ...]) -> None:
        super().__init__(message)
        self.infimum = infimum
        self.limits = limits


class LogError(RlhfBudgetError):
    """A log cannot be read; names the file, the row and the rule that it breaks."""


class CalibrationError(RlhfBudgetError):
    """The data do not give the constants asked for."""


class FileAccessError(RlhfBudgetError, OSError):
    """A file could not be read or written."""


class MissingExtraError(RlhfBudgetError, ImportError):
    """An optional package is missing; the message names the extra that brings it."""


_ERROR_CODES: tuple[tuple[type[RlhfBudgetError], str], ...] = (
    (ScenarioError, "invalid"),
    (InfeasibleError, "infeasible"),
    (UnreachableTargetError, "unreachable"),
    (LogError, "log"),
    (CalibrationError, "calibration"),
    (FileAccessError, "file-access"),
    (MissingExtraError, "missing-extra"),
)


def error_dict(error: BaseException) -> dict[str, Any]:
    """Return ERR of the JSON interface for an exception of this package."""
    code = next((code for kind, code in _ERROR_CODES if isinstance(error, kind)), "internal")
    entry: dict[str, Any] = {
        "code": code,
        "message": str(error),
        "least_budget": getattr(error, "least_budget", None),
        "shortfall": getattr(error, "shortfall", None),
        "limits": list(getattr(error, "limits", ())),
        "problems": [_problem_dict(problem) for problem in getattr(error, "problems", ())],
    }
    if isinstance(error, UnreachableTargetError):
        entry["infimum"] = error.infimum
    return entry


def _problem_dict(problem: Problem) -> dict[str, Any]:
    entry = asdict(problem)
    return {name: entry[name] for name in ("file", "line", "key", "found", "allowed")}
