"""Preference sets as ballots: one annotator's choice between two responses to one prompt.

Sets write a vote a row (Chatbot Arena, AlpacaFarm, summarize-from-feedback), a list of votes a pair
(HelpSteer3, Label Studio), a column an annotator (PandaLM), or counts of votes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.logs.fields import number, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rlhf_budget.calibrate.logs.tables import Row

FIRST, TIE, SECOND = 1.0, 0.5, 0.0
"""A vote: the share of it that goes to the first response."""

_CHOICES = words(
    "winner choice preference preferred human_preference overall_preference preference_strength"
    " strength selected vote score label choices"
)
_ANNOTATORS = words(
    "judge annotator annotator_id annotator_index worker worker_id rater labeler completed_by user"
    " user_id"
)
_PAIRS = words("pair_id comparison_id item_id id")
_PROMPTS = words("prompt_id question_id prompt instruction question context info")
_RESPONSES = tuple(
    (stem.format(first), stem.format(second))
    for stem in words("model_{} response_{} response{} output_{} answer_{} completion_{}")
    for first, second in (("a", "b"), ("1", "2"), ("0", "1"))
)
_LISTS = words(
    "individual_preference individual_preferences all_preferences_unprocessed annotations"
    " preferences votes labels ratings"
)
_COUNTS = (
    *(("votes_a", "votes_b"), ("votes_1", "votes_2"), ("n_chosen", "n_rejected")),
    ("winner_model_a", "winner_model_b"),
)
_COUNTED_TIES = ("votes_tie", "ties", "winner_tie")
_ONE_ANNOTATOR = re.compile(r"^(annotator|rater|judge|worker|vote|label|preference|human)_?(\d+)$")
_FIRST_WORDS = {"left", "a", "first", "chosen", "answer1", *(first for first, _ in _RESPONSES)}
_SECOND_WORDS = {"right", "b", "second", "rejected", "answer2", *(last for _, last in _RESPONSES)}
_TIE_WORDS = {"equal", "same", "both", "both_bad", "neither", "draw"}


@dataclass(frozen=True, slots=True)
class Ballot:
    """One vote on one pair."""

    pair: str
    """Identifies prompt and both responses."""
    prompt: str
    """Identifies the prompt."""
    annotator: str | None
    """Who voted; None where the set does not say."""
    vote: float | None
    """``FIRST``, ``TIE`` or ``SECOND``; None where it cannot be read."""


@dataclass(frozen=True, slots=True)
class BallotBox:
    """All rows of a preference set."""

    form: str | None
    """How votes are written; None where there are none."""
    rows: tuple[tuple[Ballot, ...], ...]
    """The ballots of each row."""


Vote = tuple[str | None, Any]
"""An annotator, None where the set does not say who, and the vote as it is written."""
Finder = Callable[[set[str], "Sequence[Row]"], "Callable[[Row], list[Vote]] | None"]
"""Returns what takes the votes from a row; None where a set is written in another way."""


def read_ballots(rows: Sequence[Row]) -> BallotBox:
    """Return the ballots of a preference set's rows, in whichever way it writes them."""
    columns = {name for row in rows for name in row}
    for form, finder in _FORMS:
        votes_of = finder(columns, rows)
        if votes_of is None:
            continue
        read = _reader(raw for row in rows for _, raw in votes_of(row))
        boxes = []
        for position, row in enumerate(rows):
            pair, prompt, swapped = _pair_of(row, position, alone=form != "a vote a row")
            ballots = []
            for who, raw in votes_of(row):
                vote = read(raw, row)
                ballots.append(
                    Ballot(pair, prompt, who, 1.0 - vote if swapped and vote is not None else vote)
                )
            boxes.append(tuple(ballots))
        return BallotBox(form, tuple(boxes))
    return BallotBox(None, tuple(() for _ in rows))


def _listed(_: set[str], rows: Sequence[Row]) -> Callable[[Row], list[Vote]] | None:
    lists = {name for row in rows for name, value in row.items() if isinstance(value, list)}
    name = next((name for name in _LISTS if name in lists), None)
    if name is None:
        return None

    def votes(row: Row) -> list[Vote]:
        entries = row[name] if isinstance(row.get(name), list) else []
        return [_entry(e) for e in entries if not (isinstance(e, dict) and e.get("was_cancelled"))]

    return votes


def _entry(entry: Any) -> Vote:
    """Return annotator and raw vote of one entry of a list; Label Studio nests it in ``result``."""
    if not isinstance(entry, dict):
        return None, entry
    who = next((str(entry[name]) for name in _ANNOTATORS if entry.get(name) is not None), None)
    result = entry.get("result")
    if isinstance(result, list):
        values = [r.get("value") for r in result if isinstance(r, dict)]
        entry = next((v for v in values if isinstance(v, dict) and v.keys() & set(_CHOICES)), {})
    vote = next((entry[name] for name in _CHOICES if name in entry), None)
    return who, vote[0] if isinstance(vote, list) and len(vote) == 1 else vote


def _wide(columns: set[str], _: Sequence[Row]) -> Callable[[Row], list[Vote]] | None:
    names = sorted(name for name in columns if _ONE_ANNOTATOR.match(name))
    if len(names) < 2:
        return None
    return lambda row: [(name, row[name]) for name in names if row.get(name) not in {None, ""}]


def _counted(columns: set[str], _: Sequence[Row]) -> Callable[[Row], list[Vote]] | None:
    names = next((pair for pair in _COUNTS if columns.issuperset(pair)), None)
    if names is None:
        return None
    ties = [(name, "tie") for name in _COUNTED_TIES if name in columns][:1]
    counted = ((names[0], "a"), (names[1], "b"), *ties)
    return lambda row: [
        (None, word) for name, word in counted for _ in range(int(number(row.get(name)) or 0))
    ]


def _one_a_row(columns: set[str], _: Sequence[Row]) -> Callable[[Row], list[Vote]] | None:
    choice = next((name for name in _CHOICES if name in columns), None)
    responses = any(columns.issuperset(pair) for pair in _RESPONSES) or "summaries" in columns
    if choice is None or not (responses or columns.intersection(_PAIRS[:-1])):
        return None
    who = next((name for name in _ANNOTATORS if name in columns), None)
    if who is None:
        return lambda row: [(None, row.get(choice))]
    return lambda row: [(None if row.get(who) is None else str(row[who]), row.get(choice))]


_FORMS: tuple[tuple[str, Finder], ...] = (
    ("a list of votes a pair", _listed),
    ("a column an annotator", _wide),
    ("counts of votes", _counted),
    ("a vote a row", _one_a_row),
)


def _pair_of(row: Row, position: int, *, alone: bool) -> tuple[str, str, bool]:
    """Return keys of pair and prompt, and whether the responses stand in the other order."""
    prompt = next((_text(row[name]) for name in _PROMPTS if row.get(name) is not None), None)
    if prompt is None and isinstance(row.get("data"), dict):
        prompt = _text(row["data"].get("prompt"))
    explicit = next((_text(row[name]) for name in _PAIRS if row.get(name) is not None), None)
    if alone:
        return explicit or str(position), prompt or explicit or str(position), False
    sides = next((pair for pair in _RESPONSES if all(side in row for side in pair)), None)
    if sides is not None:
        first, second = (_text(row[side]) for side in sides)
    elif isinstance(row.get("summaries"), list) and len(row["summaries"]) == 2:
        first, second = map(_text, row["summaries"])
    else:
        return explicit or str(position), prompt or str(explicit), False
    swapped = first > second
    ends = (second, first) if swapped else (first, second)
    return _text([prompt, row.get("turn"), *ends]), prompt or "", swapped


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _reader(raws: Iterator[Any]) -> Callable[[Any, Row], float | None]:
    """Return what reads a vote: words, or numbers in the scale that the whole set uses."""
    numbers = {n for raw in raws if (n := number(raw)) is not None}
    signed = any(n < 0 for n in numbers)
    if not signed and numbers <= {0.0, 1.0}:
        scale = {0.0: FIRST, 1.0: SECOND}
    elif not signed and numbers <= {0.0, 1.0, 2.0}:
        scale = {1.0: FIRST, 2.0: SECOND, 0.0: TIE}
    else:
        scale = {}

    def read(raw: Any, row: Row) -> float | None:
        value = number(raw)
        if value is not None:
            if signed:
                return TIE if value == 0 else FIRST if value < 0 else SECOND
            return scale.get(value)
        return _word(raw, row)

    return read


def _word(raw: Any, row: Row) -> float | None:
    if not isinstance(raw, str):
        return None
    word = raw.strip().lower().replace(" ", "_")
    if word in _TIE_WORDS or word.startswith("tie"):
        return TIE
    if word in _FIRST_WORDS or word in _SECOND_WORDS:
        return FIRST if word in _FIRST_WORDS else SECOND
    for first, second in _RESPONSES:
        if raw in {row.get(first), row.get(second)} and row.get(first) != row.get(second):
            return FIRST if raw == row.get(first) else SECOND
    return None
