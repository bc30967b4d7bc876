"""What notebooks show of results: first screens, and data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rlhf_budget.planning.advice import advise
from rlhf_budget.planning.results import Plan
from rlhf_budget.report.comparison_document import comparison_document
from rlhf_budget.report.first_screen import first_screen
from rlhf_budget.report.frames import frame
from rlhf_budget.report.gates_document import checks_document, gates_document
from rlhf_budget.report.html import for_notebook
from rlhf_budget.report.sweep_document import sweep_document
from rlhf_budget.studies.comparison import Comparison
from rlhf_budget.studies.gates import Check, Checks
from rlhf_budget.studies.sweeps import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rlhf_budget.report.document import Document

__all__ = ["frame", "html"]


def html(result: object) -> str | None:
    """Render a result's first screen as HTML; None where a notebook shows its text."""
    document = _DOCUMENTS.get(type(result))
    return None if document is None else for_notebook(document(result))


def _plan_document(plan: Plan) -> Document:
    return first_screen(plan, advise(plan), elsewhere="rlhf_budget.report(scenario)")


_DOCUMENTS: Final[Mapping[type, Callable[[Any], Document]]] = {
    Plan: _plan_document,
    Check: gates_document,
    Checks: checks_document,
    Comparison: comparison_document,
    Sweep: sweep_document,
}
