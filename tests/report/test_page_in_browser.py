"""The page in a real browser: what it shows, that it stays by itself, and that all can use it.

Needs Chromium of the system (``apt-get install chromium``) and the packages of the extra ``dev``.
"""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import scenario_mapping

from rlhf_budget import load_scenario, plan
from rlhf_budget.report.page.make import make_page
from rlhf_budget.studies.comparison import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no Chromium here: apt-get install chromium", allow_module_level=True)

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CURRENT = {"prompts": 5000, "rollouts_per_prompt": 8, "labels": 3000}
GUESSES = {"costs.label": "guess", "log_ratio.kl": "guess"}
CHANGED = scenario_mapping(costs={"prompt": 5.0, "rollout": 0.02, "label": 0.2})


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "report.html"
    entries = [
        Entry("base", load_scenario(scenario_mapping(current=CURRENT, sources=GUESSES))),
        Entry("<b>cheap</b> 'labels'", load_scenario(CHANGED)),
    ]
    file.write_text(make_page(lambda: entries, command="rlhf-budget report x"), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


class Opened:
    """A page with what it asked for and what it complained of."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_context(**context).new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.goto(address)
        if context.get("java_script_enabled", True):
            self._wait_until(
                "document.querySelectorAll('.chart svg').length >="
                "[...document.querySelectorAll('.chart')].filter(e => e.clientWidth).length"
            )

    def _wait_until(self, condition: str) -> None:
        # wait_for_function evaluates text within the page, which the page's own policy forbids.
        for _ in range(400):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"not after 20 s: {condition}")

    def _hear(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def shown(self) -> dict[str, float]:
        """Numbers that the first scenario's slider shows."""
        cells = self.page.query_selector_all("#s0-slider data[data-key]")
        return {c.get_attribute("data-key"): float(c.get_attribute("value")) for c in cells}


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Opened]:
    found = Opened(browser, address)
    yield found
    found.page.context.close()


def test_nothing_leaves_the_page_and_nothing_is_complained_of(opened: Opened, address: str) -> None:
    opened.page.click("details.scenario summary")
    opened.page.wait_for_timeout(500)
    assert opened.requests == [address]
    assert opened.complaints == []


def test_charts_are_drawn(opened: Opened) -> None:
    visible = [chart for chart in opened.page.query_selector_all(".chart") if chart.is_visible()]
    assert len(visible) >= 4
    assert all(chart.query_selector("svg path") for chart in visible)


def test_the_slider_shows_the_numbers_of_plan(opened: Opened) -> None:
    stops = json.loads(opened.page.text_content("#s0-plans"))
    for index in (0, 17, len(stops) - 1):
        opened.page.locator("#s0-choice").fill(str(index))
        budget = stops[index]["budget"]
        found = plan(load_scenario(scenario_mapping(budget=budget))).to_dict()
        shown = opened.shown()
        assert shown["allocation.prompts"] == found["allocation"]["prompts"]
        for key, value in shown.items():
            part, name = key.split(".")
            assert value == found[part][name], (budget, key)
        assert opened.page.inner_text("#s0-budget") == stops[index]["says"]


def test_the_keyboard_moves_the_slider_and_its_rule(opened: Opened) -> None:
    slider = opened.page.locator("#s0-choice")
    before, at = opened.shown(), slider.get_attribute("aria-valuetext")
    rule = "[...document.querySelectorAll('[data-chart=s0-bound] .mark-rule line')].at(-1)"
    place = opened.page.evaluate(f"{rule}.getAttribute('transform')")
    for _ in range(40):
        opened.page.keyboard.press("Tab")
        if opened.page.evaluate("document.activeElement.id") == "s0-choice":
            break
    else:
        pytest.fail("the slider is not reached by the keyboard")
    for _ in range(5):
        opened.page.keyboard.press("ArrowRight")
    opened.page.wait_for_timeout(300)
    after = opened.shown()
    assert after["cost.total"] > before["cost.total"]
    assert after["bound.total"] < before["bound.total"]
    assert slider.get_attribute("aria-valuetext") != at
    assert opened.page.evaluate(f"{rule}.getAttribute('transform')") != place


def test_names_are_text(opened: Opened) -> None:
    assert opened.page.query_selector("main b") is None
    assert "<b>cheap</b> 'labels'" in opened.page.inner_text("main")


@pytest.mark.parametrize("width", [400, 800, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_all_can_use_it(browser: Any, address: str, width: int, scheme: str) -> None:
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-playwright-python is not installed")
    axe = (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    opened = Opened(browser, address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened.page.click("details.scenario summary")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.evaluate(axe)
    result = opened.page.evaluate("axe.run()")
    serious = [
        (violation["id"], [node["html"] for node in violation["nodes"]][:3])
        for violation in result["violations"]
        if violation["impact"] in {"serious", "critical"}
    ]
    assert serious == []
    opened.page.context.close()


def test_without_scripts_the_numbers_are_there(browser: Any, address: str) -> None:
    opened = Opened(browser, address, java_script_enabled=False)
    assert not opened.page.is_visible("#s0-slider")
    opened.page.click("text=plans over the budget, as a table")
    assert opened.page.locator("details[open] table tbody tr").count() >= 55
    opened.page.context.close()


def test_it_prints_on_a4(opened: Opened) -> None:
    printed = opened.page.pdf(prefer_css_page_size=True)
    assert printed.startswith(b"%PDF")
    opened.page.emulate_media(media="print")
    assert not opened.page.is_visible("#s0-choice")
    assert not opened.page.is_visible("nav")
