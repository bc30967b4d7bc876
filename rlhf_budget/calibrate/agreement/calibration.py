"""The agreement of two independent annotators, and the loss that it leaves to any reward model.

With ``p`` the probability that an annotator prefers the first response, two independent ones agree
on the pair with probability ``p² + (1 − p)²``; the share of agreeing pairs of votes is an unbiased
estimate of it, pair by pair. A tie is a vote for each with one half. The Bayes loss is at least
``2 ln 2·(1 − A)`` (docs/theory.md, section 6).
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rlhf_budget.calibrate.agreement.ballots import TIE, Ballot, BallotBox, read_ballots
from rlhf_budget.calibrate.estimates import Calibration, CalibrationWarning, Estimate, Source
from rlhf_budget.calibrate.logs.fields import number
from rlhf_budget.calibrate.logs.files import find_tables
from rlhf_budget.calibrate.logs.tables import TABLE_SUFFIXES, read_table
from rlhf_budget.calibrate.moments import wilson_interval
from rlhf_budget.errors import CalibrationError, LogError
from rlhf_budget.scenario.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rlhf_budget.calibrate.logs.tables import Row
    from rlhf_budget.scenario import units

FEWEST_PAIRS = 30
"""Pairs below which an agreement is not to be relied on."""
_NAMES = (("agreement", "1"), ("bayes_loss", "nats per pair"))
_METHOD = "pairs-of-votes"


@dataclass(frozen=True, slots=True)
class VoteCounts(Record):
    """What a preference set holds."""

    pairs: units.Count
    """Pairs of responses with a vote."""
    repeated: units.Count
    """Pairs with votes of two or more annotators."""
    prompts: units.Prompts
    """Prompts of the repeated pairs."""
    votes: units.Count
    """Votes on the repeated pairs."""
    ties: units.Count
    """Ties among them; each counts half for either side."""


@dataclass(frozen=True)
class AgreementConstants(Calibration):
    """How often annotators agree: ``agreement`` and the ``bayes_loss`` that it implies."""

    command: ClassVar[str] = "calibrate agreement"

    votes: VoteCounts | None = None
    """Counts of pairs and votes; None where the set holds no votes."""


def agreement_from_files(
    paths: Sequence[str | Path], *, level: float = 0.95, strict: bool = False
) -> AgreementConstants:
    """Estimate how often two independent annotators agree, from preference sets.

    Parameters
    ----------
    paths
        Files, patterns or directories of ``.jsonl``, ``.json``, ``.csv``, ``.parquet``.
    level
        Level of the intervals.
    strict
        Make rows whose vote cannot be read an error.

    Raises
    ------
    CalibrationError
        If a file holds no row, or the files write votes in different ways.
    LogError
        If a file is not of its kind, or ``strict`` finds a vote that cannot be read.
    FileAccessError
        If a file cannot be read.
    """
    files = find_tables(paths, TABLE_SUFFIXES)
    tables = [read_table(file)[0] for file in files]
    rows = [row for table in tables for row in table]
    forms = {read_ballots(table).form for table in tables}
    if len(forms) > 1:
        listed = ", ".join(sorted(form or "no votes" for form in forms))
        raise CalibrationError(f"files of different kinds: {listed}; take one preference set")
    return agreement(rows, files=tuple(map(str, files)), level=level, strict=strict)


def agreement(
    rows: Sequence[Row], *, files: tuple[str, ...] = (), level: float = 0.95, strict: bool = False
) -> AgreementConstants:
    """Estimate how often two independent annotators agree, from rows of a preference set.

    As :func:`agreement_from_files`, which says what ``level`` and ``strict`` are; ``files`` is
    where the rows come from.
    """
    if not 0 < level < 1:
        raise CalibrationError(f"--level: found {level:g}; allowed: between 0 and 1")
    box = read_ballots(rows)
    pairs = _votes_by_pair(ballot for ballots in box.rows for ballot in ballots)
    repeated = {pair: votes for pair, votes in pairs.items() if len(votes) > 1}
    reasons = Counter[str]()
    for ballots in box.rows:
        if not ballots:
            reasons["no-vote"] += 1
        elif all(ballot.vote is None for ballot in ballots):
            reasons["unreadable-vote"] += 1
        elif ballots[0].pair not in repeated:
            reasons["one-vote"] += 1
    if strict and reasons["unreadable-vote"]:
        raise LogError(f"--strict: {reasons['unreadable-vote']} rows with unreadable-vote")
    prompts = {b.prompt for ballots in box.rows for b in ballots if b.pair in repeated}
    fields = (("votes", box.form),)
    used = len(rows) - reasons.total()
    source = Source.counted(files, used, reasons.elements(), fields=fields, prompts=len(prompts))
    if not repeated:
        note = _what_it_holds(rows, box, len(pairs))
        unknown = tuple(Estimate.unavailable(name, unit, _METHOD, note) for name, unit in _NAMES)
        return AgreementConstants(level=level, source=source, estimates=unknown)
    counts = VoteCounts(
        pairs=len(pairs),
        repeated=len(repeated),
        prompts=len(prompts),
        votes=sum(map(len, repeated.values())),
        ties=sum(vote == TIE for votes in repeated.values() for vote in votes),
    )
    shares = [_agreeing_share(votes) for votes in repeated.values()]
    few = f"{len(shares)} pairs with repeated votes: have {FEWEST_PAIRS} or more judged twice"
    return AgreementConstants(
        level=level,
        source=source,
        estimates=_estimates(shares, level),
        warnings=(CalibrationWarning("few-pairs", few),) if len(shares) < FEWEST_PAIRS else (),
        votes=counts,
    )


def read_agreement(text: str) -> float:
    """Return an agreement that is given as a number, or as a preference set that tells it.

    Raises
    ------
    CalibrationError
        If it is no number, or the set does not tell it well enough.
    LogError
        If the file is of no kind that is read.
    FileAccessError
        If there is no such file.
    """
    given = number(text)
    if given is not None:
        return given
    found = agreement_from_files([text]).estimate("agreement")
    if found.value is None or found.status != "estimated":
        raise CalibrationError(f"--agreement {text}: {found.note}")
    return found.value


def _votes_by_pair(ballots: Iterable[Ballot]) -> dict[str, list[float]]:
    """Return the votes on each pair, an annotator's last one only."""
    pairs: dict[str, dict[str, float]] = {}
    for ballot in ballots:
        if ballot.vote is not None:
            votes = pairs.setdefault(ballot.pair, {})
            votes[ballot.annotator or f"({len(votes)})"] = ballot.vote
    return {pair: list(votes.values()) for pair, votes in pairs.items()}


def _agreeing_share(votes: list[float]) -> float:
    """Return the share of pairs of votes that agree, those with a tie counted half."""
    ties = votes.count(TIE)
    first = votes.count(1.0)
    second = len(votes) - ties - first
    strict = first * (first - 1) / 2 + second * (second - 1) / 2
    with_tie = ties * (first + second) + ties * (ties - 1) / 2
    return (strict + with_tie / 2) / (len(votes) * (len(votes) - 1) / 2)


def _estimates(shares: list[float], level: float) -> tuple[Estimate, ...]:
    count, mean = len(shares), statistics.fmean(shares)
    spread = statistics.variance(shares, mean) if count > 1 else 0.0
    # Shares in [0, 1] with mean A vary at most as A(1 − A), so each counts for one vote or more.
    size = max(count, mean * (1 - mean) / spread * count) if spread > 0 else count
    low, high = wilson_interval(mean, size, level)
    doubt = None
    if count < FEWEST_PAIRS:
        doubt = f"{count} pairs with repeated votes are too few ({FEWEST_PAIRS} or more)"
    elif mean < 0.5:
        doubt = "independent annotators agree on half of all pairs or more: are votes mixed up?"
    error = math.sqrt(spread / count) if count > 1 else None
    bayes = 2 * math.log(2)
    loss = (bayes * (1 - mean), None if error is None else error * bayes)
    loss_interval = (bayes * (1 - high), bayes * (1 - low))
    for_what = "for reward-model --agreement; ties half"
    of_what = "no reward model's loss is below it: 2 ln 2 (1 - agreement)"
    share, floor = ((name, unit, _METHOD, count) for name, unit in _NAMES)
    return (
        Estimate.of(*share, mean, error, (low, high), doubt=doubt, note=for_what, pasted=False),
        Estimate.of(*floor, *loss, loss_interval, doubt=doubt, note=of_what, pasted=False),
    )


def _what_it_holds(rows: Sequence[Row], box: BallotBox, pairs: int) -> str:
    columns = sorted({name for row in rows for name in row})
    if box.form is not None and not pairs:
        held = f"{len(rows)} rows whose votes cannot be read ({box.form})"
    elif box.form is not None:
        held = f"{pairs} pairs with one vote each ({box.form})"
    elif {"chosen", "rejected"} <= set(columns):
        others = [name for name in columns if name not in {"chosen", "rejected"}]
        held = f"{len(rows)} pairs, chosen and rejected by one judgement each"
        held += f" (beside them: {', '.join(others)})" if others else ""
    else:
        held = f"{len(rows)} rows with {', '.join(columns)}, among which no vote is recognised"
    return (
        f"holds {held}: agreement takes two or more annotators' votes on the same pair; have some"
        " pairs judged twice"
    )
