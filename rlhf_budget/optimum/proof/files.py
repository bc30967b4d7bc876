"""Proofs in files: what stands in one, checked."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_budget.errors import FileAccessError, MissingExtraError, ProofError

if TYPE_CHECKING:
    from types import ModuleType

    from rlhf_budget.optimum.proof.reading import Proof


def verified(file: str, *, tolerance: float) -> Proof:
    """Read a proof, packed by gzip or not, and check it and that its relative gap is small enough.

    Raises
    ------
    ProofError
        With what fails.
    FileAccessError
        Where the file cannot be read.
    MissingExtraError
        Without python-flint.
    """
    from rlhf_budget.optimum.proof.reading import MOST_BYTES, read  # noqa: PLC0415

    try:
        with Path(file).open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise FileAccessError(f"{file} could not be read: {error.strerror}") from error
    proof = read(data)
    checker().verify(proof)
    if proof.relative_gap > tolerance:
        raise ProofError(f"it leaves a relative gap of {proof.relative_gap:.3g}")
    return proof


def packed(proof: bytes, file: str) -> bytes:
    """The bytes to write: packed where the file's name ends in ``.gz``."""
    return gzip.compress(proof, mtime=0) if file.endswith(".gz") else proof


def checker() -> ModuleType:
    """Import the checker, which needs python-flint."""
    try:
        from rlhf_budget.optimum.proof import checker  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            "proofs need the extra proof: pip install 'rlhf-budget[proof]'"
        ) from error
    return checker


def differing_keys(one: Any, other: Any, key: str = "") -> list[str]:
    """Key paths at which two exact scenarios differ."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if one == other else [key]
    return [
        different
        for name in sorted(one.keys() | other.keys())
        for different in differing_keys(
            one.get(name), other.get(name), f"{key}.{name}" if key else name
        )
    ]
