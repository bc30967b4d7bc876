"""``rlhf-budget plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rlhf_budget.cli import options
from rlhf_budget.cli.output import Answer, notice, progress, send

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rlhf_budget.planning.results import Plan
    from rlhf_budget.report.document import Document


def plan(
    context: typer.Context,
    file: options.ScenarioFile,
    scenario: options.ScenarioName = None,
    set_: options.SetValues = None,
    target_bound: options.TargetBound = None,
    explain: options.Explain = False,
    proof: Annotated[
        str | None,
        typer.Option(
            metavar="PROOF.json[.gz]", help="Write a proof that the command verify can check."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PLAN.json", help="Take current from a saved plan: is a change worth it?"
        ),
    ] = None,
    within: options.Within = 0.01,
    plot: options.Plot = None,
    robust: options.Robust = None,
    draws: options.Draws = 256,
    affordable: options.Affordable = 0.95,
    information: options.Information = False,
    seed: options.Seed = 0,
    tolerance: options.Tolerance = 1e-6,
    format_: options.FormatOption = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
    _debug: options.Debug = False,
) -> None:
    """Find the best allocation within the budget, and prove it.

    With --target-bound, find the least budget that reaches a bound instead. With --robust, find one
    plan for all that the scenario's ranges allow. With --plot, draw how far what is not known moves
    the plan.

    For example: rlhf-budget plan scenario.yaml --set costs.label=0.2 --within 5%
    """
    _require_budget(
        {"--proof": proof, "--robust": robust, "--plot": plot, "--information": information or None}
        if target_bound is not None
        else {}
    )
    if robust is not None or target_bound is not None:
        options.refuse_given(context, ("within",), "a budget alone, without --robust")
    if robust is not None and proof is not None:
        raise typer.BadParameter("--robust goes with a budget alone: not with --proof.")
    if plot is not None:
        from rlhf_budget.report.charts import check_chart_file

        check_chart_file(plot)
    from rlhf_budget.planning import planner
    from rlhf_budget.scenario import load_scenario

    loaded = load_scenario(
        file, scenario=scenario, set_values=set_ or (), budget_required=target_bound is None
    )
    if against is not None:
        from rlhf_budget.planning.saved import saved_allocation

        loaded = loaded.with_values({"current": saved_allocation(against)})
    asked = options.robustness(context, robust, draws, affordable, seed, information=information)
    if asked is None:
        found = planner.plan(loaded, tolerance=tolerance, target_bound=target_bound, within=within)
    else:
        with progress("Planning for all draws", None, quiet=quiet):
            found = planner.plan_robustly(loaded, asked, tolerance=tolerance)
    if information:
        with progress("Planning for what may be learnt", 1, quiet=quiet) as on_share:
            found = planner.with_information(
                found, affordable=affordable, seed=seed, on_share=on_share
            )
    if plot is not None:
        _draw(found, plot, quiet=quiet)
    if proof is not None:
        from rlhf_budget.optimum.proof.certificate import prove
        from rlhf_budget.optimum.proof.files import packed
        from rlhf_budget.report.data import write_whole

        write_whole(proof, packed(prove(loaded, found.allocation, tolerance=tolerance), proof))
        notice(f"Wrote {proof}, checked by interval arithmetic.", quiet=quiet)
    answer = Answer(
        command="plan",
        document=lambda: _document(found, explain=explain),
        data=found.to_dict,
        rows=lambda: [found.to_dict()],
    )
    send(answer, format_, output, quiet=quiet)


def _require_budget(with_target: Mapping[str, object]) -> None:
    """Refuse options that do not go with --target-bound."""
    for option, value in with_target.items():
        if value is not None:
            raise typer.BadParameter(f"{option} goes with a budget: not with --target-bound.")


def _draw(found: Plan, file: str, *, quiet: bool) -> None:
    from rlhf_budget.planning.swings import swings
    from rlhf_budget.report.charts import write_chart
    from rlhf_budget.report.plan_chart import plan_chart

    write_chart(plan_chart(found, swings(found)), file)
    notice(f"Wrote {file}.", quiet=quiet)


def _document(found: Plan, *, explain: bool) -> Document:
    # Imported here, as data need no document.
    from rlhf_budget.planning.advice import advise

    if explain:
        from rlhf_budget.report.plan_document import plan_document

        return plan_document(found, advise(found))
    from rlhf_budget.report.first_screen import first_screen

    return first_screen(found, advise(found))
