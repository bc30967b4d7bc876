"""What is said about one key of a scenario file."""

from __future__ import annotations

from typing import Final, Literal

from rlhf_budget.scenario.values import dataclass

REQUIRED: Final = "required"
"""Default of a key that has to be written."""

Kind = Literal["number", "whole", "text", "word", "truth", "numbers", "wholes", "mapping"]


@dataclass(frozen=True)
class Key:
    """One key of the scenario file."""

    description: str
    """What the value is, without a full stop."""
    unit: str = ""
    """Unit, empty where the value has none."""
    kind: Kind = "number"
    """What kind of value stands there."""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    words: tuple[str, ...] = ()
    """The words allowed, for kind ``word``."""
    default: object = None
    """Value when the key is not written; ``REQUIRED``, or None where it may be absent."""
    uncertain: bool = False
    """Whether ``{low, high}`` may stand in place of the number."""
    unknown: bool = False
    """Whether ``unknown`` may stand in place of the value."""
    forms: str = ""
    """Other ways to write the value, in words."""

    @property
    def allowed(self) -> str:
        """What may stand here, in words."""
        text = _ALLOWED.get(self.kind) or f"one of {', '.join(self.words)}"
        limits = (("above", self.above), (">=", self.at_least), ("<=", self.at_most))
        parts = [f"{word} {limit:g}" for word, limit in limits if limit is not None]
        if self.below is not None:
            parts.append(f"below {self.below:g}")
        if parts:
            text = f"{text} {' and '.join(parts)}"
        if self.uncertain:
            text += ", or a range {low, high}"
        if self.unknown:
            text += ", or unknown"
        return f"{text}, or {self.forms}" if self.forms else text

    def admits(self, number: float) -> bool:
        """Whether a finite number is within the limits of the key."""
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )


_ALLOWED: Final[dict[str, str]] = {
    "number": "a number",
    "whole": "a whole number",
    "text": "a text",
    "truth": "true or false",
    "numbers": "a list of numbers",
    "wholes": "a list of distinct whole numbers",
    "mapping": "a mapping of keys to values",
}


def constant(
    description: str,
    unit: str = "",
    *,
    kind: Kind = "number",
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    default: object = None,
    unknown: bool = False,
    forms: str = "",
) -> Key:
    """Describe a number that may be uncertain."""
    return Key(
        description,
        unit,
        kind,
        at_least=at_least,
        above=above,
        below=below,
        default=default,
        uncertain=True,
        unknown=unknown,
        forms=forms,
    )
