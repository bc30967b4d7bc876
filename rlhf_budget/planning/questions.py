"""What plans of changed scenarios say about an optimum, all of them planned in one search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from rlhf_budget.optimum.case import prepare
from rlhf_budget.optimum.certified import Optimum, least_cost_many, optimise_many
from rlhf_budget.optimum.search import BESIDE_EFFORT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rlhf_budget.scenario.models import Scenario

    Plans = Sequence[Optimum | None]

Answer = TypeVar("Answer")


class Question(NamedTuple, Generic[Answer]):
    """Scenarios to plan beside an optimum, for its own purpose, and what their plans say."""

    optimum: Optimum
    """What they surround: within its budget, or for its target."""
    variants: tuple[Scenario, ...]
    """Changed scenarios."""
    answer: Callable[[Plans], Answer]
    """From a plan for each variant, None where it cannot be had, to the answer."""


def plan_variants(questions: Sequence[Question[Any]], tolerance: float) -> list[Plans]:
    """Plan the variants of all questions together; return for each the plans it asked for."""
    asked = [
        (question.optimum.target, each) for question in questions for each in question.variants
    ]
    funded = [scenario for target, scenario in asked if target is None]
    aimed = [(prepare(scenario), target.bound) for target, scenario in asked if target is not None]
    within = iter(optimise_many(funded, tolerance=tolerance, effort=BESIDE_EFFORT))
    reaching = iter(
        least_cost_many(
            [case for case, _ in aimed],
            [bound for _, bound in aimed],
            tolerance=tolerance,
            effort=BESIDE_EFFORT,
        )
    )
    outcomes = iter([next(within if target is None else reaching) for target, _ in asked])
    return [
        [
            outcome if isinstance(outcome := next(outcomes), Optimum) else None
            for _ in question.variants
        ]
        for question in questions
    ]


def answers(questions: Sequence[Question[Answer]], tolerance: float) -> list[Answer]:
    """Answer questions of one kind."""
    plans = plan_variants(questions, tolerance)
    return [question.answer(found) for question, found in zip(questions, plans, strict=True)]
