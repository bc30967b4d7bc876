"""Prompt groups of a log: aggregates that any engine runs, written once against narwhals.

Input is the frame of ``fields.COLUMNS``, one row a rollout. DuckDB, Spark and any other frame that
narwhals takes run the same expressions; an engine only keeps intermediate frames and fetches small
results. :func:`group_table` has one row per (step, prompt), which :func:`prompt_moments` sums per
prompt: the memory that it takes grows with prompts, not with rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.logs.steps import finite_sum
from rlhf_budget.calibrate.moments import Moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    import narwhals as nw

    from rlhf_budget.calibrate.logs.engine import Engine

REWARD_FEATURES = tuple(f"reward_{part}" for part in ("g", "v", "d", "dd", "w"))
OBJECTIVE_FEATURES = tuple(f"objective_{part}" for part in ("g", "v", "d", "dd", "w"))
THRESHOLDS = 3
LOG_RATIO_FEATURES = (
    "log_ratio_n",
    "log_ratio_sum",
    "log_ratio_square",
    "log_ratio_magnitude",
    *(f"above_{index}" for index in range(THRESHOLDS)),
)
TOKEN_FEATURES = ("tokens_n", "tokens_sum")
BEHAVIOUR_FEATURES = ("behaviour_n", "behaviour_sum")


@dataclass(frozen=True, slots=True)
class GroupTotals:
    """What the group table holds as a whole."""

    groups: int
    """Groups."""
    rows: int
    """Rows."""
    least: int
    """Rows of the smallest group."""
    most: int
    """Rows of the largest group."""
    equal: int
    """Groups of two rows or more whose rewards are all equal."""
    several: int
    """Groups of two rows or more."""
    at_lowest: int
    """Groups that reach the lowest reward of all."""
    at_highest: int
    """Groups that reach the highest reward of all."""
    two_valued: bool
    """Whether every reward is the lowest or the highest of all."""
    group_mean_spread: float
    """Largest distance of a group's mean reward from the overall mean."""


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Constants of the group aggregation."""

    low: float
    """Lowest reward."""
    high: float
    """Highest reward."""
    centre: float
    """Subtracted from group means of the reward, for the digits."""
    kl_coefficient: float
    """β; 0 leaves the objective out."""
    log_ratio_centre: float
    """Subtracted from log-ratios before they are squared, nats."""
    thresholds: tuple[float, float, float]
    """Where the dependence of tail indicators is measured, nats."""

    @property
    def objective_centre(self) -> float:
        """Subtracted from group means of the objective."""
        return self.centre - self.kl_coefficient * self.log_ratio_centre


def group_table(
    rows: nw.LazyFrame[Any], settings: GroupSettings, present: Sequence[str]
) -> nw.LazyFrame[Any]:
    """Return one row per (step, prompt) with the features that :func:`prompt_moments` sums.

    Parameters
    ----------
    rows
        Rows to use.
    settings
        Centres, thresholds and the KL coefficient.
    present
        Which of ``log_ratio``, ``tokens`` and ``behaviour`` the rows hold at all.
    """
    import narwhals as nw

    prepared = rows.with_columns(
        inside=nw.when((nw.col("reward") > settings.low) & (nw.col("reward") < settings.high))
        .then(1)
        .otherwise(0),
    )
    aggregates = [
        nw.len().alias("row"),
        nw.col("reward").mean().alias("reward_mean"),
        nw.col("reward").var().alias("reward_var"),
        nw.col("reward").min().alias("reward_low"),
        nw.col("reward").max().alias("reward_high"),
        nw.col("inside").max(),
    ]
    if "log_ratio" in present:
        prepared = _with_log_ratio_columns(prepared, settings)
        aggregates += [nw.col(name).sum() for name in LOG_RATIO_FEATURES]
        if settings.kl_coefficient:
            aggregates += [
                nw.col("objective").mean().alias("objective_mean"),
                nw.col("objective").var().alias("objective_var"),
            ]
    for name in ("tokens", "behaviour"):
        if name in present:
            known = nw.when(nw.col(name).is_null()).then(0).otherwise(1)
            prepared = prepared.with_columns(known.alias(f"{name}_n"))
            aggregates += [nw.col(f"{name}_n").sum(), nw.col(name).sum().alias(f"{name}_sum")]
    return prepared.group_by("step", "prompt").agg(*aggregates)


def _with_log_ratio_columns(rows: nw.LazyFrame[Any], settings: GroupSettings) -> nw.LazyFrame[Any]:
    import narwhals as nw

    log_ratio = nw.col("log_ratio")
    centred = log_ratio - settings.log_ratio_centre
    above = {
        f"above_{index}": nw.when(log_ratio.abs() > threshold).then(1).otherwise(0)
        for index, threshold in enumerate(settings.thresholds)
    }
    return rows.with_columns(
        log_ratio_n=nw.when(log_ratio.is_null()).then(0).otherwise(1),
        log_ratio_sum=log_ratio,
        log_ratio_square=centred * centred,
        log_ratio_magnitude=log_ratio.abs(),
        objective=nw.col("reward") - settings.kl_coefficient * log_ratio,
        **above,
    )


def group_totals(groups: nw.LazyFrame[Any], settings: GroupSettings, engine: Engine) -> GroupTotals:
    """Return counts over the whole group table."""
    import narwhals as nw

    def flag(condition: nw.Expr) -> nw.Expr:
        return nw.when(condition).then(1).otherwise(0)

    several = nw.col("row") > 1
    table = groups.with_columns(
        several=flag(several),
        equal=flag(several & (nw.col("reward_low") == nw.col("reward_high"))),
        lowest=flag(nw.col("reward_low") == settings.low),
        highest=flag(nw.col("reward_high") == settings.high),
        distance=(nw.col("reward_mean") - settings.centre).abs(),
        group=nw.lit(1),
    ).select(
        nw.col("group").sum(),
        nw.col("row").sum(),
        nw.col("row").min().alias("least"),
        nw.col("row").max().alias("most"),
        nw.col("equal").sum(),
        nw.col("several").sum(),
        nw.col("lowest").sum(),
        nw.col("highest").sum(),
        nw.col("inside").sum(),
        nw.col("distance").max(),
    )
    record = engine.fetch(table)[0]
    return GroupTotals(
        groups=int(record["group"]),
        rows=int(record["row"]),
        least=int(record["least"]),
        most=int(record["most"]),
        equal=int(record["equal"]),
        several=int(record["several"]),
        at_lowest=int(record["lowest"]),
        at_highest=int(record["highest"]),
        two_valued=settings.high > settings.low and int(record["inside"]) == 0,
        group_mean_spread=finite_sum(record["distance"]),
    )


def prompt_moments(
    groups: nw.LazyFrame[Any],
    settings: GroupSettings,
    present: Sequence[str],
    engine: Engine,
) -> dict[str, Moments]:
    """Return the moments over prompts of each block of features.

    Returns
    -------
    dict
        Keys ``reward``, and where present ``objective``, ``log_ratio``, ``tokens``, ``behaviour``.
    """
    import narwhals as nw

    blocks = {"reward": REWARD_FEATURES}
    featured = _with_variance_features(groups, "reward", settings.centre)
    if "log_ratio" in present:
        blocks["log_ratio"] = LOG_RATIO_FEATURES
        if settings.kl_coefficient:
            blocks["objective"] = OBJECTIVE_FEATURES
            featured = _with_variance_features(featured, "objective", settings.objective_centre)
    if "tokens" in present:
        blocks["tokens"] = TOKEN_FEATURES
    if "behaviour" in present:
        blocks["behaviour"] = BEHAVIOUR_FEATURES
    names = [name for block in blocks.values() for name in block]
    if _prompts_come_back(groups, engine):
        featured = featured.group_by("prompt").agg(*(nw.col(name).sum() for name in names))
    per_prompt = featured.with_columns(
        nw.lit(1).alias("prompts"), *(nw.col(name).cast(nw.Float64) for name in names)
    )
    pairs = [
        (block[i], block[j])
        for block in blocks.values()
        for i in range(len(block))
        for j in range(i, len(block))
    ]
    record = engine.fetch(
        per_prompt.select(
            nw.col("prompts").sum(),
            *(nw.col(name).sum() for name in names),
            *((nw.col(a) * nw.col(b)).sum().alias(f"{a}*{b}") for a, b in pairs),
        )
    )[0]
    return {key: _moments(block, record) for key, block in blocks.items()}


def _prompts_come_back(groups: nw.LazyFrame[Any], engine: Engine) -> bool:
    """Return whether a prompt has several groups; summing per prompt costs much where none has."""
    import narwhals as nw

    # Counted by groups, which an engine can spill to disk, not by distinct values, which it cannot.
    counted = groups.with_columns(group=nw.lit(1)).group_by("prompt").agg(nw.col("group").sum())
    return int(engine.fetch(counted.select(nw.col("group").max()))[0]["group"]) > 1


def _moments(names: tuple[str, ...], record: dict[str, Any]) -> Moments:
    def product(i: int, j: int) -> float:
        first, second = sorted((i, j))
        return finite_sum(record[f"{names[first]}*{names[second]}"])

    size = range(len(names))
    return Moments(
        names=names,
        clusters=int(record["prompts"]),
        sums=tuple(finite_sum(record[name]) for name in names),
        products=tuple(tuple(product(i, j) for j in size) for i in size),
    )


def _with_variance_features(
    groups: nw.LazyFrame[Any], name: str, centre: float
) -> nw.LazyFrame[Any]:
    """Add 1, v, d, d², v/K of groups with a variance; zeros elsewhere."""
    import narwhals as nw

    variance = nw.col(f"{name}_var")
    size = nw.col("log_ratio_n") if name == "objective" else nw.col("row")
    usable = size > 1
    distance = nw.col(f"{name}_mean") - centre

    def where_usable(expression: nw.Expr) -> nw.Expr:
        return nw.when(usable).then(expression).otherwise(0.0)

    return groups.with_columns(
        where_usable(nw.lit(1.0)).alias(f"{name}_g"),
        where_usable(variance).alias(f"{name}_v"),
        where_usable(distance).alias(f"{name}_d"),
        where_usable(distance * distance).alias(f"{name}_dd"),
        where_usable(variance / size).alias(f"{name}_w"),
    )
