"""The first screen: 24 lines of 80 columns that hold all that a decision needs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from report_helpers import check_snapshot, make_bare_plan, make_plan, make_target_plan

from rlhf_budget import Plan, load_scenario, plan
from rlhf_budget.planning.advice import advise
from rlhf_budget.planning.planner import plan_robustly
from rlhf_budget.planning.uncertainty import Robustness
from rlhf_budget.report.document import Table
from rlhf_budget.report.first_screen import first_screen, rounded
from rlhf_budget.report.terminal import show

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "configs").glob("*.yaml"))


def shown(found: Plan) -> str:
    text = io.StringIO()
    show(first_screen(found, advise(found)), text, width=80)
    return text.getvalue()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_fits(path: Path) -> None:
    lines = shown(plan(load_scenario(path))).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_it_is_as_kept() -> None:
    path = next(path for path in EXAMPLES if path.stem == "helpful-assistant")
    check_snapshot("first-screen-80.txt", shown(plan(load_scenario(path))))


def test_other_kinds_of_plan() -> None:
    bare, target = shown(make_bare_plan()), shown(make_target_plan())
    assert "label" not in bare
    assert "clip" not in bare
    assert "24,844 USD is the least for a bound of 0.3866" in target


def test_what_a_target_needs_is_not_rounded_down() -> None:
    found = make_target_plan()
    text = shown(found)
    assert f"{found.allocation.prompts:,} prompts" in text
    assert f"{found.allocation.labels:,} labels" in text


@pytest.mark.parametrize("within", [0.0, 1e-9, 1e-7, 1e-5, 0.01])
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_plan_shown_is_within_the_ranges_shown(path: Path, within: float) -> None:
    found = plan(load_scenario(path), within=within)
    (table,) = [
        block
        for section in first_screen(found, advise(found)).sections
        for block in section.parts
        if isinstance(block, Table)
    ]
    names = {"prompts": "prompts", "rollouts per prompt": "rollouts_per_prompt"}
    names |= {"labels to buy": "labels", "labels in all": "labels"}
    for title, ordered, range_ in (row.cells[:3] for row in table.rows if row.cells[0] in names):
        low, high = range_  # type: ignore[misc]
        least, most = getattr(found.near_optimal, names[title])  # type: ignore[index]
        assert least <= low <= ordered <= high <= most


def test_the_worst_of_the_wrong_guesses_is_named() -> None:
    path = next(path for path in EXAMPLES if path.stem == "helpful-assistant")
    found = plan(load_scenario(path))
    worst = max(advise(found).wrong_guesses, key=lambda guess: guess.plan_excess)
    assert worst.plan_excess > 0.5
    told = " ".join(shown(found).split())
    named = f"(at worst {100 * worst.plan_excess:.1f} %, at {worst.constant}"
    # Beside the plan's own share, before that of what is done now.
    assert told.index("the plan stays within") < told.index(named) < told.index("current within")


def test_an_unproved_plan_never_claims_a_proof() -> None:
    text = shown(make_plan(status="not_proved"))
    assert text.splitlines()[1].startswith("Not proved to be the best")
    assert "nothing else is better" not in text


@pytest.mark.parametrize(
    ("current", "words"),
    [
        (
            (90_000, 16, 30_000),
            "% lower than the plan's, but it costs {} USD more than the budget.",
        ),
        ((20_000, 16, 90_000), "it costs {} USD more than the budget, and the plan's bound is"),
    ],
)
def test_current_beyond_the_budget_is_said_to_be(current: tuple[int, int, int], words: str) -> None:
    path = next(path for path in EXAMPLES if path.stem == "helpful-assistant")
    names = ("prompts", "rollouts_per_prompt", "labels")
    changed = [f"current.{name}={value}" for name, value in zip(names, current, strict=True)]
    found = plan(load_scenario(path, set_values=changed))
    assert found.current is not None
    told = " ".join(shown(found).split())
    over = f"{found.current.cost.total - 50_000:,.0f}"
    assert words.format(over) in told
    assert "saved" not in told
    assert len(shown(found).splitlines()) <= 24


@pytest.mark.parametrize("prompts", [20_000, 60_000, 200_000])
def test_a_robust_plan_says_how_what_is_done_now_fares(prompts: int) -> None:
    path = next(path for path in EXAMPLES if path.stem == "helpful-assistant")
    changed = ["costs.rollout={low: 0.001, high: 0.01}", f"current.prompts={prompts}"]
    scenario = load_scenario(path, set_values=changed)
    found = plan_robustly(scenario, Robustness("mean", None, 16, 1.0, 0), tolerance=1e-3)
    assert found.robust is not None
    now = found.robust.current
    assert now is not None
    text = shown(found)
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 80
    told = " ".join(text.split())
    share = f"it fits the budget in {100 * now.affordable_share:.4g} % of the draws"
    if prompts == 20_000:  # worse and affordable: what it costs is what there is to say
        assert now.excess_relative > 0
        assert share not in told
        assert "Against current, at the middle: the plan's bound is" in told
        return
    assert now.affordable_share < 1
    values = f"{now.value:.4f} against the plan's {found.robust.value:.4f}"
    assert f"Against current: its mean bound is {values}; {share}, not in 100 %." in told


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [
        (999, 999, 999),
        (54624, 54600, 54700),
        (54600, 54600, 54600),
        (10**12 + 1, 10**12, 10**12 + 10**10),
    ],
)
def test_counts_are_rounded_to_three_digits(value: int, down: int, up: int) -> None:
    assert rounded(value, -1) == down
    assert rounded(value, 1) == up
