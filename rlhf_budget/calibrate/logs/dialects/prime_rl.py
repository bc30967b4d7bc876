"""prime-rl: traces of episodes since July 2026, before that verifiers' flat rows.

``all`` and ``effective`` of a step hold the same episodes, the second without dropped ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rlhf_budget.calibrate.logs.dialects.dialect import Dialect
from rlhf_budget.calibrate.logs.dialects.nested import NestedDialect, NotUsable, Record, known
from rlhf_budget.calibrate.logs.fields import STEP_IN_NAME, Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rlhf_budget.calibrate.logs.fields import Layout


class PrimeRL(NestedDialect):
    """``rollouts/step_N/{train,eval}/{all,effective}/traces.jsonl``, one row an episode."""

    name = "prime-rl"
    thinner_folders = ("effective", "all")
    run_folder = 4

    def layout(self, columns: frozenset[str], guessed: Layout) -> Layout:
        """Return where flat rows hold what; without ``policy_version`` the folder has the step."""
        layout = super().layout(columns, guessed)
        return layout if layout.step else replace(layout, step=STEP_IN_NAME)

    def holds(self, record: Record) -> bool:
        """Return whether a record is an episode with traces and a group."""
        grouped = "group_id" in record or isinstance(record.get("group"), dict)
        return isinstance(record.get("traces"), list) and grouped

    def rows(self, record: Record, reward: str | None) -> Iterator[Record]:
        """Weigh the rewards of the episode's traces; ``policy_version`` is the policy's step."""
        if record.get("ok") is False:
            raise NotUsable("failed-episode")
        group = record["group_id"] if "group_id" in record else record["group"]["id"]
        scores = [
            (name, entry)
            for trace in record["traces"]
            for name, entry in trace["rewards"].items()
            if entry is not None and reward in {None, name}  # None was not scored
        ]
        total = sum(entry["score"] * entry.get("weight", 1.0) for _, entry in scores)
        row = {
            "prompt": group,
            "reward": total if scores else None,
            "completion_tokens": record.get("num_output_tokens"),
            "step": record.get("policy_version"),
        }
        yield known(row)


class Verifiers(Dialect):
    """``rollouts/step_N/{train,eval}_rollouts.jsonl`` from April 2026, in verifiers' form."""

    name = "prime-rl"
    run_folder = 2
    signatures = (frozenset({"example_id", "prompt", "completion", "reward"}),)
    fields: ClassVar = {"prompt": Field("example_id"), "step": STEP_IN_NAME}
