"""Our Sobol sequence against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from rlhf_budget.planning.sobol import DIMENSIONS, points
from rlhf_budget.scenario.keys import KEYS


@pytest.mark.parametrize(("draws", "seed"), [(1, 0), (4, 1), (256, 2**64 - 1), (1024, 7)])
def test_every_point_is_scipys(draws: int, seed: int) -> None:
    sequence = qmc.Sobol(DIMENSIONS, scramble=True, rng=np.random.default_rng(seed))
    expected = sequence.random_base2(draws.bit_length() - 1)
    assert np.array_equal(points(draws, range(DIMENSIONS), seed), expected)
    assert np.array_equal(points(draws, (40, 3), seed), expected[:, [40, 3]])


def test_there_is_a_dimension_for_each_constant() -> None:
    assert sum(key.uncertain for key in KEYS.values()) <= DIMENSIONS
