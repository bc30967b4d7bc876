"""Which of a run's logs is the newest: a checkpoint's is a beginning of the run's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

STATE = "trainer_state.json"
"""Name of the log that Hugging Face's trainers write beside each checkpoint."""

CHECKPOINT = "checkpoint-"
"""Start of the names of the folders that it writes them to."""


def newest_of_each_run(
    paths: Iterable[Path], last_step: Callable[[Path], tuple[float, int]]
) -> dict[Path, Path]:
    """Return the newest log of each run, by the run's folder.

    Parameters
    ----------
    paths
        Logs: in a run's folder, or in its ``checkpoint-N``.
    last_step
        Returns the last step and the records of a log. It is asked of at most two logs a run, the
        one in the run's folder and that of the last checkpoint.
    """
    runs: dict[Path, dict[int, Path]] = {}
    for path in paths:
        folder = path.resolve().parent
        number = folder.name.removeprefix(CHECKPOINT)
        is_checkpoint = number != folder.name and number.isdecimal()
        run = folder.parent if is_checkpoint else folder
        runs.setdefault(run, {})[int(number) if is_checkpoint else -1] = path
    newest = {}
    for run, logs in runs.items():
        ends = list(dict.fromkeys((logs[max(logs)], logs[min(logs)])))
        newest[run] = ends[0] if len(ends) == 1 else max(reversed(ends), key=last_step)
    return newest
