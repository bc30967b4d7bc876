from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

import rlhf_budget
from rlhf_budget.report.explain import CODES, WORDS, explain, subjects
from rlhf_budget.scenario.keys import KEYS

ROOT = Path(__file__).parents[2]


def test_a_key_has_its_unit_what_is_allowed_and_its_default() -> None:
    found = {part.label: part.text for part in explain("limits.epochs.max").sections[0].parts}
    assert found["unit"] == "epochs"
    assert "whole number" in found["allowed"]
    assert {p.label: p.text for p in explain("currency").sections[0].parts}["default"] == "USD"


@pytest.mark.parametrize("subject", subjects())
def test_everything_is_explained(subject: str) -> None:
    assert explain(subject).verdict.text.endswith(".")


def test_the_nearest_is_suggested() -> None:
    with pytest.raises(ValueError, match="silent-groups"):
        explain("silent-group")


@pytest.mark.parametrize(
    ("typed", "title"),
    [
        ("posterior_kl", "posterior KL"),
        ("exponent", "reward_model.error.exponent"),
        ("Reward Shift", "reward shift"),
        ("group_size", "group size"),
        ("silent groups", "silent-groups"),
        ("epochs", "epoch"),
    ],
)
def test_words_are_found_as_people_type_them(typed: str, title: str) -> None:
    assert explain(typed).title == title


def test_every_warning_of_a_plan_is_explained() -> None:
    tree = ast.parse((Path(rlhf_budget.__file__).parent / "planning" / "notices.py").read_text())
    raised = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Notice"
        and isinstance(node.args[0], ast.Constant)
    }
    assert len(raised) > 8
    assert raised <= CODES.keys()


def test_names_do_not_collide() -> None:
    assert not KEYS.keys() & CODES.keys()
    assert not WORDS.keys() & (KEYS.keys() | CODES.keys())


def test_the_page_is_current() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "scenario_page.py"))
    assert script["PAGE"].read_text() == script["page"](), "run python docs/scenario_page.py"
