"""Plan with a constant wrong by a factor of 3, and half-way plan the rest anew or stay.

In each world of ``simulate --study training`` a pilot measures the constants, through the
calibrations of this tool. A team plans with one of them three times as large, or a third, and
follows the plan until half of it is done, or half of the money is gone. Then it either stays (to
the end of the plan, or of the money), or plans the rest with the measured constants under
``progress``. Both arms share all that was done before. Run it to rewrite the table of
docs/underway.md::

    python benchmarks/underway.py           # rewrite
    python benchmarks/underway.py --quick   # a small run, printed, nothing written
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlhf_budget import Scenario, ScenarioError
from rlhf_budget.optimum.case import prepare
from rlhf_budget.optimum.certified import optimise
from rlhf_budget.simulation.parallel import try_worlds
from rlhf_budget.simulation.statistics import clopper_pearson, mean_interval
from rlhf_budget.simulation.training.judging import judge
from rlhf_budget.simulation.training.study import training_protocol
from rlhf_budget.simulation.training.trainer import Phase, Run, train_in_phases
from rlhf_budget.simulation.training.trials import reward_weights, set_stage
from rlhf_budget.simulation.training.world import true_objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget import Allocation
    from rlhf_budget.simulation.training.trials import TrainingProtocol

PAGE = Path(__file__).resolve().parent.parent / "docs" / "underway.md"
SEED = 2026
WORLDS, REPLICATES = 12, 4
WRONG_BY = 3.0
PRICES = {
    "cheap labels": {"prompt": 0.01, "rollout": 0.01, "label": 0.05},
    "between": {"prompt": 0.02, "rollout": 0.01, "label": 0.3},
    "dear labels": {"prompt": 0.002, "rollout": 0.01, "label": 1.5},
}
"""USD."""
MEASURED = (
    "reward_model.coverage",
    "reward_model.error.scale",
    "reward_model.error.exponent",
    "log_ratio",
)
BILLED = ("costs.label", "costs.rollout")
GUESSES = tuple((key, by) for key in (*MEASURED, *BILLED) for by in (WRONG_BY, 1 / WRONG_BY))
ALL_KNOWN = "known from the start"


def to_train(prices: dict[str, float]) -> Scenario:
    return Scenario(
        name="underway",
        budget=10_000,
        objective={"kl_coefficient": 0.05},
        bound={"policy": "pac_bayes", "posterior_kl": 17},
        costs=prices,
        reward_model={"coverage": 1.5, "error": {"scale": 8.0, "exponent": 0.8}},
        log_ratio={"family": "gaussian", "kl": 3.0},
        limits={"rollouts_per_prompt": {"min": 8, "max": 64}},
    )


def guessed(truth: Scenario, key: str, by: float) -> Scenario | None:
    """The scenario with one constant wrong; None where that is no legal value."""
    value: Any = truth
    for name in key.split("."):
        value = getattr(value, name)
    if key == "log_ratio":
        wrong: Any = {"family": "empirical", "samples": [by * each for each in value.samples]}
    else:
        wrong = max(1.0, by * value) if key.endswith("coverage") else by * value
    try:
        return truth.with_values({key: wrong})
    except ScenarioError:
        return None


@dataclass(frozen=True)
class Half:
    """Part of a plan, then the rest of that plan or of another."""

    share: float
    """Of the plan, done in the first part."""
    plan: Allocation
    before: tuple[int, int]
    """Prompts and labels of the first part."""
    after: tuple[int, int, int]
    """Prompts, rollouts of each and labels of the second part."""
    clip_threshold: float | None
    """Of the second part."""
    late: bool = True
    """Whether the first part has only the labels bought by then, not all that the run buys."""

    @property
    def labels(self) -> int:
        """In all."""
        return self.before[1] + self.after[2]

    @property
    def phases(self) -> list[tuple[int, int, int, float | None, float]]:
        """Prompts, K, labels of the reward model, clip threshold and learning rate after it."""
        K, (n, m), (rest, K_rest, _) = self.plan.rollouts_per_prompt, self.before, self.after
        m = m if self.late else self.labels
        first = n, K, m, self.plan.clip_threshold, 1.0 - self.share
        second = rest, K_rest, self.labels, self.clip_threshold, 0.0
        return [phase for phase in (first, second) if phase[0]]


def stay_or_change(truth: Scenario, guess: Scenario) -> tuple[Half, Half, Half, Half]:
    """What a team does that planned by a guess, where all prices are those of the truth.

    To stay, to change, and both as if all their labels had been there from the start.
    """
    plan, prices = optimise(guess).allocation, prepare(truth).prices
    n, K, m = plan.prompts, plan.rollouts_per_prompt, plan.labels
    budget = truth.budget or 0.0
    affordable = budget / prices.cost(n, K, m).total
    share = min(0.5, 0.5 * affordable)
    before = max(1, int(share * n)), int(share * m)
    end = min(1.0, affordable)
    rest = int(end * n) - before[0], K, int(end * m) - before[1]
    behind = {
        "prompts": before[0],
        "rollouts_per_prompt": K,
        "labels": before[1],
        "cost": prices.cost(before[0], K, before[1]).total,
    }
    best = optimise(truth.with_values({"progress": behind}))
    stay = Half(share, plan, before, rest, plan.clip_threshold)
    change = Half(share, plan, before, best.to_come, best.allocation.clip_threshold)
    return stay, change, replace(stay, late=False), replace(change, late=False)


def known(truth: Scenario) -> Half:
    """The plan of the measured constants, followed to its end."""
    return stay_or_change(truth, truth)[0]


@dataclass(frozen=True, eq=False)
class Record:
    """One world."""

    guesses: tuple[tuple[str, float], ...]
    halves: tuple[Half, ...]
    """The plan of what is known, then for each guess what ``stay_or_change`` gives."""
    quality: NDArray[np.floating]
    """J* by half, learning rate and replicate."""


def try_rest(protocol: TrainingProtocol, seed: np.random.SeedSequence) -> Record:
    """Draw a world, plan by every wrong guess, and train both arms of each."""
    laws, piloting, training = seed.spawn(3)
    stage, truth = set_stage(protocol, laws, piloting)
    tried = {wrong: guessed(truth, *wrong) for wrong in GUESSES}
    legal = {wrong: guess for wrong, guess in tried.items() if guess is not None}
    halves = [known(truth)]
    for guess in legal.values():
        halves += stay_or_change(truth, guess)
    labelling, order_seed, rollouts = training.spawn(3)
    counts = {phase[2] for half in halves for phase in half.phases}
    weights = reward_weights(protocol, stage, counts, np.random.default_rng(labelling))
    shuffle, N = np.random.default_rng(order_seed), stage.pool.reward.shape[0]
    order = np.stack([shuffle.permutation(N) for _ in range(protocol.replicates)])
    quality = []
    for half in halves:
        phases = [Phase(Run(n, τ, weights[m]), K, rate) for n, K, m, τ, rate in half.phases]
        random = np.random.default_rng(rollouts)
        policies = train_in_phases(stage.pool, order, phases, protocol.recipe, stage.given, random)
        quality.append(true_objective(stage.world, stage.fresh, policies))
    return Record(tuple(legal), tuple(halves), np.stack(quality))


# --- what came out -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Found:
    """All worlds of all prices; J* by replicates that chose no learning rate."""

    known: NDArray[np.floating]
    """By world."""
    stayed: dict[tuple[str, float], NDArray[np.floating]]
    changed: dict[tuple[str, float], NDArray[np.floating]]
    in_time: dict[tuple[str, float], NDArray[np.floating]]
    """What changing gains where all labels are there from the start."""


def gather(records: Sequence[Sequence[Record]]) -> Found:
    """Judge the worlds of each prices alone, as learning rates are chosen there."""
    judged = [judge(np.stack([each.quality for each in some])).quality for some in records]
    quality = np.concatenate(judged)
    every = [record for some in records for record in some]
    if any(record.guesses != every[0].guesses for record in every):
        raise ValueError("a guess is legal in some worlds only")
    places = {wrong: 1 + 4 * i for i, wrong in enumerate(every[0].guesses)}
    return Found(
        quality[:, 0],
        {wrong: quality[:, i] for wrong, i in places.items()},
        {wrong: quality[:, i + 1] for wrong, i in places.items()},
        {wrong: quality[:, i + 3] - quality[:, i + 2] for wrong, i in places.items()},
    )


def table(found: Found) -> str:
    """Regret to the plan of what is known, and how often changing loses less than staying."""
    titles = (
        "guessed",
        "regret if staying",
        "if changing",
        "staying less changing (95 %)",
        "changing is better in",
        "staying less changing, all labels from the start",
    )
    lines = [f"| {' | '.join(titles)} |", "|---|---:|---:|---:|---:|---:|"]
    groups = {f"{key} × {by:.2g}": [(key, by)] for key, by in found.stayed}
    groups |= {
        "every measured constant": [w for w in found.stayed if w[0] in MEASURED],
        "every price": [w for w in found.stayed if w[0] in BILLED],
        "all of them": list(found.stayed),
    }
    for name, wrongs in groups.items():
        # A world counts once, by its mean over the guesses: they share its labels and prompts.
        stay = np.mean([found.known - found.stayed[wrong] for wrong in wrongs], axis=0)
        change = np.mean([found.known - found.changed[wrong] for wrong in wrongs], axis=0)
        in_time = np.mean([found.in_time[wrong] for wrong in wrongs], axis=0)
        wins, worlds = int((change < stay).sum()), stay.size
        least, most = clopper_pearson(wins, worlds)
        lines.append(
            f"| {name} | {stay.mean():.4f} | {change.mean():.4f} | "
            f"{spread(stay - change)} | "
            f"{100 * wins / worlds:.0f} % of {worlds} ({100 * least:.0f} – {100 * most:.0f} %) | "
            f"{spread(in_time)} |"
        )
    won = np.mean([found.changed[wrong] > found.stayed[wrong] for wrong in found.stayed], axis=0)
    share = mean_interval(won.tolist())
    low, high = share.interval or (np.nan, np.nan)
    text = (
        f"Of single guesses in single worlds, changing is better in {100 * share.mean:.0f} % "
        f"({100 * low:.0f} – {100 * high:.0f} %)."
    )
    return "\n".join((*lines, "", text))


def spread(values: NDArray[np.floating]) -> str:
    """A mean over worlds with its interval."""
    gain = mean_interval(values.tolist())
    low, high = gain.interval or (np.nan, np.nan)
    return f"{gain.mean:+.4f} ({low:+.4f} – {high:+.4f})"


def main(*, quick: bool) -> None:
    records = []
    for prices in PRICES.values():
        protocol = training_protocol(to_train(prices), REPLICATES, rules=())
        worlds = try_worlds(
            partial(try_rest, protocol),
            worlds=2 if quick else WORLDS,
            seed=SEED,
            jobs=1,
            on_world=lambda done: print(done, file=sys.stderr),
        )
        records.append(tuple(worlds.values()))
    text = table(gather(records))
    print(text)
    if not quick:
        page, marks = PAGE.read_text(encoding="utf-8"), r"(<!-- table: rest -->\n).*(\n<!-- end)"
        PAGE.write_text(
            re.sub(marks, lambda m: f"{m[1]}\n{text}\n{m[2]}", page, flags=re.DOTALL),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
