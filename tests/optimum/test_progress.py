"""A run that is under way: the best rest against brute force, and against the plan it follows."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from conftest import scenario_mapping
from hypothesis import given, settings
from hypothesis import strategies as st
from test_optimum import BOUNDS, CASES, exact_cost, small_scenarios

from rlhf_budget import (
    Allocation,
    InfeasibleError,
    ScenarioError,
    evaluate,
    load_scenario,
    plan,
)
from rlhf_budget.bound.terms import bound_of, rollout_choices
from rlhf_budget.optimum.certified import least_cost, optimise
from rlhf_budget.optimum.near_optimal import WITHIN, near_optimal

if TYPE_CHECKING:
    from pathlib import Path


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """A small scenario of which some is behind, some of it in larger groups than those to come."""
    mapping = draw(small_scenarios())
    buys = isinstance(mapping["reward_model"], dict) and isinstance(
        mapping["reward_model"]["error"], dict
    )
    mapping["progress"] = {
        "prompts": draw(st.integers(0, 6)),
        "rollouts_per_prompt": draw(st.sampled_from([1, 2, 5.5, 16])),
        "labels": draw(st.integers(0, 4)) if buys else 0,
        "cost": draw(st.sampled_from([0.0, 0.5, 3.9])),
    }
    if buys and mapping["reward_model"].get("coverage") is None:
        mapping["reward_model"] = mapping["reward_model"] | {"coverage": 1.4}
    return mapping


def own_bound(mapping: dict[str, Any], n: int, K: int, m: int) -> float:
    """The total of docs/theory.md with β = 0, written out by hand."""
    scenario, behind = load_scenario(mapping), mapping["progress"]
    n0, K0 = behind["prompts"], behind["rollouts_per_prompt"]
    bound, R = scenario.bound, scenario.objective.reward_range
    N, spread = n0 + n, (n0 / K0 if n0 else 0.0) + n / K
    second = max(n0 * K0, N * N / spread)
    sides = 4 if bound.concentration == "hoeffding" else 2
    complexity = {"finite_class": math.log(bound.candidates or 1)}.get(bound.policy, 0.0)
    complexity = bound.posterior_kl or 0.0 if bound.policy == "pac_bayes" else complexity
    Λ = math.log(sides) - math.log(scenario.objective.failure_probability) + complexity
    grows = 0.5 if bound.policy == "pac_bayes" else 0.0
    prompts_Λ, rollouts_Λ = Λ + grows * math.log(N), Λ + grows * math.log(second)
    if bound.concentration == "bernstein":
        variance = (bound.prompt_variance or 0) / N + (bound.rollout_variance or 0) / second
        sampling = math.sqrt(2 * Λ * variance) + R * Λ / (3 * N)
    else:
        sampling = R * math.sqrt(prompts_Λ / (2 * N))
        if bound.concentration == "hoeffding":
            sampling += R * math.sqrt(rollouts_Λ / (2 * second))
    model = mapping["reward_model"]
    if not isinstance(model, dict):
        return sampling
    if not isinstance(model["error"], dict):
        return sampling + model["coverage"] * math.sqrt(model["error"])
    old = model.get("existing_labels", 0) + behind["labels"]
    C, curve = model["coverage"], model["error"]
    L = R * R
    if old + m:
        L = min(L, curve["floor"] + curve["scale"] * (old + m) ** -curve["exponent"])
    if model.get("label_policy") == "current" and old + m:
        C = C / math.sqrt(1 + m / (old + m) * (C * C - 1))
    return sampling + C * math.sqrt(L)


def rest_cost(mapping: dict[str, Any], n: int, K: int, m: int) -> Fraction:
    """Money of the whole run: what was spent, which covers the fixed costs first, and the rest."""
    behind, costs = mapping["progress"], dict(mapping["costs"])
    prompt = costs["prompt"]
    if isinstance(prompt, dict):
        owned = max(0, prompt["existing"] - behind["prompts"])
        costs["prompt"] = prompt | {"existing": owned}
    fixed = Fraction(str(costs["fixed"]))
    spent = max(fixed, Fraction(str(behind["cost"])))
    return exact_cost({"costs": costs}, n, K, m) - fixed + spent


def rests(mapping: dict[str, Any]) -> list[tuple[float, Fraction, int, int, int]]:
    """Every rest that fits: (total, cost, n, K, m), n and m those of the whole run."""
    scenario, behind = load_scenario(mapping), mapping["progress"]
    limits, model = scenario.limits, mapping["reward_model"]
    buys = isinstance(model, dict) and isinstance(model["error"], dict)
    most = (limits.labels.max or 0) - behind["labels"] if buys else 0
    n0, m0, found = behind["prompts"], behind["labels"], []
    for n in range(max(0, limits.prompts.min - n0), (limits.prompts.max or 0) - n0 + 1):
        for K in rollout_choices(limits) if n > 0 else rollout_choices(limits)[:1]:
            for m in range(max(0, limits.labels.min - m0), most + 1):
                cost = rest_cost(mapping, n, K, m)
                if cost <= Fraction(str(mapping["budget"])):
                    a = Allocation(n0 + n, K, m0 + m, None)
                    total = evaluate(scenario, a).total
                    if scenario.objective.kl_coefficient == 0 and scenario.groups is None:
                        assert total == pytest.approx(own_bound(mapping, n, K, m), rel=1e-12)
                    found.append((total, cost, n0 + n, K, m0 + m))
    return found


@given(runs())
@settings(max_examples=80)
def test_no_rest_beats_the_certified_one(mapping: dict[str, Any]) -> None:
    try:
        scenario = load_scenario(mapping)
    except ScenarioError:
        return
    everything = rests(mapping)
    if not everything:
        with pytest.raises(InfeasibleError):
            optimise(scenario)
        return
    found, best = optimise(scenario), min(everything)[0]
    assert found.bound.total <= best * (1 + 1e-12)
    assert found.certificate.lower_bound <= best * (1 + 1e-13)
    a = found.allocation
    n, K, m = found.to_come
    assert found.cost.total == float(rest_cost(mapping, n, K, m))
    assert found.bound.total == evaluate(scenario, a).total
    near = [entry for entry in everything if entry[0] <= found.bound.total * (1 + WITHIN)]
    ranges = near_optimal(found)
    for axis, name in ((2, "prompts"), (4, "labels")):
        values = [entry[axis] for entry in near]
        assert getattr(ranges, name) == (min(values), max(values))
    assert ranges.least_cost == pytest.approx(float(min(entry[1] for entry in near)), rel=1e-9)
    target = best * 1.1
    cheapest = min(cost for total, cost, *_ in everything if total <= target)
    aimed = least_cost(scenario, target)
    assert aimed.bound.total <= target
    assert aimed.cost.total <= float(cheapest) * (1 + 1e-12)


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: f"{bound['concentration']}")
def test_poor_groups_never_make_good_ones_worth_less(bound: dict[str, Any]) -> None:
    """The dilution case: groups of 1 after groups of 16."""
    behind = {"prompts": 40, "rollouts_per_prompt": 16, "labels": 0, "cost": 0}
    mapping = scenario_mapping(bound=bound, progress=behind, objective={"kl_coefficient": 0})
    scenario = load_scenario(mapping)
    totals = [evaluate(scenario, Allocation(n, 1, 0, None)).total for n in range(40, 2000)]
    assert totals == sorted(totals, reverse=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scenario"]["name"])
def test_progress_of_zeros_gives_the_plain_plan(case: dict[str, Any]) -> None:
    zeros = {"prompts": 0, "rollouts_per_prompt": 0, "labels": 0, "cost": 0}
    plain, same = plan(load_scenario(case["scenario"])), None
    same = plan(load_scenario(case["scenario"] | {"progress": zeros}))
    found, expected = same.to_dict(), plain.to_dict()
    assert found.pop("progress") == zeros
    rest = found.pop("to_come")
    assert rest["prompts"] == plain.allocation.prompts
    assert rest["labels"] == plain.allocation.labels
    assert rest["cost"] == pytest.approx(plain.cost.total - plain.cost.fixed)
    assert found["inputs"].pop("progress") == zeros
    assert expected.pop("progress") is None
    assert expected.pop("to_come") is None
    assert found == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scenario"]["name"])
def test_who_followed_the_plan_half_way_follows_the_rest(case: dict[str, Any]) -> None:
    scenario = load_scenario(case["scenario"])
    whole = optimise(scenario)
    a, prices = whole.allocation, whole.case.prices
    model = scenario.reward_model
    fresh = model != "verifiable" and model.label_policy == "current"
    n, K, m = a.prompts // 2, a.rollouts_per_prompt, 0 if fresh else a.labels // 2
    spent = prices.to_currency(prices.spend(n, K) + prices.label * m)
    behind = {"prompts": n, "rollouts_per_prompt": K, "labels": m, "cost": spent}
    rest = optimise(load_scenario(case["scenario"] | {"progress": behind}))
    assert rest.bound.total == pytest.approx(whole.bound.total, rel=1e-9)
    assert rest.cost.total <= float(case["scenario"]["budget"])
    assert rest.allocation.rollouts_per_prompt == K
    assert rest.allocation.prompts == pytest.approx(a.prompts, rel=1e-3, abs=2)
    assert rest.allocation.labels == pytest.approx(a.labels, rel=1e-3, abs=2)


SILENT = {
    "objective": {"kl_coefficient": 0},
    "costs": {"prompt": 0.001, "rollout": 0.01},
    "reward_model": "verifiable",
    "groups": {"mean": 0.2, "correlation": 0.35},
    "limits": {"rollouts_per_prompt": {"min": 2, "max": 64}},
    "budget": 1000,
}


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: f"{bound['concentration']}")
def test_groups_behind_teach_by_their_own_size(bound: dict[str, Any]) -> None:
    """Silent groups: what is behind is worth as much as when it was bought."""
    plain = load_scenario(scenario_mapping(**SILENT | {"bound": bound}))
    whole = optimise(plain)
    n, K = whole.allocation.prompts, whole.allocation.rollouts_per_prompt
    spent = whole.case.prices.to_currency(whole.case.prices.spend(n // 2, K))
    behind = {"prompts": n // 2, "rollouts_per_prompt": K, "cost": spent}
    scenario = load_scenario(scenario_mapping(**SILENT | {"bound": bound, "progress": behind}))
    rest = optimise(scenario)
    assert rest.allocation.rollouts_per_prompt == K
    assert rest.bound.total == pytest.approx(whole.bound.total, rel=1e-6)
    now = evaluate(plain, Allocation(n // 2, K, 0, None)).total
    for other in (2, K, 64):
        stopped = evaluate(scenario, Allocation(n // 2, other, 0, None)).total
        assert stopped == pytest.approx(now, rel=1e-12)
        more = [evaluate(scenario, Allocation(n // 2 + i, other, 0, None)).total for i in (1, 9)]
        assert now * 0.99 < more[1] <= more[0] <= now * (1 + 1e-12)


@given(
    st.sampled_from(BOUNDS),
    st.integers(1, 10**6),
    st.sampled_from([2, 3, 5.5, 16, 64]),
    st.sampled_from([2, 3, 16, 64]),
    st.floats(0.01, 0.99),
    st.floats(0.0, 0.9),
)
def test_more_prompts_never_loosen_the_bound_of_a_run(
    bound: dict[str, Any], n: int, K: float, more: int, mean: float, correlation: float
) -> None:
    behind = {"prompts": n, "rollouts_per_prompt": K, "cost": 0}
    groups = {"mean": mean, "correlation": correlation}
    changes = SILENT | {"bound": bound, "progress": behind, "groups": groups}
    found = bound_of(load_scenario(scenario_mapping(**changes)))
    totals = [found.least(10.0**x, more) for x in range(8)]
    assert found.least(0, more) >= totals[0] * (1 - 1e-12)
    assert all(a >= b * (1 - 1e-12) for a, b in pairwise(totals))


def test_nothing_left_to_generate_is_a_plan() -> None:
    behind = {"prompts": 9000, "rollouts_per_prompt": 4, "labels": 0, "cost": 49000}
    found = plan(load_scenario(scenario_mapping(progress=behind)))
    assert found.to_come is not None
    assert found.allocation.prompts == 9000 + found.to_come.prompts
    assert found.allocation.rollouts == 36000 + found.to_come.rollouts
    assert found.cost.total == pytest.approx(49000 + found.to_come.cost)
    assert found.to_come.labels == found.allocation.labels > 0


@pytest.mark.parametrize(
    ("progress", "key"),
    [
        ({"prompts": 5, "rollouts_per_prompt": 2, "cost": 50001}, "progress.cost"),
        ({"prompts": -5, "rollouts_per_prompt": 2}, "progress.prompts"),
        ({"prompts": 5, "rollouts_per_prompt": 0}, "progress.rollouts_per_prompt"),
        ({"prompts": 5, "rollouts_per_prompt": 2, "labels": -1}, "progress.labels"),
        ({"rollouts_per_prompt": 2}, "progress.prompts"),
    ],
)
def test_what_cannot_be_behind_is_named(progress: dict[str, Any], key: str) -> None:
    with pytest.raises(ScenarioError) as failure:
        load_scenario(scenario_mapping(progress=progress))
    assert [problem.key for problem in failure.value.problems] == [key]


def test_what_cannot_be_behind_is_found_in_its_line(tmp_path: Path) -> None:
    lines = {"prompts": -5, "rollouts_per_prompt": 0, "labels": -1, "cost": 60000}
    written = yaml.safe_dump(scenario_mapping(), sort_keys=False) + "progress:\n"
    first = written.count("\n") + 1
    file = tmp_path / "scenario.yaml"
    file.write_text(written + "".join(f"  {key}: {value}\n" for key, value in lines.items()))
    with pytest.raises(ScenarioError) as failure:
        load_scenario(str(file))
    found = {problem.key: (problem.file, problem.line) for problem in failure.value.problems}
    assert found == {
        f"progress.{key}": (str(file), first + index)
        for index, key in enumerate(lines)
        if key != "rollouts_per_prompt"  # of no prompt, as -5 is none
    }


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: f"{bound['concentration']}")
@pytest.mark.parametrize("budget", [8.0, 12.0, 30.0])
def test_the_best_rest_of_poor_groups_after_good_ones(bound: dict[str, Any], budget: float) -> None:
    """Groups of at most 3 after groups of 16, against every rest there is."""
    mapping = scenario_mapping(
        budget=budget,
        bound=bound,
        costs={"prompt": 0.4, "rollout": 0.3, "label": 0.5, "fixed": 0.0},
        limits={
            "prompts": {"max": 40},
            "rollouts_per_prompt": {"min": 1, "max": 3},
            "labels": {"max": 25},
        },
        progress={"prompts": 12, "rollouts_per_prompt": 16, "labels": 3, "cost": 6.0},
    )
    found, best = optimise(load_scenario(mapping)), min(rests(mapping))
    assert found.bound.total == pytest.approx(best[0], rel=1e-12)
    assert found.certificate.proved


def test_labels_behind_make_coverage_necessary_and_verifiable_ones_impossible() -> None:
    behind = {"prompts": 5, "rollouts_per_prompt": 2, "labels": 3}
    fresh = {"label_policy": "current", "error": {"floor": 0.1, "scale": 1.0, "exponent": 0.5}}
    with pytest.raises(ScenarioError) as failure:
        load_scenario(scenario_mapping(progress=behind, reward_model=fresh))
    assert failure.value.problems[0].key == "reward_model.coverage"
    with pytest.raises(ScenarioError) as failure:
        load_scenario(scenario_mapping(progress=behind, reward_model="verifiable"))
    assert failure.value.problems[0].key == "progress.labels"
