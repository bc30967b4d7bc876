"""NeMo-RL: ``train_data_step{N}.jsonl``, every value a list of one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rlhf_budget.calibrate.logs.dialects.dialect import Dialect, KlKey
from rlhf_budget.calibrate.logs.fields import STEP_IN_NAME, Field

if TYPE_CHECKING:
    from rlhf_budget.calibrate.logs.fields import Layout


class NemoRL(Dialect):
    """NeMo-RL's training data; the step stands in the file's name only."""

    name = "nemo-rl"
    signatures = (
        frozenset({"content", "rewards", "idx"}),
        frozenset({"content", "rewards", "generation_logprobs"}),
    )
    kl_keys = (KlKey("kl_penalty", (), "a token mean (NeMo-RL)"),)
    fields: ClassVar = {
        "prompt": Field("content", (0, 0)),
        "rewards": ((Field("rewards", (0,)), 1.0),),
        "step": STEP_IN_NAME,
        "tokens": Field("token_loss_mask", kind="total"),
        "completion": Field("content"),
    }

    def layout(self, columns: frozenset[str], guessed: Layout) -> Layout:
        """Return where its files hold what; some releases write no mask to count tokens by."""
        found = super().layout(columns, guessed)
        return found if "token_loss_mask" in columns else replace(found, tokens=None)
