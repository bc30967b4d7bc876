"""``rlhf-budget explain``."""

from __future__ import annotations

from typing import Annotated

import typer

from rlhf_budget.cli import options  # noqa: TC001 - Typer evaluates annotations at run time


def _completed(incomplete: str) -> list[str]:
    from rlhf_budget.report.explain import subjects

    return [name for name in subjects() if name.startswith(incomplete)]


def explain(
    subject: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY|CODE|WORD",
            help="A key path (costs.label), a warning's code or a word of the tables.",
            autocompletion=_completed,
            show_default=False,
        ),
    ],
    _debug: options.Debug = False,
) -> None:
    """Say what a key of the scenario, a warning or a word means.

    For example: rlhf-budget explain clip threshold
    """
    import sys

    from rlhf_budget.report.explain import explain as explained
    from rlhf_budget.report.terminal import show

    try:
        document = explained(" ".join(subject))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    show(document, sys.stdout)
