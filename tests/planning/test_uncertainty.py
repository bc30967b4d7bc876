"""Robust plans: laws, degenerate ranges, seeds, prices, what they buy on fresh draws."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_budget import InfeasibleError, ScenarioError, load_scenario, plan
from rlhf_budget.cli.app import run
from rlhf_budget.optimum.certified import optimise
from rlhf_budget.planning.draws import laws_of
from rlhf_budget.planning.planner import plan_robustly
from rlhf_budget.planning.uncertainty import (
    Robustness,
    bounds_of,
    draw_cases,
    optimise_robustly,
    parse_risk,
    risk_of,
)
from rlhf_budget.report.numbers import significant
from rlhf_budget.report.plan_words import current_words
from rlhf_budget.report.robust_words import risk_name, robust_section, robust_words
from rlhf_budget.report.underway import course

if TYPE_CHECKING:
    from rlhf_budget import Scenario

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "configs" / "helpful-assistant.yaml")
WIDE = (
    "log_ratio.kl={low: 3, high: 18}",
    "reward_model.coverage={low: 1.2, high: 12}",
    "reward_model.error.exponent={low: 0.2, high: 0.6}",
)
RISKS = ("mean", "cvar:0.8", "regret")


def asked(text: str, **changes: Any) -> Robustness:
    return Robustness(*parse_risk(text), **({"draws": 16} | changes))


def wide() -> Scenario:
    return load_scenario(EXAMPLE, set_values=list(WIDE))


@given(
    low=st.floats(0.001, 10.0),
    ratio=st.floats(1.01, 1e3),
    share=st.floats(1e-9, 1.0 - 1e-9),
)
def test_a_range_is_a_central_95_percent(low: float, ratio: float, share: float) -> None:
    given_range = {"low": low, "high": low * ratio}
    scenario = load_scenario(EXAMPLE, set_values=[f"log_ratio.kl={json.dumps(given_range)}"])
    law = next(law for law in laws_of(scenario) if law.constant == "log_ratio.kl")
    ends = law.at(np.array([0.025, 0.5, 0.975]))
    middle = low * ratio**0.5
    assert ends == pytest.approx([low, middle, low * ratio], rel=2e-4 * np.log(ratio) + 1e-9)
    assert 0.0 < law.at(np.array([share]))[0] < np.inf


def test_a_law_is_cut_at_the_legal_values_by_inversion() -> None:
    scenario = load_scenario(EXAMPLE, set_values=["reward_model.coverage={low: 1, high: 4}"])
    law = next(law for law in laws_of(scenario) if law.constant == "reward_model.coverage")
    values = law.at(np.linspace(0.001, 0.999, 999))
    assert values.min() > 1.0
    assert (np.diff(values) > 0).all()


def test_scenarios_with_other_ranges_share_the_draws_of_what_they_have_in_common() -> None:
    fewer = load_scenario(EXAMPLE, set_values=[WIDE[1]])
    mine, others = (
        [case.constants.coverage for case in draw_cases(scenario, 16, 5)]
        for scenario in (fewer, wide())
    )
    assert mine == others
    assert len(set(mine)) == 16


BEHIND = "progress={prompts: 30000, rollouts_per_prompt: 8, labels: 9000, cost: 20000}"


@pytest.mark.parametrize("behind", [(), (BEHIND,)])
@pytest.mark.parametrize("risk", RISKS)
def test_degenerate_ranges_give_the_plan(risk: str, behind: tuple[str, ...]) -> None:
    known = "bound.posterior_kl={low: 17, high: 17}", "log_ratio.kl={low: 12, high: 12}"
    scenario = load_scenario(EXAMPLE, set_values=[*known, *behind])
    plain, found = plan(scenario), plan_robustly(scenario, asked(risk))
    assert found.allocation == plain.allocation
    assert (found.bound, found.cost) == (plain.bound, plain.cost)
    assert (found.progress, found.to_come) == (plain.progress, plain.to_come)
    assert found.robust is not None
    assert found.robust.value == (0.0 if risk == "regret" else plain.bound.total)
    assert found.robust.fresh_draws.standard_error == 0.0


@pytest.mark.parametrize("risk", RISKS)
def test_the_rest_of_a_run_is_planned_for_all_the_ranges(risk: str) -> None:
    scenario = load_scenario(EXAMPLE, set_values=[*WIDE, BEHIND])
    found = plan_robustly(scenario, asked(risk))
    rest, robust = found.to_come, found.robust
    assert rest is not None
    assert robust is not None
    assert robust.proved
    assert robust.value < robust.at_middle.value
    assert found.allocation.prompts == 30_000 + rest.prompts
    assert found.allocation.labels == 9_000 + rest.labels
    assert found.cost.total == pytest.approx(20_000 + rest.cost)
    assert 49_990 < found.cost.total <= 50_000
    assert robust.current is not None
    assert found.current is not None
    over = replace(robust, current=replace(robust.current, violations=()))
    told = course(replace(found, robust=over))
    assert "Change" in told
    assert significant(robust.current.value) in told


@pytest.mark.parametrize("risk", RISKS)
def test_it_is_proved_and_beats_the_middle_on_fresh_draws(risk: str) -> None:
    request = asked(risk, draws=64)
    found = plan_robustly(wide(), request)
    assert found.robust is not None
    assert found.robust.proved
    assert found.robust.lower_bound <= found.robust.value < found.robust.at_middle.value
    fresh = draw_cases(wide(), 64, seed=12345)
    # Regret takes off what is best for each draw; that it is the same for both is enough here.
    judged = Robustness("mean") if risk == "regret" else request
    measure = risk_of(judged, np.zeros(64))
    mine, middle = (
        measure.of(bounds_of(fresh, each))
        for each in (found.allocation, found.robust.at_middle.allocation)
    )
    assert mine < middle


@pytest.mark.parametrize("risk", ["mean", "cvar:0.8"])
def test_it_beats_the_middle_on_fresh_draws_for_nearly_every_seed(risk: str) -> None:
    """Benchmarks/robust.py does so for 40 seeds, two examples and every risk."""
    middle, wins = optimise(wide()), 0
    for seed in range(20):
        request = asked(risk, seed=seed, draws=32)
        mine = optimise_robustly(middle, request, tolerance=1e-6).allocation
        fresh = draw_cases(wide(), 128, seed=1_000_000 + seed)
        measure = risk_of(request, np.zeros(128))
        wins += measure.of(bounds_of(fresh, mine)) < measure.of(bounds_of(fresh, middle.allocation))
    assert wins >= 19


@pytest.mark.parametrize("risk", RISKS)
def test_uncertain_prices_fit_in_the_share_asked_for(risk: str) -> None:
    scenario = load_scenario(
        EXAMPLE,
        set_values=["costs.label={low: 0.5, high: 4}", "costs.rollout={low: 0.005, high: 0.02}"],
    )
    for share in (0.5, 0.95, 1.0):
        found = plan_robustly(scenario, asked(risk, affordable=share))
        a = found.allocation
        costs = [
            case.prices.cost(a.prompts, a.rollouts_per_prompt, a.labels).unspent
            for case in draw_cases(scenario, 16, 0)
        ]
        assert sum(rest is not None and rest >= 0 for rest in costs) >= share * 16


def test_what_cannot_be_afforded_names_the_budget_that_could() -> None:
    scenario = load_scenario(
        EXAMPLE, set_values=["costs.fixed={low: 40000, high: 60000}", "limits.prompts.min=1"]
    )
    with pytest.raises(InfeasibleError, match="of the draws") as error:
        plan_robustly(scenario, asked("mean", affordable=1.0))
    raised = scenario.with_values({"budget": error.value.least_budget})
    assert plan_robustly(raised, asked("mean", affordable=1.0)).allocation.prompts == 1


@pytest.mark.parametrize("draws", [0, 2, 3, 100, 2**20])
def test_the_number_of_draws_is_a_power_of_two(draws: int) -> None:
    with pytest.raises(ScenarioError, match="power of two"):
        plan_robustly(wide(), asked("mean", draws=draws))


@pytest.mark.parametrize(
    "text",
    ["worst", "cvar", "cvar:1", "cvar:-0.1", "cvar:nan", "cvar:%", "cvar:100%", "mean:1", ""],
)
def test_a_risk_is_one_of_three(text: str) -> None:
    with pytest.raises(ValueError, match="regret"):
        parse_risk(text)


def test_a_level_may_be_a_percentage() -> None:
    assert parse_risk("cvar:90%") == ("cvar", 0.9)
    assert parse_risk("cvar:97.5%") == ("cvar", 0.975)


@pytest.mark.parametrize(("level", "worst"), [("0", "100 %"), ("0.9", "10 %"), ("0.975", "2.5 %")])
def test_the_worst_share_is_written_without_idle_decimals(level: str, worst: str) -> None:
    robust = plan_robustly(wide(), asked("cvar:0.9", draws=4)).robust
    assert robust is not None
    told = risk_name(replace(robust, level=float(level)))
    assert told == f"mean bound of the worst {worst}"


def test_the_command_prints_both_plans_and_the_same_bytes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sets = [part for text in WIDE for part in ("--set", text)]
    command = ["plan", EXAMPLE, *sets, "--robust", "cvar:0.9", "--draws", "16", "--seed", "3"]
    assert run(command) == 0
    table = capsys.readouterr().out
    assert "plan for the middle" in table
    assert "Robustness lowers the mean bound of the worst 10 %" in table
    assert len(table.splitlines()) <= 30
    outputs = []
    for _ in range(2):
        assert run([*command, "--format", "json"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    robust = json.loads(outputs[0])["robust"]
    assert (robust["risk"], robust["level"], robust["draws"]) == ("cvar", 0.9, 16)
    assert run([*command, "--explain"]) == 0
    assert "judged by this risk on these draws" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("other", [["--target-bound", "0.5"], ["--proof", "p.json"]])
def test_it_goes_with_a_budget_alone(other: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", EXAMPLE, "--robust", "mean", *other]) == 2
    assert "--robust" in capsys.readouterr().err


DEAR = "costs.label={low: 0.5, high: 4}"


def test_a_middle_that_is_not_affordable_is_said_to_be() -> None:
    scenario = load_scenario(EXAMPLE, set_values=[DEAR])
    found = plan_robustly(scenario, asked("mean"))
    robust = found.robust
    assert robust is not None
    shares = [
        sum(
            case.prices.spend(a.prompts, a.rollouts_per_prompt) + case.prices.label * a.labels
            <= (case.prices.budget or 0)
            for case in draw_cases(scenario, 16, 0)
        )
        / 16
        for a in (found.allocation, robust.at_middle.allocation)
    ]
    assert [robust.affordable_share, robust.at_middle.affordable_share] == shares
    assert shares[0] >= 0.95 > shares[1]
    label = [case.scenario.costs.label or 0.0 for case in draw_cases(scenario, 16, 0)]
    others = found.cost.total - found.cost.labels
    low, high = np.quantile(label, (0.05, 0.95)) * found.allocation.labels + others
    assert (robust.cost.p5, robust.cost.p95) == pytest.approx((low, high), rel=1e-9)
    assert robust.cost.p95 <= 50_000 < robust.at_middle.cost.p95
    rows = robust_section(found).parts[0].rows  # type: ignore[union-attr]
    at = [str(row.cells[0]).startswith("cost in") for row in rows].index(True)
    assert rows[at].cells[1:] == (robust.cost.p5, robust.at_middle.cost.p5)
    assert rows[at + 1].cells[1:] == (robust.cost.p95, robust.at_middle.cost.p95)
    assert robust.at_middle.value < robust.value
    told = robust_words(robust)
    assert "buys nothing" not in told
    assert "lower. But that plan is not affordable" in told
    assert f"in {100 * shares[1]:g} % of the draws, not in 95 %" in told


def test_an_old_plan_that_few_draws_can_afford_is_not_stayed_with() -> None:
    settings = [DEAR, BEHIND, "current={prompts: 40000, rollouts_per_prompt: 8, labels: 24000}"]
    scenario = load_scenario(EXAMPLE, set_values=settings)
    found = plan_robustly(scenario, asked("mean"))
    assert found.robust is not None
    assert found.robust.current is not None
    assert found.current is not None
    assert found.current.violations == ()
    assert found.robust.current.affordable_share < 0.95
    assert found.robust.current.violations == ("budget",)
    told = course(found)
    assert "Stay" not in told
    assert "It fits the budget in" in current_words(found, found.current)
    assert "The old plan to its end fits the budget in" in told
    enough = plan_robustly(
        scenario, asked("mean", affordable=found.robust.current.affordable_share)
    )
    assert enough.robust is not None
    assert enough.robust.current is not None
    assert enough.robust.current.violations == ()


def test_a_regret_below_0_is_explained() -> None:
    robust = plan_robustly(load_scenario(EXAMPLE, set_values=[DEAR]), asked("regret")).robust
    assert robust is not None
    assert min(robust.value, robust.at_middle.value, robust.fresh_draws.value) >= 0
    assert "below 0" not in robust_words(robust)
    fresh = replace(robust.fresh_draws, value=-0.01)
    told = robust_words(replace(robust, fresh_draws=fresh))
    assert "A regret below 0: in dear draws the plan may cost more than the budget" in told


def test_money_held_back_for_dear_draws_is_not_called_unspent() -> None:
    found = plan_robustly(load_scenario(EXAMPLE, set_values=[DEAR]), asked("mean"))
    assert found.cost.unspent is not None
    assert found.cost.unspent > 0.05 * 50_000
    assert "unspent-budget" not in {each.code for each in found.warnings}
    limits = ["limits.prompts.max=1000", "limits.labels.max=1000"]
    limited = plan_robustly(load_scenario(EXAMPLE, set_values=[DEAR, *limits]), asked("mean"))
    assert "unspent-budget" in {each.code for each in limited.warnings}


@pytest.mark.parametrize("command", ["plan", "check", "compare", "sweep"])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--robust", "mean", "--affordable", "nan"], "--affordable"),
        (["--robust", "mean", "--affordable", "101%"], "--affordable"),
        (["--robust", "mean", "--affordable", "90"], "write 90%"),
        (["--robust", "mean", "--draws", "7"], "--draws"),
        (["--draws", "16"], "--draws goes with --robust"),
        (["--affordable", "0.5"], "--affordable goes with --robust"),
    ],
)
def test_options_of_draws_are_refused_by_name(
    command: str, options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    over = ["--over", "budget=20000:80000"] if command == "sweep" else []
    assert run([command, EXAMPLE, *over, *options]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert named in told
    assert "problem in the scenario" not in told


@pytest.mark.parametrize(
    ("given", "share"), [("90%", 0.9), ("0.9", 0.9), ("1", 1.0), ("100%", 1.0), ("0", 0.0)]
)
def test_the_share_of_draws_is_given_like_every_share(
    given: str, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--robust", "mean", "--draws", "16", "--affordable", given, "-f", "json"]
    assert run(["plan", EXAMPLE, *options]) == 0
    assert json.loads(capsys.readouterr().out)["robust"]["affordable"] == share


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ScenarioError, match="affordable"):
        plan_robustly(wide(), asked("mean", affordable=float("nan")))


def test_fresh_draws_are_as_many_as_the_worst_of_them_take() -> None:
    risk = asked("cvar:0.9")
    found = plan_robustly(wide(), risk)
    robust = found.robust
    assert robust is not None
    assert robust.fresh_draws.draws == 64
    many = bounds_of(draw_cases(wide(), 1024, seed=99), found.allocation)
    truth = risk_of(risk, np.zeros(1024)).of(many)
    assert robust.fresh_draws.value == pytest.approx(truth, rel=0.03)
    assert "raise --draws" not in robust_words(robust)
    assert "the worst 3.2 of 64 draws: raise --draws" in robust_words(replace(robust, level=0.95))
    assert "of 64 draws: more would show a larger one" in robust_words(
        replace(robust, risk="regret", level=None)
    )
