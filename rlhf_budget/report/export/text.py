"""A plan as a file that a trainer reads: comments that explain, then its options."""

from __future__ import annotations

import json
from importlib import resources
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from rlhf_budget import __version__
from rlhf_budget.report.export.run import CAP, TRAINING_CLIP, training_run
from rlhf_budget.report.export.trainers import TRAINERS
from rlhf_budget.report.layout import clean
from rlhf_budget.report.numbers import integer, plain, significant
from rlhf_budget.report.underway import rest_words
from rlhf_budget.report.words import amount, buys_labels, count, purchase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rlhf_budget.planning.results import Plan
    from rlhf_budget.report.export.run import Run
    from rlhf_budget.report.export.trainers import Form, Trainer, Value

_WIDTH: Final = 88


def export(
    plan: Plan, trainer: str, *, prompts_per_step: int | None = None, devices: int = 1
) -> str:
    """Write a plan as a trainer's own options, with comments: Python, a command, YAML or TOML.

    ``trainer`` is a name of ``TRAINERS``; prompts and devices are those of :func:`training_run`.

    Raises
    ------
    TrainerError
        Where the trainer would refuse the plan, with the nearest that it takes.
    """
    about = TRAINERS[trainer]
    run = training_run(
        plan,
        prompts_per_step=prompts_per_step,
        devices=devices,
        whole_batches=about.whole_batches,
    )
    set_ = about.options(run, coefficient(run, about))
    options = {name: value for name, value in set_.items() if value is not None}
    # No name from outside may end a comment and go on as code.
    head = "".join(
        f"# {line}\n"
        for text in _comments(run, about)
        for line in wrap(clean(text), _WIDTH, break_long_words=False, break_on_hyphens=False)
    )
    written = head + _FORMS[about.form](about, options)
    if about.form != "python" or run.training_clip is None:
        return written
    # TRL's reward function that clips a whole response's log-ratio, where there is one to clip.
    file = resources.files("rlhf_budget.report.export") / "clipped_penalty.txt"
    penalty = file.read_text(encoding="utf-8")
    β = plan.scenario.objective.kl_coefficient
    return written + penalty.replace("{beta}", repr(β)).replace(
        "{threshold}", repr(run.training_clip)
    )


def coefficient(run: Run, trainer: Trainer) -> float:
    """The trainer's KL coefficient, reward per nat, or a number where it divides advantages."""
    β = run.plan.scenario.objective.kl_coefficient
    if trainer.kl == "divisible loss" and run.group_deviation is not None:
        return β / run.group_deviation
    return β


# --- what is said --------------------------------------------------------------------------------


def _comments(run: Run, trainer: Trainer) -> Iterator[str]:
    plan, scenario = run.plan, run.plan.scenario
    yield f"{scenario.name}: options for {trainer.title}, by rlhf-budget {__version__}."
    yield _what_it_does(plan)
    left = run.prompts - run.prompts_used
    over = f"; {integer(left)} are left over" if left else ""
    visits = "once" if run.epochs == 1 else f"in {run.epochs} epochs"
    yield (
        f"{count(run.steps, 'step')} of {count(run.prompts_per_step, 'prompt')}, "
        f"{integer(run.group_size)} rollouts of each, on {count(run.devices, 'device')}: they use "
        f"{count(run.prompts_used, 'prompt')} {visits}{over}."
    )
    if plan.to_come is None:
        if buys_labels(scenario):
            yield f"The reward model comes first: {count(plan.allocation.labels, 'label')} to buy."
    else:
        if plan.to_come.labels:
            yield f"The reward model comes first: {count(plan.to_come.labels, 'label')} to buy."
        yield (
            "What is behind is not counted: a trainer that goes on from its own checkpoint counts "
            "all steps, so add those that it has taken, and leave out the prompts that it has seen."
        )
    yield _kl_words(run, trainer)
    if run.mean_tokens is None:
        yield (
            "The length of a response is not set: the scenario names no tokens "
            "(costs.rollout.tokens, or log_ratio.tokens)."
        )
    else:
        yield (
            f"The cap on a response is {CAP} times the mean of {plain(run.mean_tokens)} tokens "
            "that the scenario names: raise it if responses are cut."
        )
    τ, clip = plan.allocation.clip_threshold, run.training_clip
    if τ is not None and clip is not None and trainer.kl != "none":
        yield (
            f"No option clips the log-ratio of a whole response. The plan's threshold, "
            f"{significant(τ)} nats, is for estimating the objective; training clips no lower than "
            f"{TRAINING_CLIP:g} times that, {significant(clip)} nats, and may do without. "
            f"To clip there: {trainer.clipping}."
        )
    yield from trainer.hints


def _what_it_does(plan: Plan) -> str:
    currency, bound = plan.scenario.currency, significant(plan.bound.total)
    if plan.to_come is None:
        what, cost = f"Plan: {purchase(plan.allocation, plan.scenario)}", plan.cost.total
    else:
        what, cost = f"Rest of the run: {rest_words(plan.to_come)}", plan.to_come.cost
    return f"{what} for {amount(cost, currency)}; bound {bound}."


def _kl_words(run: Run, trainer: Trainer) -> str:
    β, deviation = run.plan.scenario.objective.kl_coefficient, run.group_deviation
    if β == 0:
        return "No KL penalty, as objective.kl_coefficient is 0."
    if trainer.kl == "none":
        return (
            f"WARNING: it has no KL penalty to a reference policy, and the plan's beta of {β:g} "
            "has no place: plan with objective.kl_coefficient 0, or use another trainer."
        )
    if trainer.kl == "reward":
        return f"KL acts on the reward, so its coefficient is the plan's beta, {β:g}."
    if trainer.kl == "divisible loss" and deviation is not None:
        return (
            f"KL is a loss beside advantages divided by their group's standard deviation: its "
            f"coefficient is beta / deviation = {β:g} / {deviation:.4g} = {β / deviation:.4g}, "
            "with the root of bound.rollout_variance for the deviation; right on average, as "
            "groups differ."
        )
    known = "" if deviation is not None else " (bound.rollout_variance, their scale, is not known)"
    return (
        f"KL is a loss, and advantages are not divided by their group's standard "
        f"deviation{known}: its coefficient is the plan's beta, {β:g}."
    )


# --- what is read --------------------------------------------------------------------------------


def _python(trainer: Trainer, options: Mapping[str, Value]) -> str:
    # JSON quotes texts as Python does.
    inner = "".join(
        f"    {name}={json.dumps(value) if isinstance(value, str) else repr(value)},\n"
        for name, value in options.items()
    )
    return f"# config = {trainer.start}(output_dir=..., **options)\noptions = dict(\n{inner})\n"


def _hydra(trainer: Trainer, options: Mapping[str, Value]) -> str:
    return _command(trainer, [f"{name}={value}" for name, value in options.items()])


def _flags(trainer: Trainer, options: Mapping[str, Value]) -> str:
    return _command(
        trainer,
        [f"--{name}" if value is True else f"--{name} {value}" for name, value in options.items()],
    )


def _command(trainer: Trainer, words: list[str]) -> str:
    """Write a shell command, to which model and data are added when it is called."""
    lines = " \\\n".join([trainer.start, *(f"  {word}" for word in words), '  "$@"'])
    return f"# bash THIS_FILE, followed by your model and data\n{lines}\n"


def _yaml(trainer: Trainer, options: Mapping[str, Value]) -> str:
    lines = [f"# {trainer.start}"]
    above: list[str] = []
    for path, value in options.items():
        *sections, name = path.split(".")
        for depth, section in enumerate(sections):
            if above[: depth + 1] != sections[: depth + 1]:
                lines.append(f"{'  ' * depth}{section}:")
        above = sections
        lines.append(f"{'  ' * len(sections)}{name}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def _toml(trainer: Trainer, options: Mapping[str, Value]) -> str:
    lines = [f"# {trainer.start}"]
    above = ""
    for path, value in options.items():
        section, _, name = path.rpartition(".")
        if section != above:
            lines += ["", f"[{section}]"]
        above = section
        lines.append(f"{name} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


_FORMS: Final[dict[Form, Callable[[Trainer, Mapping[str, Value]], str]]] = {
    "python": _python,
    "hydra": _hydra,
    "flags": _flags,
    "yaml": _yaml,
    "toml": _toml,
}
