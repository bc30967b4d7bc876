"""``rlhf-budget calibrate agreement``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.cli import calibrate_output

if TYPE_CHECKING:
    from rlhf_budget.calibrate.agreement.calibration import AgreementConstants
    from rlhf_budget.report.document import Section


def agreement(
    paths: calibrate_output.Paths,
    *,
    level: float,
    strict: bool,
) -> calibrate_output.Found:
    """How often two annotators agree, from preference sets with repeated votes.

    Reads a vote a row, a list of votes a pair, a column an annotator, or counts of votes, as
    Chatbot Arena, HelpSteer3, Label Studio and others write them; ties count half.

    For example: rlhf-budget calibrate agreement votes.jsonl
    """
    from rlhf_budget.calibrate import agreement_from_files

    found = agreement_from_files(paths, level=level, strict=strict)
    return calibrate_output.Found(found, _sections(found))


def _sections(found: AgreementConstants) -> tuple[Section, ...]:
    from rlhf_budget.report.document import Column, Row, Section, Table

    if found.votes is None:
        return ()
    counts = found.votes.to_dict()
    columns = tuple(Column(name, "integer") for name in counts)
    return (Section("Votes", (Table(columns, (Row(tuple(counts.values())),)),)),)
