"""The command line: parse, call, render, exit. Nothing is computed here."""

from __future__ import annotations

import gc
import signal
import sys
from typing import Any


def main() -> None:
    """Run ``rlhf-budget`` with the arguments of this process and exit."""
    # Imports make many objects that live on: seek cycles less often than every 700 objects.
    gc.set_threshold(50_000)
    from rlhf_budget.cli.app import run

    # Unwinding, as after Ctrl-C, lets every temporary file be removed.
    signal.signal(signal.SIGTERM, _terminated)
    code = run(sys.argv[1:])
    # On exit the interpreter looks for cycles to free, among all that was ever imported: a sixth of
    # a plan's time. What is frozen it leaves alone, and the process ends anyway.
    gc.freeze()
    sys.exit(code)


def _terminated(number: int, _frame: Any) -> None:
    raise SystemExit(128 + number)
