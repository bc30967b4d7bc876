"""Every key of a scenario file: what it means, its unit and what may stand there.

This table is the one source for validation, for the fields of the models and for the JSON Schema.
A key path is written with dots, as in ``costs.prompt.existing``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rlhf_budget.scenario.families import FAMILIES
from rlhf_budget.scenario.key import REQUIRED, Key, Kind, constant

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_GROUP: Final = 1
LARGEST_GROUP: Final = 1024
"""Rollouts per prompt never exceed this."""
LARGEST_COUNT: Final = 10**12
"""Prompts and labels never exceed this."""
LARGEST_RANGE: Final = 1e150
"""Rewards range over less than this, so that their squares are numbers still."""
FREE_MAPPINGS: Final = ("sources", "checks", "scenarios")
"""Mappings whose keys the user chooses."""

RANGE_ENDS: Final = ("low", "high")


def _section(description: str, forms: str = "") -> Key:
    return Key(description, kind="mapping", forms=forms)


def _limit(description: str, unit: str, least: float, most: float | None = None) -> Key:
    kind: Kind = "number" if unit == "nats" else "whole"
    return Key(description, unit, kind, at_least=least, at_most=most)


POLICIES: Final[dict[str, tuple[str, ...]]] = {
    "fixed": (),
    "finite_class": ("candidates",),
    "pac_bayes": ("posterior_kl",),
    "sgd": ("sgd",),
}
"""Keys of ``bound`` that belong to one policy only."""

KEYS: Final[dict[str, Key]] = {
    "name": Key("Name of the scenario; by default the stem of the file's name", kind="text"),
    "extends": Key("Scenario file that this one changes; relative to this file", kind="text"),
    "currency": Key("Label of the currency", kind="text", default="USD"),
    "budget": Key("Money to spend", "currency", above=0),
    # --- objective
    "objective": _section("What is maximised, and with which certainty"),
    "objective.kl_coefficient": constant(
        "KL coefficient beta; at 0 log_ratio may be left out",
        "reward per nat",
        at_least=0,
        default=REQUIRED,
    ),
    "objective.reward_range": constant(
        "Length R of the interval that holds every reward",
        "reward",
        above=0,
        below=LARGEST_RANGE,
        default=1.0,
        forms="the interval itself as a list [low, high]",
    ),
    "objective.failure_probability": constant(
        "Probability delta with which the bound may fail", above=0, below=1, default=0.05
    ),
    # --- bound
    "bound": _section("Which bound is minimised"),
    "bound.concentration": Key(
        "Planning rule: hoeffding (the paper's Theorem 1) for training; prompt_mean and bernstein "
        "judge a policy that is there already",
        kind="word",
        words=("hoeffding", "prompt_mean", "bernstein"),
        default="hoeffding",
    ),
    "bound.policy": Key(
        "How the policy depends on the data: fixed beforehand, one of several candidates, "
        "averaged (pac_bayes), or trained by SGD",
        kind="word",
        words=tuple(POLICIES),
        default="fixed",
    ),
    "bound.candidates": constant(
        "Number of candidates, such as checkpoints, for policy finite_class",
        kind="whole",
        at_least=1,
    ),
    "bound.posterior_kl": constant("KL(Q||P) for policy pac_bayes", "nats", at_least=0),
    "bound.prompt_variance": constant(
        "Variance between prompts of the mean clipped objective",
        "reward^2",
        at_least=0,
        unknown=True,
    ),
    "bound.rollout_variance": constant(
        "Mean variance of the clipped objective within a prompt",
        "reward^2",
        at_least=0,
        unknown=True,
    ),
    "bound.sgd": _section("SGD as an Ornstein-Uhlenbeck process, for policy sgd"),
    "bound.sgd.learning_rate": constant("Learning rate", above=0, default=REQUIRED),
    "bound.sgd.batch_size": constant(
        "Batch size", "samples", kind="whole", at_least=1, default=REQUIRED
    ),
    "bound.sgd.hessian_eigenvalues": Key(
        "Eigenvalues of the Hessian at the optimum", kind="numbers", above=0, default=REQUIRED
    ),
    "bound.sgd.gradient_noise_eigenvalues": Key(
        "Eigenvalues of the gradient-noise covariance, in the same order",
        kind="numbers",
        above=0,
        default=REQUIRED,
    ),
    "bound.sgd.prior_std": constant(
        "Standard deviation of the Gaussian prior", above=0, default=REQUIRED
    ),
    "bound.sgd.distance": constant(
        "Distance of the optimum from the prior's mean", at_least=0, default=0.0
    ),
    # --- costs
    "costs": _section("What things cost"),
    "costs.prompt": constant(
        "Price of one prompt",
        "currency per prompt",
        at_least=0,
        default=REQUIRED,
        forms="a mapping of acquisition, existing, and prefill or tokens",
    ),
    "costs.prompt.acquisition": constant(
        "Price of one new prompt", "currency per prompt", at_least=0, default=0.0
    ),
    "costs.prompt.existing": constant(
        "Prompts already owned, which need not be acquired",
        "prompts",
        kind="whole",
        at_least=0,
        default=0,
    ),
    "costs.prompt.prefill": constant(
        "Compute to read one prompt; where written it is used in place of tokens",
        "currency per prompt",
        at_least=0,
        default=0.0,
    ),
    "costs.prompt.tokens": constant("Mean length of a prompt, priced with gpu", "tokens", above=0),
    "costs.rollout": constant(
        "Price of one rollout",
        "currency per rollout",
        at_least=0,
        default=REQUIRED,
        forms="a mapping of tokens, scoring and train, with costs.gpu",
    ),
    "costs.rollout.tokens": constant(
        "Mean length of a rollout, priced with gpu", "tokens", above=0, default=REQUIRED
    ),
    "costs.rollout.scoring": constant(
        "Price of scoring one rollout", "currency per rollout", at_least=0, default=0.0
    ),
    "costs.rollout.train": Key(
        "Whether each rollout is trained on as well; needs costs.prompt.tokens",
        kind="truth",
        default=False,
    ),
    "costs.label": constant(
        "Price of one preference label; needed where labels can be bought",
        "currency per label",
        at_least=0,
    ),
    "costs.fixed": constant("Money spent whatever the plan", "currency", at_least=0, default=0.0),
    "costs.gpu": _section("Price and speed of one GPU, for costs given in tokens"),
    "costs.gpu.hourly_rate": constant(
        "Price of one GPU", "currency per hour", at_least=0, default=REQUIRED
    ),
    "costs.gpu.prefill_tokens_per_second": constant(
        "Speed of reading prompts on one GPU", "tokens per second", above=0
    ),
    "costs.gpu.decode_tokens_per_second": constant(
        "Speed of generating rollouts on one GPU", "tokens per second", above=0
    ),
    "costs.gpu.train_tokens_per_second": constant(
        "Speed of training on one GPU", "tokens per second", above=0
    ),
    # --- reward model
    "reward_model": _section(
        "How well the reward model knows the reward",
        "the word verifiable (a programmatic reward: no labels, no error)",
    ),
    "reward_model.coverage": constant(
        "Coverage C = sqrt(1 + chi^2) of the policy by the labels' law", at_least=1, unknown=True
    ),
    "reward_model.chi2": constant(
        "Chi-squared divergence of the policy from the labels' law, in place of coverage",
        at_least=0,
    ),
    "reward_model.coverage_kind": Key(
        "What the coverage was measured on: densities, or features of a linear reward head",
        kind="word",
        words=("density", "features"),
        default="density",
    ),
    "reward_model.error": constant(
        "Mean squared error of a finished reward model, for which no labels are bought",
        "reward^2",
        at_least=0,
        default=REQUIRED,
        unknown=True,
        forms="a learning curve of floor, scale and exponent",
    ),
    "reward_model.error.floor": constant(
        "Error that no labels remove", "reward^2", at_least=0, default=0.0, unknown=True
    ),
    "reward_model.error.scale": constant(
        "Error above the floor at one label",
        "reward^2",
        at_least=0,
        default=REQUIRED,
        unknown=True,
    ),
    "reward_model.error.exponent": constant(
        "Power of the number of labels at which the error falls",
        above=0,
        default=REQUIRED,
        unknown=True,
    ),
    "reward_model.existing_labels": constant(
        "Labels already owned", "labels", kind="whole", at_least=0, default=0
    ),
    "reward_model.label_policy": Key(
        "Whose rollouts new labels compare: the behaviour policy's, or the current policy's",
        kind="word",
        words=("behaviour", "current"),
        default="behaviour",
    ),
    # --- log-ratio
    "log_ratio": _section("Law of the log-ratio of policy and reference on whole responses"),
    "log_ratio.family": Key(
        "Family of laws", kind="word", words=tuple(FAMILIES), default="gaussian"
    ),
    # --- groups
    "groups": _section(
        "Rewards of 0 and 1 in groups, of which those with equal rewards teach nothing"
    ),
    "groups.mean": Key(
        "Mean reward, as a share of the way from the lower to the higher value",
        above=0,
        below=1,
        default=REQUIRED,
    ),
    "groups.correlation": Key(
        "Intraclass correlation of the rewards: the share of their variance that lies between "
        "prompts",
        at_least=0,
        below=1,
        default=REQUIRED,
    ),
    # --- limits
    "limits": _section("What the plan may choose from"),
    "limits.prompts": _section("Number of prompts", "one whole number, which fixes it"),
    "limits.prompts.min": _limit("Fewest prompts", "prompts", 1, LARGEST_COUNT),
    "limits.prompts.max": _limit("Most prompts", "prompts", 1),
    "limits.rollouts_per_prompt": _section(
        "Rollouts of each prompt over all epochs", "one whole number, which fixes it"
    ),
    "limits.rollouts_per_prompt.min": _limit(
        "Fewest rollouts of a prompt", "rollouts", LEAST_GROUP, LARGEST_GROUP
    ),
    "limits.rollouts_per_prompt.max": _limit(
        "Most rollouts of a prompt over all epochs; by default 256",
        "rollouts",
        LEAST_GROUP,
        LARGEST_GROUP,
    ),
    "limits.rollouts_per_prompt.choices": Key(
        "The numbers of rollouts to choose from, in place of min and max",
        "rollouts",
        "wholes",
        at_least=LEAST_GROUP,
        at_most=LARGEST_GROUP,
    ),
    "limits.group_size": _section(
        "Completions that the trainer draws of a prompt at a time; rollouts per prompt are group "
        "size times epochs",
        "one whole number, which fixes it",
    ),
    "limits.group_size.min": _limit("Smallest group", "rollouts", LEAST_GROUP, LARGEST_GROUP),
    "limits.group_size.max": _limit("Largest group", "rollouts", LEAST_GROUP, LARGEST_GROUP),
    "limits.group_size.choices": Key(
        "The group sizes to choose from, in place of min and max",
        "rollouts",
        "wholes",
        at_least=LEAST_GROUP,
        at_most=LARGEST_GROUP,
    ),
    "limits.epochs": _section(
        "Visits to each prompt, beside group_size", "one whole number, which fixes it"
    ),
    "limits.epochs.min": _limit("Fewest epochs", "epochs", 1, LARGEST_GROUP),
    "limits.epochs.max": _limit("Most epochs", "epochs", 1, LARGEST_GROUP),
    "limits.labels": _section("Number of new labels", "one whole number, which fixes it"),
    "limits.labels.min": _limit("Fewest new labels", "labels", 0, LARGEST_COUNT),
    "limits.labels.max": _limit("Most new labels", "labels", 0),
    "limits.clip_threshold": _section(
        "Threshold at which whole-response log-ratios are clipped", "one number, which fixes it"
    ),
    "limits.clip_threshold.min": _limit("Least clip threshold", "nats", 0),
    "limits.clip_threshold.max": _limit("Largest clip threshold", "nats", 0),
    # --- the allocation to beat
    "current": _section("The allocation to beat"),
    "current.prompts": Key(
        "Prompts", "prompts", "whole", at_least=1, at_most=LARGEST_COUNT, default=REQUIRED
    ),
    "current.rollouts_per_prompt": Key(
        "Rollouts of each prompt",
        "rollouts",
        "whole",
        at_least=1,
        at_most=1_000_000,
        default=REQUIRED,
    ),
    "current.labels": Key(
        "New labels", "labels", "whole", at_least=0, at_most=LARGEST_COUNT, default=0
    ),
    "current.clip_threshold": Key(
        "Clip threshold; by default the best for the other three", "nats", at_least=0
    ),
    # --- a run under way
    "progress": _section("What is behind, in a run under way"),
    "progress.prompts": Key(
        "Prompts used", "prompts", "whole", at_least=0, at_most=LARGEST_COUNT, default=REQUIRED
    ),
    "progress.rollouts_per_prompt": Key(
        "Rollouts of each of them; where groups differ, their harmonic mean",
        "rollouts",
        at_least=0,
        at_most=LARGEST_GROUP,
        default=0,
    ),
    "progress.labels": Key(
        "Labels bought", "labels", "whole", at_least=0, at_most=LARGEST_COUNT, default=0
    ),
    "progress.cost": Key("Money spent, costs.fixed included", "currency", at_least=0, default=0),
    # --- free mappings
    "sources": _section("Where constants come from: key path -> text"),
    "checks": _section("Gates of the command check: result key -> {min, max}"),
    "scenarios": _section("Named overrides: name -> the keys to change"),
} | {
    f"log_ratio.{name}": key
    for family in reversed(FAMILIES.values())
    for name, key in family.fields.items()
}
"""Key path -> what may stand there. Fields that several families share describe the first of them;
their limits are those of ``FAMILIES``."""


def _tree() -> dict[str, tuple[str, ...]]:
    children: dict[str, list[str]] = {}
    for path in KEYS:
        parent, _, name = path.rpartition(".")
        children.setdefault(parent, []).append(name)
    for path, key in KEYS.items():
        if key.uncertain:
            children.setdefault(path, []).extend(RANGE_ENDS)
    return {path: tuple(names) for path, names in children.items()}


CHILDREN: Final[Mapping[str, tuple[str, ...]]] = _tree()
"""Key path -> names of the keys in it; the empty path is the file as a whole."""
