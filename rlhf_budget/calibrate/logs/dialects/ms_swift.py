"""ms-swift: ``completions.jsonl``, one object a logging step whose values are lists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rlhf_budget.calibrate.logs.dialects.dialect import LogLesson
from rlhf_budget.calibrate.logs.dialects.nested import NestedDialect, Record
from rlhf_budget.calibrate.logs.dialects.trl import TRL
from rlhf_budget.calibrate.logs.fields import Field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rlhf_budget.calibrate.logs.dialects.dialect import Rows
    from rlhf_budget.calibrate.logs.engine import Engine
    from rlhf_budget.calibrate.logs.fields import Layout
    from rlhf_budget.calibrate.logs.metrics.log import MetricsLog

_TOTAL = ((Field("reward"), 1.0),)


class MsSwift(TRL, NestedDialect):
    """ms-swift's completions of GRPO: TRL's table, turned on its side."""

    name = "ms-swift"
    signatures = ()
    kl_keys = ()  # its log has TRL's
    names_tell_evaluation = True

    def layout(self, columns: frozenset[str], guessed: Layout) -> Layout:
        """Return where its rows hold what; earlier releases write ``messages`` for the prompt."""
        found = super().layout(columns, guessed)
        return found if "prompt" in columns else replace(found, prompt=Field("messages"))

    def logged_rewards(
        self, layout: Layout, types: Mapping[str, str], log: MetricsLog | None
    ) -> Layout:
        """Take the total where it is written, else what TRL's rules say of the functions."""
        if "reward" in types:
            return replace(layout, rewards=_TOTAL)
        return super().logged_rewards(layout, types, log)

    def learn_from_log(
        self, rows: Rows, layout: Layout, log: MetricsLog, engine: Engine, *, rewards_given: bool
    ) -> LogLesson:
        """Weigh the functions by the log, where the total is not written."""
        if layout.rewards == _TOTAL:
            return LogLesson(rows, layout)
        return super().learn_from_log(rows, layout, log, engine, rewards_given=rewards_given)

    def holds(self, record: Record) -> bool:
        """Return whether prompts, completions and steps are lists of one length."""
        prompts = record.get("prompt", record.get("messages"))
        columns = (prompts, record.get("completion", prompts), record.get("step"))
        return (
            all(isinstance(column, list) and column for column in columns)
            and len({len(column) for column in columns}) == 1  # type: ignore[arg-type]
        )

    def rows(self, record: Record, reward: str | None) -> Iterator[Record]:
        """Take the i-th entry of every list."""
        del reward
        lists = {name: values for name, values in record.items() if isinstance(values, list)}
        for values in zip(*lists.values(), strict=True):
            yield dict(zip(lists, values, strict=True))
