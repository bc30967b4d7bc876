"""OpenRLHF: ``batch_inference`` to 0.9.5; later versions write no rollouts."""

from __future__ import annotations

from typing import ClassVar

from rlhf_budget.calibrate.logs.dialects.dialect import SEQUENCE_MEANS, Dialect, KlKey
from rlhf_budget.calibrate.logs.fields import Field


class OpenRLHF(Dialect):
    """OpenRLHF's scored samples."""

    name = "openrlhf"
    signatures = (frozenset({"input", "output", "reward"}),)
    kl_keys = (KlKey("kl", ("response_length",), SEQUENCE_MEANS),)
    standardises_rewards = True
    fields: ClassVar = {"prompt": Field("input"), "rewards": ((Field("reward"), 1.0),)}
