"""What each trainer calls the numbers of a run, and what it cannot do: one entry a trainer.

Names were read in the versions that the titles give; tests hold them against the trainers' own
(TRL and verl themselves, for the others a table of names).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlhf_budget.report.export.run import Run

Value = bool | int | float | str | None
"""An option's value; None leaves the option out."""
Form = Literal["python", "hydra", "flags", "yaml", "toml"]
"""What the trainer reads."""
SUFFIXES: Final[dict[Form, tuple[str, ...]]] = {
    "python": (".py",),
    "hydra": (".sh",),
    "flags": (".sh",),
    "yaml": (".yaml", ".yml"),
    "toml": (".toml",),
}
"""Form -> suffixes of files that hold it."""
Kl = Literal["reward", "loss", "divisible loss", "none"]
"""Where a trainer's KL coefficient acts. On the reward, and on a loss beside advantages that are
not divided, it is the plan's beta; beside advantages divided by the group's standard deviation
(``divisible loss``, where that is an option) it is beta over that deviation: docs/theory.md's
objective ``E[r - beta l]`` has the gradient of such a loss with ``beta = coefficient x deviation``.
"""


@dataclass(frozen=True, slots=True)
class Trainer:
    """A trainer: its names for a run."""

    title: str
    """What it is called, and in which version the names were read."""
    form: Form
    """What it reads."""
    start: str
    """How a command with its options begins, or what takes them."""
    kl: Kl
    """Where its KL coefficient acts."""
    clipping: str
    """Where code of one's own could clip a whole response's log-ratio; no trainer has an option."""
    options: Callable[[Run, float], dict[str, Value]]
    """Names and values, for a run and the coefficient that goes with ``kl``."""
    whole_batches: bool = True
    """Whether the devices must share the rollouts of a step evenly."""
    hints: tuple[str, ...] = ()
    """What else to mind."""


def _micro_batch(run: Run, most: int = 8) -> int:
    """The largest batch of a device, up to the usual, that divides its share of a step."""
    share = run.rollouts_per_step // run.devices
    return max(size for size in range(1, most + 1) if share % size == 0)


def _accumulation(run: Run) -> int:
    return run.rollouts_per_step // run.devices // _micro_batch(run)


# --- TRL and what is built on it -----------------------------------------------------------------


def _trl_rloo(run: Run, coefficient: float) -> dict[str, Value]:
    return {
        "num_generations": run.group_size,
        "per_device_train_batch_size": _micro_batch(run),
        "gradient_accumulation_steps": _accumulation(run),
        "num_iterations": 1,
        "max_steps": run.steps,
        "beta": coefficient,
        "max_completion_length": run.most_tokens,
        "temperature": 1.0,
    }


def _trl_grpo(run: Run, coefficient: float) -> dict[str, Value]:
    return _trl_rloo(run, coefficient) | {
        "use_bias_correction_kl": True if coefficient else None,
        "scale_rewards": "none" if run.group_deviation is None else "group",
    }


def _ms_swift(run: Run, coefficient: float) -> dict[str, Value]:
    return {
        **_trl_rloo(run, coefficient),
        "kl_in_reward": "true" if coefficient else None,
    }


# --- verl, OpenRLHF, NeMo-RL ---------------------------------------------------------------------


def _verl(run: Run, coefficient: float) -> dict[str, Value]:
    return {
        "algorithm.adv_estimator": "grpo",
        "data.train_batch_size": run.prompts_per_step,
        "actor_rollout_ref.rollout.n": run.group_size,
        "actor_rollout_ref.actor.ppo_mini_batch_size": run.prompts_per_step,
        "actor_rollout_ref.actor.use_dynamic_bsz": True,
        "trainer.total_epochs": run.epochs,
        "trainer.total_training_steps": run.steps,
        "trainer.nnodes": run.nodes,
        "trainer.n_gpus_per_node": run.devices_per_node,
        "algorithm.use_kl_in_reward": coefficient > 0,
        "algorithm.kl_ctrl.kl_coef": coefficient or None,
        "algorithm.kl_penalty": "kl" if coefficient else None,
        "actor_rollout_ref.actor.use_kl_loss": False,
        "data.max_response_length": run.most_tokens,
    }


def _openrlhf(run: Run, coefficient: float) -> dict[str, Value]:
    R = run.plan.scenario.objective.reward_range
    return {
        "algo.advantage.estimator": "rloo",
        "rollout.batch_size": run.prompts_per_step,
        "rollout.n_samples_per_prompt": run.group_size,
        "train.batch_size": run.rollouts_per_step,
        "train.num_episodes": run.epochs,
        "data.max_samples": run.prompts_used,
        "actor.num_nodes": run.nodes,
        "actor.num_gpus_per_node": run.devices_per_node,
        "algo.kl.init_coef": coefficient,
        "algo.kl.estimator": "k1",
        "reward.clip_range": f"{-R:g} {R:g}" if R > 10 else None,
        "rollout.max_new_tokens": run.most_tokens,
    }


def _nemo_rl(run: Run, coefficient: float) -> dict[str, Value]:
    return {
        "grpo.num_prompts_per_step": run.prompts_per_step,
        "grpo.num_generations_per_prompt": run.group_size,
        "grpo.max_num_epochs": run.epochs,
        "grpo.max_num_steps": run.steps,
        "grpo.normalize_rewards": run.group_deviation is not None,
        "loss_fn.reference_policy_kl_penalty": coefficient,
        "loss_fn.reference_policy_kl_type": "k3" if coefficient else None,
        "policy.train_global_batch_size": run.rollouts_per_step,
        "policy.generation.max_new_tokens": run.most_tokens,
        "cluster.gpus_per_node": run.devices_per_node,
        "cluster.num_nodes": run.nodes,
    }


# --- Open-Instruct, slime, prime-rl --------------------------------------------------------------


def _open_instruct(run: Run, coefficient: float) -> dict[str, Value]:
    scenario = run.plan.scenario
    verified = scenario.reward_model == "verifiable"
    return {
        "num_unique_prompts_rollout": run.prompts_per_step,
        "num_samples_per_prompt_rollout": run.group_size,
        "total_episodes": run.steps * run.rollouts_per_step,
        "num_learners_per_node": " ".join([str(run.devices_per_node)] * run.nodes),
        "advantage_normalization_type": "centered",
        "beta": coefficient,
        "kl_estimator": 3 if coefficient else None,
        "verification_reward": scenario.objective.reward_range if verified else None,
        "response_length": run.most_tokens,
    }


def _slime(run: Run, coefficient: float) -> dict[str, Value]:
    return {
        "advantage-estimator": "grpo",
        "rollout-batch-size": run.prompts_per_step,
        "n-samples-per-prompt": run.group_size,
        "num-rollout": run.steps,
        "global-batch-size": run.rollouts_per_step,
        "actor-num-nodes": run.nodes,
        "actor-num-gpus-per-node": run.devices_per_node,
        "disable-grpo-std-normalization": True if run.group_deviation is None else None,
        "use-kl-loss": True if coefficient else None,
        "kl-loss-coef": coefficient or None,
        "kl-loss-type": "k3" if coefficient else None,
        "use-unbiased-kl": True if coefficient else None,
        "rollout-max-response-len": run.most_tokens,
    }


def _prime_rl(run: Run, coefficient: float) -> dict[str, Value]:  # noqa: ARG001 - it has none
    return {
        "max_steps": run.steps,
        "orchestrator.batch_size": run.rollouts_per_step,
        "orchestrator.group_size": run.group_size,
        "orchestrator.train.sampling.max_completion_tokens": run.most_tokens,
    }


_TRL_CLIPPING: Final = "pass ClippedPenalty, below, in reward_funcs and set beta to 0"
_REWARD_ONLY: Final = (
    "only a reward function of your own can, with this KL off and log-probabilities of the "
    "reference model at hand"
)

TRAINERS: Final[dict[str, Trainer]] = {
    "trl-grpo": Trainer(
        "TRL's GRPOTrainer (trl 1.16.0; from 1.10)",
        "python",
        "GRPOConfig",
        "divisible loss",
        _TRL_CLIPPING,
        _trl_grpo,
    ),
    "trl-rloo": Trainer(
        "TRL's RLOOTrainer (trl 1.16.0)", "python", "RLOOConfig", "reward", _TRL_CLIPPING, _trl_rloo
    ),
    "verl": Trainer(
        "verl (0.9.1)",
        "hydra",
        "python3 -m verl.trainer.main_ppo",
        "reward",
        "in verl/trainer/ppo, apply_kl_penalty, scale a response's kld so that its sum is clipped",
        _verl,
    ),
    "openrlhf": Trainer(
        "OpenRLHF (0.11.2; from 0.10.2)",
        "flags",
        "python3 -m openrlhf.cli.train_ppo_ray",
        "reward",
        "in openrlhf/models/utils.py, compute_reward, scale a response's kl so that its sum is "
        "clipped",
        _openrlhf,
        hints=("Steps follow from data.max_samples, the prompts that are read.",),
    ),
    "nemo-rl": Trainer(
        "NeMo-RL (main of 2026-08-22)",
        "yaml",
        "a config file with defaults: examples/configs/grpo_math_1B.yaml",
        "divisible loss",
        _REWARD_ONLY,
        _nemo_rl,
        hints=("policy.max_total_sequence_length must hold the prompt and the response.",),
    ),
    "open-instruct": Trainer(
        "Open-Instruct (main of 2026-08-20)",
        "flags",
        "python open_instruct/grpo_fast.py",
        "loss",
        _REWARD_ONLY,
        _open_instruct,
        whole_batches=False,
        hints=(
            "pack_length must hold max_prompt_token_length and response_length.",
            "filter_zero_std_samples (on by default) drops groups of equal rewards.",
        ),
    ),
    "slime": Trainer(
        "slime (0.3.1)",
        "flags",
        "python3 train.py",
        "divisible loss",
        _REWARD_ONLY,
        _slime,
        hints=("kl-coef stays at 0: slime's GRPO returns ignore it.",),
    ),
    "prime-rl": Trainer(
        "prime-rl (main of 2026-08-21)",
        "toml",
        "a file for: rl @ FILE",
        "none",
        "it has no log-ratio to a reference at all",
        _prime_rl,
        whole_batches=False,
        hints=("kl_tau in its loss is about trainer and sampler: neither beta nor the threshold.",),
    ),
    "ms-swift": Trainer(
        "ms-swift (4.6.0)",
        "flags",
        "swift rlhf --rlhf_type grpo",
        "reward",
        "in swift/rlhf_trainers/grpo_trainer.py, clip the sum (per_token_kl * completion_mask)",
        _ms_swift,
        hints=("NPROC_PER_NODE is the number of devices.",),
    ),
}
"""Name on the command line -> the trainer."""
