"""``rlhf-budget calibrate``: its commands, of which ``rollouts`` is here."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_budget.calibrate.logs.dialects import TRAINERS
from rlhf_budget.cli import calibrate_output
from rlhf_budget.cli.calibrate_agreement import agreement
from rlhf_budget.cli.calibrate_costs import costs
from rlhf_budget.cli.calibrate_coverage import coverage
from rlhf_budget.cli.calibrate_progress import progress
from rlhf_budget.cli.calibrate_reward_model import reward_model
from rlhf_budget.cli.output import Command

if TYPE_CHECKING:
    from rlhf_budget.calibrate.rollouts.results import RolloutConstants
    from rlhf_budget.report.document import Format, Section


TrainerName = StrEnum("TrainerName", {name: name for name in TRAINERS})  # type: ignore[misc]


class EngineChoice(StrEnum):
    """Where the aggregates run."""

    DUCKDB = "duckdb"
    SPARK = "spark"


calibrate_app = typer.Typer(
    help="Estimate a scenario's constants from logs, as YAML that pastes into a scenario.\n\n"
    "For example: rlhf-budget calibrate rollouts runs/grpo/completions --into scenario.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _field(role: str) -> Any:
    return typer.Option(metavar="NAME", help=f"Field with {role}.", show_default=False)


def rollouts(
    paths: calibrate_output.Paths,
    trainer: Annotated[
        TrainerName | None, typer.Option(help="Whose format it is; recognised by default.")
    ] = None,
    prompt_field: Annotated[str | None, _field("the prompt or its id")] = None,
    reward_field: Annotated[
        str | None, _field("the reward; or NAME=WEIGHT,NAME=WEIGHT of several")
    ] = None,
    log_ratio_field: Annotated[str | None, _field("the sequence log-ratio, nats")] = None,
    policy_logprob_field: Annotated[
        str | None, _field("the policy's sequence log-probability")
    ] = None,
    reference_logprob_field: Annotated[
        str | None, _field("the reference's sequence log-probability")
    ] = None,
    behaviour_logprob_field: Annotated[
        str | None, _field("the sampling policy's sequence log-probability")
    ] = None,
    tokens_field: Annotated[str | None, _field("the completion's tokens")] = None,
    step_field: Annotated[str | None, _field("the training step")] = None,
    last_steps: Annotated[
        str, typer.Option(metavar="SHARE", help="Last steps to use: a share, or a number of steps.")
    ] = "20%",
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The trainer's own log: trainer_state.json, JSONL, a console's text, W&B's"
            " history, TensorBoard's events, trackio's project.",
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which run of a log that holds several.")
    ] = None,
    rollouts_per_prompt: Annotated[
        int | None,
        typer.Option(metavar="K", help="The run's rollouts per prompt, for a log alone."),
    ] = None,
    kl_per_token: Annotated[
        float | None, typer.Option(metavar="X", help="KL per token, nats, where rows hold none.")
    ] = None,
    kl_coefficient: Annotated[
        float | None,
        typer.Option(metavar="X", help="Take the variances of reward - X * log-ratio."),
    ] = None,
    reward_range: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Least and largest possible reward."),
    ] = None,
    engine: Annotated[
        EngineChoice, typer.Option(help="Where the aggregates run.")
    ] = EngineChoice.DUCKDB,
    *,
    level: float,
    strict: bool,
    into: str | None,
) -> calibrate_output.Found:
    """Variances, informative groups and log-ratio, from rollouts.

    Reads .jsonl, .jsonl.gz, .json, .csv and .parquet of TRL, verl, OpenRLHF, Open-Instruct,
    NeMo-RL, or any with the fields named. A trainer's log alone gives what it holds.

    For example: rlhf-budget calibrate rollouts runs/grpo/completions --into scenario.yaml
    """
    from rlhf_budget.calibrate import FieldNames, RolloutOptions, priced, rollouts_from_files

    found = rollouts_from_files(
        paths,
        trainer=None if trainer is None else trainer.value,
        fields=FieldNames(
            prompt=prompt_field,
            reward=reward_field,
            log_ratio=log_ratio_field,
            policy_logprob=policy_logprob_field,
            reference_logprob=reference_logprob_field,
            behaviour_logprob=behaviour_logprob_field,
            tokens=tokens_field,
            step=step_field,
        ),
        metrics=metrics,
        run=run,
        options=RolloutOptions(
            last_steps,
            kl_coefficient,
            kl_per_token,
            reward_range,
            level,
            strict,
            rollouts_per_prompt,
        ),
        engine=engine.value,
        scenario=into,
    )
    if into is not None:
        found = priced(found, into)
    return calibrate_output.Found(found, _rollout_sections(found))


def _rollout_sections(found: RolloutConstants) -> tuple[Section, ...]:
    from rlhf_budget.calibrate.rollouts.groups import least_costly

    sections = []
    if found.groups is not None:
        least = least_costly(found.groups)
        columns: dict[str, Format] = {
            "rollouts per prompt": "integer",
            "informative groups": "percent",
            "interval": "percent",
            "rollouts per informative group": "significant",
            "money per informative group": "significant",
            "to run with": "text",
        }
        groups = [
            (
                group.rollouts_per_prompt,
                group.informative_share,
                group.interval,
                group.rollouts_per_informative_group,
                group.money_per_informative_group,
                "costs least" if group is least else None,
            )
            for group in found.groups
        ]
        title = "Groups whose rewards are not all equal"
        sections.append(calibrate_output.section(title, columns, groups))
    if found.tail is not None:
        columns = {
            "family": "text",
            "parameters": "text",
            "log-likelihood": "significant",
            "KS distance": "significant",
        }
        fits = [
            (
                fit.family,
                ", ".join(f"{name} {value:.4g}" for name, value in fit.parameters),
                fit.log_likelihood,
                fit.ks_distance,
            )
            for fit in found.tail.fits
        ]
        title = "Fits of the log-ratio's tail, best first"
        sections.append(calibrate_output.section(title, columns, fits, first=True))
    return tuple(sections)


for _name, _command, _without in (
    ("reward-model", reward_model, ()),
    ("coverage", coverage, ("plot",)),
    ("costs", costs, ("plot",)),
    ("progress", progress, ("plot", "include_unreliable")),
    ("agreement", agreement, ("plot", "include_unreliable", "into", "yes")),
    ("rollouts", rollouts, ()),
):
    calibrate_app.command(_name, cls=Command)(
        calibrate_output.calibration_command(_command, _without)
    )
