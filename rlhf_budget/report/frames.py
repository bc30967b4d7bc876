"""Tables of results as data frames of whichever package is there."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, cast

from rlhf_budget.errors import MissingExtraError
from rlhf_budget.report.data import flat_result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BACKENDS: Final = ("pandas", "polars", "pyarrow")
"""Packages that a frame can be of, the first choice first."""


def frame(rows: Iterable[Mapping[str, Any]], backend: str | None = None) -> Any:
    """Make a frame with a row for each mapping and a column for every leaf, by its dotted path.

    Raises
    ------
    MissingExtraError
        Without narwhals, or without the package asked for or any.
    ValueError
        Where another package is asked for.
    """
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"the backend '{backend}' is none of {', '.join(BACKENDS)}.")
    asked = BACKENDS if backend is None else (backend,)
    found = next((name for name in asked if find_spec(name)), None)
    if found is None or find_spec("narwhals") is None:
        raise MissingExtraError(
            f"data frames need narwhals, which the extra calibrate brings (pip install "
            f"'rlhf-budget[calibrate]'), and {' or '.join(asked)}"
        )
    import narwhals as nw  # noqa: PLC0415 - an extra

    flat = [dict(flat_result(row)) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    columns = {name: _of_one_type([row.get(name) for row in flat]) for name in names}
    return nw.from_dict(columns, backend=cast("Any", found)).to_native()


def _of_one_type(values: list[Any]) -> list[Any]:
    """Make numbers and truth values real, else all text, where a column has several types."""
    types = {type(value) for value in values if value is not None}
    if len(types) <= 1:
        return values
    made: Any = float if types <= {bool, int, float} else str
    return [None if value is None else made(value) for value in values]
