"""verl: ``trainer.rollout_data_dir``, one JSONL file a step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rlhf_budget.calibrate.logs.dialects.dialect import SEQUENCE_MEANS, Dialect, KlKey
from rlhf_budget.calibrate.logs.fields import Field

if TYPE_CHECKING:
    from rlhf_budget.calibrate.logs.fields import Layout

_LENGTHS = ("response_length/mean",)


class Verl(Dialect):
    """verl's rollouts; from 0.9 on, ``uid`` is ``{prompt}_{rollout}_{output}``."""

    name = "verl"
    signatures = (frozenset({"input", "output", "score"}),)
    kl_keys = (
        KlKey("actor/kl_loss", _LENGTHS, "a token mean under loss_agg_mode token-mean"),
        KlKey("actor/reward_kl_penalty", _LENGTHS, SEQUENCE_MEANS),
        KlKey("critic/kl", _LENGTHS, SEQUENCE_MEANS),  # its older name
    )
    evaluation_columns = frozenset({"uid", "score", "reward"})

    fields: ClassVar = {
        "prompt": Field("input"),
        "rewards": ((Field("score"), 1.0),),
        "completion": Field("output"),
    }

    def layout(self, columns: frozenset[str], guessed: Layout) -> Layout:
        """Return where its files hold what."""
        found = super().layout(columns, guessed)
        if "uid" not in columns:
            return found
        return replace(
            found,
            prompt=Field("uid", pattern="^(.*)_[0-9]+_[0-9]+$"),
            rollout=Field("uid", pattern="^(.*)_[0-9]+$"),
            output=Field("uid", pattern="_([0-9]+)$"),
        )
