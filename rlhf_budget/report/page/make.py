"""From scenarios to a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.optimum.certified import TOLERANCE
from rlhf_budget.report.charts import altair_package, vega_scripts
from rlhf_budget.report.page.content import page_content
from rlhf_budget.report.page.render import render_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlhf_budget.studies.comparison import Entry


def make_page(entries: Sequence[Entry], *, command: str, tolerance: float = TOLERANCE) -> str:
    """Plan scenarios and make one self-contained page of everything.

    The first scenario is shown first, and others are compared with it; the ``command`` that makes
    the page again is said on it.

    Raises
    ------
    MissingExtraError
        Without the extra ``plot``.
    ScenarioError, InfeasibleError
        Where the scenarios cannot be compared, or none has a plan.
    """
    altair_package()
    with vega_scripts() as scripts:
        content = page_content(entries, command=command, tolerance=tolerance)
        return render_page(content, scripts())
