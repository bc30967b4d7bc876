"""A proof in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.report.words import count

if TYPE_CHECKING:
    from rlhf_budget.optimum.proof.reading import Proof


def proof_line(proof: Proof) -> str:
    """Say what a checked proof proves."""
    τ = "" if proof.clip_threshold is None else f", clipping at {float(proof.clip_threshold):.6g}"
    return (
        f"{proof.name}: {count(proof.prompts, 'prompt')}, "
        f"{count(proof.rollouts_per_prompt, 'rollout')} of each, "
        f"{count(proof.labels, 'label')}{τ}: the bound is at most {float(proof.total):.10g}, and "
        f"no plan within the budget has one smaller by a share of {proof.relative_gap:.1e} "
        f"({count(len(proof.boxes), 'box', 'boxes')})"
    )
