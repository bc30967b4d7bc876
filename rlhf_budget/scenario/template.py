"""Starter scenarios: what ``init`` writes."""

from __future__ import annotations

from typing import Final, Literal, get_args

Preset = Literal["rlhf", "verifiable", "existing-reward-model"]

PRESETS: Final[tuple[Preset, ...]] = get_args(Preset)
"""Names of the starter scenarios; the first is the default."""


def template(preset: Preset = "rlhf") -> str:
    """Return a commented starter scenario in YAML, which plans as it is.

    ``rlhf`` buys labels for a reward model, ``verifiable`` has a programmatic reward, and
    ``existing-reward-model`` a reward model that is finished.

    Raises
    ------
    ValueError
        For a preset that does not exist.
    """
    if preset not in PRESETS:
        raise ValueError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    from importlib import resources  # noqa: PLC0415 - planning needs no templates

    file = resources.files("rlhf_budget.scenario") / "templates" / f"{preset}.yaml"
    return file.read_text(encoding="utf-8")
