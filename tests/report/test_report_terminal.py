"""What a plan looks like on terminals of several widths, in pipes and without colour.

The expected texts are in tests/snapshots; ``RLHF_BUDGET_UPDATE_SNAPSHOTS=1`` writes them anew.
"""

from __future__ import annotations

import io
import re

import pytest
from conftest import scenario_mapping
from hypothesis import given
from hypothesis import strategies as st
from report_helpers import check_snapshot, make_bare_plan, make_bound, make_plan, make_target_plan

from rlhf_budget import load_scenario, sweep
from rlhf_budget.report.document import Column, Document, Paragraph, Row, Section, Table
from rlhf_budget.report.layout import bar, cell_width, layout, sketch, wrap
from rlhf_budget.report.plan_document import plan_document
from rlhf_budget.report.sweep_document import sweep_document
from rlhf_budget.report.terminal import show
from rlhf_budget.studies.sweeps import listed

ESCAPE = "\x1b"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def shown(document: Document, width: int | None, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    show(document, stream, width=width)
    return stream.getvalue()


def test_a_plan_at_four_widths_is_as_kept() -> None:
    for width in (60, 80, 120, 200):
        check_snapshot(f"plan-{width}.txt", shown(plan_document(make_plan()), width))


def test_a_pipe_gets_no_colour_and_a_generous_width() -> None:
    text = shown(plan_document(make_plan()), None)
    check_snapshot("plan-120.txt", text)
    assert text.isascii()


def test_columns_sets_the_width_of_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    check_snapshot("plan-60.txt", shown(plan_document(make_plan()), None))


def test_a_terminal_gets_accents_as_kept() -> None:
    text = shown(plan_document(make_plan()), 80, Terminal())
    check_snapshot("plan-80-terminal.txt", text)
    assert ESCAPE in text


def test_no_color_leaves_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(plan_document(make_plan()), 80, Terminal())
    check_snapshot("plan-80-no-color.txt", text)
    codes = {code for found in re.findall(r"\x1b\[([0-9;]*)m", text) for code in found.split(";")}
    assert codes <= {"0", "1", "2"}


def test_a_dumb_terminal_gets_no_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    check_snapshot("plan-80.txt", shown(plan_document(make_plan()), 80, Terminal()))


def test_other_kinds_of_plan_are_as_kept() -> None:
    check_snapshot("plan-bare-80.txt", shown(plan_document(make_bare_plan()), 80))
    check_snapshot("plan-target-80.txt", shown(plan_document(make_target_plan()), 80))
    vacuous = make_plan(bound=make_bound(total=4.2, reward_shift=4.1, vacuous=True))
    check_snapshot("plan-vacuous-80.txt", shown(plan_document(vacuous), 80))


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(width: int) -> None:
    text = shown(plan_document(make_plan()), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    for value in ("5,360", "12,608", "209,460", "31,200", "20.21"):
        assert value in text


# --- drawing -------------------------------------------------------------------------------------


class DrawingTerminal(Terminal):
    encoding = "utf-8"


@pytest.mark.parametrize("width", [60, 80])
def test_shares_get_bars_where_there_is_room(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(plan_document(make_plan()), width, DrawingTerminal())
    check_snapshot(f"plan-{width}-bars.txt", re.sub(r"\x1b\[[0-9;]*m", "", text))
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())) <= width


def test_nothing_is_drawn_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Latin(Terminal):
        encoding = "iso-8859-1"

    for stream in (io.StringIO(), Latin()):
        assert "█" not in shown(plan_document(make_plan()), 120, stream)
    monkeypatch.setenv("TERM", "dumb")
    assert "█" not in shown(plan_document(make_plan()), 120, DrawingTerminal())


def test_bars_are_as_long_as_their_shares() -> None:
    assert bar(0.0) == "·" * 8
    assert bar(1.0) == "█" * 8
    assert bar(0.55) == "████▍···"
    assert bar(0.001) == "·" * 8
    assert len(bar(1.7)) == len(bar(-3.0)) == 8


def test_a_sweep_gets_a_small_line_of_its_bounds() -> None:
    scenario = load_scenario(scenario_mapping())
    document = sweep_document(sweep(scenario, listed("budget", [2e3, 1e4, 5e4, 2.5e5])))
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", shown(document, 80, DrawingTerminal())).splitlines()
    line = next(text for text in drawn if set(text) <= set("▁▂▃▄▅▆▇█") and text)
    assert len(line) == 4
    assert line[0] == "█"
    assert line[-1] == "▁"
    assert list(line) == sorted(line, reverse=True)
    assert line not in shown(document, 80)


def test_a_sketch_fits_and_keeps_what_is_flat() -> None:
    assert sketch([3.0, 3.0, 3.0], 80) == "▁▁▁"
    assert sketch(list(range(200)), 20)[0] == "▁"
    assert len(sketch(list(range(200)), 20)) == 20


def test_a_wide_table_turns_where_it_may() -> None:
    columns = (Column(""), *(Column(f"scenario-{index}") for index in range(9)))
    rows = (
        Row(("prompts", *range(1000, 1009)), "integer"),
        Row(("bound", *(0.1 * index for index in range(9))), "significant", emphasis=True),
    )
    document = Document("t", Paragraph("v"), (Section("s", (Table(columns, rows, turns=True),)),))
    assert "scenario-0  scenario-1" in shown(document, 120)
    turned = shown(document, 60)
    assert re.search(r"^  scenario-8 +1,008 +0\.8000$", turned, re.MULTILINE)


def test_control_characters_cannot_steer_the_terminal() -> None:
    plan = make_plan(mapping={"name": "a\x1b[31mred\x07"})
    assert ESCAPE not in shown(plan_document(plan), 80)


@given(st.text(max_size=80), st.integers(4, 40))
def test_wrapping_keeps_every_word_and_the_width(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(cell_width(line) <= max(width, 2) for line in lines) or text.startswith(" ")
    kept = re.sub(r"\s", "", "".join(lines))
    assert kept == "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in "".join(text.split())
    )


def test_lines_carry_no_text_beyond_the_document() -> None:
    document = Document("title", Paragraph("verdict"), ())
    assert [[span.text for span in line] for line in layout(document, 80)] == [
        ["title"],
        ["verdict"],
    ]
