"""What a plan says: verdicts, reasons, marks; and as Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from report_helpers import check_snapshot, make_bare_plan, make_bound, make_plan, make_target_plan

from rlhf_budget.bound.results import Allocation, ClosedForm
from rlhf_budget.optimum.money import Cost
from rlhf_budget.optimum.results import Certificate, NearOptimal
from rlhf_budget.planning.advice import Advice, WrongGuess
from rlhf_budget.planning.results import Marginal, Plan
from rlhf_budget.report.data import csv_text
from rlhf_budget.report.document import Paragraph, Table
from rlhf_budget.report.markdown import escape, markdown
from rlhf_budget.report.numbers import written
from rlhf_budget.report.plan_document import plan_document
from rlhf_budget.report.plan_words import proof, reasons, verdict
from rlhf_budget.scenario.leaves import with_leaf


def words(plan: Plan, advice: Advice | None = None) -> str:
    """All that a plan says, as one text."""
    document = plan_document(plan, advice)
    parts = [part for section in document.sections for part in section.parts]
    texts = [part.text for part in parts if isinstance(part, Paragraph)]
    return " ".join([document.verdict.text, *texts])


def table(plan: Plan, title: str) -> list[list[str]]:
    """The cells of a section's first table."""
    section = next(s for s in plan_document(plan).sections if s.title.startswith(title))
    found = next(part for part in section.parts if isinstance(part, Table))
    return [[column.title for column in found.columns], *written(found)]


# --- the verdict ---------------------------------------------------------------------------------


def test_a_cheap_near_optimum_is_the_headline() -> None:
    text = verdict(make_plan()).text
    assert text == "31,200 of 50,000 USD already reach within 1 % of the best bound, 0.3866."


def test_without_one_the_allocation_is_the_headline() -> None:
    text = verdict(make_plan(near_optimal=None)).text
    assert text == (
        "Best use of 50,000 USD: 5,360 prompts, 40 rollouts of each and 12,608 labels, "
        "for a bound of 0.3866."
    )


def test_a_target_says_the_least_budget() -> None:
    text = verdict(make_target_plan()).text
    assert text.startswith("24,844 USD is the least that brings the bound to 0.3866:")


def test_a_vacuous_bound_leads_with_allocation_and_waste() -> None:
    plan = make_plan(bound=make_bound(total=4.2, vacuous=True), near_optimal=None)
    said = verdict(plan)
    assert said.kind == "warning"
    assert re.search(r"^Best use of .*22\.8 % worse\. No guarantee: .*1\.000", said.text)


def test_an_unproved_plan_is_never_presented_as_proved() -> None:
    certificate = Certificate(0.3, 0.2, proved=False, evaluations=10)
    plan = make_plan(status="not_proved", certificate=certificate)
    assert verdict(plan).kind == "bad"
    assert verdict(plan).text.startswith("Not proved to be the best")
    assert proof(plan) == (
        "Not proved to the tolerance, but no allocation within the budget and the limits is better "
        "by more than 20 % (10 points and boxes examined)."
    )


def test_a_proof_says_the_gap_without_exponent() -> None:
    assert "better by more than 0.00000002 % (" in proof(make_plan())
    certificate = Certificate(0.3, 0.0, proved=True, evaluations=10)
    assert "a rounding error" in proof(make_plan(certificate=certificate))


# --- tables --------------------------------------------------------------------------------------


def test_the_allocation_stands_beside_range_and_current() -> None:
    rows = table(make_plan(), "Allocation")
    assert rows[0] == ["", "plan", "within 1 %", "current"]
    assert rows[1] == ["prompts", "5,360", "3,919 to 6,732", "31,000"]
    assert rows[3] == ["  by the textbook rule", "39.69", "", ""]
    assert rows[-2] == ["cost, USD", "50,000", "31,200 to 50,000", "209,460"]
    assert rows[-1] == ["bound", "0.3866", "", "0.4748"]


def test_what_does_not_apply_is_not_shown() -> None:
    plan = make_bare_plan()
    titles = [section.title for section in plan_document(plan).sections]
    assert titles == [
        "Allocation",
        "What the bound is made of (reward units)",
        "Where the money goes (USD)",
        "Why",
        "Guarantee of this allocation",
        "Proof",
    ]
    assert [row[0] for row in table(plan, "Allocation")[1:]] == [
        "prompts",
        "rollouts per prompt",
        "rollouts in all",
        "cost, USD",
        "bound",
    ]
    assert "label" not in words(plan)
    assert "clip" not in words(plan)


def test_terms_have_shares_and_what_no_money_removes() -> None:
    rows = table(make_plan(), "What the bound")
    assert [row[1:3] for row in rows[1:]] == [
        ["0.0707", "18.3 %"],
        ["0.3111", "80.5 %"],
        ["0.0047", "1.2 %"],
        ["0.3866", "100.0 %"],
        ["0.2828", "73.2 %"],
    ]


def test_guesses_and_assumed_constants_are_marked() -> None:
    rows = table(make_plan(), "What moves")
    assert [row[0:1] + row[2:] for row in rows] == [
        ["constant", "if 1 % more", "source"],
        ["reward_model.coverage", "+0.8 %", "assumed"],
        ["reward_model.error.exponent", "-0.5 %", "guess"],
        ["budget", "-0.1 %", ""],
    ]
    assert "reward_model.error is a guess, by the scenario's own sources." in words(make_plan())


def test_an_assumed_constant_shows_the_decision_at_both_ends() -> None:
    rows = table(make_plan(), "Constants that are not known")
    assert rows[1:] == [
        ["reward_model.coverage (unknown)", "2", "5,360", "40", "12,608"],
        ["  at its low end", "1", "6,100", "40", "9,000"],
        ["  at its high end", "403.43", "infeasible", "", ""],
    ]
    assert "The decision depends on reward_model.coverage: measure it first." in words(make_plan())


def test_what_to_measure_first_is_what_the_first_screen_says() -> None:
    """Ends within the near-optimal ranges are nothing to measure, whoever is asked."""
    guess = WrongGuess("costs.label", 0.2, 0.03, None, moves=True)
    advice = Advice(None, None, (guess,), "costs.label")
    assert "The decision depends most on costs.label: measure it first." in words(
        make_plan(), advice
    )
    calm = replace(advice, wrong_guesses=(replace(guess, moves=False),), measure_first=None)
    assert "measuring these can wait" in words(make_plan(), calm)
    # Without advice: ends a tenth away, and yet within the ranges.
    plan = make_plan()
    ends = Allocation(6000, 40, 13900, 1.0)
    entry = replace(plan.assumed[0], allocation_at_low=ends, allocation_at_high=ends)
    near = NearOptimal(0.05, (4000, 7000), (20, 60), (9000, 16000), 40000.0, approximate=False)
    assert "measuring these can wait" in words(replace(plan, assumed=(entry,), near_optimal=near))
    narrow = replace(near, prompts=(5300, 5400))
    assert "measure it first" in words(replace(plan, assumed=(entry,), near_optimal=narrow))


def test_zero_cost_and_zero_bound_divide_by_nothing() -> None:
    free = Cost(0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 10.0)
    zero = make_bound(total=0.0, sampling=0.0, reward_shift=0.0, kl_clipping=0.0, irreducible=0.0)
    plan = make_plan(cost=free, bound=zero, near_optimal=None, marginal=Marginal(-0.0))
    assert table(plan, "Where the money goes")[-2][:3] == ["total", "0", ""]
    assert "More money would not lower the bound." in words(plan)


# --- sentences -----------------------------------------------------------------------------------


def test_three_reasons_with_their_labels() -> None:
    assert [paragraph.label for paragraph in reasons(make_plan())] == [
        "Largest term",
        "Rollouts per prompt",
        "What binds",
    ]


def test_the_current_allocation_is_told_with_what_it_breaks() -> None:
    assert (
        "The current allocation costs 209,460 USD and has a bound 22.8 % above the plan's (0.4748 "
        "against 0.3866). It is outside the budget of 50,000 USD and the most labels allowed "
        "(30,000; limits.labels.max)."
    ) in words(make_plan())


def test_binding_limits_and_the_next_money_are_in_words() -> None:
    text = words(make_plan())
    assert "the most prompts allowed (31,000; limits.prompts.max). Without, the bound would" in text
    assert "The next 1,000 USD would lower the bound by 0.0011 (0.3 %)." in text


@pytest.mark.parametrize(
    ("mapping", "allocation", "expected"),
    [
        ({}, Allocation(5360, 40, 1, 1.0), "40, as a further prompt costs 250 times a rollout."),
        ({}, Allocation(5360, 1, 1, 1.0), "1, the fewest allowed"),
        ({}, Allocation(31000, 9, 1, 1.0), "9, as no more prompts are allowed"),
        ({"bound": {"concentration": "prompt_mean"}}, Allocation(5, 1, 1, 1.0), "1, as under"),
        ({"costs": {"prompt": 1, "rollout": 0, "label": 1}}, Allocation(5, 64, 1, 1.0), "cost not"),
    ],
)
def test_why_so_many_rollouts(
    mapping: dict[str, Any], allocation: Allocation, expected: str
) -> None:
    assert expected in reasons(make_plan(mapping=mapping, allocation=allocation))[1].text


@pytest.mark.parametrize(
    ("concentration", "prompts", "rollouts", "expected"),
    [
        ("hoeffding", 5360, 4, "More prompts lower it, and to a lesser degree more rollouts"),
        ("prompt_mean", 5360, 1, "More prompts lower it."),
        ("hoeffding", 31000, 4, "so only more rollouts of each can lower it."),
        ("hoeffding", 31000, 64, "No more prompts are allowed, and without them no money lowers"),
        ("prompt_mean", 31000, 1, "No more prompts are allowed, and without them no money lowers"),
    ],
)
def test_what_moves_sampling(
    concentration: str, prompts: int, rollouts: int, expected: str
) -> None:
    plan = make_plan(
        mapping={"bound": {"concentration": concentration}},
        allocation=Allocation(prompts, rollouts, 1, 1.0),
        bound=make_bound(sampling=0.9, total=1.0),
    )
    assert expected in reasons(plan)[0].text


def test_no_nearer_labels_are_advised_where_the_coverage_is_one() -> None:
    text = reasons(make_plan(bound=make_bound(coverage=1.0)))[0].text
    assert "already come from the current policy" in text
    assert "reward_model.coverage" not in text


def test_no_textbook_rule_is_said_with_the_reason() -> None:
    plan = make_plan(closed_form=ClosedForm(None, "the pool binds"))
    assert "No textbook rule applies: the pool binds." in reasons(plan)[1].text


# --- other markups -------------------------------------------------------------------------------


def test_markdown_is_as_kept_and_its_tables_are_even() -> None:
    text = markdown(plan_document(make_plan()))
    check_snapshot("plan.md", text)
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) <= 1


def test_markdown_escapes_what_would_be_markup() -> None:
    assert escape("a|b <i>\n*c* [d](e) `f` _g_ h_i") == (
        r"a\|b &lt;i&gt; \*c\* \[d\](e) \`f\` \_g\_ h_i"
    )
    assert escape("1. one") == r"1\. one"
    assert escape("# one") == r"\# one"


def test_html_escapes_everything_and_closes_its_tags() -> None:
    plan = make_plan(mapping={"name": "<script>x</script>", "currency": '"&<b>'})
    text = plan._repr_html_()
    assert text is not None
    assert "<script>" not in text
    assert "<b>" not in text
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Checker().feed(text)
    assert open_tags == []


def test_csv_is_one_row_with_dotted_columns() -> None:
    plans = (make_plan(), make_bare_plan())
    rows = list(csv.DictReader(io.StringIO(csv_text([plan.to_dict() for plan in plans]))))
    assert len(rows) == 2
    first, bare = rows
    assert float(first["bound.total"]) == make_plan().bound.total
    assert first["near_optimal.prompts.max"] == "6732"
    assert first["alternatives.prompt_mean.allocation.prompts"] == "5773"
    assert first["sensitivity.reward_model.coverage.elasticity"] == "0.805"
    assert first["current.violations"] == "budget limits.labels.max"
    assert first["warnings"] == "assumed-constants"
    assert first["bound.vacuous"] == "false"
    assert bare["allocation.clip_threshold"] == ""
    assert bare["near_optimal.prompts.max"] == ""


def test_nobody_is_told_to_measure_what_nothing_measures() -> None:
    plan = make_plan()
    entry = replace(plan.assumed[0], constant="bound.posterior_kl", allocation_at_low=None)
    said = words(replace(plan, assumed=(entry,)))
    assert "measure it first" not in said
    assert "Nothing measures that" in said


def test_a_rollout_of_almost_no_cost_is_not_said_to_be_infinitely_cheap() -> None:
    plan = make_plan()
    cheap = replace(plan, scenario=with_leaf(plan.scenario, "costs.rollout", 1e-320))
    assert "beside a further prompt a rollout costs next to nothing" in words(cheap)
    assert " inf " not in words(cheap)
