"""Open-Instruct: ``--save_traces``, JSONL in shards."""

from __future__ import annotations

from typing import ClassVar

from rlhf_budget.calibrate.logs.dialects.dialect import Dialect, KlKey
from rlhf_budget.calibrate.logs.fields import Field


class OpenInstruct(Dialect):
    """Open-Instruct's traces; ``prompt_idx`` restarts in each step, prompts' tokens do not."""

    name = "open-instruct"
    signatures = (frozenset({"prompt_tokens", "response_tokens", "reward"}),)
    kl_keys = (KlKey("objective/kl0_avg", (), "a token mean (Open-Instruct)"),)
    metadata_ending = "_metadata.jsonl"
    filters_groups = True
    fields: ClassVar = {
        "prompt": Field("prompt_tokens"),
        "tokens": Field("response_tokens", kind="length"),
        "completion": Field("response_tokens"),
    }
