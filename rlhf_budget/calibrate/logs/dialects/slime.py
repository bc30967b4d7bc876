"""slime: its rollouts are pickled files, which are not read; its log's KL is."""

from __future__ import annotations

from rlhf_budget.calibrate.logs.dialects.dialect import SEQUENCE_MEANS, Dialect, KlKey


class Slime(Dialect):
    """slime's metrics."""

    name = "slime"
    kl_keys = (KlKey("kl_loss", (), SEQUENCE_MEANS),)
