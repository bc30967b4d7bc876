"""The application: a table of commands, each imported when it is used, and one place to fail."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from rlhf_budget import __version__
from rlhf_budget.cli import errors, output

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "rlhf-budget"
_COMPLETION = "_RLHF_BUDGET_COMPLETE"
"""Environment variable by which a shell asks for completions."""


class Entry(NamedTuple):
    """Where a command lives."""

    module: str
    """Module to import when the command is used."""
    attribute: str
    """Its function, or a Typer application for a command with sub-commands."""
    help: str
    """One line for the list of commands."""


COMMANDS = {
    "init": Entry("rlhf_budget.cli.init", "init", "Write a commented starter scenario."),
    "plan": Entry("rlhf_budget.cli.plan", "plan", "Find the certified best allocation."),
    "compare": Entry(
        "rlhf_budget.cli.compare", "compare", "Set scenarios side by side and explain differences."
    ),
    "check": Entry("rlhf_budget.cli.check", "check", "Gate a plan in continuous integration."),
    "verify": Entry(
        "rlhf_budget.cli.verify",
        "verify",
        "Check proofs that plan --proof wrote, without a search.",
    ),
    "sweep": Entry("rlhf_budget.cli.sweep", "sweep", "Plan one constant over a range."),
    "calibrate": Entry(
        "rlhf_budget.cli.calibrate", "calibrate_app", "Estimate a scenario's constants from logs."
    ),
    "simulate": Entry(
        "rlhf_budget.cli.simulate", "simulate", "Try plans in worlds where the truth is known."
    ),
    "report": Entry("rlhf_budget.cli.report", "report", "Make one page of everything."),
    "export": Entry(
        "rlhf_budget.cli.export", "export", "Write the plan as a trainer's own options."
    ),
    "explain": Entry(
        "rlhf_budget.cli.explain", "explain", "Say what a key, a warning or a word means."
    ),
    "schema": Entry(
        "rlhf_budget.cli.schema", "schema", "Print the JSON Schema of scenarios or of an output."
    ),
}
"""Name -> where the command lives; the order is that of the help page."""


class LazyGroup(TyperGroup):
    """A group that lists every command of ``COMMANDS`` and imports only the one that is used."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, help=entry.help), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Replace the listed stand-in by the real command."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, stand_in and load(COMMANDS[stand_in.name or ""], stand_in.name), rest


def load(entry: Entry, name: str | None) -> Any:
    """Import a command and make it ready to run."""
    target = getattr(import_module(entry.module), entry.attribute)
    if isinstance(target, typer.Typer):
        return typer.main.get_group(target)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, cls=output.Command)(target)
    return typer.main.get_command(single)


app = typer.Typer(
    name=NAME,
    cls=LazyGroup,
    pretty_exceptions_enable=False,
    # Plain help reads the same on a terminal, in a pipe and at 60 columns, and starts sooner.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Plan how many prompts, rollouts and preference labels a budget should buy for RLHF, "
    "and prove that no other split gives a better bound.",
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print results and errors only.")
    ] = False,
    _debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Options of every command; commands look ``quiet`` up in the root context."""


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; whatever goes wrong is told here."""
    command = typer.main.get_command(app)
    if _COMPLETION in os.environ:
        command.main(list(arguments), prog_name=NAME)
    _never_fail_to_encode()
    try:
        with command.make_context(NAME, list(arguments or ["--help"])) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as ended:
        # Without arguments the help page stands in for a missing command.
        return ended.exit_code if arguments else errors.USAGE
    except BrokenPipeError:
        errors.abandon_output()
    except (KeyboardInterrupt, typer.Abort):
        return errors.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - no traceback may reach the user
        return errors.report(error, arguments)
    return 0


def _never_fail_to_encode() -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
