"""Where results go: one function for every command and format."""

from __future__ import annotations

import sys

import typer

from rlhf_budget.report.formats import TABLE, Answer, format_of, text_of

__all__ = ["Answer", "deliver", "notice", "send"]


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
