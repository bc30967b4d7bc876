"""Exports, loaded by the trainers themselves. ``.ci/trainers`` installs them; else these skip."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rlhf_budget import load_scenario, plan
from rlhf_budget.report.export.text import export

pytestmark = pytest.mark.filterwarnings("ignore")  # the trainers' own warnings are theirs
SCENARIO: dict[str, Any] = {
    "name": "checked",
    "budget": 3000,
    "objective": {"kl_coefficient": 0.05},
    "bound": {"rollout_variance": 0.04},
    "costs": {
        "prompt": 0.05,
        "rollout": {"tokens": 500, "scoring": 0.001},
        "label": 1.0,
        "gpu": {"hourly_rate": 2.0, "decode_tokens_per_second": 2500},
    },
    "reward_model": {"coverage": 2.0, "error": {"scale": 8.0, "exponent": 0.8}},
    "log_ratio": {"kl": 6.0},
    "limits": {"rollouts_per_prompt": {"choices": [8]}},
}
SKIP = "not installed here: .ci/trainers installs it"


def exported(trainer: str, **settings: Any) -> str:
    return export(plan(load_scenario(SCENARIO)), trainer, **settings)


def python_names(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(text, names)  # written by us
    return names


# --- TRL -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trainer", "config"), [("trl-grpo", "GRPOConfig"),
                                                 ("trl-rloo", "RLOOConfig")])  # fmt: skip
def test_trl_takes_its_options(trainer: str, config: str, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason=SKIP)
    options = python_names(exported(trainer, prompts_per_step=30))["options"]
    made = getattr(trl, config)(**options, output_dir=str(tmp_path), use_cpu=True, bf16=False)
    assert made.generation_batch_size == 30 * 8
    assert made.num_generations == 8
    assert made.max_completion_length == 1000
    assert made.beta == pytest.approx(0.05 / 0.2 if trainer == "trl-grpo" else 0.05)


def test_trl_refuses_what_is_refused_here(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason=SKIP)
    options = python_names(exported("trl-grpo"))["options"] | {"num_generations": 1}
    with pytest.raises(ValueError, match="at least 2 generations"):
        trl.GRPOConfig(**options, output_dir=str(tmp_path), use_cpu=True, bf16=False)


def tiny_model() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    size: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": 64}
    size |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, bos_token_id=1, eos_token_id=1, **size))


def tiny_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "<eos>": 1} | {f"w{i}": i for i in range(2, 20)}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<eos>", pad_token="<eos>", unk_token="<unk>"
    )


def test_trl_trains_with_the_clipped_penalty(tmp_path: Path) -> None:
    """The penalty is -beta clip(l), with l of whole responses computed another way here."""
    trl = pytest.importorskip("trl", reason=SKIP)
    import torch
    from datasets import Dataset

    torch.manual_seed(0)
    names = python_names(exported("trl-rloo", prompts_per_step=4))
    tokenizer, policy, reference = tiny_tokenizer(), tiny_model(), tiny_model()
    threshold, beta = 0.5, 0.05
    penalty = names["ClippedPenalty"](reference, tokenizer, threshold=threshold)
    seen: list[tuple[float, float]] = []

    def log_ratio(prompt: str, completion: list[int]) -> float:
        ids = torch.tensor([tokenizer(prompt)["input_ids"] + completion])
        labels = ids.clone()
        labels[:, : -len(completion)] = -100
        with torch.no_grad():
            losses = [m(input_ids=ids, labels=labels).loss.item() for m in (reference, policy)]
        return (losses[0] - losses[1]) * len(completion)

    def watched(prompts: list[str], completion_ids: list[list[int]], **rest: Any) -> list[float]:
        found = penalty(prompts, completion_ids, **rest)
        wanted = [log_ratio(p, list(c)) for p, c in zip(prompts, completion_ids, strict=True)]
        seen.extend(zip(found, wanted, strict=True))
        return list(found)

    options = names["options"] | {"beta": 0.0, "max_steps": 1, "max_completion_length": 6}
    config = trl.RLOOConfig(
        **options, output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[]
    )
    trainer = trl.RLOOTrainer(
        model=policy,
        reward_funcs=[watched],
        args=config,
        train_dataset=Dataset.from_dict({"prompt": [f"w{i} w{i + 1}" for i in range(2, 18)]}),
        processing_class=tokenizer,
    )
    penalty.trainer = trainer
    trainer.train()
    assert len(seen) == 4 * 8
    for found, wanted in seen:
        assert found == pytest.approx(-beta * max(-threshold, min(threshold, wanted)), abs=1e-6)
    assert any(abs(wanted) > threshold for _, wanted in seen)
    assert any(abs(wanted) < threshold for _, wanted in seen)


# --- verl ----------------------------------------------------------------------------------------


def compose(overrides: list[str]) -> Any:
    hydra = pytest.importorskip("hydra", reason=SKIP)
    found = find_spec("verl")
    if found is None or found.origin is None:
        pytest.skip(SKIP)
    folder = Path(found.origin).parent / "trainer" / "config"
    with hydra.initialize_config_dir(str(folder), version_base=None):
        return hydra.compose("ppo_trainer", overrides)


def overrides_of(text: str) -> list[str]:
    lines = (line.removesuffix("\\").strip() for line in text.splitlines())
    return [line for line in lines if line and line[0] not in '#"' and "=" in line]


def test_verl_takes_its_overrides() -> None:
    config = compose(overrides_of(exported("verl", prompts_per_step=30, devices=8)))
    assert config.data.train_batch_size == 30
    assert config.actor_rollout_ref.rollout.n == 8
    assert config.actor_rollout_ref.rollout.log_prob_use_dynamic_bsz is True
    assert config.actor_rollout_ref.actor.ppo_mini_batch_size == 30
    assert config.algorithm.use_kl_in_reward is True
    assert config.algorithm.kl_ctrl.kl_coef == 0.05
    assert config.data.max_response_length == 1000
    # verl's own rule (verl/utils/config.py, validate_config)
    gpus = config.trainer.n_gpus_per_node * config.trainer.nnodes
    assert config.data.train_batch_size * config.actor_rollout_ref.rollout.n % gpus == 0


def test_verl_refuses_a_name_that_it_does_not_know() -> None:
    with pytest.raises(Exception, match="clip_whole_response"):
        compose(["actor_rollout_ref.actor.clip_whole_response=40"])
