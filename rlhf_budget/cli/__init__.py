"""The command line: parse, call, render, exit. Nothing is computed here."""

from __future__ import annotations

import signal
import sys
from typing import Any


def main() -> None:
    """Run ``rlhf-budget`` with the arguments of this process and exit."""
    from rlhf_budget.cli.app import run

    # Unwinding, as after Ctrl-C, lets every temporary file be removed.
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(run(sys.argv[1:]))


def _terminated(number: int, _frame: Any) -> None:
    raise SystemExit(128 + number)
