"""Whose losses these are: a reward model's, or those of another kind of training.

Keys tell most logs apart. Arithmetic tells others: a reward model that knows nothing has the loss
ln 2 on a pair, so that a curve which starts far above it is no mean of −ln σ(chosen − rejected). A
margin m inside σ adds at most ln(1 + e^m) − ln 2, that is 0.62 for m = 1.
"""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlhf_budget.calibrate.logs.fields import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KNOWS_NOTHING = math.log(2.0)
"""Loss of a reward model that knows nothing, nats per pair."""
WITH_MARGIN = math.log1p(math.e)
"""The same with a margin of 1 inside σ, nats per pair."""

_NOISE = 0.1
"""How far above ln 2 noise, or a head drawn at random, can lift a first evaluation, nats."""
_LANGUAGE_MODEL = 2.0
"""Training losses that start above it are a language model's per token, nats."""
_FIRST = 5
_PREFIX = re.compile(r"^((eval|train|val|test)[/_])+")
_PREFERENCE = frozenset(
    words(
        "logps/chosen logps/rejected logits/chosen logits/rejected rewards/chosen rewards/rejected"
        " rewards/margins rewards/accuracies log_odds_ratio log_odds_chosen"
    )
)
_REINFORCEMENT = frozenset(
    words(
        "reward reward_std rewards kl kl_loss objective/kl objective/rlhf_reward"
        " frac_reward_zero_std completions/mean_length completion_length critic/score/mean"
        " critic/rewards/mean actor/pg_loss actor/kl_loss response_length policy_loss"
    )
)
_LANGUAGE = frozenset(
    words("mean_token_accuracy token_accuracy perplexity ppl bleu bleu-4 rouge-l")
)
_REWARD_MODEL = frozenset(
    words(
        "accuracy acc acc_mean margin mean_reward min_reward max_reward reward_accuracy"
        " pairwise_accuracy chosen_reward rejected_reward"
    )
)


@dataclass(frozen=True, slots=True)
class LogKind:
    """What a log of losses is."""

    refused: str | None = None
    """What it is instead of a reward model's; None where it may be one."""
    doubt: str | None = None
    """Why it may not be one; None where nothing speaks against it."""


def kind_of(
    keys: Iterable[str],
    losses: Sequence[float],
    *,
    training_losses: Sequence[float] = (),
    from_run: bool,
) -> LogKind:
    """Tell what kind of training a log is of.

    ``keys`` are all of its records'; evaluation losses stand in the order of labels, training
    losses in their own, in nats. ``from_run``: a trainer wrote it; else somebody said that these
    are labels and losses.
    """
    plain = {_PREFIX.sub("", key.lower()) for key in keys}
    for kind, marks in (
        ("preference optimisation (DPO or its kin), whose loss is of the policy", _PREFERENCE),
        ("reinforcement learning, whose loss is the policy's", _REINFORCEMENT),
        ("language modelling (SFT), whose loss is per token", _LANGUAGE),
    ):
        seen = sorted(plain & marks)
        if seen:
            return LogKind(refused=f"a log of {kind} ({', '.join(seen[:3])})")
    told = bool(plain & _REWARD_MODEL)
    first = losses[0] if losses else 0.0
    early = statistics.median(training_losses[:_FIRST]) if training_losses else 0.0
    if not told and (first > WITH_MARGIN or early > _LANGUAGE_MODEL):
        what = f"losses that start at {first if first > WITH_MARGIN else early:.3g}"
        return LogKind(
            refused=f"{what} are no reward model's, which starts at ln 2 = 0.693 a pair: language"
            " modelling (SFT)?"
        )
    if first > KNOWS_NOTHING + _NOISE:
        return LogKind(
            doubt=f"the losses start at {first:.3g}, above the ln 2 = 0.693 of a reward model that"
            " knows nothing: a margin or a centring term is in them, or they are of another kind"
        )
    if from_run and not told:
        return LogKind(
            doubt="nothing in this log says that it is a reward model's (TRL's RewardTrainer writes"
            " eval_accuracy and eval_margin): if it is, give a table with the columns labels and"
            " loss"
        )
    return LogKind()
