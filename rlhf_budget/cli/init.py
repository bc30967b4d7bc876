"""``rlhf-budget init``."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rlhf_budget.cli import options  # noqa: TC001 - Typer evaluates annotations at run time
from rlhf_budget.cli.output import check_suffix, notice
from rlhf_budget.errors import FileAccessError


class Preset(StrEnum):
    """Which starter scenario."""

    RLHF = "rlhf"
    VERIFIABLE = "verifiable"
    EXISTING_REWARD_MODEL = "existing-reward-model"


def init(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="File to write; - prints to standard output.")
    ] = "scenario.yaml",
    preset: Annotated[Preset, typer.Option(help="What kind of training to start from.")] = (
        Preset.RLHF
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Write a commented starter scenario that plans as it is.

    For example: rlhf-budget init scenario.yaml --preset verifiable
    """
    from rlhf_budget.scenario import template

    text = template(preset.value)
    if file == "-":
        sys.stdout.write(text)
        return
    if not Path(file).is_dir():
        check_suffix(file, ".yaml", ".yml", option="FILE")
    if Path(file).is_dir():
        raise FileAccessError(f"{file} is a directory; name a file in it.")
    if os.path.lexists(file) and not force:
        raise FileAccessError(f"{file} exists already; --force replaces it.")
    from rlhf_budget.report.data import write_whole

    write_whole(file, text)
    notice(f"Wrote {file}. Edit it, then: rlhf-budget plan {file}", quiet=quiet)
