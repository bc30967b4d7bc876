"""Constants from rollouts: variances, informative groups, the log-ratio and its tail."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.estimates import (
    CalibrationWarning,
    Estimate,
    GroupSizes,
    Source,
)
from rlhf_budget.calibrate.logs.dialects import resolve_layout
from rlhf_budget.calibrate.logs.fields import FieldNames, Layout
from rlhf_budget.calibrate.logs.selection import rows_of, select_steps
from rlhf_budget.calibrate.logs.steps import step_table
from rlhf_budget.calibrate.rollouts import reward
from rlhf_budget.calibrate.rollouts.evidence import data_warnings, gather_evidence
from rlhf_budget.calibrate.rollouts.log_ratio import kl_estimates, tail_evidence
from rlhf_budget.calibrate.rollouts.results import RolloutConstants, RolloutOptions
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import narwhals as nw

    from rlhf_budget.calibrate.logs.engine import Engine, EngineName
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog


def rollouts(
    frame: Any,
    *,
    prompt_field: str | None = None,
    reward_field: str | None = None,
    log_ratio_field: str | None = None,
    policy_logprob_field: str | None = None,
    reference_logprob_field: str | None = None,
    behaviour_logprob_field: str | None = None,
    tokens_field: str | None = None,
    step_field: str | None = None,
    last_steps: str = "20%",
    metrics: str | None = None,
    kl_per_token: float | None = None,
    kl_coefficient: float | None = None,
    reward_range: tuple[float, float] | None = None,
    level: float = 0.95,
    strict: bool = False,
) -> RolloutConstants:
    """Estimate a scenario's constants from a frame with one row a rollout.

    Parameters
    ----------
    frame
        Any frame that narwhals takes: pandas, Polars, Arrow, a DuckDB relation, a Spark frame, ….
    prompt_field, reward_field, step_field, tokens_field
        Columns; guessed from usual names where None. Rewards are numbers. Without a step column,
        all rows count as one policy's.
    log_ratio_field, policy_logprob_field, reference_logprob_field, behaviour_logprob_field
        Columns with sums over each sequence, in nats.
    last_steps, metrics, kl_per_token, kl_coefficient, reward_range, level, strict
        As the flags of ``rlhf-budget calibrate rollouts``.

    Returns
    -------
    RolloutConstants
        Immutable; ``.estimate("bound.prompt_variance")``, ``.tail``, ``.groups``, ``.fragment()``.

    Raises
    ------
    CalibrationError
        If there is no prompt or reward column, or no usable row.
    LogError
        If ``strict`` and rows had to be skipped.
    MissingExtraError
        If narwhals is not installed.
    """
    from rlhf_budget.calibrate.logs.frames import (
        FrameEngine,
        frame_columns,
        frame_head,
        normalised_frame,
    )
    from rlhf_budget.calibrate.logs.metrics.reading import read_metrics
    from rlhf_budget.calibrate.logs.unnoticed import SAMPLE, unnoticed_step

    names = FieldNames(
        prompt_field,
        reward_field,
        log_ratio_field,
        policy_logprob_field,
        reference_logprob_field,
        behaviour_logprob_field,
        tokens_field,
        step_field,
    )
    options = RolloutOptions(last_steps, kl_coefficient, kl_per_token, reward_range, level, strict)
    layout = resolve_layout(frame_columns(frame), None, names)
    rows = normalised_frame(frame, layout)
    doubt = None if layout.step is not None else unnoticed_step(frame_head(frame, SAMPLE), layout)
    log = None if metrics is None else read_metrics(metrics)
    source = Source(fields=layout.names())
    return calibrate(
        rows, layout, FrameEngine(), options, source=source, log=log, steps_unknown=doubt
    )


def priced(found: RolloutConstants, scenario: str) -> RolloutConstants:
    """Return the constants with the money for an informative group at a scenario's prices.

    Parameters
    ----------
    found
        Constants from rollouts or a log.
    scenario
        Path of the scenario; a new prompt's price is its acquisition and its prefill.

    Raises
    ------
    ScenarioError
        If it is no scenario.
    FileAccessError
        If it cannot be read.
    """
    from rlhf_budget.calibrate.rollouts.groups import with_prices
    from rlhf_budget.scenario.load import load_scenario

    if found.groups is None:
        return found
    costs = load_scenario(scenario).costs
    prompt = costs.prompt.acquisition + costs.prompt.prefill
    return replace(found, groups=with_prices(found.groups, prompt, costs.rollout))


def rollouts_from_files(
    paths: Sequence[str],
    *,
    trainer: str | None = None,
    fields: FieldNames | None = None,
    metrics: str | None = None,
    run: str | None = None,
    options: RolloutOptions | None = None,
    engine: EngineName = "duckdb",
    scenario: str | None = None,
) -> RolloutConstants:
    """Estimate a scenario's constants from rollout logs.

    Parameters
    ----------
    paths
        Files, patterns and directories.
    trainer
        Whose format it is; recognised where None.
    fields
        Field names given by hand.
    metrics
        The trainer's own log; one found in a directory serves where None. A log as the only path
        is enough for what it holds.
    run
        Which run of a log that holds several.
    options
        How to calibrate.
    engine
        Where the aggregates run.
    scenario
        Scenario file that the constants are for: the variances are those of its objective.

    Raises
    ------
    CalibrationError
        If there is no prompt or reward field, no usable row, a mixture of trainers, or a KL
        coefficient that is not the scenario's.
    LogError
        If rows had to be skipped under ``strict``, or a metrics log is no such log.
    FileAccessError
        If a file is missing or cannot be read, or a pattern matches nothing.
    MissingExtraError
        If the engine's packages are not installed.
    """
    from rlhf_budget.calibrate.logs.engine import open_engine
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog
    from rlhf_budget.calibrate.logs.metrics.reading import read_metrics
    from rlhf_budget.calibrate.logs.scratch import scratch_folder
    from rlhf_budget.calibrate.logs.source import is_log_alone, open_source
    from rlhf_budget.calibrate.rollouts.log_alone import calibrate_log

    options = options or RolloutOptions()
    if scenario is not None:
        options = _for_scenario(options, scenario)
    if len(paths) == 1 and is_log_alone(paths[0]):
        return calibrate_log(read_metrics(paths[0], run), options)
    log = None if metrics is None else read_metrics(metrics, run)
    with scratch_folder() as folder, open_engine(engine) as opened:
        found = open_source(
            paths,
            trainer,
            fields or FieldNames(),
            log,
            opened,
            folder,
            run=run,
            strict=options.strict,
        )
        if isinstance(found, MetricsLog):
            return calibrate_log(found, options)
        return calibrate(
            found.rows,
            found.layout,
            opened,
            options,
            source=found.source,
            log=found.log,
            evaluation=found.evaluation_steps,
            warnings=found.warnings,
            steps_unknown=found.steps_unknown,
        )


def _for_scenario(options: RolloutOptions, path: str) -> RolloutOptions:
    from rlhf_budget.calibrate.into.objective import read_objective

    objective = read_objective(path)
    given, own = options.kl_coefficient, objective.kl_coefficient
    if given is not None and own is not None and given != own:
        raise CalibrationError(
            f"--kl-coefficient {given:g} is not the {own:g} of {path}: the variances would be"
            " another objective's; leave it out"
        )
    return replace(
        options,
        kl_coefficient=own if given is None else given,
        log_ratio_deviation=objective.log_ratio_deviation,
    )


def calibrate(
    rows: nw.LazyFrame[Any],
    layout: Layout,
    engine: Engine,
    options: RolloutOptions,
    *,
    source: Source,
    log: MetricsLog | None = None,
    evaluation: tuple[int, ...] = (),
    warnings: tuple[CalibrationWarning, ...] = (),
    steps_unknown: str | None = None,
) -> RolloutConstants:
    """Run the aggregates on rows in the columns ``fields.COLUMNS`` and make constants of them.

    ``source`` comes without counts; ``evaluation`` are steps that hold evaluation rows; what
    reading the files already said is in ``warnings``; ``steps_unknown``, why several policies may
    be pooled.
    """
    if log is not None and log.ordered:
        log = log.last(options.last_steps)
    table = step_table(rows, engine)
    selection = select_steps(table, options.last_steps, evaluation, strict=options.strict)
    used = rows_of(rows, selection)
    evidence = gather_evidence(used, selection, layout, engine, options, steps_unknown)
    window = None
    if selection.first is not None and selection.last is not None:
        window = (selection.first, selection.last)
    tail = tail_evidence(evidence)
    tokens = reward.token_estimate(evidence, log, window)
    kl = kl_estimates(tail, tokens, log, window, options)
    correlation = reward.correlation_estimate(evidence)
    estimates = (
        *reward.variance_estimates(evidence, _deviation(kl.estimates[0], options)),
        *kl.estimates,
        reward.reward_range_estimate(evidence, options.reward_range),
        tokens,
        correlation,
        *reward.silent_group_estimates(evidence, correlation),
    )
    totals = evidence.totals
    complete = replace(
        source,
        rows_read=sum(row.rows for row in table) + sum(skip.count for skip in source.skipped),
        rows_used=totals.rows,
        skipped=(*source.skipped, *selection.skipped),
        steps=window,
        prompts=totals.groups,
        rollouts_per_prompt=GroupSizes(totals.least, totals.rows / totals.groups, totals.most),
    )
    return RolloutConstants(
        level=options.level,
        source=complete,
        estimates=estimates,
        warnings=(*warnings, *selection.warnings, *data_warnings(evidence), *kl.warnings),
        choices=kl.choices,
        tail=None if tail is None else tail.summary,
        groups=reward.group_estimates(evidence),
    )


def _deviation(kl: Estimate, options: RolloutOptions) -> float | None:
    """Return the log-ratio's standard deviation, for rows that hold none.

    Gaussian, with the KL that goes into the scenario: ``std = √(2·KL)`` (docs/theory.md, section
    4); without one, what the scenario says.
    """
    if kl.value is None or kl.status != "estimated":
        return options.log_ratio_deviation
    return math.sqrt(2 * max(kl.value, 0.0))
