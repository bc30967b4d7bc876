"""Where results go: one function for every command and format."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rlhf_budget.report.formats import TABLE, Answer, format_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Answer", "check_suffix", "deliver", "notice", "progress", "send"]


def send(answer: Answer, format_: str | None, output: str | None, *, quiet: bool) -> None:
    """Print an answer, or write it to a file whole or not at all."""
    try:
        chosen = format_ or format_of(output)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from None
    if chosen == TABLE and output in {None, "-"}:
        from rlhf_budget.report.terminal import show

        show(answer.document(), sys.stdout)
    else:
        deliver(text_of(answer, chosen), output, quiet=quiet)


def check_suffix(file: str | None, *allowed: str, option: str = "--output") -> None:
    """Refuse a file whose suffix promises what is not written; none at all promises nothing."""
    suffix = Path(file or "").suffix.lower()
    if suffix and suffix not in allowed:
        message = f"what to write to {file}? Its name must end in {' or '.join(allowed)}."
        raise typer.BadParameter(message, param_hint=option)


def deliver(text: str, output: str | None, *, quiet: bool) -> None:
    """Write finished text to standard output or to a file."""
    if output is None or output == "-":
        sys.stdout.write(text)
        return
    from rlhf_budget.report.data import write_whole

    write_whole(output, text)
    notice(f"Wrote {output}.", quiet=quiet)


def notice(message: str, *, quiet: bool) -> None:
    """Say something that is no result: on standard error, unless asked to be quiet."""
    if not quiet:
        print(message, file=sys.stderr)  # noqa: T201 - notices are what standard error is for


@contextmanager
def progress(title: str, total: int | None, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show a bar on standard error while it is a terminal; yield what moves it.

    Parameters
    ----------
    title
        What is being done.
    total
        Steps that it takes; None where nobody knows.
    quiet
        Whether to show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import Progress

    from rlhf_budget.report.terminal import make_console

    with Progress(console=make_console(sys.stderr), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
