"""A folder for what does not fit into memory: gone at the end, and after a crash at the next start.

Each folder holds a lock that the operating system releases when its process ends, however it ends.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "rlhf-budget-"
"""How the names of these folders start."""

_LOCK, _UNLOCKED = "alive", "starting"
_YOUNG = 24 * 3600
"""Seconds for which a folder without a lock may be one that another process is just making."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder, after those of processes that died without clearing theirs are removed."""
    _remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / _UNLOCKED).open("wb") as lock:
            _locked(lock.fileno())
            # Under its name only once it is locked: else another process could take the lock first.
            (folder / _UNLOCKED).rename(folder / _LOCK)
            yield folder


def _remove_abandoned(where: Path) -> None:
    for folder in where.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or somebody else is removing it
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        with (folder / _LOCK).open("rb+") as lock:
            return _locked(lock.fileno())
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > _YOUNG


def _locked(file: int) -> bool:
    """Take the lock; False where another process has it, or this system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
