"""Everything that the aggregates of a log say, in one value, and what is odd about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.estimates import CalibrationWarning
from rlhf_budget.calibrate.logs import groups
from rlhf_budget.calibrate.logs.dialects import dialect_of
from rlhf_budget.calibrate.logs.histogram import tail_bins
from rlhf_budget.calibrate.rollouts.tail_summary import thresholds

if TYPE_CHECKING:
    import narwhals as nw

    from rlhf_budget.calibrate.estimates import WarningCode
    from rlhf_budget.calibrate.logs.engine import Engine
    from rlhf_budget.calibrate.logs.fields import Layout
    from rlhf_budget.calibrate.logs.histogram import LogHistogram
    from rlhf_budget.calibrate.logs.selection import Selection
    from rlhf_budget.calibrate.moments import Moments
    from rlhf_budget.calibrate.rollouts.results import RolloutOptions

LOG_IT = "docs/calibration.md has the lines that log it for each trainer"
_FEW_PROMPTS = 30


@dataclass(frozen=True)
class Evidence:
    """Everything that the aggregates say."""

    totals: groups.GroupTotals
    settings: groups.GroupSettings
    moments: dict[str, Moments]
    histogram: LogHistogram | None
    level: float
    filtered: bool
    standardised: bool
    kl_asked: bool
    """Whether a KL coefficient was given."""
    reward_range: tuple[float, float] | None = None
    """Least and largest possible reward, as given."""
    steps_unknown: str | None = None
    """Why several policies may be pooled; None where nothing says so."""


def span_of(evidence: Evidence) -> float:
    """Return the length of the interval of rewards: as given, and at least what was seen."""
    low, high = evidence.reward_range or (math.inf, -math.inf)
    return max(high, evidence.settings.high) - min(low, evidence.settings.low)


def gather_evidence(
    used: nw.LazyFrame[Any],
    selection: Selection,
    layout: Layout,
    engine: Engine,
    options: RolloutOptions,
    steps_unknown: str | None = None,
) -> Evidence:
    """Run the aggregates on the rows of the steps to use."""
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
    histogram = tail_bins(used, engine) if log_ratios else None
    settings = groups.GroupSettings(
        low=min(row.reward_low for row in chosen),
        high=max(row.reward_high for row in chosen),
        centre=math.fsum(row.reward_sum for row in chosen) / count,
        kl_coefficient=options.kl_coefficient or 0.0,
        log_ratio_centre=(
            math.fsum(row.log_ratio_sum for row in chosen) / log_ratios if log_ratios else 0.0
        ),
        thresholds=thresholds(histogram) if histogram else (0.0, 0.0, 0.0),
    )
    table = engine.keep(groups.group_table(used, settings, present))
    totals = groups.group_totals(table, settings, engine)
    moments = groups.prompt_moments(table, settings, present, engine)
    square = math.fsum(row.reward_square for row in chosen) / count
    deviation = math.sqrt(max(square - settings.centre**2, 0.0))
    span = settings.high - settings.low
    share = (settings.centre - settings.low) / span if span > 0 else 0.0
    dialect = dialect_of(layout.trainer)
    filtered = _looks_filtered(totals, share) or (
        dialect is not None and dialect.filters_groups and totals.several > 0 and totals.equal == 0
    )
    standardised = (dialect is not None and dialect.standardises_rewards) or (
        not totals.two_valued and _looks_standardised(settings.centre, deviation, totals)
    )
    return Evidence(
        totals=totals,
        settings=settings,
        moments=moments,
        histogram=histogram,
        level=options.level,
        filtered=filtered,
        standardised=standardised,
        kl_asked=bool(options.kl_coefficient),
        reward_range=options.reward_range,
        steps_unknown=steps_unknown,
    )


def data_warnings(evidence: Evidence) -> list[CalibrationWarning]:
    """Return what is odd about the groups."""
    totals = evidence.totals
    prompts = evidence.moments["reward"].clusters
    cautions: tuple[tuple[WarningCode, bool, str], ...] = (
        ("steps-unknown", evidence.steps_unknown is not None, evidence.steps_unknown or ""),
        (
            "filtered-groups",
            evidence.filtered,
            (
                "no group has equal rewards, although some would: they were removed before logging,"
                " which inflates the variance within and shrinks the one between prompts; log all"
                " groups (Open-Instruct: filter_zero_std_samples false)"
            ),
        ),
        (
            "dynamic-groups",
            totals.least != totals.most,
            (
                f"groups have {totals.least} to {totals.most} rollouts: the estimator for group"
                " sizes that may depend on the prompt is used; groups of one count for nothing"
            ),
        ),
        (
            "standardised-rewards",
            evidence.standardised,
            (
                "rewards are standardised (mean 0, standard deviation 1, or each group's mean 0):"
                " variances and range are not in the reward's own units; log raw rewards"
            ),
        ),
        (
            "few-prompts",
            prompts < _FEW_PROMPTS,
            (
                f"{prompts} prompts: intervals are wide and approximate; use more steps"
                " (--last-steps) or log more prompts"
            ),
        ),
    )
    return [CalibrationWarning(code, message) for code, seen, message in cautions if seen]


def _looks_filtered(totals: groups.GroupTotals, mean_share: float) -> bool:
    """Return whether groups of equal rewards are missing that independent rollouts would show.

    Rollouts of one prompt are alike, so that real groups are equal more often than this.
    """
    if not totals.two_valued or totals.equal > 0 or totals.several == 0:
        return False
    size = totals.rows / totals.groups
    equal = mean_share**size + (1 - mean_share) ** size
    return bool((1 - equal) ** totals.several < 0.05)


def _looks_standardised(mean: float, deviation: float, totals: groups.GroupTotals) -> bool:
    """Return whether rewards have mean 0 and standard deviation 1, or every group mean 0."""
    if deviation == 0:
        return False
    whole = abs(mean) < 0.05 and abs(deviation - 1) < 0.05
    return whole or (totals.several > 1 and totals.group_mean_spread < 1e-3 * deviation)
