"""``rlhf-budget check``."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rlhf_budget.cli import errors, options
from rlhf_budget.cli.output import Answer, deliver, notice, progress, send

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.studies.gates import Check, Checks, Rule

GATE_FAILED = 1
"""Exit code: the plan was made, and a gate failed."""


class MetricName(StrEnum):
    """What is compared with another version's plan."""

    BOUND = "bound.total"
    COST = "cost.total"


def check(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Scenario files; - reads standard input.", show_default=False
        ),
    ],
    scenario: options.ScenarioName = None,
    all_scenarios: Annotated[
        bool, typer.Option("--all-scenarios", help="Check the named scenarios of each file too.")
    ] = False,
    set_: options.SetValues = None,
    max_bound: Annotated[
        float | None,
        typer.Option(metavar="X", callback=options.finite, help="Largest bound, reward units."),
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="X", callback=options.finite, help="Largest cost.")
    ] = None,
    max_excess: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="How much worse than the plan current may be: 5%."),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION", help="Such as 'allocation.prompts>=1000'; also <=, ==. Repeatable."
        ),
    ] = None,
    max_guesses: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Most constants that are guesses or ranges."),
    ] = None,
    require_informative: Annotated[
        bool, typer.Option("--require-informative", help="Fail where the bound is vacuous.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="JSON of another version's plan; with --max-increase."),
    ] = None,
    max_increase: Annotated[
        str | None, typer.Option(metavar="SHARE", help="How much worse than --against: 2%.")
    ] = None,
    metric: Annotated[
        MetricName, typer.Option(help="What --max-increase compares.")
    ] = MetricName.BOUND,
    proof: Annotated[
        str | None,
        typer.Option(
            metavar="PROOF",
            help="Do not search: check that this proof holds and is of this very scenario.",
        ),
    ] = None,
    warn_only: Annotated[
        bool, typer.Option("--warn-only", help="Tell failed gates, but exit with 0.")
    ] = False,
    within: options.Within = 0.01,
    robust: options.Robust = None,
    draws: options.Draws = 256,
    affordable: options.Affordable = 0.95,
    seed: options.Seed = 0,
    tolerance: options.Tolerance = 1e-6,
    format_: options.CheckFormatOption = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Gate a plan: exit with 1 where it breaks a limit.

    Gates are the flags, the file's checks, and always that the plan is proved. All are evaluated
    and shown. With --quiet nothing is printed while all pass. With --proof the plan is that of the
    proof, which must hold for this very scenario: it is verified, and nothing is searched. With
    --robust the plan is one for all that the ranges allow, and gates on the bound judge its risk.

    Several files, or --all-scenarios, give one table.

    For example: rlhf-budget check scenario.yaml --max-excess 5% --max-guesses 3
    """
    from rlhf_budget.errors import ProofError
    from rlhf_budget.scenario import load_scenario
    from rlhf_budget.studies import gates
    from rlhf_budget.studies.comparison import load_entries

    if (against is None) != (max_increase is None):
        raise typer.BadParameter("--against and --max-increase need each other.")
    asked = options.robustness(context, robust, draws, affordable, seed)
    if asked is not None and proof is not None:
        raise typer.BadParameter("--robust and --proof exclude each other, as yet.")
    bar = progress("Planning for all draws", None, quiet=quiet or asked is None)
    rules = _rules(
        max_bound, max_cost, max_excess, max_guesses, require or (), informative=require_informative
    )
    if len(files) > 1 or all_scenarios:
        if against or scenario or proof:
            raise typer.BadParameter("--against, --scenario and --proof go with one scenario.")
        entries = load_entries(files, set_values=set_ or (), named=all_scenarios)
        with bar:
            several = gates.check_many(
                entries,
                rules,
                tolerance=tolerance,
                within=within,
                warn_only=warn_only,
                robust=asked,
            )
        _send_many(several, format_, output, quiet=quiet)
        return
    (file,) = files
    loaded = load_scenario(file, scenario=scenario, set_values=set_ or (), budget_required=True)
    if against is not None and max_increase is not None:
        increase = options.parsed(gates.fraction, max_increase, "--max-increase")
        rules.append(gates.max_increase(against, increase, loaded.currency, metric.value, asked))
    try:
        with bar:
            found = gates.check(
                loaded,
                rules,
                tolerance=tolerance,
                within=within,
                warn_only=warn_only,
                proof=proof,
                robust=asked,
            )
    except ProofError as error:
        if not warn_only:
            raise
        notice(f"{error} (only a warning was asked for)", quiet=quiet)
        return
    _send_one(found, file, format_, output, quiet=quiet)


def _rules(
    max_bound: float | None,
    max_cost: float | None,
    max_excess: str | None,
    max_guesses: int | None,
    require: Sequence[str],
    *,
    informative: bool,
) -> list[Rule]:
    from rlhf_budget.studies import gates

    rules = [] if max_bound is None else [gates.max_bound(max_bound)]
    rules += [] if max_cost is None else [gates.max_cost(max_cost)]
    if max_excess is not None:
        rules.append(gates.max_excess(options.parsed(gates.fraction, max_excess, "--max-excess")))
    rules += [] if max_guesses is None else [gates.max_guesses(max_guesses)]
    rules += [gates.INFORMATIVE] if informative else []
    return rules + [options.parsed(gates.requirement, text, "--require") for text in require]


def _send_one(
    found: Check, file: str, format_: str | None, output: str | None, *, quiet: bool
) -> None:
    try:
        if not (quiet and found.passed and output is None):
            _send(found, file, format_, output, quiet=quiet)
            sys.stdout.flush()
    except BrokenPipeError:
        # The verdict is the exit code, whoever stops reading: `check … | head` must not pass.
        errors.abandon_output()
    if not (found.passed or found.warn_only):
        raise typer.Exit(GATE_FAILED)


def _send_many(found: Checks, format_: str | None, output: str | None, *, quiet: bool) -> None:
    from rlhf_budget.report.gates_document import checks_document, gate_rows

    planned = [(entry.entry.file or "-", entry.check) for entry in found.checks if entry.check]
    try:
        if format_ == "github":
            from rlhf_budget.report.github import annotation_lines

            lines = "".join(annotation_lines(each, file) for file, each in planned)
            deliver(lines, output, quiet=quiet)
        elif not (quiet and found.passed and output is None):
            answer = Answer(
                command="check",
                document=lambda: checks_document(found),
                data=found.to_dict,
                rows=lambda: [row for _, each in planned for row in gate_rows(each)],
            )
            send(answer, format_, output, quiet=quiet)
        sys.stdout.flush()
    except BrokenPipeError:
        errors.abandon_output()
    if not found.feasible:
        raise typer.Exit(errors.INFEASIBLE)
    if not (found.passed or found.warn_only):
        raise typer.Exit(GATE_FAILED)


def _send(found: Check, file: str, format_: str | None, output: str | None, *, quiet: bool) -> None:
    from rlhf_budget.report.gates_document import gate_rows, gates_document

    if format_ == "github":
        from rlhf_budget.report.github import annotation_lines

        deliver(annotation_lines(found, file), output, quiet=quiet)
        return
    answer = Answer(
        command="check",
        document=lambda: gates_document(found),
        data=found.to_dict,
        rows=lambda: gate_rows(found),
    )
    send(answer, format_, output, quiet=quiet)
