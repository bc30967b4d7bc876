"""TensorBoard's event files, by the messages of tensorboardX (extra ``tensorboard``).

An event file is TFRecord: length (8 bytes), its checksum (4), an ``Event``, its checksum (4).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from rlhf_budget.errors import FileAccessError, LogError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rlhf_budget.calibrate.logs.metrics.forms import Runs

_HEAD, _CHECKSUM = 12, 4
_FLOAT, _DOUBLE = 1, 2  # types of a tensor that holds one number


def is_event_file(path: Path) -> bool:
    """Return whether a file is TensorBoard's, by its name."""
    return "tfevents" in path.name


def read_event_files(paths: Sequence[Path]) -> Runs:
    """Return the scalars of each folder of event files, one row a step.

    A folder is a run: a resumed run adds a file to it, whose values replace earlier ones.
    Raises LogError or FileAccessError if a file is none, or MissingExtraError without its extra.
    """
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted(paths):
        steps = runs.setdefault(str(path.parent), {})
        for event in _events(path):
            for value in event.summary.value:
                number = _scalar(value)
                if number is not None:
                    steps.setdefault(event.step, {"step": event.step})[value.tag] = number
    return {run: [steps[step] for step in sorted(steps)] for run, steps in runs.items()}


def _events(path: Path) -> Iterator[Any]:
    try:
        from google.protobuf.message import DecodeError
        from tensorboardX.proto.event_pb2 import Event
    except ImportError:
        raise MissingExtraError(
            "reading TensorBoard's event files needs: pip install 'rlhf-budget[tensorboard]'"
        ) from None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileAccessError(f"{path}: {error.strerror or error}") from None
    position = 0
    while position + _HEAD <= len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        start = position + _HEAD
        position = start + length + _CHECKSUM
        if position > len(content):
            return  # a run that goes on, or was killed, has not finished its last record
        try:
            yield Event.FromString(content[start : start + length])
        except DecodeError:
            raise LogError(f"{path}: not readable as TensorBoard's event file") from None


def _scalar(value: Any) -> float | None:
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if value.metadata.plugin_data.plugin_name != "scalars":
        return None
    tensor = value.tensor
    numbers = tensor.float_val or tensor.double_val
    if numbers:
        return float(numbers[0])
    form = {_FLOAT: "<f", _DOUBLE: "<d"}.get(tensor.dtype)
    if form is None or len(tensor.tensor_content) != struct.calcsize(form):
        return None
    return float(struct.unpack(form, tensor.tensor_content)[0])
