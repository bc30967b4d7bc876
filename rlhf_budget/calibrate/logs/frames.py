"""Frames in memory or elsewhere: whatever narwhals takes, without files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.logs.fields import USED
from rlhf_budget.calibrate.logs.sql import LARGEST_NUMBER
from rlhf_budget.errors import CalibrationError, MissingExtraError

if TYPE_CHECKING:
    import narwhals as nw

    from rlhf_budget.calibrate.logs.fields import Field, Layout


class FrameEngine:
    """The frame's own library runs the aggregates."""

    def fetch(self, frame: nw.LazyFrame[Any]) -> list[dict[str, Any]]:
        """Return the rows of a small result."""
        native = frame.to_native()
        if hasattr(native, "fetchall"):
            from rlhf_budget.calibrate.logs.engine import fetch_duckdb

            return fetch_duckdb(native)
        if hasattr(native, "sparkSession"):
            return [row.asDict() for row in native.collect()]
        return list(frame.collect().iter_rows(named=True))

    def keep(self, frame: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
        """Compute a frame once where its library holds results in memory."""
        native = frame.to_native()
        if hasattr(native, "fetchall") or hasattr(native, "sparkSession"):
            return frame
        return frame.collect().lazy()


def _lazy(frame: Any) -> nw.LazyFrame[Any]:
    try:
        import narwhals as nw
    except ImportError as error:
        raise MissingExtraError(
            "narwhals is not installed: pip install 'rlhf-budget[calibrate]'"
        ) from error
    try:
        lazy: nw.LazyFrame[Any] = nw.from_native(frame).lazy()
    except TypeError as error:
        raise CalibrationError(
            f"not a frame that narwhals takes: {type(frame).__name__}"
        ) from error
    return lazy


def frame_columns(frame: Any) -> tuple[str, ...]:
    """Return the column names of any frame."""
    return tuple(_lazy(frame).collect_schema().names())


def frame_head(frame: Any, rows: int) -> list[dict[str, Any]]:
    """Return the first rows of any frame."""
    return FrameEngine().fetch(_lazy(frame).head(rows))


def normalised_frame(frame: Any, layout: Layout) -> nw.LazyFrame[Any]:
    """Return a frame in the columns of ``fields.COLUMNS``.

    Raises CalibrationError if it is no frame, or a column that must hold numbers does not.
    """
    import narwhals as nw

    lazy = _lazy(frame)
    schema = lazy.collect_schema()
    others = (layout.log_ratio, layout.policy, layout.reference, layout.tokens, layout.step)
    for field in (*(field for field, _ in layout.rewards), *others):
        if field is None:
            continue
        kind = schema[field.name]
        if not (kind.is_numeric() or kind == nw.Boolean):
            raise CalibrationError(f"column {field.name}: found {kind}; allowed: numbers")
    reward = sum(
        (_number(field) * weight for field, weight in layout.rewards[1:]),
        _number(layout.rewards[0][0]) * layout.rewards[0][1],
    )
    absent = nw.lit(None, dtype=nw.Float64)
    log_ratio = absent
    if layout.log_ratio is not None:
        log_ratio = _number(layout.log_ratio)
    elif layout.policy is not None and layout.reference is not None:
        log_ratio = _number(layout.policy) - _number(layout.reference)
    behaviour = absent
    if layout.policy is not None and layout.behaviour is not None:
        behaviour = _number(layout.policy) - _number(layout.behaviour)
    prompt = nw.col(layout.prompt.name) if layout.prompt else nw.lit("")
    step = absent if layout.step is None else nw.col(layout.step.name)
    normalised = lazy.select(
        step.alias("step"),
        prompt.alias("prompt"),
        reward.alias("reward"),
        log_ratio.alias("log_ratio"),
        (absent if layout.tokens is None else _number(layout.tokens)).alias("tokens"),
        behaviour.alias("behaviour"),
        absent.alias("fingerprint"),
    )
    finite = {
        name: nw.when(nw.col(name).abs() <= LARGEST_NUMBER).then(nw.col(name))
        for name in ("log_ratio", "tokens", "behaviour")
    }
    return normalised.with_columns(reason=_reason(layout), **finite)


def _number(field: Field) -> nw.Expr:
    import narwhals as nw

    return nw.col(field.name).cast(nw.Float64)


def _reason(layout: Layout) -> nw.Expr:
    import narwhals as nw

    reward = nw.col("reward")
    reasons = {
        "null-reward": reward.is_null(),
        "nan-reward": reward.is_nan(),
        "infinite-reward": reward.abs() > LARGEST_NUMBER,
        "missing-prompt": nw.col("prompt").is_null(),
    }
    if layout.step is not None:
        reasons["missing-step"] = nw.col("step").is_null()
    reason = nw.lit(USED)
    for name, holds in reversed(reasons.items()):  # the first that holds goes before the others
        reason = nw.when(holds).then(nw.lit(name)).otherwise(reason)
    return reason
