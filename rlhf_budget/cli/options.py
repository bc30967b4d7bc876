"""Options that several commands share: one place for names, help and completion."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from rlhf_budget.cli import completion
from rlhf_budget.report.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rlhf_budget.planning.uncertainty import Robustness

    Format = str
    CheckFormat = str
    CalibrateFormat = str

    Parsed = TypeVar("Parsed")
else:
    # Typer offers the members of an enumeration; a type checker cannot follow one made here.
    Format = StrEnum("Format", {name.upper(): name for name in FORMATS})
    CheckFormat = StrEnum("CheckFormat", {name.upper(): name for name in (*FORMATS, "github")})
    CalibrateFormat = StrEnum("CalibrateFormat", {n.upper(): n for n in ("yaml", *FORMATS)})


def _quiet(context: typer.Context, value: bool) -> bool:
    return value or bool(context.find_root().params.get("quiet"))


def finite(value: float | None) -> float | None:
    """Refuse what is not a finite number."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def _positive(value: float | None) -> float | None:
    if finite(value) is not None and value is not None and value <= 0:
        raise typer.BadParameter(f"{value:g} is not above 0.")
    return value


def parsed(parse: Callable[[str], Parsed], text: str, option: str) -> Parsed:
    """Parse what an option was given; what it is not is told as the option's fault."""
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _share(text: str | float) -> float:
    if isinstance(text, float):
        return text
    from rlhf_budget.studies.gates import fraction

    return parsed(fraction, text, "--within")


def _share_of_draws(text: str | float) -> float:
    if isinstance(text, float):
        return text
    from rlhf_budget.studies.gates import fraction

    # All of the draws may be written as 1, which no one means as 1 %.
    share = 1.0 if text.strip() in {"1", "1.0"} else parsed(fraction, text, "--affordable")
    if share > 1.0:
        raise typer.BadParameter(f"{text} is more than all draws.", param_hint="--affordable")
    return share


def refuse_given(context: typer.Context, names: Iterable[str], needed: str) -> None:
    """Refuse options that were given, and do nothing without what is needed."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"--{name} goes with {needed}.")


def robustness(
    context: typer.Context,
    robust: str | None,
    draws: int,
    affordable: float,
    seed: int,
    *,
    information: bool = False,
) -> Robustness | None:
    """What a robust plan is asked for; None where none is.

    Refuses what only a robust plan heeds where none is asked for.
    """
    if robust is None:
        refuse_given(context, ("draws",) if information else ("draws", "affordable"), "--robust")
        return None
    from rlhf_budget.planning.uncertainty import (
        DRAWS_ALLOWED,
        Robustness,
        draws_allowed,
        parse_risk,
    )

    if not draws_allowed(draws):
        raise typer.BadParameter(f"{draws} is not {DRAWS_ALLOWED}.", param_hint="--draws")
    return Robustness(*parsed(parse_risk, robust, "--robust"), draws, affordable, seed)


ScenarioFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="Scenario file; - reads standard input.", show_default=False
    ),
]
ScenarioName = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        metavar="NAME",
        help="Apply one of the file's named scenarios.",
        autocompletion=completion.scenario_names,
    ),
]
SetValues = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a constant, as in costs.label=0.2. Repeatable.",
        autocompletion=completion.keys,
    ),
]
_HOW_TO_PRINT = typer.Option(
    "--format", "-f", help="How to print; default table, or by --output's suffix."
)
FormatOption = Annotated[Format | None, _HOW_TO_PRINT]
CheckFormatOption = Annotated[CheckFormat | None, _HOW_TO_PRINT]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to a file, whole or not at all."),
]
Tolerance = Annotated[
    float,
    typer.Option(min=0.0, callback=finite, help="Relative gap at which a plan counts as proved."),
]
Within = Annotated[
    float,
    typer.Option(
        parser=_share,
        metavar="SHARE",
        help="How far above its best the bound may be in the ranges: 5%; at most 100%.",
    ),
]
Plot = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Draw: .svg, .png, .pdf or .html. Needs [plot]."),
]
TargetBound = Annotated[
    float | None,
    typer.Option(
        callback=_positive, metavar="X", help="Find the least budget that brings the bound to X."
    ),
]
Robust = Annotated[
    str | None,
    typer.Option(
        metavar="mean|cvar:LEVEL|regret",
        help="Find one plan for all that the ranges allow: by the mean bound, by the mean of the "
        "worst, or by the largest regret.",
    ),
]
Draws = Annotated[
    int, typer.Option(min=1, help="Draws of the constants with --robust, a power of two.")
]
Affordable = Annotated[
    float,
    typer.Option(
        parser=_share_of_draws,
        metavar="SHARE",
        help="Share of the draws in which a robust plan has to fit the budget: 95%.",
    ),
]
Information = Annotated[
    bool,
    typer.Option(
        "--information", help="Say what each constant that is not known is worth knowing."
    ),
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Print reasons, terms, sensitivities and the proof too.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes to use.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_quiet, help="Print results and errors only.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")]
"""Takes no part in a command: the handler of errors looks for it among the arguments."""
