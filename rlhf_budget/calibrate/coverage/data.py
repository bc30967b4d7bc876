"""Features and log-probabilities for a coverage, from files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rlhf_budget.calibrate.estimates import Skip, Source
from rlhf_budget.calibrate.logs.fields import words
from rlhf_budget.calibrate.logs.files import find_tables
from rlhf_budget.calibrate.logs.tables import (
    TABLE_SUFFIXES,
    Row,
    find_field,
    number,
    read_columns,
    read_table,
)
from rlhf_budget.errors import CalibrationError, FileAccessError, LogError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

POLICY_FIELDS = ("logp_policy", "policy_logprob", "policy_logprobs", "logprob", "log_prob")
"""Fields recognised as log-probabilities under the current policy."""
BEHAVIOUR_FIELDS = words(
    "logp_behaviour behaviour_logprob behaviour_logprobs behavior_logprob logp_behavior"
)
"""Fields recognised as log-probabilities under the policy whose responses were labelled."""

_SAMPLER_FIELDS = ("behaviour", "behavior", "sampled_by")
_CURRENT_SAMPLER = "policy"


def read_features(path: Path) -> Array:
    """Read a table of features, one row a response.

    Parameters
    ----------
    path
        ``.npy`` of shape (n, d), or ``.parquet`` with one number a column, or with one column that
        holds a list of d numbers.

    Raises
    ------
    LogError
        If the file holds no such table.
    FileAccessError
        If it cannot be read.
    """
    if path.suffix == ".npy":
        return _as_table(path, _read_npy(path))
    if path.suffix == ".parquet":
        columns = list(read_columns(path).values())
        one_list = len(columns) == 1 and bool(columns[0]) and isinstance(columns[0][0], list)
        return _as_table(path, columns[0] if one_list else list(zip(*columns, strict=True)))
    raise LogError(f"{path}: features are read from .npy and .parquet")


def _read_npy(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except OSError as error:
        raise FileAccessError(f"{path}: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise LogError(f"{path}: not readable as .npy: {error}") from None


def _as_table(path: Path, values: Any) -> Array:
    try:
        table = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise LogError(f"{path}: features must be numbers, as many in every row") from None
    if table.ndim != 2 or 0 in table.shape or not np.isfinite(table).all():
        raise LogError(
            f"{path}: expected a table of finite numbers with a row for each response, found the "
            f"shape {table.shape}"
        )
    return table


def read_logprobs(
    paths: Sequence[str | Path],
    *,
    policy_field: str | None = None,
    behaviour_field: str | None = None,
    strict: bool = False,
) -> tuple[Array, Array, Source]:
    """Read log-probabilities of whole responses sampled from the current policy.

    Parameters
    ----------
    paths
        Tables, patterns or directories.
    policy_field, behaviour_field
        Fields of log p(response) under the current policy, and under the one whose responses were
        labelled; lists of one number a token are summed.
    strict
        Make unusable rows an error.

    Returns
    -------
    tuple
        Both log-probabilities, shape (S,) each, in nats, and their source. Where a column
        ``behaviour`` says which policy sampled a row, only those of ``policy`` are used.

    Raises
    ------
    CalibrationError
        If a field is missing, or no row is usable.
    LogError
        If a file is not of its kind, or ``strict`` finds an unusable row.
    FileAccessError
        If a file cannot be read.
    """
    files = find_tables(paths, TABLE_SUFFIXES)
    tables = [read_table(file) for file in files]
    rows = [row for table, _ in tables for row in table]
    policy = _require_field(files, rows, policy_field, POLICY_FIELDS, "policy")
    behaviour = _require_field(files, rows, behaviour_field, BEHAVIOUR_FIELDS, "behaviour")
    sampler = _sampler_field(rows)
    pairs: list[tuple[float, float]] = []
    skips = ["malformed-row"] * sum(broken for _, broken in tables)
    for row in rows:
        first, second = _log_probability(row.get(policy)), _log_probability(row.get(behaviour))
        if sampler is not None and row.get(sampler) != _CURRENT_SAMPLER:
            skips.append("sampled-by-another-policy")
        elif first is None or second is None:
            skips.append("unusable-logprob")
        else:
            pairs.append((first, second))
    faults = skips.count("unusable-logprob") + skips.count("malformed-row")
    if not pairs or (strict and faults):
        names = ", ".join(map(str, files))
        kind = LogError if strict else CalibrationError
        raise kind(f"{names}: {faults} rows without log-probabilities")
    source = Source(
        files=tuple(map(str, files)),
        fields=(("policy_logprob", policy), ("behaviour_logprob", behaviour)),
        rows_read=len(pairs) + len(skips),
        rows_used=len(pairs),
        skipped=tuple(Skip(r, skips.count(r)) for r in sorted(set(skips))),
    )
    table = np.array(pairs)
    return table[:, 0], table[:, 1], source


def _require_field(
    files: tuple[Path, ...], rows: list[Row], given: str | None, names: tuple[str, ...], role: str
) -> str:
    found = find_field(rows, (given,) if given else names)
    if found is None:
        present = ", ".join(sorted({name for row in rows for name in row}))
        raise CalibrationError(
            f"{', '.join(map(str, files))}: no field of {role} log-probabilities among {present}; "
            f"give --{role}-logprob-field"
        )
    return found


def _sampler_field(rows: list[Row]) -> str | None:
    found = find_field(rows, _SAMPLER_FIELDS)
    if found is None or not any(row.get(found) == _CURRENT_SAMPLER for row in rows):
        return None
    return found


def _log_probability(value: object) -> float | None:
    if isinstance(value, (list, tuple)):
        parts = [number(part) for part in value]
        return None if not parts or None in parts else sum(p for p in parts if p is not None)
    return number(value)
