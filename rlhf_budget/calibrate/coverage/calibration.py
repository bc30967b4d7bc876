"""How far the reward model's training data are from the current policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf_budget.calibrate.coverage.densities import density_coverage
from rlhf_budget.calibrate.coverage.features import feature_coverage
from rlhf_budget.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from rlhf_budget.calibrate.coverage.results import CoverageConstants
    from rlhf_budget.calibrate.estimates import Source


def coverage(
    *,
    training: ArrayLike | None = None,
    current: ArrayLike | None = None,
    policy_logprobs: ArrayLike | None = None,
    behaviour_logprobs: ArrayLike | None = None,
    ridge: float | None = None,
    level: float = 0.95,
    seed: int = 0,
    source: Source | None = None,
) -> CoverageConstants:
    """Estimate the coverage, of features or of densities.

    Parameters
    ----------
    training, current
        Features, for :func:`feature_coverage`.
    policy_logprobs, behaviour_logprobs
        Log-probabilities, for :func:`density_coverage`.
    ridge, level, seed, source
        As there.

    Raises
    ------
    CalibrationError
        Unless exactly one of the two pairs is given.
    """
    with_features = training is not None or current is not None
    with_logprobs = policy_logprobs is not None or behaviour_logprobs is not None
    if training is not None and current is not None and not with_logprobs:
        return feature_coverage(
            training, current, ridge=ridge, level=level, seed=seed, source=source
        )
    if policy_logprobs is not None and behaviour_logprobs is not None and not with_features:
        return density_coverage(policy_logprobs, behaviour_logprobs, level=level, source=source)
    raise CalibrationError(
        "give features of the training data and of current rollouts, or log-probabilities under "
        "the policy and under the behaviour policy"
    )
