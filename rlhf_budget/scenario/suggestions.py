"""Which key is meant by one that does not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rlhf_budget.scenario.keys import CHILDREN, KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable

_SYNONYMS: Final[dict[str, str]] = {
    "beta": "objective.kl_coefficient",
    "kl_coef": "objective.kl_coefficient",
    "delta": "objective.failure_probability",
    "concentration_inequality": "bound.concentration",
    "num_candidates": "bound.candidates",
    "verifiable": "reward_model: verifiable",
    "num_prompts": "limits.prompts",
    "prior": "bound.sgd.prior_std",
    "N0": "reward_model.existing_labels",
    "C": "reward_model.coverage",
    "n": "limits.prompts",
    "K": "limits.rollouts_per_prompt",
    "num_generations": "limits.rollouts_per_prompt",
    "m": "limits.labels",
    "tau": "limits.clip_threshold",
}
"""Names from papers and trainers -> what they are called here."""


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like a misspelt name, or None when none is like it."""
    import difflib  # noqa: PLC0415 - only a mistake needs it

    folded = {candidate.lower().replace("-", "_"): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def hint(name: str, candidates: Iterable[str]) -> str:
    """Return ``; did you mean ...?`` for a misspelt name, or nothing when none is like it."""
    near = nearest(name, candidates)
    return f"; did you mean {near}?" if near else ""


def allowed_keys(parent: str, name: str) -> str:
    """Say which keys a mapping has, and which of all keys may be meant by an unknown name."""
    siblings = CHILDREN.get(parent, ())
    elsewhere = (path for path in KEYS if path.rpartition(".")[2] == name)
    near = nearest(name, siblings) or _SYNONYMS.get(name) or next(elsewhere, None)
    asked = f"; did you mean {near}?" if near else ""
    return f"one of {', '.join(siblings)}{asked}"


def allowed_mapping(key: str) -> str:
    """Say what may stand at a key that holds other keys."""
    names = ", ".join(CHILDREN.get(key, ()))
    text = f"a mapping of {names}" if names else "a mapping"
    forms = KEYS[key].forms
    return f"{text}, or {forms}" if forms else text
