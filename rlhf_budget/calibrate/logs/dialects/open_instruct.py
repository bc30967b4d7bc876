"""Open-Instruct: ``--save_traces``, JSONL in shards."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rlhf_budget.calibrate.logs.dialects.dialect import Dialect, KlKey
from rlhf_budget.calibrate.logs.fields import Field

if TYPE_CHECKING:
    from rlhf_budget.calibrate.logs.fields import Layout


class OpenInstruct(Dialect):
    """Open-Instruct's traces; ``prompt_idx`` restarts in each step, prompts' tokens do not."""

    name = "open-instruct"
    signatures = (frozenset({"prompt_tokens", "response_tokens", "reward"}),)
    kl_keys = (KlKey("objective/kl0_avg", (), "a token mean (Open-Instruct)"),)
    metadata_ending = "_metadata.jsonl"
    filters_groups = True

    def layout(self, columns: frozenset[str], guessed: Layout) -> Layout:
        """Return where its files hold what."""
        del columns
        return replace(
            guessed,
            trainer=self.name,
            prompt=Field("prompt_tokens"),
            tokens=Field("response_tokens", kind="length"),
            completion=Field("response_tokens"),
        )
