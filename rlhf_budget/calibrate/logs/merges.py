"""Files that hold the rows of others: a merge beside its shards, a copy in another order or form.

Byte-for-byte copies and shards that are named after their merge are known before anything is read
(``files.py``); here are those that only their rows give away.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rlhf_budget.calibrate.logs.files import format_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


_FEW = 12
"""Files of which every selection is tried: 4,096 at the most."""


class Rows(NamedTuple):
    """Rows in any order and form: equal only for the same ones."""

    number: int
    """Number of rows."""
    key: int
    """Sum of their hashes."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What one file holds."""

    rows: Rows
    """Its rows."""
    telling: bool
    """Whether equal rows are the same ones: they have completions, or rewards with digits."""


NOTHING = Contents(Rows(0, 0), telling=False)
"""What a file without a row holds."""


@dataclass(frozen=True, slots=True)
class Merges:
    """Files whose rows others hold too."""

    certain: tuple[str, ...]
    """Files to leave out."""
    doubtful: tuple[str, ...]
    """Files whose rows equal another's, maybe by chance."""


def find_merges(contents: Mapping[str, Contents]) -> Merges:
    """Return the files whose rows are those of another file, or of several together.

    Several are all files, those of a folder, or those of one form in a folder, without the file
    itself where it is among them; of few files, any. Where all rows are unspecific (0/1 rewards
    without completions), two files may be alike by chance; a file and several others are not.

    Parameters
    ----------
    contents
        What each file holds.
    """
    groups = [set(group) for group in _groups(contents)]
    certain: list[str] = []
    doubtful: list[str] = []
    counted = {path for path, found in contents.items() if found.rows.number}
    alike: dict[Rows, set[str]] = defaultdict(set)
    for path, found in contents.items():
        alike[found.rows].add(path)
    # The largest file first: a merge, not a shard that happens to be a copy of another.
    for path in sorted(contents, key=lambda name: (-contents[name].rows.number, name)):
        own = contents[path]
        copied = len(alike[own.rows]) > 1
        merged = any(
            len(group - {path}) > 1 and _total(contents, group - {path}) == own.rows
            for group in groups
        ) or _in_parts(own.rows, [contents[other].rows for other in counted - {path}])
        if own.rows.number and (merged or (copied and own.telling)):
            certain.append(path)
            alike[own.rows].discard(path)
            counted.discard(path)
            for group in groups:
                group.discard(path)
        elif own.rows.number and copied:
            doubtful.append(path)
    return Merges(tuple(certain), tuple(doubtful))


def _in_parts(whole: Rows, parts: Sequence[Rows]) -> bool:
    """Return whether some of the parts, two or more, are the whole together; False if many."""
    if len(parts) > _FEW:
        return False
    members = {Rows(0, 0): 0}
    for part in parts:
        for rows, count in tuple(members.items()):
            more = Rows(rows.number + part.number, rows.key + part.key)
            if more.number <= whole.number:
                members[more] = max(members.get(more, 0), count + 1)
    return members.get(whole, 0) > 1


def _groups(paths: Iterable[str]) -> set[frozenset[str]]:
    """Return the sets of files that may be the shards of one merge."""
    found: dict[object, set[str]] = defaultdict(set)
    for path in paths:
        folder = Path(path).parent
        for key in (None, folder, (folder, format_of(path))):
            found[key].add(path)
    return {frozenset(group) for group in found.values() if len(group) > 1}


def _total(contents: Mapping[str, Contents], paths: set[str]) -> Rows:
    chosen = [contents[path].rows for path in paths]
    return Rows(sum(rows.number for rows in chosen), sum(rows.key for rows in chosen))
