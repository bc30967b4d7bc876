"""Write docs/scenario.md from the tables of keys, warnings and words."""

from __future__ import annotations

from pathlib import Path

from rlhf_budget.report.explain import CODES, WORDS, key_facts
from rlhf_budget.report.markdown import escape
from rlhf_budget.scenario.keys import KEYS

PAGE = Path(__file__).parent / "scenario.md"


def page() -> str:
    """Return the page."""
    lines = [
        "# The scenario file, the warnings, the words",
        "",
        "Written by `docs/scenario_page.py` from the tables that the program itself reads;",
        "`rlhf-budget explain KEY` says the same for one of them.",
        "",
        "## Keys",
    ]
    for path, key in KEYS.items():
        facts = key_facts(path)
        if key.kind == "mapping" and "." not in path:
            lines += ["", f"### `{path}`", "", f"{escape(key.description)}.", ""]
            lines += ["| key | meaning | unit | allowed | default |", "|---|---|---|---|---|"]
            continue
        if "." not in path:
            lines += ["", f"`{path}`: {escape(key.description)} ({escape(facts['allowed'])})."]
            continue
        cells = [facts.get(name, "") for name in ("unit", "allowed", "default")]
        row = " | ".join(escape(cell) for cell in (key.description, *cells))
        lines.append(f"| `{path}` | {row} |")
    for title, table in (("Warnings", CODES), ("Words", WORDS)):
        lines += ["", f"## {title}", "", "| | |", "|---|---|"]
        lines += [f"| `{name}` | {escape(text)} |" for name, text in table.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
