"""Plans that were saved as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlhf_budget.errors import FileAccessError, Problem, ScenarioError

OPTION = "--against"
"""What names such a file on the command line."""


def read_saved(file: str) -> Any:
    """Read a JSON file.

    Raises
    ------
    ScenarioError
        Where it is no JSON.
    FileAccessError
        Where it cannot be read.
    """
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileAccessError(f"{file} could not be read: {error.strerror}") from error
    except UnicodeDecodeError:
        text = ""
    try:
        return json.loads(text)
    except ValueError:
        problem = Problem(OPTION, "no JSON", "what plan --format json prints", file)
        raise ScenarioError((problem,)) from None


def saved_allocation(file: str) -> dict[str, Any]:
    """Take the allocation of a saved plan, in the form of the scenario's ``current``.

    Raises
    ------
    ScenarioError
        Where the file holds no plan.
    FileAccessError
        Where it cannot be read.
    """
    whole = read_saved(file)
    result = whole.get("result", whole) if isinstance(whole, dict) else None
    allocation = result.get("allocation") if isinstance(result, dict) else None
    names = ("prompts", "rollouts_per_prompt", "labels", "clip_threshold")
    if not isinstance(allocation, dict) or any(name not in allocation for name in names):
        problem = Problem(OPTION, "no plan", "what plan --format json prints", file)
        raise ScenarioError((problem,))
    return {name: allocation[name] for name in names if allocation[name] is not None}
