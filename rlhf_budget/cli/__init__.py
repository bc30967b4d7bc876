"""The command line: parse, call, render, exit. Nothing is computed here."""

from __future__ import annotations

import sys


def main() -> None:
    """Run ``rlhf-budget`` with the arguments of this process and exit."""
    from rlhf_budget.cli.app import run

    sys.exit(run(sys.argv[1:]))
