"""What a key of the scenario, a warning's code or a word of the tool means."""

from __future__ import annotations

from typing import Final

from rlhf_budget.report.document import Document, Paragraph, Section
from rlhf_budget.scenario.key import REQUIRED
from rlhf_budget.scenario.keys import CHILDREN, KEYS, RANGE_ENDS
from rlhf_budget.scenario.suggestions import hint

CODES: Final[dict[str, str]] = {
    "another-scenario": "The plan that a gate compares with seems to be another scenario's: its "
    "name, its objective or its bound settings differ.",
    "assumed-constants": "Constants that the scenario gives as ranges or as unknown: the plan is "
    "made in the middle, and re-judged at both ends. Measure first what moves it.",
    "coverage-above-kl": "A coverage from labels is larger than the KL between the two policies "
    "explains: look for a difference in prompts or templates.",
    "coverage-below-kl": "A density coverage below e^(KL/2) is impossible for labels from the "
    "reference policy. Labels from near the current policy, or a coverage measured on features, "
    "make it right; otherwise raise it.",
    "curve-not-identified": "Losses at so few numbers of labels fit many exponents. Train the "
    "reward model at more sizes.",
    "diluted-groups": "New groups much smaller than those behind make the mean over all rollouts "
    "worse at first; the bound is then no guarantee, and only ranks spending.",
    "dynamic-groups": "Group sizes vary between prompts: the estimator for unequal groups is used.",
    "evaluation-rows": "Rows of evaluation stood among those of training; they were left out.",
    "few-pairs": "Too few pairs with repeated votes for an agreement to rely on.",
    "few-prompts": "Too few prompts for a variance between prompts to rely on.",
    "few-tail-samples": "Fewer than ten log-ratios lie above the clip threshold: give more "
    "samples, or fit a family.",
    "filtered-groups": "The trainer threw groups away, so the rows kept are no fair sample.",
    "heavy-weights": "A few importance weights carry the estimate: its Pareto shape is above 0.7.",
    "implausible-kl": "A KL of a whole response above 1,000 nats is no trained policy's: look for "
    "a per-token sum, a wrong reference or an exploded run.",
    "kl-unstable": "The logged KL jumps too much for its mean to be believed.",
    "missing-steps": "The trainer did not dump every step, so prompts behind are counted too low.",
    "no-kl-estimate": "The best clip threshold is 0: the budget is too small to estimate a KL "
    "penalty at all.",
    "no-log-ratio": "The rows hold no log-ratio, so the objective's variances are not known.",
    "not-a-reward-model": "The log is one of another kind of training (SFT, DPO, RL), so its loss "
    "is no reward model's.",
    "not-proved": "The search stopped before the gap was within the tolerance: a better plan may "
    "exist.",
    "planned-by-evaluation": "prompt_mean and bernstein judge a policy that is there already; "
    "planning with them leaves a policy in training untrained. Write concentration: hoeffding.",
    "policy-fixed": "The scenario does not say how the policy depends on the prompts. For "
    "training write policy: pac_bayes.",
    "repeated-batches": "The same rows stood in several files; each was counted once.",
    "silent-groups": "More than half of the groups of this size would have equal rewards and "
    "teach nothing: allow larger groups, or choose prompts of middling difficulty.",
    "spent-otherwise": "Money spent so far is more than twice, or less than half, what prices say.",
    "standardised-rewards": "Rewards of every group have mean 0 and deviation 1: log them as "
    "they were given.",
    "steps-unknown": "Several files carry no training step: variances over checkpoints are not "
    "those of one policy.",
    "unlimited": "A decision stands at the cap of 10^12: nothing limits it. Give a price or a "
    "limit.",
    "unspent-budget": "Money is left that lowers nothing within the limits.",
    "vacuous-bound": "The bound is not below the reward range: it guarantees nothing, and only "
    "ranks spending.",
    "worth-of-prices": "What --information says of a price is not knowledge alone: it includes "
    "what it costs to keep the budget at prices that are not known, so it moves with --affordable.",
}
"""Code of a warning -> what it means and what to do."""

WORDS: Final[dict[str, str]] = {
    "allocation": "The four decisions: prompts, rollouts per prompt, labels, clip threshold.",
    "certificate": "The proof that no allowed allocation has a lower bound: the search's lower "
    "bound over every allocation.",
    "clip threshold": "Where the log-ratio of a whole response is clipped in the estimate, in "
    "nats. Not PPO's epsilon. A trainer clips no lower than twice it.",
    "coverage": "How much the error of the reward model may grow from its training data to the "
    "current policy: sqrt(1 + chi^2), at least 1.",
    "epoch": "A visit to every prompt. Rollouts per prompt are group size times epochs.",
    "group size": "Completions that a trainer draws of a prompt at a time and compares.",
    "guarantee": "The bound of the plan's own allocation under the tightest inequality that the "
    "constants allow.",
    "irreducible": "What no budget removes within the limits.",
    "labels": "Pairwise preference comparisons to buy.",
    "near-optimal range": "How far a decision can move, the others chosen anew, before the bound "
    "is 1 % above its best, or what --within says.",
    "planning rule": "The inequality whose bound is minimised: bound.concentration with "
    "bound.policy.",
    "posterior KL": "How far training moved the policy's law from one chosen beforehand, in nats; "
    "the price of using the prompts that were trained on.",
    "prompts": "Distinct prompts, not episodes, not a batch.",
    "reward range": "Highest less lowest reward.",
    "rollouts per prompt": "Completions of each prompt over all epochs.",
    "vacuous": "Of a bound that is not below the reward range: no guarantee.",
    "bernstein": "The inequality on prompt means that uses both variances; for a policy that is "
    "fixed, or one of a few.",
    "cvar": "Of a robust plan: the mean of the worst draws, such as the worst tenth of cvar:0.9.",
    "hoeffding": "The inequality of Theorem 1, on prompts and rollouts: the one that plans for "
    "training well.",
    "KL clipping": "The part of the bound that clipping the log-ratio costs: the coefficient times "
    "the mean of what lies above the clip threshold.",
    "nats": "Unit of log-probabilities with natural logarithms: log-ratios, KL, thresholds.",
    "prompt_mean": "The inequality on prompt means alone: often the smallest bound for a policy "
    "that is there already, and a poor rule for how to train one.",
    "proved": "The search closed every allowed allocation: none has a lower bound by more than "
    "the tolerance.",
    "regret": "Of a robust plan: the largest excess over what would be best for a draw alone.",
    "reward shift": "The part of the bound that the reward model's error costs, grown by the "
    "coverage.",
    "robust": "One plan for all that ranges and unknown constants allow, best by the mean, the "
    "worst share (cvar) or the regret.",
    "sampling": "The part of the bound that comes of few prompts and rollouts.",
    "within 1 %": "How far a decision can move, the others chosen anew, before the bound is 1 % "
    "above its best.",
}
"""Word of the tool -> what it means."""


def subjects() -> tuple[str, ...]:
    """Everything that can be explained."""
    return (*KEYS, *CODES, *WORDS)


def explain(subject: str) -> Document:
    """Explain a key path, a warning's code or a word.

    Raises
    ------
    ValueError
        Where it is none of them, with the nearest.
    """
    subject = _named(subject)
    if subject in KEYS:
        facts = tuple(Paragraph(text, label=name) for name, text in key_facts(subject).items())
        described = Paragraph(f"{KEYS[subject].description}.")
        return Document(subject, described, (Section("", facts),))
    text = CODES.get(subject) or WORDS.get(subject)
    if text is None:
        raise ValueError(f"'{subject}' is no key, code or word{hint(subject, subjects())}")
    return Document(subject, Paragraph(text), ())


def _named(subject: str) -> str:
    """The subject that is meant: in any case, with spaces for hyphens, or a key's last name."""
    if subject in subjects():
        return subject
    folded = {name.lower(): name for name in subjects()}
    plain = subject.lower()
    for spelt in (plain, plain.replace("_", " "), plain.replace(" ", "-"), plain.rstrip("s")):
        if spelt in folded:
            return folded[spelt]
    last = [key for key in KEYS if key.rpartition(".")[2] == plain.replace(" ", "_")]
    return last[0] if len(last) == 1 else subject


def key_facts(path: str) -> dict[str, str]:
    """Unit, allowed values, default and inner keys of a key, as far as it has them."""
    key = KEYS[path]
    default = "required" if key.default == REQUIRED else key.default
    is_number = isinstance(default, (int, float)) and not isinstance(default, bool)
    inner = [name for name in CHILDREN.get(path, ()) if name not in RANGE_ENDS]
    facts = {
        "unit": key.unit,
        "allowed": key.allowed,
        "default": "" if default is None else f"{default:g}" if is_number else str(default),
        "keys in it": ", ".join(inner),
    }
    return {name: value for name, value in facts.items() if value}
