"""Remake docs/plan.svg, the picture of a plan in the README: ``python docs/plan_picture.py``."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rlhf_budget import load_scenario, plan
from rlhf_budget.planning.advice import advise
from rlhf_budget.report.first_screen import first_screen
from rlhf_budget.report.layout import layout

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "plan.svg"
SCENARIO = ROOT / "examples" / "configs" / "helpful-assistant.yaml"
WIDTH = 80


def picture() -> str:
    """Return the SVG that Rich makes of the example's plan."""
    found = plan(load_scenario(SCENARIO))
    document = first_screen(found, advise(found))
    console = Console(record=True, file=io.StringIO(), width=WIDTH, force_terminal=True)
    for line in layout(document, WIDTH):
        console.print(Text.assemble(*line), soft_wrap=True)
    return console.export_svg(title="rlhf-budget plan helpful-assistant.yaml", unique_id="plan")


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
