"""The page: what is in it, that nothing from outside becomes markup, and that it is whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import altair as alt
import pytest
from conftest import scenario_mapping
from hypothesis import given
from hypothesis import strategies as st

import rlhf_budget
from rlhf_budget import InfeasibleError, load_scenario, plan
from rlhf_budget.cli.app import run
from rlhf_budget.planning.results import WorthKnowing
from rlhf_budget.report.page.content import PageContent, budgets, constants_section, page_content
from rlhf_budget.report.page.render import render_page
from rlhf_budget.studies.comparison import Entry

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "</script><script>alert(1)</script>\"'\n--><b>"
VOID = {"meta", "input", "link", "br", "wbr"}


def content_of(*scenarios: dict[str, Any], command: str = "rlhf-budget report x") -> PageContent:
    entries = [Entry(f"column {i}", load_scenario(written)) for i, written in enumerate(scenarios)]
    return page_content(entries, command=command, tolerance=1e-6)


class Reader(HTMLParser):
    """Checks that tags close, and gathers ids, scripts and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.scripts: dict[str, str] = {}
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        named = dict(attrs)
        self.tags.add(tag)
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [named[name] for name in ("src", "href") if name in named]
        if tag == "script":
            self.scripts[named.get("id", str(len(self.scripts)))] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[next(reversed(self.scripts))] += data


@pytest.fixture(scope="module")
def page() -> str:
    current = {"prompts": 5000, "rollouts_per_prompt": 8, "labels": 3000}
    changed = scenario_mapping(costs={"prompt": 5.0, "rollout": 0.02, "label": 0.2})
    return render_page(content_of(scenario_mapping(current=current), changed), "/* vega */")


def test_the_page_closes_its_tags_and_repeats_no_id(page: str) -> None:
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert {"main", "header", "footer", "nav", "h1", "label", "output"} <= reader.tags


def test_the_page_asks_nothing_of_a_network(page: str) -> None:
    assert "default-src 'none'" in page
    assert all(address.startswith("#") for address in Reader(page).addresses)


def test_links_lead_to_places(page: str) -> None:
    reader = Reader(page)
    assert {address[1:] for address in reader.addresses} <= set(reader.ids)


def test_charts_have_their_data_and_words(page: str) -> None:
    reader = Reader(page)
    drawn = re.findall(r'role="img" aria-label="([^"]+)" data-chart="([^"]+)"', page)
    assert len(drawn) >= 6
    for words, name in drawn:
        assert len(words) > 20
        spec = json.loads(reader.scripts[name])
        alt.Chart.from_dict(spec)  # raises where it is no Vega-Lite
        assert "#" not in json.dumps(spec["config"])  # colours are the page's own


def test_the_slider_has_plans_of_the_same_numbers_as_plan(page: str) -> None:
    stops = json.loads(Reader(page).scripts["s0-plans"])
    assert len(stops) >= 55
    for stop in (stops[0], stops[len(stops) // 2], stops[-1]):
        found = plan(load_scenario(scenario_mapping(budget=stop["budget"]))).to_dict()
        for key, (value, _) in stop["values"].items():
            part, name = key.split(".")
            assert value == found[part][name], key


def test_the_whole_result_is_in_the_page(page: str) -> None:
    result = json.loads(Reader(page).scripts["s1-result"])
    assert result["inputs"]["costs"]["label"] == 0.2
    assert result["certificate"]["proved"] is True


def test_no_text_from_outside_becomes_markup() -> None:
    written = scenario_mapping(
        name=HOSTILE, currency=HOSTILE, sources={"costs.label": HOSTILE, "budget": HOSTILE}
    )
    entries = [Entry(HOSTILE, load_scenario(written)), Entry("b", load_scenario(written))]
    made = page_content(entries, command=f"rlhf-budget report '{HOSTILE}'", tolerance=1e-6)
    text = render_page(made, "var a = '</script>';")
    reader = Reader(text)
    assert "b" not in reader.tags
    assert "alert(1)</script>" not in text
    assert "&lt;script&gt;alert(1)" in text
    for name in ("s0-plans", "s0-result", "s0-bound"):
        json.loads(reader.scripts[name])


def test_the_first_screen_says_what_it_is_worth_and_what_is_guaranteed(page: str) -> None:
    first = page.partition("What another budget buys")[0]
    for words in ("Guarantee", "with probability 95 %", "Against current", "saved"):
        assert words in first
    assert "--explain" not in first


def test_an_infeasible_budget_is_told_at_its_stop() -> None:
    content = content_of(scenario_mapping(budget=60.0, limits={"labels": {"min": 20}}))
    stops = json.loads(Reader(render_page(content, "")).scripts["s0-plans"])
    assert "nothing" in stops[0]
    assert "values" in stops[-1]


def test_a_scenario_without_a_plan_stands_in_the_comparison() -> None:
    poor = scenario_mapping(budget=10.0, limits={"labels": {"min": 20}})
    text = render_page(content_of(scenario_mapping(), poor), "")
    assert "column 1" in text
    assert "Infeasible" in text
    with pytest.raises(InfeasibleError):
        content_of(poor)


def test_a_page_without_kl_labels_or_current() -> None:
    written = scenario_mapping(
        objective={"kl_coefficient": 0}, reward_model="verifiable", log_ratio=None
    )
    text = render_page(content_of(written), "")
    assert "allocation.labels" not in Reader(text).scripts["s0-plans"]
    assert "clip threshold" not in text.partition("<footer>")[0].partition("s0-slider")[2][:3000]


@given(st.floats(1e-3, 1e12))
def test_the_stops_hold_the_budget_itself_in_their_middle(budget: float) -> None:
    found = budgets(budget)
    assert budget in found
    assert list(found) == sorted(set(found))
    assert found[0] < 0.11 * budget
    assert found[-1] > 9 * budget
    assert 45 <= len(found) <= 61


def test_every_constant_says_where_it_comes_from() -> None:
    written = scenario_mapping(
        sources={"costs": "price list", "reward_model.error": "guess"},
        reward_model={
            "coverage": "unknown",
            "error": {"floor": 0.02, "scale": 8.0, "exponent": 0.8},
        },
    )
    table: Any = constants_section(plan(load_scenario(written))).parts[0]
    said = {row.cells[0]: row.cells[3] for row in table.rows}
    assert said["costs.label"] == "price list"
    assert said["reward_model.error.scale"] == "guess"
    assert said["reward_model.coverage"] == "assumed: the middle of a range"
    assert said["objective.reward_range"] == "not said"
    assert said["costs.fixed"] == "price list"
    assert said["limits.prompts.min"] == "default"


def test_the_command_makes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("vl_convert")
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 0
    assert run(["report", "scenario.yaml", "-o", "page.html"]) == 0
    made = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(made.encode()) < 3_000_000
    assert "rlhf-budget report scenario.yaml -o page.html" in made
    assert "window.vegaEmbed" in made
    capsys.readouterr()


def test_without_the_extra_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    assert run(["init"]) == 0
    assert run(["report", "scenario.yaml", "-o", "page.html"]) == 2
    assert "rlhf-budget[plot]" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_a_plan_without_figures_still_makes_a_page() -> None:
    content = content_of(scenario_mapping())
    bare = replace(content.plans[0], plan=replace(content.plans[0].plan, sensitivity=()))
    text = render_page(replace(content, plans=(bare,)), "")
    assert "s0-sensitivity" not in text


# --- what is not known, and a run under way ------------------------------------------------------

UNSURE = {
    "log_ratio": {"family": "gaussian", "kl": {"low": 3, "high": 18}},
    "sources": {"costs.label": "guess"},
}


def test_what_is_not_known_has_its_section() -> None:
    content = content_of(scenario_mapping(**UNSURE))
    page = render_page(content, "")
    reader = Reader(page)
    assert {"s0-unknown", "s0-swings"} <= set(reader.ids)
    assert "#s0-unknown" in reader.addresses
    spec = json.loads(reader.scripts["s0-swings"])
    rows = {(row["name"], row["end"]): row for row in spec["layer"][0]["data"]["values"]}
    scenario = load_scenario(scenario_mapping(**UNSURE))
    for value, end in ((0.75, "low"), (3.0, "high")):
        there = plan(scenario.with_values({"costs.label": value}))
        row = rows["costs.label", end]
        assert row["value"] == pytest.approx(there.bound.total, rel=1e-6)
        assert row["middle"] == plan(scenario).bound.total
        assert f"{there.allocation.labels:,}" in page
    assert len(rows) == 4
    section = page.partition('id="s0-unknown"')[2].partition("<h2")[0]
    assert "log_ratio.kl (range)" in section
    assert "--information" in section
    # Said once.
    assert page.count("Constants that are not known</h") == 1


def test_worth_is_shown_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    worth = WorthKnowing("log_ratio.kl", 0.0123, 0.001, 4321.0)
    monkeypatch.setattr(
        "rlhf_budget.report.page.content.with_information",
        lambda plan: replace(plan, information=(worth,)),
    )
    entries = [Entry("one", load_scenario(scenario_mapping(**UNSURE)))]
    content = page_content(entries, command="x", tolerance=1e-6, information=True)
    page = render_page(content, "")
    section = page.partition('id="s0-unknown"')[2].partition("<h2")[0]
    assert "Before you spend, find out" in section
    assert "4,321" in section
    assert page.count("Before you spend, find out</h") == 1
    assert "--information, which" not in page


def test_where_all_is_known_and_nothing_runs_there_are_no_such_sections(page: str) -> None:
    ids = set(Reader(page).ids)
    assert not {"s0-unknown", "s0-run", "s0-swings", "s0-behind"} & ids


def test_a_run_under_way_has_its_section() -> None:
    behind = {"prompts": 1000, "rollouts_per_prompt": 8, "labels": 2000, "cost": 9000}
    written = scenario_mapping(progress=behind)
    page = render_page(content_of(written), "")
    reader = Reader(page)
    found = plan(load_scenario(written))
    assert found.to_come is not None
    section = page.partition('id="s0-run"')[2].partition("<h2")[0]
    for text in (f"{found.to_come.prompts:,}", f"{found.allocation.prompts:,}", "Best rest"):
        assert text in section, text
    rows = json.loads(reader.scripts["s0-behind"])["data"]["values"]
    shares = {(row["name"], row["part"]): row["share"] for row in rows}
    assert shares["cost", "behind"] == pytest.approx(9000 / found.cost.total)
    assert shares["prompts", "behind"] == pytest.approx(1000 / found.allocation.prompts)
    for name in ("s0-behind", "s0-bound", "s0-money"):
        alt.Chart.from_dict(json.loads(reader.scripts[name]))


def test_a_page_loads_no_altair() -> None:
    code = (
        "import sys; from rlhf_budget.report.page.make import make_page;"
        "import rlhf_budget.report.page.render; print('altair' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


# --- notebooks -----------------------------------------------------------------------------------


def test_the_room_of_reports_makes_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is function and package at once, whatever is imported first."""
    monkeypatch.setattr("rlhf_budget.report.page.make.vega_scripts", lambda: nullcontext(str))
    import rlhf_budget.report.html as submodule

    scenario = load_scenario(scenario_mapping(name="mine"))
    made = rlhf_budget.report(scenario)
    assert rlhf_budget.report.html is submodule
    made.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == made.html
    assert "mine" in made.html
    frame = made._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert "<script" not in frame
    two = rlhf_budget.report({"a": scenario, "b": scenario})
    assert "Scenarios side by side" in two.html
    assert "characters" in repr(two)


def test_a_plan_shows_the_first_screen_in_a_notebook() -> None:
    found = plan(load_scenario(scenario_mapping(name=HOSTILE)))
    text = found._repr_html_()
    Reader(text)
    assert "<script" not in text
    for title in ("Allocation", "What it is worth"):
        assert title in text
    assert "rlhf_budget.report(scenario)" in text
