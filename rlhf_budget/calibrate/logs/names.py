"""What the names of files and folders tell: the step, evaluations, a run and its checkpoints."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

STATE = "trainer_state.json"
"""Name of the log that Hugging Face's trainers write beside each checkpoint."""
CHECKPOINT = "checkpoint-"
"""Start of the names of the folders that it writes them to."""
NAMED_STEP = (
    ".*(?:^|[^a-z])"
    "(?:global_?step|train_?step|steps?|checkpoint|ckpt|iter|iteration|update|round|epoch)"
    "[-_=. ]*([0-9]+)"
)
"""Expression whose first group is the last number after a word for a step, in lower case."""
ONLY_NUMBER = "^([0-9]+)(?:[.][a-z0-9.]+)?$"
"""Expression whose first group is the number of a name that is nothing else."""

_EVALUATION = re.compile(r"(?:^|(?<=[^a-z]))(val|valid|validation|eval|evaluation)(?=[^a-z]|$)")


def step_level(paths: Iterable[str]) -> int | None:
    """Return how many folders above the file's name the step stands; None where no name tells it.

    A word for a step goes before a bare number, which may be a shard's; a number that differs
    between the files goes before one that does not, and the file's own name before its folders'.
    """
    names = [PurePath(path.lower()).parts[::-1] for path in paths]
    alike: list[int] = []
    for pattern in (NAMED_STEP, ONLY_NUMBER):
        for level in range(max((len(parts) for parts in names), default=0)):
            found = [re.match(pattern, parts[level]) for parts in names if level < len(parts)]
            steps = {match.group(1) for match in found if match}
            if len(steps) > 1:
                return level
            if steps and (pattern == NAMED_STEP or level == 0):
                alike.append(level)
    return alike[0] if alike else None


def evaluation_files(paths: Sequence[str]) -> frozenset[str]:
    """Return the files whose names, or folders' names, say that they hold evaluation rollouts.

    A folder says so where other files are elsewhere: it is called ``eval``, or as another folder
    is with the word taken out or ``train`` in its place. ``math-eval-run`` alone is a run's name.
    """
    names = [PurePath(path.lower()).parts for path in paths]
    found = set()
    for path, parts in zip(paths, names, strict=True):
        if _EVALUATION.search(parts[-1]) or any(
            _is_evaluation_folder(parts, level, names) for level in range(len(parts) - 1)
        ):
            found.add(path)
    return frozenset(found)


def _is_evaluation_folder(
    parts: tuple[str, ...], level: int, names: Sequence[tuple[str, ...]]
) -> bool:
    name = parts[level]
    match = _EVALUATION.search(name)
    if match is None:
        return False
    if match.group() == name and level == len(parts) - 2:
        return True
    beside = {
        other[level]
        for other in names
        if len(other) > level + 1 and other[:level] == parts[:level] and other[level] != name
    }
    if match.group() == name:
        return bool(beside)
    before, after = name[: match.start()], name[match.end() :]
    counterparts = {f"{before}train{after}", f"{before}training{after}"}
    without = f"{before}{after}".strip("-_. ").replace("--", "-").replace("__", "_")
    return bool(beside & (counterparts | {without}))


def newest_of_each_run(
    paths: Iterable[Path], last_step: Callable[[Path], tuple[float, int]]
) -> dict[Path, Path]:
    """Return the newest log of each run, by the run's folder.

    Logs stand in a run's folder, or in its ``checkpoint-N``. ``last_step`` returns the last step
    and the records of a log; it is asked of at most two logs a run, the one in the run's folder
    and that of the last checkpoint.
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
