"""Results as documents: for terminals, pages, notebooks and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlhf_budget.planning.results import Plan

__all__ = ["plan_html"]


def plan_html(plan: Plan) -> str:
    """Render a plan as HTML, for notebooks."""
    from rlhf_budget.report.html import html  # noqa: PLC0415 - only notebooks need it
    from rlhf_budget.report.plan_document import plan_document  # noqa: PLC0415 - the same

    return html(plan_document(plan))
