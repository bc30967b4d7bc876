"""What each trainer writes: one file a trainer, and here which of them a log belongs to.

Sources and traps of every format: docs/calibration.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.calibrate.logs.dialects.counts import Counts
from rlhf_budget.calibrate.logs.dialects.ms_swift import MsSwift
from rlhf_budget.calibrate.logs.dialects.nemo_rl import NemoRL
from rlhf_budget.calibrate.logs.dialects.one_a_prompt import OneAPrompt
from rlhf_budget.calibrate.logs.dialects.open_instruct import OpenInstruct
from rlhf_budget.calibrate.logs.dialects.openrlhf import OpenRLHF
from rlhf_budget.calibrate.logs.dialects.prime_rl import PrimeRL, Verifiers
from rlhf_budget.calibrate.logs.dialects.slime import Slime
from rlhf_budget.calibrate.logs.dialects.tinker import Tinker
from rlhf_budget.calibrate.logs.dialects.trl import TRL
from rlhf_budget.calibrate.logs.dialects.verl import Verl
from rlhf_budget.calibrate.logs.dialects.wandb_table import WandbTable
from rlhf_budget.calibrate.logs.fields import guess_layout, name_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rlhf_budget.calibrate.logs.dialects.dialect import Dialect
    from rlhf_budget.calibrate.logs.dialects.nested import NestedDialect
    from rlhf_budget.calibrate.logs.fields import FieldNames, Layout

FLAT: tuple[Dialect, ...] = (
    TRL(),
    Verl(),
    OpenRLHF(),
    OpenInstruct(),
    NemoRL(),
    Verifiers(),
    Slime(),
)
"""Forms with one row a rollout, in the order in which a log is compared with them."""
NESTED: tuple[NestedDialect, ...] = (
    MsSwift(),
    PrimeRL(),
    Tinker(),
    WandbTable(),
    OneAPrompt(),
    Counts(),
)
"""Forms whose records are laid flat first, in the same order."""
DIALECTS: tuple[Dialect, ...] = (*FLAT, *NESTED)
"""Every form."""
TRAINERS = tuple(
    dict.fromkeys(dialect.name for dialect in DIALECTS if dialect.signatures or dialect in NESTED)
)
"""Names of the forms whose rollouts are read."""
KL_KEYS = tuple(key for dialect in DIALECTS for key in dialect.kl_keys)
"""Keys under which trainers log a KL."""
LENGTH_KEYS = tuple(dict.fromkeys(name for key in KL_KEYS for name in key.length_keys or ()))
"""Keys under which they log the mean completion length."""


def dialect_of(trainer: str | None) -> Dialect | None:
    """Return the dialect of a name; None for none."""
    return next((dialect for dialect in DIALECTS if dialect.name == trainer), None)


def recognise(columns: Iterable[str]) -> Dialect | None:
    """Return the trainer that writes these columns, or None."""
    names = frozenset(columns)
    return next((d for d in FLAT if any(needed <= names for needed in d.signatures)), None)


def layout_of(columns: Iterable[str], dialect: Dialect | None) -> Layout:
    """Return the layout of a trainer's files, or of one guessed from names."""
    names = frozenset(columns)
    guessed = guess_layout(names)
    return guessed if dialect is None else dialect.layout(names, guessed)


def resolve_layout(columns: Iterable[str], dialect: Dialect | None, names: FieldNames) -> Layout:
    """Return the layout of a log with these columns; raises as :func:`~.fields.name_fields`."""
    known = frozenset(columns)
    return name_fields(
        layout_of(known, dialect),
        known,
        names,
        rewards_are_logged=dialect is not None and dialect.rewards_are_logged,
    )


def is_metadata(path: str, columns: frozenset[str]) -> bool:
    """Return whether a file is a trainer's description of a run beside its rollouts."""
    endings = tuple(d.metadata_ending for d in DIALECTS if d.metadata_ending)
    return path.endswith(endings) and "reward" not in columns
