"""What a shell offers on Tab: key paths, their words, and the names of a file's scenarios."""

from __future__ import annotations

from typing import Any

import typer  # noqa: TC002 - Typer evaluates annotations at run time

FILES = ("file", "files")
"""Parameters of commands that hold scenario files."""


def keys(incomplete: str) -> list[str]:
    """Complete ``KEY=``, and after it the words that the key allows."""
    from rlhf_budget.scenario.keys import KEYS

    path, equals, begun = incomplete.partition("=")
    if equals:
        words = KEYS[path].words if path in KEYS else ()
        return [f"{path}={word}" for word in words if word.startswith(begun)]
    return [f"{key}=" for key in KEYS if key.startswith(incomplete)]


def swept_keys(incomplete: str) -> list[str]:
    """Complete ``KEY=`` of what a sweep can go over: numbers, and words from a list."""
    from rlhf_budget.scenario.keys import KEYS

    kinds = {"number", "whole", "word"}
    offered = keys(incomplete)
    return [text for text in offered if KEYS[text.partition("=")[0]].kind in kinds]


def scenario_names(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the names under ``scenarios`` of the files given so far; of a bad file nothing."""
    from rlhf_budget.errors import RlhfBudgetError
    from rlhf_budget.scenario.yaml_source import read_yaml

    names: list[str] = []
    for file in _files(context):
        try:
            with open(file, encoding="utf-8") as text:  # noqa: PTH123 - starts sooner than pathlib
                found: Any = read_yaml(text.read(), file).values
        except (OSError, UnicodeDecodeError, RlhfBudgetError):
            continue
        named = found.get("scenarios") if isinstance(found, dict) else None
        names += [str(name) for name in named] if isinstance(named, dict) else []
    return [name for name in names if name.startswith(incomplete)]


def _files(context: typer.Context) -> list[str]:
    """Scenario files: parsed ones, or what is still to parse where the last option has no value."""
    given = [context.params.get(name) for name in FILES]
    parsed = [
        each for value in given for each in ([value] if isinstance(value, str) else value or ())
    ]
    return [file for file in (*parsed, *context.args) if file != "-"]
