"""Remake docs/plan.svg, the picture of a plan in the README: ``python docs/plan_picture.py``."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rlhf_budget import load_scenario, plan
from rlhf_budget.report.layout import layout
from rlhf_budget.report.plan_document import plan_document

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "plan.svg"
SCENARIO = ROOT / "examples" / "configs" / "helpful-assistant.yaml"
WIDTH = 100
SECTIONS = 4
"""Sections from the top that the picture shows: as many as a README has room for."""


def picture() -> str:
    """Return the SVG that Rich makes of the example's plan."""
    whole = plan_document(plan(load_scenario(SCENARIO)))
    document = replace(whole, sections=whole.sections[:SECTIONS])
    console = Console(record=True, file=io.StringIO(), width=WIDTH, force_terminal=True)
    for line in layout(document, WIDTH):
        console.print(Text.assemble(*line), soft_wrap=True)
    return console.export_svg(title="rlhf-budget plan helpful-assistant.yaml", unique_id="plan")


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
