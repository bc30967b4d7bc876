"""Numbers as people read them: the only place where results are rounded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rlhf_budget.report.document import Cell, Format, Table, Value

SIGNIFICANT = 4
"""Digits of a number that is not a count."""
LARGEST_WRITTEN_OUT = 1e15
"""Above this, digits no longer help a reader."""

LEAST_WHOLE_MONEY = 999.995
"""From this amount on, hundredths of the currency are not shown."""
LEAST_CENT = 0.005
"""Amounts below this are shown by their digits."""


def integer(value: float) -> str:
    """Write a count with thousands separators."""
    return f"{value:.3e}" if abs(value) >= LARGEST_WRITTEN_OUT else f"{round(value):,}"


def money(value: float) -> str:
    """Write an amount of money: whole where it is or from 1,000, else with two decimals."""
    size = abs(value)
    if size >= LARGEST_WRITTEN_OUT:
        return f"{value:.3e}"
    if size >= LEAST_WHOLE_MONEY or value == round(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if size >= LEAST_CENT else significant(value, digits=2)


def significant(value: float, *, digits: int = SIGNIFICANT) -> str:
    """Write a number with the given significant digits, trailing zeros kept."""
    return _fixed(value, _decimals(abs(value), digits), digits)


def plain(value: float) -> str:
    """Write a number as it stands in a scenario: whole where it is, else with six digits."""
    if float(value).is_integer() and abs(value) < LARGEST_WRITTEN_OUT:
        return integer(value)
    return f"{value:,.6g}"


def percent(fraction: float, *, signed: bool = False) -> str:
    """Write a fraction as a percentage with one decimal, or one digit where that would be 0."""
    value = 100.0 * fraction
    sign = "+" if signed else ""
    if value == 0:
        return "0 %"
    if abs(value) < 0.05:
        return f"{value:{sign}.1g} %" if abs(value) >= 1e-4 else f"{value:{sign}.0e} %"
    return f"{value:{sign},.1f} %" if abs(value) < 1e6 else f"{value:{sign}.1e} %"


def small_percent(fraction: float) -> str:
    """Write a small fraction as a percentage, rounded up to one digit, without an exponent."""
    value = 100.0 * fraction
    if value <= 0:
        return "0 %"
    decimals = max(0, -math.floor(math.log10(value)))
    step = 10.0**-decimals
    return f"{math.ceil(value / step - 1e-9) * step:.{decimals}f} %"


def write_group(values: Sequence[Cell], format_: Format) -> list[str]:
    """Write the cells of one column or row alike: with the decimals that the largest needs."""
    numbers = [value for cell in values for value in _parts(cell) if _is_number(value)]
    largest = max((abs(number) for number in numbers if math.isfinite(number)), default=0.0)
    return [_write_cell(cell, format_, largest) for cell in values]


def written(table: Table) -> list[list[str]]:
    """Write all cells of a table, row by row."""
    by_column = [
        write_group([row.cells[index] for row in table.rows], column.format)
        for index, column in enumerate(table.columns)
    ]
    rows = [list(cells) for cells in zip(*by_column, strict=True)]
    for index, row in enumerate(table.rows):
        if row.format is not None:
            rows[index][1:] = write_group(row.cells[1:], row.format)
    return rows


def _parts(cell: Cell) -> tuple[Value, ...]:
    return cell if isinstance(cell, tuple) else (cell,)


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _write_cell(cell: Cell, format_: Format, largest: float) -> str:
    parts = [_write(value, format_, largest) for value in _parts(cell)]
    return parts[0] if len(set(parts)) == 1 else " to ".join(parts)


def _write(value: Value, format_: Format, largest: float) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) or format_ == "text":
        return str(value)
    if not math.isfinite(value):
        return "unlimited" if value > 0 else str(value)
    return _WRITERS[format_](value, largest)


def _money_among(value: float, largest: float) -> str:
    if value == 0 or largest >= LARGEST_WRITTEN_OUT:
        return money(value)
    if largest >= LEAST_WHOLE_MONEY:
        return f"{value:,.0f}" if abs(value) >= 0.5 else "< 1"
    return f"{value:.2f}" if abs(value) >= LEAST_CENT else money(value)


def _decimals(size: float, digits: int) -> int:
    """Decimals that show ``digits`` significant digits of a number of this size."""
    if size == 0 or not math.isfinite(size):
        return 0
    return max(0, digits - 1 - math.floor(math.log10(size)))


def _fixed(value: float, decimals: int, digits: int) -> str:
    if value == 0:
        return "0"
    size = abs(value)
    lost = size < 0.5 * 10.0**-decimals
    if lost or size >= LARGEST_WRITTEN_OUT or decimals > digits + 4:
        return f"{value:.{1 if lost else digits - 1}e}"
    return f"{value:,.{decimals}f}"


_WRITERS: dict[str, Callable[[float, float], str]] = {
    "plain": lambda value, _: plain(value),
    "integer": lambda value, _: integer(value),
    "money": _money_among,
    "significant": lambda value, largest: _fixed(
        value, _decimals(largest, SIGNIFICANT), SIGNIFICANT
    ),
    "percent": lambda value, _: percent(value),
    "share": lambda value, _: percent(value),
    "signed_percent": lambda value, _: percent(value, signed=True),
}
"""Format -> how a number is written beside the largest of its group."""
