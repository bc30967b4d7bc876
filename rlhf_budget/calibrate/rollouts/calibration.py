"""Constants from rollouts: variances, informative groups, the log-ratio and its tail."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from rlhf_budget.calibrate.estimates import (
    Calibration,
    CalibrationWarning,
    Choice,
    Estimate,
    GroupSizes,
    Source,
)
from rlhf_budget.calibrate.logs import aggregates
from rlhf_budget.calibrate.logs.dialects import dialect_of, resolve_layout
from rlhf_budget.calibrate.logs.fields import USED, FieldNames, Layout
from rlhf_budget.calibrate.logs.selection import Selection, select_steps
from rlhf_budget.calibrate.rollouts import estimates as build
from rlhf_budget.calibrate.rollouts.tail_summary import thresholds
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import narwhals as nw

    from rlhf_budget.calibrate.logs.engine import Engine, EngineName
    from rlhf_budget.calibrate.logs.histogram import LogHistogram
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog
    from rlhf_budget.calibrate.rollouts.groups import GroupShare
    from rlhf_budget.calibrate.rollouts.tail_summary import TailSummary


@dataclass(frozen=True)
class RolloutConstants(Calibration):
    """What rollouts say: estimates, the log-ratio's tail, informative groups."""

    command: ClassVar[str] = "calibrate rollouts"

    tail: TailSummary | None = None
    """Distribution of the log-ratio; None where rows hold none."""
    groups: tuple[GroupShare, ...] | None = None
    """Informative groups by size; None unless the reward takes two values."""


@dataclass(frozen=True, slots=True)
class RolloutOptions:
    """How rollouts are calibrated."""

    last_steps: str = "20%"
    """Share or number of the last steps to use: one policy a step."""
    kl_coefficient: float | None = None
    """β: the bound's variances are then of ``reward − β·log-ratio``."""
    kl_per_token: float | None = None
    """KL per token in nats, where rows hold no log-ratio."""
    reward_range: tuple[float, float] | None = None
    """Least and largest possible reward."""
    level: float = 0.95
    """Level of the intervals."""
    strict: bool = False
    """Whether a row that cannot be used is an error."""
    rollouts_per_prompt: int | None = None
    """The run's K, for the groups of a trainer's log alone."""

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise CalibrationError(f"--level: found {self.level:g}; allowed: between 0 and 1")
        if self.kl_coefficient is not None and not 0 <= self.kl_coefficient < math.inf:
            raise CalibrationError("--kl-coefficient: allowed: a number of at least 0")
        if self.kl_per_token is not None and not 0 < self.kl_per_token < math.inf:
            raise CalibrationError("--kl-per-token: allowed: a number above 0")
        if self.rollouts_per_prompt is not None and self.rollouts_per_prompt < 2:
            raise CalibrationError("--rollouts-per-prompt: allowed: a number of at least 2")
        if self.reward_range is not None and not self.reward_range[0] < self.reward_range[1]:
            raise CalibrationError("--reward-range: allowed: LOW HIGH with LOW below HIGH")


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
    from rlhf_budget.calibrate.logs.frames import FrameEngine, frame_columns, normalised_frame
    from rlhf_budget.calibrate.logs.metrics.reading import read_metrics

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
    log = None if metrics is None else read_metrics(metrics)
    source = Source(fields=layout.names())
    return calibrate(rows, layout, FrameEngine(), options, source=source, log=log)


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

    Raises
    ------
    CalibrationError
        If there is no prompt or reward field, no usable row, or a mixture of trainers.
    LogError
        If rows had to be skipped under ``strict``, or a metrics log is no such log.
    FileAccessError
        If a file is missing or cannot be read, or a pattern matches nothing.
    MissingExtraError
        If the engine's packages are not installed.
    """
    from rlhf_budget.calibrate.logs.engine import open_engine
    from rlhf_budget.calibrate.logs.files import is_training_log_file
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog
    from rlhf_budget.calibrate.logs.metrics.reading import read_metrics
    from rlhf_budget.calibrate.logs.source import open_source
    from rlhf_budget.calibrate.rollouts.log_alone import calibrate_log

    options = options or RolloutOptions()
    if len(paths) == 1 and is_training_log_file(paths[0]):
        return calibrate_log(read_metrics(paths[0], run), options)
    log = None if metrics is None else read_metrics(metrics, run)
    with (
        TemporaryDirectory(prefix="rlhf-budget-flat-") as folder,
        open_engine(engine) as opened,
    ):
        found = open_source(
            paths,
            trainer,
            fields or FieldNames(),
            log,
            opened,
            Path(folder),
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
) -> RolloutConstants:
    """Run the aggregates on normalised rows and turn them into constants.

    Parameters
    ----------
    rows
        Frame with the columns ``fields.COLUMNS``.
    layout
        Where the columns came from.
    engine
        What keeps and fetches.
    options
        How to calibrate.
    source
        Files and fields, without counts.
    log
        The trainer's own log.
    evaluation
        Steps that hold evaluation rows.
    warnings
        What reading the files already said.
    """
    if log is not None and log.ordered:
        log = log.last(options.last_steps)
    table = aggregates.step_table(rows, engine)
    selection = select_steps(table, options.last_steps, evaluation, strict=options.strict)
    used = _rows_of(rows, selection)
    evidence = _gather(used, selection, layout, engine, options)
    window = None
    if selection.first is not None and selection.last is not None:
        window = (selection.first, selection.last)
    tail = build.tail_evidence(evidence)
    tokens = build.token_estimate(evidence, log, window)
    kl = kl_estimates(tail, tokens, log, window, options)
    estimates = (
        *build.variance_estimates(evidence),
        *kl.estimates,
        build.reward_range_estimate(evidence, options.reward_range),
        tokens,
        build.correlation_estimate(evidence),
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
        warnings=(
            *warnings,
            *selection.warnings,
            *_data_warnings(evidence),
            *kl.warnings,
        ),
        choices=(
            Choice(
                "bound.concentration",
                "bernstein",
                ("bound.prompt_variance", "bound.rollout_variance"),
            ),
            *kl.choices,
        ),
        tail=None if tail is None else tail.summary,
        groups=build.group_estimates(evidence),
    )


def _rows_of(rows: nw.LazyFrame[Any], selection: Selection) -> nw.LazyFrame[Any]:
    import narwhals as nw

    used = rows.filter(nw.col("reason") == USED)
    if selection.first is None or selection.last is None:
        return used
    used = used.filter(nw.col("step") >= selection.first, nw.col("step") <= selection.last)
    if selection.left_out:
        used = used.filter(~nw.col("step").is_in(list(selection.left_out)))
    return used


def _gather(
    used: nw.LazyFrame[Any],
    selection: Selection,
    layout: Layout,
    engine: Engine,
    options: RolloutOptions,
) -> build.Evidence:
    chosen = selection.rows
    count = selection.used
    log_ratios = sum(row.log_ratios for row in chosen)
    present = tuple(
        name
        for name, known in (
            ("log_ratio", log_ratios > 0),
            ("tokens", layout.tokens is not None),
            ("behaviour", layout.behaviour is not None and layout.policy is not None),
        )
        if known
    )
    histogram: LogHistogram | None = None
    if log_ratios:
        histogram = aggregates.tail_bins(used, engine)
    settings = aggregates.GroupSettings(
        low=min(row.reward_low for row in chosen),
        high=max(row.reward_high for row in chosen),
        centre=math.fsum(row.reward_sum for row in chosen) / count,
        kl_coefficient=options.kl_coefficient or 0.0,
        log_ratio_centre=(
            math.fsum(row.log_ratio_sum for row in chosen) / log_ratios if log_ratios else 0.0
        ),
        thresholds=thresholds(histogram) if histogram else (0.0, 0.0, 0.0),
    )
    groups = engine.keep(aggregates.group_table(used, settings, present))
    totals = aggregates.group_totals(groups, settings, engine)
    moments = aggregates.prompt_moments(groups, settings, present, engine)
    square = math.fsum(row.reward_square for row in chosen) / count
    deviation = math.sqrt(max(square - settings.centre**2, 0.0))
    span = settings.high - settings.low
    share = (settings.centre - settings.low) / span if span > 0 else 0.0
    dialect = dialect_of(layout.trainer)
    filtered = build.looks_filtered(totals, share) or (
        dialect is not None and dialect.filters_groups and totals.several > 0 and totals.equal == 0
    )
    standardised = (dialect is not None and dialect.standardises_rewards) or (
        not totals.two_valued and build.looks_standardised(settings.centre, deviation, totals)
    )
    return build.Evidence(
        totals=totals,
        settings=settings,
        moments=moments,
        histogram=histogram,
        level=options.level,
        filtered=filtered,
        standardised=standardised,
        kl_asked=bool(options.kl_coefficient),
    )


@dataclass(frozen=True)
class KlEvidence:
    """The KL's estimates, whatever they come from."""

    estimates: tuple[Estimate, ...]
    """``log_ratio.kl`` and, from rows, the tail's fields."""
    warnings: tuple[CalibrationWarning, ...]
    """What the reader must act on."""
    choices: tuple[Choice, ...]
    """The family that goes with them."""


def kl_estimates(
    tail: build.TailEvidence | None,
    tokens: Estimate,
    log: MetricsLog | None,
    window: tuple[int, int] | None,
    options: RolloutOptions,
) -> KlEvidence:
    """Return the KL by the best that there is: rows, a KL per token given, the trainer's log."""
    if tail is not None:
        return KlEvidence(
            tail.estimates, tail.warnings, () if tail.choice is None else (tail.choice,)
        )
    warnings = [
        CalibrationWarning(
            "no-log-ratio",
            "these rows hold no sequence log-ratio, so that nothing is known of its tail;"
            f" {build.LOG_IT}",
        )
    ]
    logged = None
    if options.kl_per_token is not None:
        estimate = build.kl_per_token_estimate(options.kl_per_token, tokens)
    elif log is not None and (logged := log.kl(window, options.level, tokens.value)) is not None:
        estimate, unstable = build.logged_kl_estimate(logged)
        warnings += unstable
    else:
        estimate = build.no_kl_estimate()
    family = Choice("log_ratio.family", "gaussian", ("log_ratio.kl",))
    return KlEvidence((estimate,), tuple(warnings), (family,))


def _data_warnings(evidence: build.Evidence) -> list[CalibrationWarning]:
    totals = evidence.totals
    prompts = evidence.moments["reward"].clusters
    found = []
    if evidence.filtered:
        found.append(
            CalibrationWarning(
                "filtered-groups",
                "no group has equal rewards, although some would: they were removed before logging,"
                " which inflates the variance within and shrinks the one between prompts; log all"
                " groups (Open-Instruct: filter_zero_std_samples false)",
            )
        )
    if totals.least != totals.most:
        found.append(
            CalibrationWarning(
                "dynamic-groups",
                f"groups have {totals.least} to {totals.most} rollouts: the estimator for group"
                " sizes that may depend on the prompt is used; groups of one count for nothing",
            )
        )
    if evidence.standardised:
        found.append(
            CalibrationWarning(
                "standardised-rewards",
                "rewards are standardised (mean 0, standard deviation 1, or each group's mean 0):"
                " variances and range are not in the reward's own units; log raw rewards",
            )
        )
    if prompts < build.FEW_PROMPTS:
        found.append(
            CalibrationWarning(
                "few-prompts",
                f"{prompts} prompts: intervals are wide and approximate; use more steps"
                " (--last-steps) or log more prompts",
            )
        )
    return found
