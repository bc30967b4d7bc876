"""Every warning appears when it should and only then, and says what to do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from conftest import scenario_mapping

from rlhf_budget import load_scenario
from rlhf_budget.optimum import certified as optimum_module
from rlhf_budget.optimum.certified import least_cost, optimise
from rlhf_budget.optimum.search import Search
from rlhf_budget.planning.notices import notices

if TYPE_CHECKING:
    from rlhf_budget.planning.results import Notice

CODES = {
    "vacuous-bound",
    "coverage-below-kl",
    "silent-groups",
    "planned-by-evaluation",
    "policy-fixed",
    "implausible-kl",
    "no-kl-estimate",
    "few-tail-samples",
    "unlimited",
    "not-proved",
    "assumed-constants",
    "unspent-budget",
    "spent-otherwise",
    "diluted-groups",
}
CURVE = {"floor": 0.02, "scale": 8.0, "exponent": 0.8}
HARD = {"mean": 0.177, "correlation": 0.33}
BERNSTEIN = {
    "policy": "fixed",
    "concentration": "bernstein",
    "prompt_variance": 0.01,
    "rollout_variance": 0.1,
}
QUIET: dict[str, Any] = {
    "bound": {"concentration": "hoeffding", "policy": "fixed"},
    "reward_model": {"coverage": 2.0, "coverage_kind": "features", "error": CURVE},
}


def found(**changes: Any) -> dict[str, Notice]:
    mapping = scenario_mapping(**(QUIET | changes))
    return {notice.code: notice for notice in notices(optimise(load_scenario(mapping)))}


def model(**changes: Any) -> dict[str, Any]:
    return {"coverage": 2.0, "error": CURVE} | changes


def behind(cost: float) -> dict[str, Any]:
    """What costs 3,480 at the prices of the base scenario."""
    return {"prompts": 500, "rollouts_per_prompt": 8, "labels": 600, "cost": cost}


def diluted(K: int, more: int) -> dict[str, Any]:
    """Groups of K to come after 40 of 16: at K = 1, 560 of them are as good as none."""
    limits = {"prompts": 40 + more, "rollouts_per_prompt": K, "labels": {"max": 600}}
    progress = {"prompts": 40, "rollouts_per_prompt": 16, "labels": 0, "cost": 213}
    return {"limits": limits, "progress": progress}


def samples(count: int) -> dict[str, Any]:
    return {"family": "empirical", "samples": [0.01 * x for x in range(count)]}


def test_a_sound_plan_has_no_warning() -> None:
    assert found() == {}


E60 = math.exp(6.0)
APPEARANCES: list[tuple[str, dict[str, Any], bool]] = [
    ("vacuous-bound", {"budget": 500.0}, True),
    ("vacuous-bound", {"reward_model": {"coverage": 9.0, "error": 0.02}}, True),
    ("coverage-below-kl", {"reward_model": model()}, True),
    ("coverage-below-kl", {"reward_model": model(coverage=0.99 * E60)}, True),
    ("coverage-below-kl", {"reward_model": model(coverage=1.01 * E60)}, False),
    ("coverage-below-kl", {"reward_model": model(coverage_kind="features")}, False),
    ("coverage-below-kl", {"reward_model": {"label_policy": "current", "error": CURVE}}, False),
    (
        "coverage-below-kl",
        {"reward_model": model(label_policy="current", existing_labels=9)},
        True,
    ),
    ("coverage-below-kl", {"reward_model": "verifiable"}, False),
    (
        "coverage-below-kl",
        {"reward_model": model(), "log_ratio": {"family": "exponential", "mean": 1.4}},
        True,
    ),
    (
        "coverage-below-kl",
        {"reward_model": model(), "log_ratio": {"family": "exponential", "mean": 1.38}},
        False,
    ),
    ("silent-groups", {"groups": HARD, "limits": {"rollouts_per_prompt": {"max": 8}}}, True),
    ("silent-groups", {"groups": HARD, "limits": {"rollouts_per_prompt": 32}}, False),
    ("silent-groups", {"groups": HARD, "limits": {"group_size": 4, "epochs": 8}}, True),
    ("planned-by-evaluation", {"bound": {"policy": "fixed", "concentration": "prompt_mean"}}, True),
    ("planned-by-evaluation", {"bound": BERNSTEIN}, True),
    ("planned-by-evaluation", {"bound": {"policy": "fixed"}}, False),
    ("policy-fixed", {"bound": {"concentration": "hoeffding"}}, True),
    (
        "policy-fixed",
        {"bound": {"concentration": "hoeffding", "policy": "finite_class", "candidates": 3}},
        False,
    ),
    ("implausible-kl", {"log_ratio": {"family": "gaussian", "kl": 62177.0}}, True),
    ("implausible-kl", {"log_ratio": {"family": "gaussian", "kl": 900.0, "std": 1.0}}, False),
    ("implausible-kl", {"log_ratio": {"family": "exponential", "mean": 400.0}}, True),
    (
        "implausible-kl",
        {
            "log_ratio": {"family": "gaussian", "kl": 62177.0},
            "objective": {"kl_coefficient": 0.0},
        },
        False,
    ),
    ("no-kl-estimate", {"budget": 10.0}, True),
    ("no-kl-estimate", {"budget": 10.0, "objective": {"kl_coefficient": 0.0}}, False),
    ("no-kl-estimate", {"limits": {"clip_threshold": {"max": 0.0}}}, False),
    ("few-tail-samples", {"log_ratio": samples(40)}, True),
    ("few-tail-samples", {"log_ratio": samples(4000)}, False),
    (
        "few-tail-samples",
        {"log_ratio": samples(40), "limits": {"clip_threshold": {"max": 0.295}}},
        False,
    ),
    (
        "few-tail-samples",
        {"log_ratio": samples(40), "limits": {"clip_threshold": {"max": 0.305}}},
        True,
    ),
    ("unlimited", {"costs": {"prompt": 0.0, "rollout": 0.0, "label": 1.5}}, True),
    ("unlimited", {"costs": {"prompt": 5.0, "rollout": 0.02, "label": 0.0}}, True),
    (
        "unlimited",
        {
            "costs": {"prompt": 5.0, "rollout": 0.02, "label": 0.0},
            "limits": {"labels": {"max": 10**6}},
        },
        False,
    ),
    (
        "assumed-constants",
        {"costs": {"prompt": {"low": 1, "high": 9}, "rollout": 0.02, "label": 1}},
        True,
    ),
    ("assumed-constants", {"log_ratio": {"family": "gaussian", "kl": "unknown"}}, True),
    ("spent-otherwise", {"progress": behind(0.0)}, True),
    ("spent-otherwise", {"progress": behind(1000.0)}, True),
    ("spent-otherwise", {"progress": behind(9000.0)}, True),
    ("spent-otherwise", {"progress": behind(2000.0)}, False),
    ("spent-otherwise", {"progress": behind(4000.0)}, False),
    # Groups that differ may have cost any more than the least of their mean.
    ("spent-otherwise", {"progress": behind(9000.0) | {"rollouts_per_prompt": 8.5}}, False),
    ("spent-otherwise", {"progress": behind(1000.0) | {"rollouts_per_prompt": 8.5}}, True),
    ("diluted-groups", diluted(1, 40), True),
    ("diluted-groups", diluted(8, 40), False),
    ("diluted-groups", diluted(1, 1000), False),
    ("diluted-groups", diluted(1, 0), False),
    ("unspent-budget", {"limits": {"prompts": {"max": 100}, "labels": {"max": 100}}}, True),
    ("unspent-budget", {"limits": {"labels": {"max": 100}}}, False),
    (
        "unspent-budget",
        {"budget": 5.03, "costs": {"prompt": 5.0, "rollout": 0.02, "label": 1.5}},
        False,
    ),
]


@pytest.mark.parametrize(("code", "changes", "expected"), APPEARANCES)
def test_it_appears_when_and_only_when_it_should(
    code: str, changes: dict[str, Any], expected: bool
) -> None:
    assert (code in found(**changes)) is expected


def test_groups_that_differ_are_priced_as_the_least_they_can_cost() -> None:
    uneven = behind(1000.0) | {"rollouts_per_prompt": 8.5}
    assert "costs at least 3,485 at" in found(progress=uneven)["spent-otherwise"].message
    assert "costs 3,480 at" in found(progress=behind(1000.0))["spent-otherwise"].message


def test_an_unproved_answer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load_scenario(scenario_mapping(**QUIET))
    true = optimum_module.minimise

    def hasty(*args: Any, **options: Any) -> tuple[Search, ...]:
        return tuple(
            Search(search.best, 0.9 * search.lower_bound, 1) for search in true(*args, **options)
        )

    monkeypatch.setattr(optimum_module, "minimise", hasty)
    for optimum in (optimise(scenario), least_cost(scenario, 0.42)):
        (notice,) = [entry for entry in notices(optimum) if entry.code == "not-proved"]
        assert "0.1" in notice.message
        assert "--tolerance" in notice.message
        assert optimum.status == "not_proved"


def test_every_code_was_tried_both_ways() -> None:
    tried = {code for code, _, expected in APPEARANCES if expected} | {"not-proved"}
    assert tried == CODES


WHAT_TO_DO = {
    "vacuous-bound": ("raise the budget", "must improve"),
    "coverage-below-kl": ("label_policy: current", "coverage_kind: features"),
    "implausible-kl": ("measure the log-ratio",),
    "silent-groups": ("larger groups",),
    "planned-by-evaluation": ("concentration: hoeffding",),
    "policy-fixed": ("policy: pac_bayes",),
    "no-kl-estimate": ("Raise the budget", "kl_coefficient"),
    "few-tail-samples": ("more samples", "family"),
    "unlimited": ("Give a price", "limits."),
    "assumed-constants": ("measure", "calibrate"),
    "unspent-budget": ("Raise the limits", "elsewhere"),
    "diluted-groups": ("larger groups",),
    "spent-otherwise": ("correct costs",),
}


@pytest.mark.parametrize(("code", "changes", "expected"), APPEARANCES)
def test_it_says_what_to_do(code: str, changes: dict[str, Any], expected: bool) -> None:
    if expected:
        message = found(**changes)[code].message
        assert any(words in message for words in WHAT_TO_DO[code])
        assert message.endswith(".")


def test_a_vacuous_bound_that_no_budget_mends_says_so() -> None:
    poor = found(budget=500.0)["vacuous-bound"].message
    hopeless = found(reward_model={"coverage": 9.0, "error": 0.02})["vacuous-bound"].message
    assert "raise the budget" in poor
    assert "No budget changes that" in hopeless
    assert "raise the budget" not in hopeless


def test_numbers_in_messages_are_right() -> None:
    message = found(reward_model=model())["coverage-below-kl"].message
    assert "403" in message, "e^6 of theory.md's example"
    few = found(log_ratio=samples(40), limits={"clip_threshold": {"max": 0.305}})
    assert "Only 9 of" in few["few-tail-samples"].message


def test_a_target_has_its_warnings_too() -> None:
    mapping = scenario_mapping(bound={"concentration": "hoeffding"}, budget=None)
    codes = {notice.code for notice in notices(least_cost(load_scenario(mapping), 0.42))}
    assert codes == {"coverage-below-kl", "policy-fixed"}
