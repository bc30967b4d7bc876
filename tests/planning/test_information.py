"""What knowing a constant is worth: against nested brute force, and nothing where none decides."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from test_robust import brute_force

from rlhf_budget import Scenario, load_scenario, plan
from rlhf_budget.cli.app import run
from rlhf_budget.optimum.case import prepare
from rlhf_budget.planning import information
from rlhf_budget.planning.draws import laws_of, scenarios_of, shares
from rlhf_budget.planning.information import worth_knowing, worth_once
from rlhf_budget.planning.planner import with_information
from rlhf_budget.planning.results import WorthKnowing
from rlhf_budget.planning.uncertainty import Robustness, mean_and_error
from rlhf_budget.report.document import Paragraph, Table
from rlhf_budget.report.robust_words import information_section

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

SMALL: dict[str, Any] = {
    "budget": 40,
    "objective": {"kl_coefficient": 0.0},
    "costs": {"prompt": 1, "rollout": 0.5, "label": {"low": 0.5, "high": 6}},
    "reward_model": {
        "coverage": {"low": 1, "high": 8},
        "error": {"scale": 1.0, "exponent": {"low": 0.2, "high": 1.2}},
    },
    "limits": {"rollouts_per_prompt": {"max": 3}},
}


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(information, "STRATA", 4)
    monkeypatch.setattr(information, "WITHIN", 4)


BEHIND = {"prompts": 4, "rollouts_per_prompt": 2, "labels": 3, "cost": 12}


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("behind", [{}, {"progress": BEHIND}])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_it_equals_nested_brute_force(index: int, behind: dict[str, Any]) -> None:
    scenario = Scenario(**SMALL, **behind)
    laws = laws_of(scenario)
    asked = Robustness(affordable=1.0)
    others = shares(laws, 4, 7)
    strata = []
    for number in range(4):
        at = others.copy()
        at[:, index] = (number + 0.5) / 4
        strata.append([prepare(each) for each in scenarios_of(scenario, laws, at)])
    everything = [case for cases in strata for case in cases]
    known = np.mean([brute_force(cases, 4, 1.0, np.zeros(4)) for cases in strata])
    expected = brute_force(everything, 16, 1.0, np.zeros(16)) - known
    worth = worth_once(scenario, laws, index, 7, asked)
    assert worth == pytest.approx(expected, abs=3e-6 * known)


def own_worth(scenario: Scenario, index: int) -> float:
    """What knowing a constant is worth, by docs/theory.md written out and listing every plan.

    The other constant is integrated over 4,000 quantiles, not drawn.
    """
    laws = laws_of(scenario)
    known = laws[index].at((np.arange(16) + 0.5) / 16)[:, None]
    other = laws[1 - index].at((np.arange(4000) + 0.5) / 4000)[None, :]
    names = [law.constant.rpartition(".")[2] for law in (laws[index], laws[1 - index])]
    values = dict(zip(names, (known, other), strict=True))
    least: dict[int, float] = {}
    for n in range(1, 27):
        for K in (1, 2, 3):
            if n * (1 + 0.5 * K) <= 40:
                Λ = math.log(4 / 0.05)
                sampling = math.sqrt(Λ / (2 * n)) + math.sqrt(Λ / (2 * n * K))
                m = int((40 - n * (1 + 0.5 * K)) // 2)
                least[m] = min(least.get(m, math.inf), sampling)
    means = []
    for m, sampling in least.items():
        error = np.minimum(1.0, m ** -values["exponent"]) if m else np.ones((1, 1))
        shift = values["coverage"] * np.sqrt(error)
        means.append(sampling + np.broadcast_to(shift, (16, 4000)).mean(axis=1))
    by_plan = np.array(means)
    return float(by_plan.mean(axis=1).min() - by_plan.min(axis=0).mean())


@pytest.mark.parametrize("index", [0, 1])
def test_it_is_what_nested_integration_gives_within_two_standard_errors(index: int) -> None:
    """Over 24 sets of draws, as the error of a command's four is itself off by a factor of 2."""
    scenario = Scenario(
        budget=40,
        objective={"kl_coefficient": 0.0},
        costs={"prompt": 1, "rollout": 0.5, "label": 2},
        reward_model={
            "coverage": {"low": 1, "high": 8},
            "error": {"scale": 1.0, "exponent": {"low": 0.2, "high": 1.2}},
        },
        limits={"rollouts_per_prompt": {"max": 3}},
    )
    laws, expected = laws_of(scenario), own_worth(scenario, index)
    worths = [worth_once(scenario, laws, index, seed, Robustness()) for seed in range(24)]
    mean, error = mean_and_error(worths)
    assert expected > 10.0 * error
    assert abs(mean - expected) <= 2.0 * error


@pytest.mark.usefixtures("few_draws")
def test_what_no_decision_depends_on_is_worth_nothing() -> None:
    scenario = Scenario(
        budget=1000,
        objective={"kl_coefficient": 0.05},
        costs={"prompt": 1, "rollout": 0.5},
        reward_model={"coverage": 2, "error": {"low": 0.01, "high": 0.1}},
        log_ratio={"kl": {"low": 2, "high": 20}},
        limits={"rollouts_per_prompt": {"max": 8}},
    )
    found = {entry.constant: entry for entry in worth_knowing(scenario, Robustness())}
    nothing, something = found["reward_model.error"], found["log_ratio.kl"]
    assert abs(nothing.worth_bound) <= 2 * nothing.standard_error + 2e-6
    assert nothing.worth_money == 0.0
    assert something.worth_bound > 2 * something.standard_error
    assert something.worth_money is not None
    assert something.worth_money > 0


def test_copies_of_a_scenario_are_what_reading_it_anew_gives() -> None:
    written = SMALL | {
        "objective": {"kl_coefficient": 0.1},
        "log_ratio": {"kl": {"low": 2, "high": 20}},
    }
    scenario = Scenario(**written)
    laws = laws_of(scenario)
    at = shares(laws, 8, 3)
    for row, copied in zip(at, scenarios_of(scenario, laws, at), strict=True):
        values = {
            law.constant: float(law.at(np.array([share]))[0])
            for law, share in zip(laws, row, strict=True)
        }
        read = scenario.with_values(values)
        assert prepare(copied)._replace(scenario=read).prices == prepare(read).prices
        assert prepare(copied).constants == prepare(read).constants
        assert prepare(copied).bound.tail == prepare(read).bound.tail


@pytest.mark.usefixtures("few_draws")
def test_the_command_ranks_names_what_measures_and_repeats_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.json"
    file.write_text(json.dumps(SMALL | {"budget": 4000}), encoding="utf-8")
    command = ["plan", str(file), "--information", "--quiet"]
    assert run(command) == 0
    table = capsys.readouterr().out
    assert "Before you spend, find out" in table
    assert "calibrate" in table
    assert "robust plan" not in table
    outputs = []
    for _ in range(2):
        assert run([*command, "--format", "json"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    entries = json.loads(outputs[0])["information"]
    worths = [entry["worth_bound"] for entry in entries]
    assert worths == sorted(worths, reverse=True)
    assert all(math.isfinite(entry["standard_error"]) for entry in entries)
    assert len(entries) == len(load_scenario(str(file)).assumed)


@pytest.mark.parametrize(
    ("worths", "said"),
    [
        ({"bound.posterior_kl": 0.02}, "Nothing measures bound.posterior_kl"),
        ({"bound.posterior_kl": 0.02, "log_ratio.kl": 0.01}, "log_ratio.kl first: knowing it mo"),
    ],
)
def test_it_advises_what_can_be_measured(worths: dict[str, float], said: str) -> None:
    entries = tuple(WorthKnowing(name, worth, 0.001, 9.0) for name, worth in worths.items())
    found = replace(plan(Scenario(**SMALL)), information=entries)
    (*_, sentence) = information_section(found).parts
    assert isinstance(sentence, Paragraph)
    assert sentence.text.startswith(said)


def test_it_goes_with_a_budget(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "small.json"
    file.write_text(json.dumps(SMALL), encoding="utf-8")
    assert run(["plan", str(file), "--information", "--target-bound", "0.5"]) == 2
    assert "--information" in capsys.readouterr().err


def test_a_price_is_said_to_include_keeping_the_budget_and_one_constant_has_no_error() -> None:
    scenario = Scenario(
        budget=1000,
        objective={"kl_coefficient": 0.05},
        costs={"prompt": 0.5, "rollout": 0.5, "label": {"low": 0.5, "high": 4}},
        reward_model={"coverage": 4, "error": {"scale": 8, "exponent": 0.8}},
        log_ratio={"family": "gaussian", "kl": 12},
        bound={"policy": "finite_class", "candidates": 20},
    )
    found = with_information(plan(scenario), affordable=0.3)
    (entry,) = found.information or ()
    assert entry.standard_error is None
    assert "worth-of-prices" in [notice.code for notice in found.warnings]
    section = information_section(found)
    assert isinstance(section.parts[0], Table)
    assert section.parts[0].rows[0].cells[:3] == ("costs.label", "nothing", "not estimated")
