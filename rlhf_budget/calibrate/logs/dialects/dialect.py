"""What the file of one trainer says: its names, its habits, and what only its own log tells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import narwhals as nw

    from rlhf_budget.calibrate.logs.engine import Engine
    from rlhf_budget.calibrate.logs.fields import Layout
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog

    Rows = nw.LazyFrame[Any]

NUMERIC_TYPES = ("DOUBLE", "FLOAT", "BIGINT", "INTEGER", "INT", "SMALLINT", "TINYINT", "BOOLEAN")
"""Types of parquet columns that may hold rewards."""
SEQUENCE_MEANS = (
    "a mean of sequences' token means: right only if KL per token and length are uncorrelated"
)
"""Remark on a KL that is averaged over tokens, then over sequences."""


@dataclass(frozen=True, slots=True)
class KlKey:
    """One key under which a trainer logs its KL."""

    key: str
    """The key, without a tracker's prefix ``train/``."""
    length_keys: tuple[str, ...] | None
    """Keys of the mean completion length by which to multiply; None for a sum per sequence, none
    where the log has no length."""
    remark: str
    """What the key's average leaves out."""


@dataclass(frozen=True)
class LogLesson:
    """What a trainer's own log taught about its rows."""

    rows: Rows
    """The rows, rewards weighed."""
    layout: Layout
    """Where the columns came from."""
    evaluation_steps: tuple[int, ...] = ()
    """Steps whose rows are evaluation rollouts."""


class Dialect:
    """One trainer's way of writing logs; what is not overridden is what most of them do.

    To add a trainer, add a file with a subclass and name it in ``dialects/__init__.py``.
    """

    name: ClassVar[str]
    """As ``--trainer`` spells it."""
    signatures: ClassVar[tuple[frozenset[str], ...]] = ()
    """Sets of columns; a log that has all of one is this trainer's. None: it writes no rollouts."""
    kl_keys: ClassVar[tuple[KlKey, ...]] = ()
    """Keys of the KL in its own log, best first."""
    metadata_ending: ClassVar[str | None] = None
    """Ending of the names of files beside the rollouts that hold none."""
    evaluation_columns: ClassVar[frozenset[str] | None] = None
    """Columns that only its evaluation files have all of."""
    names_tell_evaluation: ClassVar[bool] = True
    """Whether ``eval`` in a file's name means that it holds evaluation rollouts."""
    run_folder: ClassVar[int | None] = None
    """How many folders above its own a file's run stands; None where names do not tell runs."""
    rewards_are_logged: ClassVar[bool] = False
    """Whether its own log, not the rows, says which columns are rewards."""
    thinner_folders: ClassVar[tuple[str, str] | None] = None
    """Two folders, the first of which holds a part of what the second beside it holds."""
    filters_groups: ClassVar[bool] = False
    """Whether it leaves groups of equal rewards out unless told otherwise."""
    standardises_rewards: ClassVar[bool] = False
    """Whether the rewards that it writes are standardised."""

    fields: ClassVar[Mapping[str, Any]] = {}
    """Roles of :class:`Layout` that its files hold elsewhere than usual names suggest."""

    def layout(self, columns: frozenset[str], guessed: Layout) -> Layout:
        """Return where its files hold what, given what usual names suggest."""
        del columns
        return replace(guessed, trainer=self.name, **self.fields)

    def logged_rewards(
        self, layout: Layout, types: Mapping[str, str], log: MetricsLog | None
    ) -> Layout:
        """Return the layout with its reward columns, where ``rewards_are_logged``.

        ``types`` has the type of every column. Raises CalibrationError if they cannot be told.
        """
        del types, log
        return layout

    def learn_from_log(
        self, rows: Rows, layout: Layout, log: MetricsLog, engine: Engine, *, rewards_given: bool
    ) -> LogLesson:
        """Return what its own log tells of rows, which may be that the rewards are as given."""
        del log, engine, rewards_given
        return LogLesson(rows, layout)
