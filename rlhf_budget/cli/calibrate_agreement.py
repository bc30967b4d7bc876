"""``rlhf-budget calibrate agreement``."""

from __future__ import annotations

from rlhf_budget.cli import calibrate_output


def agreement(
    paths: calibrate_output.Paths, *, level: float, strict: bool
) -> calibrate_output.Found:
    """How often two annotators agree, from repeated votes.

    Reads preference sets with a vote a row, a list of votes a pair, a column an annotator, or
    counts of votes, as Chatbot Arena, HelpSteer3, Label Studio and others write them; ties count
    half.

    For example: rlhf-budget calibrate agreement votes.jsonl
    """
    from rlhf_budget.calibrate import agreement_from_files

    found = agreement_from_files(paths, level=level, strict=strict)
    if found.votes is None:
        return calibrate_output.Found(found)
    counts = found.votes.to_dict()
    votes = calibrate_output.section("Votes", dict.fromkeys(counts, "integer"), [counts.values()])
    return calibrate_output.Found(found, (votes,))
