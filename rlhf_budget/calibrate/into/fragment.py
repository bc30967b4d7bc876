"""The fragment as YAML: numbers that paste into a scenario, all else as comments."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rlhf_budget.calibrate.estimates import Calibration, Estimate, Fragment

_WIDTH = 100


def fragment_yaml(calibration: Calibration, *, include_unreliable: bool = False) -> str:
    """Return the fragment as YAML, with intervals, sources and warnings as comments."""
    fragment = calibration.fragment(include_unreliable=include_unreliable)
    estimates = {estimate.constant: estimate for estimate in calibration.estimates}
    lines = [*_head(calibration), *_body(fragment, estimates, calibration.level, ())]
    if not fragment:
        lines.append("{}")
    left_out = [e for e in calibration.estimates if not has_path(fragment, e.constant.split("."))]
    if left_out:
        lines.append("# Not in the fragment:")
    for estimate in left_out:
        told = f"unavailable; {estimate.note}"
        if estimate.value is not None:
            told = f"{estimate.value:.6g} {estimate.unit} ({estimate.status}); " + _remark(
                estimate, calibration.level
            )
        lines += _comment(f"{estimate.constant}: {told}")
    return "\n".join(lines) + "\n"


def _head(calibration: Calibration) -> Iterator[str]:
    source = calibration.source
    files = f"{len(source.files)} files" if len(source.files) != 1 else source.files[0]
    trainer = f", {source.trainer}" if source.trainer else ""
    yield from _comment(f"rlhf-budget {calibration.command}: {files}{trainer}")
    counted = f"{source.rows_used} of {source.rows_read} rows used"
    if source.prompts:
        counted += f", {source.prompts} prompt groups"
    if source.steps is not None:
        counted += f", steps {source.steps[0]} to {source.steps[1]}"
    yield from _comment(counted)
    for skip in source.skipped:
        yield from _comment(f"not used: {skip.count} rows, {skip.reason}")
    for file, reason in source.files_skipped:
        yield from _comment(f"not used: {file}, {reason}")
    for warning in calibration.warnings:
        yield from _comment(f"warning {warning.code}: {warning.message}")


def _body(
    fragment: Fragment, estimates: dict[str, Estimate], level: float, above: tuple[str, ...]
) -> Iterator[str]:
    indent = "  " * len(above)
    for key, value in fragment.items():
        path = (*above, key)
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _body(value, estimates, level, path)
            continue
        estimate = estimates.get(".".join(path))
        remark = "" if estimate is None else f"  # {_remark(estimate, level)}"
        yield f"{indent}{key}: {_scalar(value)}{remark}"


def _scalar(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    # YAML 1.1 readers take 1e-05 for text: a mantissa with a point is a number for all of them.
    text = repr(value)
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa}.0e{power}" if exponent and "." not in mantissa else text


def _remark(estimate: Estimate, level: float) -> str:
    parts = []
    if estimate.interval is not None and all(map(math.isfinite, estimate.interval)):
        low, high = estimate.interval
        parts.append(f"{100 * level:g} % in [{low:.4g}, {high:.4g}] {estimate.unit}")
    counted = f", n = {estimate.sample_size}" if estimate.sample_size else ""
    parts.append(f"{estimate.method}{counted}")
    if estimate.status == "unreliable":
        parts.append("UNRELIABLE")
    if estimate.note:
        parts.append(estimate.note)
    return "; ".join(parts)


def has_path(values: object, steps: Iterable[str]) -> bool:
    """Return whether nested mappings hold something at a path of keys."""
    for key in steps:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def _comment(text: str) -> Iterator[str]:
    """Break a text into comment lines."""
    line = "#"
    for word in text.split():
        if len(line) + 1 + len(word) > _WIDTH and line.strip("# "):
            yield line
            line = "#  "
        line = f"{line} {word}"
    yield line
