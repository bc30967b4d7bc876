"""Where results go: one function for every command and format."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from glob import glob
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from rlhf_budget.report.formats import TABLE, Answer, format_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Answer", "Command", "check_suffix", "deliver", "notice", "progress", "send"]

OUTPUTS = frozenset({"output", "plot", "proof"})
"""Parameters that name files to write, in whatever command; but ``check`` reads its proof."""
NO_FILES = frozenset({"NAME", "FIELD"})
"""Metavariables of words that are no files, whatever files are called; a choice has none."""


class Command(TyperCommand):
    """A command that begins no work whose outputs would destroy an input, or one another."""

    def invoke(self, ctx: Any) -> Any:
        """Run it, once it is clear that every file to write is nothing else that was named."""
        written = OUTPUTS - {"proof"} if self.name == "check" else OUTPUTS
        named = [
            (each.get_error_hint(ctx), text, each.name in written)
            for each in self.params
            if (each.metavar or "NAME") not in NO_FILES
            for text in _texts(ctx.params.get(each.name or ""))
        ]
        for (one, file, out), (other, second, also) in combinations(named, 2):
            if (out and _stands_for(second, file)) or (also and _stands_for(file, second)):
                message = f"{file if out else second} is named by {one} and by {other}: what is "
                raise typer.BadParameter(f"{message}written would replace it. Name another file.")
        return super().invoke(ctx)


def _texts(value: Any) -> list[str]:
    """Words that may name files: those of a list, and of NAME=FILE both the whole and the file."""
    words = value if isinstance(value, (list, tuple)) else [value]
    given = [word for word in words if isinstance(word, str)]
    return [part for word in given for part in {word, word.partition("=")[2]} if part]


def _stands_for(word: str, output: str) -> bool:
    """Whether a word stands for the file to write: its path, a link, a pattern, a folder of logs.

    What is neither a file nor to be one, such as a terminal, holds nothing that could be lost.
    """
    if output == "-" or (Path(output).exists() and not Path(output).is_file()):
        return False
    target = os.path.realpath(output)
    if word == "-":
        return _is_same("/dev/stdin", target)
    if os.path.isdir(word):  # noqa: PTH112 (Path.is_dir fails where a word is no name of a file)
        from rlhf_budget.calibrate.logs.files import format_of as log_format

        inside = Path(target).is_relative_to(os.path.realpath(word))
        return inside and Path(target).exists() and log_format(target) is not None
    matches = glob(word, recursive=True)  # noqa: PTH207 (Path.glob refuses absolute ones)
    return any(_is_same(each, target) for each in (word, *matches))


def _is_same(word: str, target: str) -> bool:
    if os.path.realpath(word) == target:
        return True
    try:
        return Path(word).samefile(target)
    except OSError:  # one of them is not there
        return False


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
