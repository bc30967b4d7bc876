"""One object a prompt: best-of-n dumps, nested rollouts, groups of rewards, UltraFeedback.

``{"prompt", "responses": […], "rewards": […]}``, ``{"prompt", "samples": [{"reward": …}, …]}``, or
``{"update", "group_rewards": [[…], […]]}`` in a training log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.logs.dialects.nested import (
    NestedDialect,
    Record,
    first_of,
    is_number,
    is_reward,
    known,
    shared,
)
from rlhf_budget.calibrate.logs.fields import GUESSES, words

if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUPS = "group_rewards"
_REWARD_LISTS = words("rewards scores reward score correct is_correct passed")
_OBJECT_LISTS = words(
    "rollouts samples completions responses generations outputs candidates trajectories"
)


class OneAPrompt(NestedDialect):
    """Lists of rewards, or lists of objects with a reward each."""

    name = "one-a-prompt"
    one_group_a_record = True

    def holds(self, record: Record) -> bool:
        """Return whether a record lists rewards, or objects that have one."""
        if isinstance(record.get(_GROUPS), list):
            return True
        answers = any(isinstance(record.get(name), list) for name in _OBJECT_LISTS)
        if first_of(record, "prompt") is None and not answers:
            return False
        return _rewards(record) is not None or _objects(record, None) is not None

    def rows(self, record: Record, reward: str | None) -> Iterator[Record]:
        """Give every listed reward its row, with the record's step and prompt."""
        common = shared(record)
        if isinstance(record.get(_GROUPS), list):
            for position, group in enumerate(record[_GROUPS]):
                yield from ({**common, "prompt": position, "reward": entry} for entry in group)
            return
        objects = _objects(record, reward)
        if objects is not None:
            if not reward and not _have(objects, GUESSES["reward"]):  # its name is asked for
                yield from ({**e, **common} for e in objects)
                return
            for entry in objects:
                tokens = first_of(entry, "tokens")
                value = entry.get(reward) if reward else first_of(entry, "reward")
                own = {} if "prompt" in common else shared(entry)
                yield known({**common, **own, "reward": value, "completion_tokens": tokens})
            return
        rewards = record[reward] if reward else _rewards(record)
        if not isinstance(rewards, list):
            raise TypeError("no list of rewards")
        yield from ({**common, "reward": entry} for entry in rewards)


def _rewards(record: Record) -> list[Any] | None:
    """Return the list of rewards: numbers, as long as the list of responses where there is one."""
    for name in _REWARD_LISTS:
        values = record.get(name)
        if isinstance(values, list) and any(map(is_reward, values)):
            texts = [record[n] for n in _OBJECT_LISTS if isinstance(record.get(n), list)]
            if any(len(other) != len(values) for other in texts):
                raise ValueError("lists of different length")
            return values
    return None


def _objects(record: Record, reward: str | None) -> list[Record] | None:
    """Return the list of objects of which some have a reward, under a usual name if possible."""
    lists = [record[name] for name in _OBJECT_LISTS if isinstance(record.get(name), list)]
    names = (reward,) if reward else GUESSES["reward"]
    found = next((values for values in lists if _have(values, names)), None)
    if found is not None or reward:
        return found
    return next((values for values in lists if any(map(_has_number, values))), None)


def _have(values: list[Any], names: tuple[str, ...]) -> bool:
    return any(isinstance(entry, dict) and any(n in entry for n in names) for entry in values)


def _has_number(entry: Any) -> bool:
    return isinstance(entry, dict) and any(map(is_number, entry.values()))
