"""From scenarios to a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.report.charts import vega_scripts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rlhf_budget.studies.comparison import Entry


def make_page(
    entries: Callable[[], Sequence[Entry]],
    *,
    command: str,
    tolerance: float = 1e-6,
    information: bool = False,
) -> str:
    """Plan scenarios and make one self-contained page of everything.

    ``entries`` loads scenarios and their names: the first is shown first, and others are compared
    with it. The ``command`` that makes the page again is said on it. ``information`` adds what each
    constant is worth knowing, which takes long.

    Raises
    ------
    MissingExtraError
        Without the extra ``plot``.
    ScenarioError, InfeasibleError
        Where the scenarios cannot be compared, or none has a plan.
    """
    # While a process of its own bundles the scripts, all that plans is loaded here, and plans.
    with vega_scripts() as scripts:
        from rlhf_budget.report.page.content import page_content  # noqa: PLC0415 - as just said
        from rlhf_budget.report.page.render import render_page  # noqa: PLC0415 - as above

        content = page_content(
            entries(), command=command, tolerance=tolerance, information=information
        )
        return render_page(content, scripts())
