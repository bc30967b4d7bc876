"""Annotations for GitHub Actions: workflow commands, one a line.

Failed gates and warnings become annotations on the scenario file; what passed is plain text in the
log. Format: docs.github.com, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.report.gates_document import gate_words

if TYPE_CHECKING:
    from rlhf_budget.studies.gates import Check


def annotation_lines(check: Check, file: str) -> str:
    """Return the lines for one check of a scenario file."""
    grave = "warning" if check.warn_only else "error"
    lines = [
        f"passed: {gate_words(gate)}"
        if gate.passed
        else _command(grave, file, f"{gate.rule.key} ({gate.rule.source})", gate_words(gate))
        for gate in check.gates
    ]
    lines += [_command("warning", file, n.code, n.message) for n in check.warnings]
    return "".join(f"{line}\n" for line in lines)


def _command(level: str, file: str, title: str, message: str) -> str:
    place = "" if file == "-" else f"file={_property(file)},"
    return f"::{level} {place}title={_property(f'rlhf-budget: {title}')}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
