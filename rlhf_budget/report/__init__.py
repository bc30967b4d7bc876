"""Results as documents: for terminals, pages, notebooks and programs.

The room is also the public function that makes a page: ``rlhf_budget.report(scenario)``. A function
of the package called as this folder is would be replaced by the folder as soon as anything in it is
imported; so the module itself is callable, and both meanings hold whatever was imported before.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rlhf_budget.scenario.models import Scenario

__all__ = ["Page", "report"]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of everything, which shows itself in a notebook."""

    html: str
    """The page, whole: it asks nothing of a network."""

    def save(self, path: str | Path) -> None:
        """Write the page to a file, whole or not at all.

        Raises
        ------
        FileAccessError
            Where it cannot be written.
        """
        from rlhf_budget.report.data import write_whole  # noqa: PLC0415 - as those below

        write_whole(path, self.html)

    def __repr__(self) -> str:
        return f"Page({len(self.html):,} characters; save(path) writes it)"

    def _repr_html_(self) -> str:
        from rlhf_budget.report.html import framed  # noqa: PLC0415 - only notebooks need it

        return framed(self.html)


def report(scenario: Scenario | Mapping[str, Scenario]) -> Page:
    """Make a page of everything: the plan, other budgets, constants, and scenarios side by side.

    Parameters
    ----------
    scenario
        One scenario; or names -> scenarios, the first of which the others are compared with.

    Returns
    -------
    Page
        What ``rlhf-budget report`` writes.

    Raises
    ------
    MissingExtraError
        Without the extra ``plot``.
    ScenarioError, InfeasibleError
        Where the scenarios cannot be compared, or none has a plan.

    Examples
    --------
    >>> import rlhf_budget
    >>> rlhf_budget.report(scenario).save("report.html")  # doctest: +SKIP
    """
    from rlhf_budget.report.page.make import make_page  # noqa: PLC0415 - only pages need it
    from rlhf_budget.studies.comparison import Entry  # noqa: PLC0415 - as above

    named = scenario if hasattr(scenario, "items") else {scenario.name: scenario}
    entries = [Entry(name, each) for name, each in named.items()]
    return Page(make_page(lambda: entries, command="rlhf_budget.report(scenario)  # Python"))


class _Room(ModuleType):
    """The module as something to call."""

    def __call__(self, scenario: Scenario | Mapping[str, Scenario]) -> Page:
        """Make a page; see :func:`report`."""
        return report(scenario)


sys.modules[__name__].__class__ = _Room
