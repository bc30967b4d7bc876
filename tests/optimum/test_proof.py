"""Proofs: every plan's is accepted, no forgery is, and brute force agrees with the claims."""

from __future__ import annotations

import ast
import copy
import gzip
import json
import math
import random
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import scenario_mapping
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st
from test_optimum import CASES, FAMILIES, enumerated, small_scenarios

from rlhf_budget import Allocation, Scenario, evaluate, load_scenario
from rlhf_budget.bound.tails import make_tail
from rlhf_budget.bound.terms import best_clip_threshold, kl_penalty
from rlhf_budget.errors import ProofError
from rlhf_budget.optimum import proof as proof_room
from rlhf_budget.optimum.certified import optimise
from rlhf_budget.optimum.proof import ball_tails
from rlhf_budget.optimum.proof.ball_tails import Empirical, Parametric, ball
from rlhf_budget.optimum.proof.balls import Bound, Penalty, informative_share
from rlhf_budget.optimum.proof.certificate import encoded, prove, scenario_text
from rlhf_budget.optimum.proof.checker import BITS, verify
from rlhf_budget.optimum.proof.files import differing_keys
from rlhf_budget.optimum.proof.reading import MOST_BYTES, Proof, exact_scenario, group_sizes, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlhf_budget.bound.tails import Tail

    Forgery = Callable[[dict[str, Any]], Any]

ROOT = Path(__file__).resolve().parents[2]
ROOM = Path(proof_room.__file__).parent
EXAMPLES = [
    (file, name)
    for file in sorted((ROOT / "examples" / "configs").glob("*.yaml"))
    for name in (None, *load_scenario(file).scenarios)
]
SMALL: dict[str, Any] = {
    "name": "small",
    "budget": 399.99,
    "objective": {"kl_coefficient": 0.05},
    "costs": {
        "prompt": {"acquisition": 0.5, "existing": 100, "prefill": 0.01},
        "rollout": 0.02,
        "label": 0.5,
    },
    "reward_model": {"coverage": 1.5, "error": {"floor": 0.01, "scale": 1.0, "exponent": 0.7}},
    "log_ratio": {"kl": 3},
    "limits": {
        "rollouts_per_prompt": {"max": 6},
        "prompts": {"max": 500},
        "clip_threshold": {"max": 9},
    },
}


def proved(scenario: Scenario) -> tuple[Proof, float]:
    """Prove a scenario's plan; return the proof as read from its bytes, and the float total."""
    found = optimise(scenario)
    return read(prove(scenario, found.allocation, tolerance=1e-6)), found.bound.total


# --- what is right is accepted --------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scenario"]["name"])
def test_every_reference_case_is_proved(case: dict[str, Any]) -> None:
    proof, total = proved(load_scenario(case["scenario"]))
    assert proof.relative_gap <= 1e-12
    assert float(proof.total) == pytest.approx(total, rel=1e-12)
    assert float(proof.lower_bound) <= case["optimum"]["total"] * (1 + 1e-12)


@pytest.mark.parametrize(("file", "name"), EXAMPLES, ids=lambda part: getattr(part, "stem", part))
def test_every_example_is_proved(file: Path, name: str | None) -> None:
    proof, total = proved(load_scenario(file, scenario=name))
    assert proof.relative_gap <= 1e-12
    assert float(proof.total) == pytest.approx(total, rel=1e-12)


@given(small_scenarios())
@settings(max_examples=60)
def test_brute_force_agrees_with_what_is_proved(mapping: dict[str, Any]) -> None:
    everything = enumerated(mapping)
    if everything:
        proof, _ = proved(load_scenario(mapping))
        best = min(everything)[0]
        assert float(proof.lower_bound) <= best * (1 + 1e-14)
        assert float(proof.total) >= best * (1 - 1e-14)
        assert proof.relative_gap <= 1e-12


@pytest.mark.parametrize("log_ratio", FAMILIES, ids=lambda law: law["family"])
@pytest.mark.parametrize("concentration", ["hoeffding", "prompt_mean", "bernstein"])
def test_every_tail_under_every_inequality(log_ratio: dict[str, Any], concentration: str) -> None:
    bound = {"concentration": concentration, "prompt_variance": 0.02, "rollout_variance": 0.1}
    proof, _ = proved(load_scenario(scenario_mapping(log_ratio=log_ratio, bound=bound)))
    assert proof.relative_gap <= 1e-12


SCHEDULES: dict[str, dict[str, Any]] = {
    "one epoch": {"rollouts_per_prompt": {"max": 20}},
    "group sizes": {"group_size": {"choices": [4, 8]}, "rollouts_per_prompt": {"max": 40}},
    "epochs": {"group_size": {"min": 2, "max": 6}, "epochs": {"max": 3}},
}


@pytest.mark.parametrize("limits", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("correlation", [0.0, 0.3])
@pytest.mark.parametrize("concentration", ["hoeffding", "prompt_mean"])
def test_silent_groups_are_proved(
    limits: dict[str, Any], correlation: float, concentration: str
) -> None:
    """The share falls between neighbouring K of different group sizes: the boxes part there."""
    scenario = load_scenario(
        scenario_mapping(
            budget=3000,
            bound={"concentration": concentration},
            groups={"mean": 0.2, "correlation": correlation},
            limits=limits,
        )
    )
    proof, total = proved(scenario)
    assert proof.relative_gap <= 1e-12
    assert float(proof.total) == pytest.approx(total, rel=1e-12)
    assert group_sizes(proof.scenario["limits"]) == scenario.limits.group_sizes


def test_groups_of_one_are_not_in_a_proof() -> None:
    forged = json.loads(small_proof())
    del forged["sha256"]
    scenario = load_scenario({**SMALL, "groups": {"mean": 0.3, "correlation": 0.2}})
    forged["scenario"] = scenario_text(scenario)
    refused(forged, "at most the total")
    assert forged["scenario"]["limits"]["rollouts_per_prompt"]["min"] == "2"


def test_prices_from_gpu_hours_are_exact() -> None:
    costs = {
        "prompt": {"tokens": 700, "acquisition": 0.1},
        "rollout": {"tokens": 900},
        "label": 1.5,
        "gpu": {
            "hourly_rate": 2.3,
            "prefill_tokens_per_second": 17001,
            "decode_tokens_per_second": 2477,
        },
    }
    scenario = load_scenario(scenario_mapping(costs=costs))
    proof, _ = proved(scenario)
    assert proof.scenario["costs"]["rollout"] == Fraction(scenario.costs.rollout)
    assert proof.scenario["costs"]["prompt"]["prefill"] == Fraction(scenario.costs.prompt.prefill)


@cache
def small_proof() -> str:
    scenario = load_scenario(SMALL)
    return prove(scenario, optimise(scenario).allocation, tolerance=1e-6).decode()


def values() -> dict[str, Any]:
    """The small proof as a mapping to forge."""
    result: dict[str, Any] = json.loads(small_proof())
    del result["sha256"]
    return result


def refused(forged: dict[str, Any] | bytes, why: str) -> None:
    data = forged if isinstance(forged, bytes) else encoded(forged)
    with pytest.raises(ProofError, match=why):
        verify(read(data))


def test_the_small_proof_spends_everything_and_holds() -> None:
    verify(read(small_proof().encode()))
    verify(read(gzip.compress(small_proof().encode())))
    assert optimise(load_scenario(SMALL)).cost.unspent == 0


# --- forged boxes ---------------------------------------------------------------------------------


def each_box() -> list[int]:
    return random.Random(1).sample(range(len(values()["boxes"]["prompts_low"])), 40)


def test_a_dropped_box_is_missed() -> None:
    for index in each_box():
        forged = values()
        for column in forged["boxes"].values():
            del column[index]
        refused(forged, "in no box")


def test_a_shrunk_box_is_missed() -> None:
    for index in each_box():
        for column, step in (("prompts_low", 1), ("prompts_high", -1), ("rollouts_low", 1)):
            forged = values()
            forged["boxes"][column][index] += step
            refused(forged, "in no box|ascending|two boxes")


def test_a_box_that_grows_overlaps() -> None:
    boxes = values()["boxes"]
    for index in each_box():
        forged = values()
        forged["boxes"]["prompts_low"][index] -= 1
        refused(forged, "in two boxes|ascending")
    assert boxes["prompts_low"][0] == 1, "the least n is the first box's"


def test_a_moved_box_is_missed() -> None:
    for index in each_box():
        forged = values()
        for column in ("prompts_low", "prompts_high"):
            forged["boxes"][column][index] += 1
        refused(forged, "in no box|in two boxes|ascending")


def test_a_doubled_box_is_refused() -> None:
    for index in each_box():
        forged = values()
        for column in forged["boxes"].values():
            column.insert(index, column[index])
        refused(forged, "ascending")


def test_one_box_for_all_is_no_proof() -> None:
    forged = values()
    forged["boxes"] = {
        "rollouts_low": [1],
        "rollouts_high": [6],
        "prompts_low": [1],
        "prompts_high": [500],
    }
    refused(forged, "box 0 .* is not shown")


def test_boxes_in_another_order_are_refused() -> None:
    forged = values()
    for column in forged["boxes"].values():
        column[3], column[4] = column[4], column[3]
    refused(forged, "ascending")


@pytest.mark.parametrize("column", ["rollouts_low", "rollouts_high", "prompts_low", "prompts_high"])
def test_columns_of_different_lengths_are_refused(column: str) -> None:
    forged = values()
    forged["boxes"][column].pop()
    refused(forged, "no proof")


# --- forged claims and plans ----------------------------------------------------------------------


def scaled(text: str, factor: float) -> str:
    return format(float(text) * factor, ".17g")


def test_a_claim_raised_by_a_billionth_is_refused() -> None:
    forged = values()
    forged["claim"]["lower_bound"] = scaled(forged["claim"]["lower_bound"], 1 + 1e-9)
    refused(forged, "is not shown to hold no plan below the claim")


def test_a_total_lowered_by_a_billionth_is_refused() -> None:
    forged = values()
    forged["claim"]["total"] = scaled(forged["claim"]["total"], 1 - 1e-9)
    refused(forged, "at most the total")


@pytest.mark.parametrize("change", [("prompts", -1), ("rollouts_per_prompt", -1), ("labels", -1)])
def test_a_worse_allocation_is_refused(change: tuple[str, int]) -> None:
    forged = values()
    forged["plan"][change[0]] += change[1]
    refused(forged, "at most the total")


@pytest.mark.parametrize("decision", ["prompts", "labels"])
def test_an_allocation_beyond_the_budget_is_refused(decision: str) -> None:
    forged = values()
    forged["plan"][decision] += 1
    refused(forged, "costs more")


@pytest.mark.parametrize(
    ("decision", "value"), [("prompts", 501), ("prompts", 0), ("labels", -1), ("labels", 10**13)]
)
def test_a_plan_outside_its_limits_is_refused(decision: str, value: int) -> None:
    forged = values()
    forged["plan"][decision] = value
    refused(forged, "outside the limits")


@pytest.mark.parametrize("threshold", ["9.0000001", None])
def test_a_plan_needs_its_threshold_within_the_limits(threshold: str | None) -> None:
    forged = values()
    if threshold is None:
        del forged["plan"]["clip_threshold"]
    else:
        forged["plan"]["clip_threshold"] = threshold
    refused(forged, "clip threshold")


# --- forged scenarios -----------------------------------------------------------------------------


def changed(path: str, change: Callable[[float], Any]) -> dict[str, Any]:
    forged = values()
    *parents, last = path.split(".")
    node = forged["scenario"]
    for name in parents:
        node = node[name]
    node[last] = change(float(node[last]))
    return forged


def up(value: float) -> str:
    return repr(math.nextafter(value, math.inf))


def down(value: float) -> str:
    return repr(math.nextafter(value, 0.0))


LEAST_STEPS: dict[str, Callable[[float], str]] = {
    "costs.prompt.acquisition": up,
    "costs.prompt.prefill": up,
    "costs.rollout": up,
    "costs.label": up,
    "costs.fixed": lambda _: "1e-300",
    "budget": down,
    "costs.prompt.existing": lambda n: str(int(n) - 1),
}


@pytest.mark.parametrize("path", LEAST_STEPS)
def test_a_price_changed_by_the_least_step_is_noticed(path: str) -> None:
    """The plan spends all of the budget, so it could no longer be paid for."""
    refused(changed(path, LEAST_STEPS[path]), "costs more")


@pytest.mark.parametrize(
    "path", ["log_ratio.kl", "reward_model.coverage", "objective.reward_range"]
)
def test_a_tail_or_constant_raised_by_the_least_step_is_noticed(path: str) -> None:
    refused(changed(path, up), "at most the total")


def test_a_limit_changed_by_the_least_step_is_noticed() -> None:
    plan = values()["plan"]
    limits = {
        "limits.prompts.max": str(plan["prompts"] - 1),
        "limits.prompts.min": str(plan["prompts"] + 1),
        "limits.rollouts_per_prompt.max": "5",
        "limits.clip_threshold.max": down(float(plan["clip_threshold"])),
    }
    for path, value in limits.items():
        refused(changed(path, lambda _, value=value: value), "limits")
    refused(changed("limits.rollouts_per_prompt.max", lambda _: "7"), "in no box")


CHANGES: dict[str, Callable[[float], str]] = {
    **LEAST_STEPS,
    "budget": up,
    "log_ratio.kl": down,
    "objective.failure_probability": up,
    "limits.prompts.max": lambda n: str(int(n) + 1),
    "limits.labels.min": lambda _: "1",
    "limits.clip_threshold.max": up,
}


@pytest.mark.parametrize("path", CHANGES)
def test_any_change_without_a_new_digest_is_noticed(path: str) -> None:
    forged = changed(path, CHANGES[path]) | {"sha256": json.loads(small_proof())["sha256"]}
    refused(json.dumps(forged).encode(), "sha256")


@pytest.mark.parametrize("path", CHANGES)
def test_a_change_of_the_scenario_is_named(path: str) -> None:
    """What check FILE --proof tells of a proof that holds, but for another scenario."""
    mine = exact_scenario(scenario_text(load_scenario(SMALL)))
    other = exact_scenario(changed(path, CHANGES[path])["scenario"])
    assert differing_keys(mine, other) == [path]
    assert differing_keys(mine, mine) == []


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("costs.label", "-0.5", "costs.label"),
        ("objective.failure_probability", "1", "failure_probability"),
        ("reward_model.coverage", "0.9", "coverage"),
        ("log_ratio.kl", "-3", "log_ratio.kl"),
        ("log_ratio.family", "cauchy", "log_ratio.family"),
        ("limits.prompts.min", "0", "prompts.min"),
        ("costs.label", 0.5, "0.5 stands where"),
        ("costs.label", 1, "1 stands in the scenario"),
        ("costs.label", "nan", "costs.label"),
        ("costs.label", "0x1", "costs.label"),
        ("costs.label", "1_0", "costs.label"),
        ("costs.label", None, "None stands in the scenario"),
    ],
)
def test_an_illegal_scenario_is_refused(path: str, value: Any, why: str) -> None:
    forged = values()
    *parents, last = path.split(".")
    node = forged["scenario"]
    for name in parents:
        node = node[name]
    node[last] = value
    refused(forged, why)


def test_a_scenario_that_leaves_something_out_is_refused() -> None:
    forged = values()
    del forged["scenario"]["limits"]["rollouts_per_prompt"]
    refused(forged, "not complete")


@pytest.mark.parametrize("scenario", [[], "scenario.yaml", {"extends": "a.yaml"}, None])
def test_a_scenario_that_stands_elsewhere_is_refused(scenario: Any) -> None:
    refused(values() | {"scenario": scenario}, "scenario")


def test_a_key_that_the_checker_does_not_know_is_refused() -> None:
    """A later version's scenario may change the bound in ways that these formulas ignore."""
    for section in (None, "objective", "bound", "costs", "reward_model", "limits"):
        forged = values()
        node = forged["scenario"] if section is None else forged["scenario"][section]
        node["progress"] = {"prompts": "5"}
        refused(forged, "does not know: progress")


def test_a_tail_that_stands_in_a_file_is_refused() -> None:
    forged = values()
    forged["scenario"]["log_ratio"] = {"family": "empirical", "file": "ratios.csv"}
    refused(forged, "names other files")


# --- damaged files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"version":1', '"version":2', "sha256"),
        ('"prompts":', '"prompts":1,"prompts":', "twice"),
        ('"labels":', '"labels":NaN,"other":', "NaN stands where"),
        ('"labels":', '"labels":Infinity,"other":', "Infinity stands where"),
        ('"labels":', '"labels":1.5,"other":', "1.5 stands where"),
        ('"labels":', '"labels":1' + 5000 * "0" + ',"other":', "10000.* stands where"),
        ('"labels":', '"labels":' + 30000 * "[" + ',"other":', "no proof"),
        ("{", "", "no proof"),
        ("{", "\x00{", "no proof"),
    ],
)
def test_what_no_proof_holds_is_refused(old: str, new: str, why: str) -> None:
    refused(small_proof().replace(old, new, 1).encode(), why)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda forged: forged.update(version=2), "version"),
        (lambda forged: forged.update(version=True), "version"),
        (lambda forged: forged.update(format="x"), "version"),
        (lambda forged: forged.update(extra=1), "extra"),
        (lambda forged: forged["plan"].update(extra=1), "extra"),
        (lambda forged: forged["plan"].update(labels="7"), "integers"),
        (lambda forged: forged["plan"].update(labels=True), "integers"),
        (lambda forged: forged["plan"].pop("labels"), "labels"),
        (lambda forged: forged["claim"].update(total=1), "decimal"),
        (lambda forged: forged["claim"].update(total="1e9999"), "decimal"),
        (lambda forged: forged["claim"].update(total="-"), "decimal"),
        (lambda forged: forged["boxes"].update(prompts_low=7), "no proof"),
        (lambda forged: forged["boxes"]["prompts_low"].__setitem__(0, "1"), "integers"),
        (lambda forged: forged.update(boxes=[]), "no proof"),
        (lambda forged: forged.update(plan=None), "no proof"),
        (lambda forged: forged.update(name=1), "no proof"),
    ],
)
def test_what_is_not_well_formed_is_refused(change: Forgery, why: str) -> None:
    forged = values()
    change(forged)
    refused(forged, why)


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b'"x"', b"\xff\xfe", b"null"])
def test_other_files_are_no_proofs(data: bytes) -> None:
    refused(data, "no proof")


def test_a_cut_file_is_refused() -> None:
    data = small_proof().encode()
    packed = gzip.compress(data)
    refused(data[:-100], "no proof")
    refused(packed[:-100], "cut")
    refused(packed + b"more", "more follows")
    refused(packed[:20] + b"\x00\x00" + packed[22:], "no proof|cut")


def test_a_file_that_unpacks_beyond_reason_is_refused() -> None:
    bomb = gzip.compress(bytes(MOST_BYTES + 2))
    assert len(bomb) < 100_000
    refused(bomb, "more than")


def numbers(node: Any) -> list[tuple[Any, Any]]:
    """Every place of a decimal in a scenario: its mapping or list, and its key."""
    entries = list(node.items() if isinstance(node, dict) else enumerate(node))
    below = [at for _, value in entries if isinstance(value, (dict, list)) for at in numbers(value)]
    texts = [(key, value) for key, value in entries if isinstance(value, str)]
    return below + [(node, key) for key, value in texts if value[-1].isdigit()]


@given(small_scenarios(), st.data())
@settings(max_examples=40)
def test_whatever_is_accepted_is_true(mapping: dict[str, Any], data: st.DataObject) -> None:
    """One number of the scenario or the claim is changed; brute force judges what still passes."""
    if not enumerated(mapping):
        return
    scenario = load_scenario(mapping)
    forged = json.loads(prove(scenario, optimise(scenario).allocation, tolerance=1e-6))
    del forged["sha256"]
    node, key = data.draw(
        st.sampled_from([*numbers(forged["scenario"]), *numbers(forged["claim"])])
    )
    number = Fraction(node[key])
    step = data.draw(st.sampled_from([Fraction(1), Fraction(1, 1000), number / 10**6, number / 4]))
    number += data.draw(st.sampled_from([-1, 1])) * step
    node[key] = str(int(number)) if number.denominator == 1 else repr(float(number))
    try:
        proof = read(encoded(forged))
        verify(proof)
    except ProofError:
        return
    best = min(enumerated(_floats(forged["scenario"])))[0]
    assert float(proof.lower_bound) <= best * (1 + 1e-14)
    assert float(proof.total) >= best * (1 - 1e-14)


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_floats(each) for each in value]
    if not value[-1].isdigit():
        return value
    return int(value) if value.isdigit() else float(value)


# --- what interval arithmetic does not confirm ----------------------------------------------------


def test_a_plan_that_is_not_the_best_cannot_be_proved() -> None:
    scenario = load_scenario(SMALL)
    best = optimise(scenario).allocation
    worse = Allocation(best.prompts - 20, 6, best.labels, best.clip_threshold)
    with pytest.raises(ProofError, match="not confirmed"):
        prove(scenario, worse, tolerance=1e-6)


def test_a_claim_is_lowered_to_what_is_confirmed() -> None:
    """A plan that is worse by less than the tolerance gets a claim with an honest gap."""
    scenario = load_scenario(SMALL)
    best = optimise(scenario)
    τ = best.allocation.clip_threshold
    assert τ is not None
    a = best.allocation
    nearly = Allocation(a.prompts, a.rollouts_per_prompt, a.labels, τ * 1.0001)
    excess = evaluate(scenario, nearly).total / best.bound.total - 1
    assert 1e-11 < excess < 1e-7
    proof = read(prove(scenario, nearly, tolerance=1e-6))
    assert excess <= proof.relative_gap <= 10 * max(excess, 5e-13)
    assert float(proof.lower_bound) <= best.bound.total


def test_what_the_checker_has_no_arithmetic_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load_scenario(SMALL)
    new = exact_scenario(scenario_text(scenario))
    new["bound"]["concentration"] = "chernoff"
    with pytest.raises(ProofError, match="no interval arithmetic for the inequality chernoff"):
        Bound(new)
    monkeypatch.delitem(ball_tails.LAWS, "gaussian")
    with pytest.raises(ProofError, match="no interval arithmetic for the tail gaussian"):
        prove(scenario, optimise(scenario).allocation, tolerance=1e-6)


# --- the formulas ---------------------------------------------------------------------------------


def law(mapping: dict[str, Any]) -> Parametric | Empirical:
    if mapping["family"] == "empirical":
        return Empirical([Fraction(sample) for sample in mapping["samples"]])
    given = {name: Fraction(v) for name, v in mapping.items() if name != "family"}
    return Parametric(mapping["family"], **given)


def floats(mapping: dict[str, Any]) -> Tail:
    std = {"std": math.sqrt(2 * mapping["kl"])} if mapping["family"] == "gaussian" else {}
    return make_tail(**mapping, **std)


@pytest.mark.parametrize("mapping", FAMILIES, ids=lambda law: law["family"])
def test_balls_hold_what_the_floats_say_of_a_tail(mapping: dict[str, Any]) -> None:
    tail = floats(mapping)
    with ctx.workprec(BITS):
        for t in (0.0, 0.01, 0.5, 2.0, 5.5, 9.0, 20.0):
            knot = law(mapping).knot(Fraction(t))
            assert float(knot.share) == pytest.approx(tail.survival(t), rel=1e-12)
            assert float(knot.line(arb(0))) == pytest.approx(tail.excess(t), rel=1e-11, abs=1e-300)
            assert knot.share.rad() < 1e-30


@pytest.mark.parametrize("mapping", FAMILIES, ids=lambda law: law["family"])
@pytest.mark.parametrize(("least", "most"), [(0, None), (1, 6), (2, 2), (0, 0)])
def test_the_penalty_from_below_meets_its_minimum(
    mapping: dict[str, Any], least: int, most: int | None
) -> None:
    """Against the float formulas, which invert the survival; the checker has no such inversion."""
    clip = {"min": least} if most is None else {"min": least, "max": most}
    limits = load_scenario(scenario_mapping(limits={"clip_threshold": clip})).limits
    with ctx.workprec(BITS):
        penalty = Penalty(law(mapping), Fraction(least), None if most is None else Fraction(most))
        for s in (0.6, 0.499, 0.31, 0.11, 0.02, 0.005):
            minimum = kl_penalty(
                floats(mapping), s, best_clip_threshold(floats(mapping), s, limits)
            )
            below = float(penalty.below(arb(s), arb(minimum) * (1 - arb("1e-11"))))
            assert minimum * (1 - 1e-10) <= below <= minimum * (1 + 1e-12)
            hopeless = float(penalty.below(arb(s), arb(minimum) * 2))
            assert 0 <= hopeless <= minimum * (1 + 1e-12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scenario"]["name"])
def test_the_bound_over_balls_is_the_bound(case: dict[str, Any]) -> None:
    scenario = load_scenario(case["scenario"])
    plan = case["probe"]["plan"]
    τ = plan["clip_threshold"]
    with ctx.workprec(BITS):
        bound = Bound(exact_scenario(scenario_text(scenario)))
        threshold = None if τ is None else Fraction(repr(float(τ)))
        n, K, m = plan["prompts"], plan["rollouts_per_prompt"], plan["labels"]
        assert float(bound.at(n, K, m, K, threshold)) == pytest.approx(
            case["probe"]["total"], rel=1e-12
        )
        assert bound.at(n, K, m, K, threshold).rad() < 1e-30


def test_group_sizes_are_the_largest_that_fit() -> None:
    """The multiples within the limits, by trying every product."""
    wholes = {"min": Fraction(2), "max": Fraction(12)}
    limits = {"rollouts_per_prompt": {"min": Fraction(1), "max": Fraction(40)}}
    assert group_sizes(limits) == {K: K for K in range(1, 41)}
    made = group_sizes(limits | {"group_size": wholes, "epochs": {"min": Fraction(2)}})
    products: dict[int, int] = {}
    for size in range(2, 13):
        for epochs in range(2, 41):
            products[size * epochs] = size
    assert made == dict(sorted((K, size) for K, size in products.items() if K <= 40))
    choices = {"choices": [Fraction(4), Fraction(8)]}
    some = {"rollouts_per_prompt": {"choices": [Fraction(each) for each in (8, 12, 16, 24)]}}
    assert group_sizes(some | {"group_size": choices}) == {8: 8, 12: 4, 16: 8, 24: 8}
    twice = {"epochs": {"min": Fraction(1), "max": Fraction(2)}}
    assert group_sizes(some | {"group_size": choices} | twice) == {8: 8, 16: 8}


def test_the_share_of_informative_groups() -> None:
    """Of means .5 and correlation 1/3 (a uniform law) all K + 1 counts are equally likely."""
    with ctx.workprec(BITS):
        for K in (1, 2, 5, 40):
            share = informative_share(Fraction(1, 2), Fraction(1, 3), K)
            assert share.overlaps(ball(Fraction(K - 1, K + 1)))
            binomial = informative_share(Fraction(1, 5), Fraction(0), K)
            assert binomial.overlaps(ball(1 - Fraction(1, 5) ** K - Fraction(4, 5) ** K))


# --- the checker is independent and short ---------------------------------------------------------


def test_the_checker_shares_no_code_with_the_solver() -> None:
    allowed = {"rlhf_budget.errors", "rlhf_budget.scenario"}
    mine = {f"rlhf_budget.optimum.proof.{name}" for name in ("balls", "ball_tails", "reading")}
    for name in ("checker", "balls", "ball_tails", "reading"):
        tree = ast.parse((ROOM / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                assert not module.startswith("rlhf_budget") or module in allowed | mine
                assert module.split(".")[0] not in {"numpy", "scipy"}


def test_the_checker_is_short() -> None:
    files = ("checker", "balls", "ball_tails")
    assert sum(len((ROOM / f"{name}.py").read_text().splitlines()) for name in files) < 400


def test_forging_leaves_the_proof_alone() -> None:
    before = copy.deepcopy(values())
    changed("budget", up)
    assert values() == before
