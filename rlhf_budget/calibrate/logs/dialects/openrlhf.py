"""OpenRLHF: ``batch_inference`` to 0.9.5; later versions write no rollouts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rlhf_budget.calibrate.logs.dialects.dialect import SEQUENCE_MEANS, Dialect, KlKey
from rlhf_budget.calibrate.logs.fields import Field

if TYPE_CHECKING:
    from rlhf_budget.calibrate.logs.fields import Layout


class OpenRLHF(Dialect):
    """OpenRLHF's scored samples."""

    name = "openrlhf"
    signatures = (frozenset({"input", "output", "reward"}),)
    kl_keys = (KlKey("kl", ("response_length",), SEQUENCE_MEANS),)
    standardises_rewards = True

    def layout(self, columns: frozenset[str], guessed: Layout) -> Layout:
        """Return where its files hold what."""
        del columns
        rewards = ((Field("reward"), 1.0),)
        return replace(guessed, trainer=self.name, prompt=Field("input"), rewards=rewards)
