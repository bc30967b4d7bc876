"""Weights & Biases' tables: ``{"columns": […], "data": [[…], …]}``, one document."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rlhf_budget.calibrate.logs.dialects.nested import NestedDialect, Record
from rlhf_budget.calibrate.logs.dialects.trl import only_reward

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rlhf_budget.calibrate.logs.fields import Layout
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog


class WandbTable(NestedDialect):
    """A table of completions, as TRL and others log it to W&B."""

    name = "wandb-table"
    rewards_are_logged = True

    def holds(self, record: Record) -> bool:
        """Return whether a record is a table."""
        columns, data = record.get("columns"), record.get("data")
        return isinstance(columns, list) and isinstance(data, list)

    def rows(self, record: Record, reward: str | None) -> Iterator[Record]:
        """Name the values of every row."""
        del reward
        for values in record["data"]:
            yield dict(zip(record["columns"], values, strict=True))

    def logged_rewards(
        self, layout: Layout, types: Mapping[str, str], log: MetricsLog | None
    ) -> Layout:
        """Take the usual name of a reward, else the only column that can be one."""
        del log
        return layout if layout.rewards else replace(layout, rewards=only_reward(types))
