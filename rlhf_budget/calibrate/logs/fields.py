"""Which field plays which role, and in what shape it is written.

A :class:`Layout` says where each role is; the engines turn it into the columns of ``COLUMNS``. What
a trainer writes is in its own file of :mod:`~rlhf_budget.calibrate.logs.dialects`; here is what
people call things in logs of their own.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Kind = Literal["value", "total", "length", "path"]

USED = "used"
"""Value of the column ``reason`` in rows that nothing speaks against."""


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text: how tables of names are written, best first."""
    return tuple(text.split())


def number(value: object) -> float | None:
    """Return a finite number, also from text; None for anything else, truth values included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def parsed(text: str) -> Any:
    """Return what a JSON text says; None for one that is broken."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


COLUMNS = words("reason step prompt reward log_ratio tokens behaviour fingerprint")
"""Columns of the frame that the aggregates read."""


@dataclass(frozen=True, slots=True)
class Field:
    """Where one role is written."""

    name: str
    """Column, or key of a JSON record."""
    inner: tuple[int, ...] = ()
    """Positions in nested lists, from 0; of a ``path``, folders above the file's name."""
    kind: Kind = "value"
    """``total`` adds a list's numbers, ``length`` counts a list, ``path`` reads a file's name."""
    pattern: str | None = None
    """Expression whose first group is the value, in a text; where it fails, the whole text is."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a log holds what; a role without a field is None."""

    trainer: str | None
    """Name of the dialect; None where names were given or guessed one by one."""
    prompt: Field | None
    """Identifies the prompt within a step."""
    rewards: tuple[tuple[Field, float], ...]
    """Reward fields with their weights; their sum is the reward."""
    step: Field | None = None
    """Training step; of kind ``path`` where it stands in the names of files or folders."""
    log_ratio: Field | None = None
    """Sequence log-ratio, nats."""
    policy: Field | None = None
    """Sequence log-probability under the policy, nats."""
    reference: Field | None = None
    """Sequence log-probability under the reference, nats."""
    behaviour: Field | None = None
    """Sequence log-probability under the policy that sampled, nats."""
    tokens: Field | None = None
    """Completion tokens."""
    completion: Field | None = None
    """The completion itself, to recognise batches that were written twice."""
    rollout: Field | None = None
    """Identifies the rollout within a step, where one has several rows of one reward."""
    output: Field | None = None
    """Position of the row among those of its rollout; the last one counts."""

    def fields(self) -> tuple[Field, ...]:
        """Return the fields that must be read."""
        roles = (
            *(self.prompt, self.step, self.log_ratio, self.policy, self.reference),
            *(self.behaviour, self.tokens, self.completion, self.rollout, self.output),
        )
        rewards = tuple(field for field, _ in self.rewards)
        wanted = [f for f in (*rewards, *roles) if f is not None and f.kind != "path"]
        return tuple(dict.fromkeys(wanted))

    def numbers(self) -> tuple[Field, ...]:
        """Return the fields that are read as numbers and in no other role as text."""
        roles = (
            self.step,
            self.log_ratio,
            self.policy,
            self.reference,
            self.behaviour,
            self.tokens,
            *(field for field, _ in self.rewards),
        )
        texts = {f.name for f in (self.prompt, self.completion, self.rollout, self.output) if f}
        return tuple(
            field
            for field in roles
            if field is not None and field.kind == "value" and field.name not in texts
        )

    def has_log_ratio(self) -> bool:
        """Return whether the log-ratio can be had from the rows."""
        return self.log_ratio is not None or (
            self.policy is not None and self.reference is not None
        )

    def names(self) -> tuple[tuple[str, str | None], ...]:
        """Return pairs (role, field name) as the JSON's ``source.fields`` holds them."""
        reward: str | None = " + ".join(f"{weight:g}*{f.name}" for f, weight in self.rewards)
        if len(self.rewards) == 1 and self.rewards[0][1] == 1:
            reward = self.rewards[0][0].name
        log_ratio = _name(self.log_ratio)
        if log_ratio is None and self.policy is not None and self.reference is not None:
            log_ratio = f"{self.policy.name} - {self.reference.name}"
        return (
            ("prompt", _name(self.prompt)),
            ("reward", reward or None),
            ("step", _name(self.step)),
            ("log_ratio", log_ratio),
            ("tokens", _name(self.tokens)),
        )


STEP_IN_NAME = Field("(file name)", (0,), "path")
"""A step that stands in the file's name only."""


def step_in_path(level: int) -> Field:
    """Return the step that stands so many folders above the file's name."""
    return STEP_IN_NAME if level == 0 else Field("(folder name)", (level,), "path")


GUESSES: Mapping[str, tuple[str, ...]] = {
    "prompt": words(
        "prompt_id problem_id question_id example_id task_id group_id qid prompt_idx uid prompt"
        " problem question instruction query input"
    ),
    "reward": words(
        "reward total_reward scalar_reward score rewards reward_score overall_score final_reward"
        " passed pass correct is_correct success verifier"
    ),
    "step": words(
        "step global_step training_step train_step trainer_step gen_step iteration update"
        " policy_version policy_step current_step current_steps"
    ),
    "log_ratio": words("log_ratio logratio sequence_log_ratio"),
    "policy": words("logp_policy policy_logp policy_logprob logprob_policy"),
    "reference": words(
        "logp_ref ref_logp reference_logprob ref_logprob logprob_ref logp_reference"
    ),
    "behaviour": words("logp_behaviour behaviour_logprob behavior_logprob logp_behavior"),
    "tokens": words(
        "completion_tokens exact_token_count n_tokens num_tokens response_length completion_length"
        " output_tokens num_output_tokens"
    ),
    "completion": words("completion output response decoded_completion text"),
}
"""Names that a role goes by in logs that people write themselves, best first."""


def guess_layout(columns: Iterable[str]) -> Layout:
    """Return the layout that usual names of columns suggest."""
    names = frozenset(columns)

    found = {
        role: next((Field(name) for name in usual if name in names), None)
        for role, usual in GUESSES.items()
    }
    reward = found.pop("reward")
    return Layout(trainer=None, rewards=() if reward is None else ((reward, 1.0),), **found)


def parse_reward(text: str) -> tuple[tuple[Field, float], ...]:
    """Return fields and weights of ``NAME`` or ``NAME=WEIGHT,NAME=WEIGHT``.

    Raises
    ------
    CalibrationError
        If a weight is not a number.
    """
    if "=" not in text:
        return ((Field(text), 1.0),)
    pairs = []
    for part in text.split(","):
        name, _, weight = part.rpartition("=")
        try:
            pairs.append((Field(name.strip()), float(weight)))
        except ValueError:
            raise CalibrationError(
                f"--reward-field: {part!r} is not NAME=WEIGHT with a number"
            ) from None
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class FieldNames:
    """Field names given by hand; None is recognised or guessed."""

    prompt: str | None = None
    """Identifies the prompt."""
    reward: str | None = None
    """The reward, or ``NAME=WEIGHT,NAME=WEIGHT``."""
    log_ratio: str | None = None
    """Sequence log-ratio, nats."""
    policy_logprob: str | None = None
    """Sequence log-probability under the policy, nats."""
    reference_logprob: str | None = None
    """Sequence log-probability under the reference, nats."""
    behaviour_logprob: str | None = None
    """Sequence log-probability under the policy that sampled, nats."""
    tokens: str | None = None
    """Completion tokens."""
    step: str | None = None
    """Training step."""


def name_fields(
    layout: Layout, columns: Iterable[str], names: FieldNames, *, rewards_are_logged: bool = False
) -> Layout:
    """Return a layout with the names given by hand in place of its own.

    ``rewards_are_logged``: the trainer's own log says which columns are rewards. Raises
    CalibrationError if a given name is no column, or there is no prompt or reward field.
    """
    known = set(columns)
    if not known:
        raise CalibrationError(
            "no usable row: no record can be read; allowed: an object a line, an array of objects,"
            " a table with a header, all in UTF-8"
        )
    given = {
        "prompt": names.prompt,
        "step": names.step,
        "log_ratio": names.log_ratio,
        "policy": names.policy_logprob,
        "reference": names.reference_logprob,
        "behaviour": names.behaviour_logprob,
        "tokens": names.tokens,
    }
    changes: dict[str, Any] = {r: Field(name) for r, name in given.items() if name is not None}
    layout = replace(layout, **changes)
    if names.reward is not None:
        layout = replace(layout, rewards=parse_reward(names.reward))
    wanted = (*given.values(), *(field.name for field, _ in layout.rewards))
    missing = sorted({name for name in wanted if name is not None and name not in known})
    if missing:
        raise CalibrationError(f"no field {', '.join(missing)}; there are {_listed(known)}")
    if layout.trainer and layout.prompt is not None and layout.prompt.name not in known:
        raise CalibrationError(
            f"no field {layout.prompt.name}, which {layout.trainer} writes; there are"
            f" {_listed(known)}"
        )
    if layout.prompt is None:
        raise CalibrationError(f"no prompt field; give --prompt-field, one of {_listed(known)}")
    if not layout.rewards and not rewards_are_logged:
        raise CalibrationError(f"no reward field; give --reward-field, one of {_listed(known)}")
    return layout


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _name(field: Field | None) -> str | None:
    return None if field is None else field.name
