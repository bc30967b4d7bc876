"""Plans made by hand, so that what is shown does not depend on what is computed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import scenario_mapping

from rlhf_budget import load_scenario
from rlhf_budget.bound.results import Allocation, Bound, ClosedForm, Guarantee
from rlhf_budget.optimum.money import Cost
from rlhf_budget.optimum.results import Certificate, NearOptimal, Target
from rlhf_budget.planning.results import (
    Alternative,
    AssumedConstant,
    CurrentPlan,
    Elasticity,
    Marginal,
    Notice,
    Plan,
)

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = "RLHF_BUDGET_UPDATE_SNAPSHOTS"
"""Set this environment variable to 1 to write the snapshots anew, then read the difference."""

LIMITS = {
    "prompts": {"min": 1, "max": 31000},
    "rollouts_per_prompt": {"min": 1, "max": 64},
    "labels": {"max": 30000},
}


def check_snapshot(name: str, text: str) -> None:
    """Compare a text with the one that is kept, or keep it."""
    path = SNAPSHOTS / name
    if os.environ.get(UPDATE):
        path.write_text(text, encoding="utf-8")
    if not path.exists():
        pytest.fail(f"no snapshot {name}: set {UPDATE}=1 to write it")
    assert path.read_text(encoding="utf-8") == text


def make_bound(**changes: Any) -> Bound:
    bound = Bound(
        total=0.3865711389,
        sampling=0.0707424927,
        reward_shift=0.3110849726,
        kl_clipping=0.0047436737,
        irreducible=0.2828427125,
        vacuous=False,
        coverage=2.0,
        reward_error=0.0241934650,
        clipped_share=0.0466,
        policy_complexity=2.9957,
    )
    return replace(bound, **changes)


def make_plan(*, mapping: dict[str, Any] | None = None, **changes: Any) -> Plan:
    """Return a plan with everything in it; changes replace its parts."""
    written = scenario_mapping(
        name="helpful-assistant",
        limits=LIMITS,
        bound={"concentration": "hoeffding", "policy": "finite_class", "candidates": 20},
        sources={"costs.label": "vendor quote", "reward_model.error": "guess"},
    )
    allocation = Allocation(5360, 40, 12608, 20.21266)
    other = Allocation(5773, 1, 14013, 20.9)
    current = Allocation(31000, 8, 33000, 10.0)
    plan = Plan(
        scenario=load_scenario(written | (mapping or {})),
        status="optimal",
        allocation=allocation,
        bound=make_bound(),
        cost=Cost(50000.0, 26800.0, 4288.0, 18912.0, 0.0, 50000.0, 0.0),
        certificate=Certificate(0.38657113885, 1.3e-10, proved=True, evaluations=12333),
        closed_form=ClosedForm(39.685, "max(1, (prompt cost / rollout cost)^(2/3))"),
        guarantees=(
            Guarantee("prompt_mean", 0.3731, 0.0306, planning_rule=False),
            Guarantee("hoeffding", 0.3866, 0.0441, planning_rule=True),
        ),
        groups=None,
        schedule=None,
        alternatives=(Alternative("prompt_mean", 0.3675, other, None),),
        binding=("limits.prompts.max",),
        marginal=Marginal(-1.1e-6),
        near_optimal=NearOptimal(
            0.01, (3919, 6732), (13, 64), (8424, 17503), 31200.0, approximate=False
        ),
        sensitivity=(
            Elasticity("reward_model.coverage", 0.805),
            Elasticity("reward_model.error.exponent", -0.52),
            Elasticity("budget", -0.142),
            Elasticity("costs.fixed", 0.0001),
        ),
        assumed=(
            AssumedConstant(
                "reward_model.coverage",
                "unknown",
                2.0,
                1.0,
                403.43,
                None,
                Allocation(6100, 40, 9000, 20.5),
                None,
            ),
        ),
        current=CurrentPlan(
            allocation=current,
            bound=make_bound(
                total=0.4748, sampling=0.0228, reward_shift=0.2963, kl_clipping=0.1557
            ),
            cost=Cost(209460.0, 155000.0, 4960.0, 49500.0, 0.0, 50000.0, -159460.0),
            excess=0.0882,
            excess_relative=0.2283,
            violations=("budget", "limits.labels.max"),
        ),
        target=None,
        progress=None,
        to_come=None,
        warnings=(
            Notice("assumed-constants", "reward_model.coverage: the middle of its range was used."),
        ),
    )
    return replace(plan, **changes)


def make_bare_plan() -> Plan:
    """Return a plan in which everything optional is missing: programmatic reward, no KL."""
    mapping = {
        "objective": {"kl_coefficient": 0},
        "reward_model": "verifiable",
        "log_ratio": None,
        "sources": {},
        "limits": {},
    }
    bound = make_bound(
        total=0.0707,
        sampling=0.0707,
        reward_shift=0.0,
        kl_clipping=0.0,
        irreducible=0.0,
        coverage=1.0,
        reward_error=0.0,
        clipped_share=None,
        policy_complexity=0.0,
    )
    return make_plan(
        mapping=mapping,
        allocation=Allocation(5360, 1, 0, None),
        bound=bound,
        closed_form=ClosedForm(None, "rollouts are free, so the largest number is best"),
        guarantees=(Guarantee("hoeffding", 0.0707, 0.0707, planning_rule=True),),
        alternatives=(),
        binding=(),
        marginal=None,
        near_optimal=None,
        sensitivity=(),
        assumed=(),
        current=None,
        warnings=(),
    )


def make_target_plan() -> Plan:
    """Return a plan for a target bound."""
    cost = Cost(24844.0, 2294.0, 2621.0, 19929.0, 0.0, None, None)
    return make_plan(
        cost=cost,
        near_optimal=None,
        assumed=(),
        alternatives=(Alternative("prompt_mean", 0.3865, Allocation(23212, 1, 10979, 21.0), cost),),
        target=Target(0.3865711389, 24844.0, 24843.99, 4e-7),
    )
