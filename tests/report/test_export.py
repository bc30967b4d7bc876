"""The plan as a trainer's own options: right numbers, known names, nothing the trainer refuses."""

from __future__ import annotations

import json
import math
import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from conftest import scenario_mapping
from hypothesis import given
from hypothesis import strategies as st
from report_helpers import make_bare_plan, make_plan

from rlhf_budget import TrainerError, load_scenario
from rlhf_budget import plan as planned
from rlhf_budget.bound.results import Allocation
from rlhf_budget.cli.app import run
from rlhf_budget.cli.export import TrainerName
from rlhf_budget.planning.results import Schedule
from rlhf_budget.report.export.run import training_run
from rlhf_budget.report.export.text import export
from rlhf_budget.report.export.trainers import TRAINERS

if TYPE_CHECKING:
    from rlhf_budget.planning.results import Plan

NAMES = json.loads(
    (Path(__file__).parents[1] / "data" / "trainer_options.json").read_text(encoding="utf-8")
)
GROUP_SIZE = {
    "trl-grpo": "num_generations",
    "trl-rloo": "num_generations",
    "verl": "actor_rollout_ref.rollout.n",
    "openrlhf": "rollout.n_samples_per_prompt",
    "nemo-rl": "grpo.num_generations_per_prompt",
    "open-instruct": "num_samples_per_prompt_rollout",
    "slime": "n-samples-per-prompt",
    "prime-rl": "orchestrator.group_size",
    "ms-swift": "num_generations",
}
COEFFICIENT = {
    "trl-grpo": "beta",
    "trl-rloo": "beta",
    "verl": "algorithm.kl_ctrl.kl_coef",
    "openrlhf": "algo.kl.init_coef",
    "nemo-rl": "loss_fn.reference_policy_kl_penalty",
    "open-instruct": "beta",
    "slime": "kl-loss-coef",
    "ms-swift": "beta",
}
STEPS = {
    "trl-grpo": "max_steps",
    "trl-rloo": "max_steps",
    "verl": "trainer.total_training_steps",
    "nemo-rl": "grpo.max_num_steps",
    "slime": "num-rollout",
    "prime-rl": "max_steps",
    "ms-swift": "max_steps",
}
ALL = pytest.mark.parametrize("trainer", TRAINERS)


def read_back(trainer: str, text: str) -> dict[str, Any]:
    """Read an export as its trainer would: dotted names and values."""
    form = TRAINERS[trainer].form
    if form == "python":
        names: dict[str, Any] = {}
        exec(text, names)  # written by us
        options: dict[str, Any] = names["options"]
        return options
    if form in {"yaml", "toml"}:
        tree = yaml.safe_load(text) if form == "yaml" else tomllib.loads(text)
        return dict(leaves(tree))
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    assert words[-1] == "$@"
    words = words[len(TRAINERS[trainer].start.split()) : -1]
    if form == "hydra":
        return {name: value(text) for name, text in (word.split("=", 1) for word in words)}
    found: dict[str, Any] = {}
    for word in words:
        if word.startswith("--"):
            name = word[2:]
            found[name] = True
        else:
            found[name] = value(word)
    return found


def leaves(tree: dict[str, Any], path: str = "") -> Any:
    for name, inner in tree.items():
        if isinstance(inner, dict):
            yield from leaves(inner, f"{path}{name}.")
        else:
            yield path + name, inner


def value(text: str) -> Any:
    return {"True": True, "False": False}.get(text, yaml.safe_load(text))


def plan_of(n: int, K: int, **mapping: Any) -> Plan:
    return make_plan(mapping=mapping, allocation=Allocation(n, K, 12608, 20.0))


# --- numbers -------------------------------------------------------------------------------------


@ALL
def test_the_numbers_are_the_plans(trainer: str) -> None:
    plan = plan_of(5360, 8)
    options = read_back(trainer, export(plan, trainer, prompts_per_step=32, devices=4))
    assert options[GROUP_SIZE[trainer]] == 8
    if trainer in STEPS:
        assert options[STEPS[trainer]] == 5360 // 32
    if trainer in COEFFICIENT:
        assert options[COEFFICIENT[trainer]] == 0.05


def test_a_step_has_as_many_rollouts_as_asked() -> None:
    plan = plan_of(5360, 8)
    for trainer in ("trl-grpo", "trl-rloo", "ms-swift"):
        found = read_back(trainer, export(plan, trainer, prompts_per_step=33, devices=4))
        share = found["per_device_train_batch_size"] * found["gradient_accumulation_steps"]
        assert 4 * share == 33 * 8
    found = read_back("openrlhf", export(plan, "openrlhf", prompts_per_step=32, devices=16))
    assert found["train.batch_size"] == 256
    assert found["data.max_samples"] == 5344
    assert (found["actor.num_nodes"], found["actor.num_gpus_per_node"]) == (2, 8)
    found = read_back("open-instruct", export(plan, "open-instruct", prompts_per_step=32))
    assert found["total_episodes"] == 167 * 32 * 8
    found = read_back("prime-rl", export(plan, "prime-rl", prompts_per_step=32))
    assert found["orchestrator.batch_size"] == 256


REST = {"prompts": 1500, "rollouts_per_prompt": 16, "labels": 6000, "cost": 17000}


@ALL
def test_a_run_under_way_has_its_rest_to_do(trainer: str) -> None:
    found = planned(load_scenario(scenario_mapping(progress=REST)))
    rest = found.to_come
    assert rest is not None
    text = export(found, trainer, prompts_per_step=50)
    options, words = read_back(trainer, text), text.replace("\n# ", " ")
    assert options[GROUP_SIZE[trainer]] == rest.rollouts_per_prompt
    steps = rest.prompts // 50
    if trainer in STEPS:
        assert options[STEPS[trainer]] == steps
    elif trainer == "openrlhf":
        assert options["data.max_samples"] == 50 * steps
    else:
        assert options["total_episodes"] == 50 * steps * rest.rollouts_per_prompt
    assert f"{rest.prompts:,} more prompts" in words
    assert f"first: {rest.labels:,} labels to buy" in words
    assert "add those that it has taken" in words


def test_nothing_to_generate_is_nothing_to_export() -> None:
    done = load_scenario(scenario_mapping(progress=REST, limits={"prompts": {"max": 1500}}))
    with pytest.raises(TrainerError, match="stop generating"):
        export(planned(done), "verl")


@ALL
def test_epochs_share_the_rollouts_of_a_prompt(trainer: str) -> None:
    plan = replace(plan_of(5360, 32), schedule=Schedule(group_size=8, epochs=4))
    text = export(plan, trainer, prompts_per_step=33)
    options = read_back(trainer, text)
    assert options[GROUP_SIZE[trainer]] == 8
    assert "5,346 prompts in 4 epochs" in text.replace("\n# ", " ")
    if trainer in STEPS:
        assert options[STEPS[trainer]] == 4 * (5360 // 33)
    epochs = {"verl": "trainer.total_epochs", "openrlhf": "train.num_episodes",
              "nemo-rl": "grpo.max_num_epochs"}  # fmt: skip
    if trainer in epochs:
        assert options[epochs[trainer]] == 4


DIVIDED = {"trl-grpo", "nemo-rl", "slime"}


@ALL
def test_a_known_deviation_scales_the_coefficient_where_advantages_are_divided(
    trainer: str,
) -> None:
    plan = plan_of(5360, 8, bound={"concentration": "hoeffding", "rollout_variance": 0.04})
    text = export(plan, trainer)
    options = read_back(trainer, text)
    if trainer in DIVIDED:
        assert options[COEFFICIENT[trainer]] == pytest.approx(0.05 / 0.2)
        assert "0.05 / 0.2 = 0.25" in text
    elif trainer in COEFFICIENT:
        assert options[COEFFICIENT[trainer]] == 0.05
    normal = {"trl-grpo": ("scale_rewards", "group"), "nemo-rl": ("grpo.normalize_rewards", True)}
    if trainer in normal:
        name, setting = normal[trainer]
        assert options[name] == setting
    assert "disable-grpo-std-normalization" not in options


def test_an_unknown_deviation_turns_the_division_off() -> None:
    plan = plan_of(5360, 8)
    assert read_back("trl-grpo", export(plan, "trl-grpo"))["scale_rewards"] == "none"
    assert read_back("nemo-rl", export(plan, "nemo-rl"))["grpo.normalize_rewards"] is False
    assert read_back("slime", export(plan, "slime"))["disable-grpo-std-normalization"] is True


@ALL
def test_the_mean_length_sets_the_cap(trainer: str) -> None:
    costs = {
        "prompt": 5.0,
        "rollout": {"tokens": 600.5},
        "label": 1.5,
        "gpu": {"hourly_rate": 2.0, "decode_tokens_per_second": 2500},
    }
    options = read_back(trainer, export(plan_of(5360, 8, costs=costs), trainer))
    assert 1201 in options.values()
    without = export(plan_of(5360, 8), trainer)
    assert 1201 not in read_back(trainer, without).values()
    assert "names no tokens" in without.replace("\n# ", " ")


@ALL
def test_without_a_penalty_none_is_set(trainer: str) -> None:
    plan = replace(make_bare_plan(), allocation=Allocation(5360, 8, 0, None))
    text = export(plan, trainer)
    assert "No KL penalty" in text
    assert "ClippedPenalty" not in text
    assert not read_back(trainer, text).get(COEFFICIENT.get(trainer, ""), 0)


# --- clipping ------------------------------------------------------------------------------------


@ALL
def test_training_clips_no_lower_than_twice_the_threshold(trainer: str) -> None:
    text = export(plan_of(5360, 8), trainer).replace("\n# ", " ")
    if trainer == "prime-rl":
        assert "WARNING: it has no KL penalty to a reference policy" in text
        return
    assert "No option clips the log-ratio of a whole response" in text
    assert "40.00 nats" in text
    if trainer.startswith("trl"):
        assert "beta=0.05, threshold=40.0" in text


# --- refusals ------------------------------------------------------------------------------------


@ALL
def test_a_group_of_one_is_refused(trainer: str) -> None:
    with pytest.raises(TrainerError, match=r"limits\.rollouts_per_prompt\.min=2"):
        export(plan_of(5360, 1), trainer)


@given(
    n=st.integers(1, 100_000),
    K=st.integers(2, 64),
    devices=st.integers(1, 128),
    asked=st.integers(1, 4096) | st.none(),
)
def test_a_run_fits_its_devices_and_its_plan_or_the_nearest_does(
    n: int, K: int, devices: int, asked: int | None
) -> None:
    plan = plan_of(n, K)
    try:
        made = training_run(plan, prompts_per_step=asked, devices=devices, whole_batches=True)
    except TrainerError as refusal:
        nearest = [int(word) for word in re.findall(r"\d+", str(refusal).partition("nearest")[2])]
        if not nearest:
            assert n * K < math.lcm(devices, K)
            return
        for count in nearest:
            training_run(plan, prompts_per_step=count, devices=devices, whole_batches=True)
        return
    assert made.rollouts_per_step % devices == 0
    assert made.steps >= 1
    assert made.prompts_used <= n < made.prompts_used + made.prompts_per_step
    assert asked in {None, made.prompts_per_step}
    assert made.nodes * made.devices_per_node == devices


# --- names and text ------------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", [name for name in NAMES if name != "about"])
@pytest.mark.parametrize("known", [True, False])
def test_the_names_are_the_trainers(trainer: str, *, known: bool) -> None:
    bound = {"concentration": "hoeffding", "rollout_variance": 0.04 if known else None}
    costs = {"prompt": 5.0, "rollout": {"tokens": 600}, "label": 1.5,
             "gpu": {"hourly_rate": 2.0, "decode_tokens_per_second": 2500}}  # fmt: skip
    plan = plan_of(
        5360, 8, bound=bound, costs=costs, objective={"kl_coefficient": 0.05, "reward_range": 20.0}
    )
    options = read_back(trainer, export(plan, trainer, devices=8))
    assert set(options) <= set(NAMES[trainer]["names"])


def test_every_trainer_is_checked() -> None:
    assert set(NAMES) - {"about"} | {"trl-grpo", "trl-rloo", "verl"} == set(TRAINERS)
    assert {name.value for name in TrainerName} == set(TRAINERS)


@ALL
def test_no_name_leaves_its_comment(trainer: str) -> None:
    name = "x\nimport os; os.abort()\r\u2028$(touch x) `y` '\" #"
    text = export(plan_of(5360, 8, name=name), trainer)
    assert "import os" in text
    assert read_back(trainer, text) == read_back(trainer, export(plan_of(5360, 8), trainer))
    comments = [line for line in text.splitlines() if "touch" in line or "os.abort" in line]
    assert comments
    assert all(line.startswith("# ") for line in comments)


def test_the_command_writes_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 0
    assert run(["export", "scenario.yaml", "--trainer", "trl-grpo", "-o", "options.py"]) == 0
    options = read_back("trl-grpo", (tmp_path / "options.py").read_text(encoding="utf-8"))
    assert options["num_generations"] >= 2
    capsys.readouterr()
    one = ["export", "scenario.yaml", "--trainer", "verl", "--set", "limits.group_size=1"]
    assert run(one) == 2
    assert "limits.group_size.min=2" in capsys.readouterr().err


def test_the_middle_of_a_range_of_lengths_is_taken() -> None:
    law = {"family": "gaussian", "kl_per_token": 0.02, "tokens": {"low": 400, "high": 900}}
    run_ = training_run(
        plan_of(5360, 8, log_ratio=law), prompts_per_step=None, devices=1, whole_batches=True
    )
    assert run_.mean_tokens == pytest.approx(600)
