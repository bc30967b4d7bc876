"""``rlhf-budget verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from rlhf_budget.cli import errors, options


def verify(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="PROOF...", help="Files that plan --proof wrote.", show_default=False
        ),
    ],
    tolerance: options.Tolerance = 1e-6,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Check proofs by interval arithmetic, without searching: exit with 1 where one fails.

    A proof says that its plan is the best for the scenario in it; docs/proof.md says how that is
    checked. Whether a scenario file is that scenario is what check FILE --proof says.

    For example: rlhf-budget verify proof.json.gz
    """
    from rlhf_budget.errors import ProofError
    from rlhf_budget.optimum.proof.files import verified
    from rlhf_budget.report.proof_words import proof_line

    failed = False
    for file in files:
        try:
            line = f"proved: {proof_line(verified(file, tolerance=tolerance))}"
        except ProofError as error:
            failed, line = True, f"NOT PROVED: {error}"
        if not quiet or line.startswith("NOT"):
            typer.echo(f"{file}: {line}")
    if failed:
        raise typer.Exit(errors.NOT_PROVED)
