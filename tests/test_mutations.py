"""Mutants of the mathematics, each killed by a named check.

======================================================  ==========================================
mutant                                                  check that must fail
======================================================  ==========================================
the KL clipping term dropped from the sum               test_optimum.test_reference_probe
the reward-shift term dropped from the sum              test_optimum.test_reference_probe
the rollouts' half dropped from Theorem 1               test_bound.test_theorem_1
Λ halved                                                test_bound.test_theorem_1
``√n`` forgotten in a PAC-Bayes confidence              test_bound.test_theorem_2_…
coverage not mended by fresh labels                     test_bound.test_fresh_labels_mend_coverage
the clip threshold at S₁ instead of 2S₁                 test_bound.test_the_best_threshold_…
labels paid for rounded up instead of down              test_money.test_what_is_affordable_is_…
prompts of the owned pool paid for                      test_money.test_what_is_affordable_is_…
the falling part bounded at a box's near corner         test_solver.test_it_finds_the_least_sum_…
the rising part bounded at a box's far corner           test_solver.test_it_finds_the_least_sum_…
boxes kept where they should be dropped                 test_solver.test_it_finds_the_least_sum_…
the certificate of the incumbent alone                  test_solver.test_an_expensive_search_…
float label counts trusted where they are flat          test_money.test_prices_a_hair_off_…
chords taken from above                                 test_penalty.test_it_brackets_the_penalty
the risk split into a risk of each part                 test_robust.test_the_risk_is_never_split
======================================================  ==========================================
"""

from __future__ import annotations

import inspect
import math
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import test_bound
import test_money
import test_optimum
import test_penalty
import test_robust
import test_solver

from rlhf_budget.bound import inequalities, penalty
from rlhf_budget.bound import terms as bound
from rlhf_budget.optimum import money, robust
from rlhf_budget.optimum import search as solver

if TYPE_CHECKING:
    from collections.abc import Callable

CASE = {case["scenario"]["name"]: case for case in test_optimum.CASES}


def mutate(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, change: tuple[str, str]) -> None:
    """Replace a piece of a function's source wherever the function is known."""
    original = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(original))
    assert source.count(change[0]) == 1, f"{name} has changed: adapt the mutant"
    namespace = sys.modules[original.__module__].__dict__
    local: dict[str, Any] = {}
    code = "from __future__ import annotations\n" + source.replace(*change)
    exec(compile(code, f"<mutant of {name}>", "exec"), namespace, local)
    if inspect.isclass(owner):
        monkeypatch.setattr(owner, name, local[name])
        return
    for module in list(sys.modules.values()):
        known = getattr(module, "__name__", "").startswith(("rlhf_budget", "test_"))
        if known and module.__dict__.get(name) is original:
            monkeypatch.setattr(module, name, local[name])


def probe(name: str) -> Callable[[], None]:
    return lambda: test_optimum.test_reference_probe(CASE[name])


def exact_money() -> None:
    check = test_money.test_what_is_affordable_is_exactly_that.hypothesis.inner_test  # type: ignore[attr-defined]
    check(budget=10.0, costs=(1.0, 0.1, 0.3, 0.7, 0.2), existing=2, K=2, n=3, m=1)


def toy_problems() -> None:
    """The property test's own examples, without its search for smaller ones."""
    check = test_solver.test_it_finds_the_least_sum_of_every_group.hypothesis.inner_test  # type: ignore[attr-defined]
    for seed in range(12):
        check(seed=seed, groups=2, rows=9, width=120)


def hair_off() -> None:
    for budget in (12.0, 22.5, 27.0, 85.0):
        for tokens, label in ((50, 1.5), (100, 3.0), (100, 5.0)):
            test_money.test_prices_a_hair_off_whole_labels_lose_no_label(budget, tokens, label)


def bracket() -> None:
    tail = test_penalty.TAILS[2]
    test_penalty.test_it_brackets_the_penalty(tail, (0.0, math.inf), (1e-6, 1.5))


MUTANTS: dict[str, tuple[Any, str, tuple[str, str], Callable[[], None]]] = {
    "no clipping term": (
        bound.BoundFunction,
        "at",
        ("total = sampling + shift + clipping", "total = sampling + shift"),
        probe("exponential-tail"),
    ),
    "no reward shift": (
        bound.BoundFunction,
        "at",
        ("total = sampling + shift + clipping", "total = sampling + clipping"),
        probe("written-prompts"),
    ),
    "no rollouts in Theorem 1": (
        bound,
        "sampling_shape",
        ("s1 = s1 + shape.rollouts * np.sqrt(rollouts_Λ / (2.0 * n * K))", "pass"),
        test_bound.test_theorem_1,
    ),
    "half of Λ": (
        inequalities,
        "confidence",
        ("return constant, growth", "return 0.5 * constant, growth"),
        test_bound.test_theorem_1,
    ),
    "no √n": (
        inequalities,
        "confidence",
        ("0.5 if settings.policy", "0.0 if settings.policy"),
        test_bound.test_theorem_2_has_a_confidence_for_each_half,
    ),
    "coverage stays": (
        bound,
        "coverage",
        ('c.label_kind != "current"', "True"),
        lambda: test_bound.test_fresh_labels_mend_coverage(1000),
    ),
    "threshold at S₁": (
        bound,
        "best_clip_threshold",
        ("inverse_survival(2.0 * s1)", "inverse_survival(s1)"),
        test_bound.test_the_best_threshold_is_the_quantile_of_the_papers_rule,
    ),
    "labels rounded up": (
        money.Prices,
        "labels_affordable",
        ("left // self.label", "-(-left // self.label)"),
        exact_money,
    ),
    "owned prompts are paid for": (
        money.Prices,
        "spend",
        ("prompts - self.existing", "prompts"),
        exact_money,
    ),
    "falling part at the near corner": (
        solver,
        "_below",
        (
            "problem.fall(group, boxes.row_high, boxes.high)",
            "problem.fall(group, boxes.row_low, boxes.low)",
        ),
        toy_problems,
    ),
    "rising part at the far corner": (
        solver,
        "_below",
        (
            "problem.rise(group, boxes.row_low, boxes.low)",
            "problem.rise(group, boxes.row_high, boxes.high)",
        ),
        toy_problems,
    ),
    "flipped pruning": (
        solver,
        "minimise",
        ("keep = lower < incumbents", "keep = lower > incumbents"),
        toy_problems,
    ),
    "no lower bound of dropped boxes": (
        solver,
        "minimise",
        ("np.minimum.at(floor, group[~keep], lower[~keep])", "pass"),
        test_solver.test_an_expensive_search_stops_at_the_tolerance,
    ),
    "float counts trusted": (
        solver,
        "_below",
        ("problem.rise_above(", "problem.rise("),
        hair_off,
    ),
    "chords from above": (
        penalty.PenaltyTable,
        "lower",
        ("np.interp(s, self.slopes, self.values)", "1.01 * self.upper(s)"),
        bracket,
    ),
    "split risk": (
        robust.RobustProblem,
        "_lines",
        (
            "+ shift -",
            "+ (lambda v: (self.risk.weights(v) * v).sum(axis=0))(np.asarray(shift)) -",
        ),
        test_robust.test_the_risk_is_never_split,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_check_fails_on_the_mutant_and_on_it_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, function, change, check = MUTANTS[name]
    check()
    mutate(monkeypatch, owner, function, change)
    with pytest.raises((AssertionError, ValueError, IndexError)):
        check()
