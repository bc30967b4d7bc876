"""Run the command line: ``python -m rlhf_budget``."""

from __future__ import annotations

from rlhf_budget.cli import main

if __name__ == "__main__":
    main()
