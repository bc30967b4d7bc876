"""tinker's cookbook: ``train_rollout_summaries.jsonl``, one row a trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.calibrate.logs.dialects.nested import NestedDialect, NotUsable, Record, known

if TYPE_CHECKING:
    from collections.abc import Iterator


class Tinker(NestedDialect):
    """Summaries of trajectories; ``group_idx`` restarts in each iteration."""

    name = "tinker"

    def holds(self, record: Record) -> bool:
        """Return whether a record is a trajectory's summary."""
        return record.keys() >= {"group_idx", "traj_idx", "total_reward"}

    def rows(self, record: Record, reward: str | None) -> Iterator[Record]:
        """Take the total reward, and the tokens of all actions."""
        if record.get("split", "train") != "train":
            raise NotUsable("evaluation")
        lengths = [step.get("ac_len") for step in record.get("steps") or ()]
        row = {
            "step": record.get("iteration", record.get("sampling_client_step")),
            "prompt": record["group_idx"],
            "reward": record[reward or "total_reward"],
            "completion_tokens": sum(lengths) if lengths and None not in lengths else None,
        }
        yield known(row)
