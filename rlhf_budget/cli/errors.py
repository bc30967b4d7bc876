"""What a user sees when something goes wrong, and the exit code."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer

from rlhf_budget.errors import (
    CalibrationError,
    FileAccessError,
    InfeasibleError,
    LogError,
    MissingExtraError,
    ProofError,
    RlhfBudgetError,
    ScenarioError,
    TrainerError,
    UnreachableTargetError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.errors import Problem
    from rlhf_budget.report.layout import Line

NOT_PROVED = 1
USAGE = 2
INFEASIBLE = 3
FILE = 4
INTERNAL = 70
"""A mistake of ours (EX_SOFTWARE), told apart from every answer."""
INTERRUPTED = 130

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (ScenarioError, USAGE),
    (CalibrationError, USAGE),
    (MissingExtraError, USAGE),
    (TrainerError, USAGE),
    (InfeasibleError, INFEASIBLE),
    (UnreachableTargetError, INFEASIBLE),
    (ProofError, NOT_PROVED),
    (LogError, FILE),
    (FileAccessError, FILE),
    (OSError, FILE),
)

# The base of Typer's own exceptions, in its copy of Click, which exports it under no public name.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def report(error: Exception, arguments: Sequence[str]) -> int:
    """Tell an error on standard error and return the exit code.

    With ``--format json`` it is one ERR object; with ``--debug`` its traceback comes first.
    """
    usage = isinstance(error, UsageError)
    if "--debug" in arguments and not usage:
        traceback.print_exception(error)
    if wants_json(arguments):
        _print_json(error)
    elif usage:
        _print_usage(error)
    else:
        _print_plain(error)
    return USAGE if usage else exit_code(error)


def exit_code(error: BaseException) -> int:
    """Return the exit code that an exception stands for."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL)


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether ``--format json`` was given, even where the rest cannot be parsed."""
    return any(
        argument in {"--format=json", "-fjson"}
        or (argument in {"--format", "-f"} and following == "json")
        for argument, following in zip(arguments, [*arguments[1:], ""], strict=True)
    )


def _print_json(error: Exception) -> None:
    from rlhf_budget.report.data import json_text
    from rlhf_budget.scenario.failure import failure

    entry = failure(error).to_dict()
    if isinstance(error, UsageError):
        usage: Any = error
        entry |= {"code": "usage", "message": usage.format_message()}
    elif not isinstance(error, RlhfBudgetError):
        entry |= {"code": "file-access" if isinstance(error, OSError) else "internal"}
    sys.stderr.write(json_text(entry))


def _print_usage(error: Any) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{error.format_message()}\n")
        return
    _print_lines(error.format_message())
    if error.ctx is not None:
        sys.stderr.write(
            f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n"
        )


def _print_plain(error: Exception) -> None:
    if isinstance(error, ScenarioError):
        number = len(error.problems)
        head = "1 problem" if number == 1 else f"{number} problems"
        _print_lines(f"{head} in the scenario", error.problems)
    elif isinstance(error, RlhfBudgetError):
        _print_lines(str(error))
    elif isinstance(error, OSError):
        where = error.filename or "output"
        _print_lines(f"{where}: {error.strerror or error}")
    else:
        _print_lines(
            f"unexpected {type(error).__name__}: {error}. This is a mistake in rlhf-budget: please "
            "report it, with what --debug prints."
        )


def _print_lines(head: str, problems: Sequence[Problem] = ()) -> None:
    from rlhf_budget.report.layout import Span, wrap
    from rlhf_budget.report.terminal import NARROWEST, stream_width, write_lines

    # In a pipe a message stays on one line, for grep.
    width = max(NARROWEST, stream_width(sys.stderr)) if sys.stderr.isatty() else sys.maxsize
    first, *more = [line for text in f"error: {head}".splitlines() for line in wrap(text, width)]
    start, rest = first[:5], first[5:]
    lines: list[Line] = [(Span(start, "bold red"), Span(rest))]
    lines += [(Span(line),) for line in more]
    for problem in problems:
        if problem.place:
            lines += [(Span(line, "bold"),) for line in wrap(f"  {problem.place}", width)]
        lines += [(Span(line),) for line in wrap(f"      {problem.text}", width)]
    write_lines(lines, sys.stderr)


def abandon_output() -> None:
    """Keep the interpreter from complaining on exit that nobody reads its output any more."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
