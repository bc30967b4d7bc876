"""What a scenario does not know, as laws, and draws from them (docs/theory.md, not knowing)."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rlhf_budget.planning.sobol import BITS, points
from rlhf_budget.scenario.keys import KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rlhf_budget.scenario.assumptions import Assumption
    from rlhf_budget.scenario.models import Scenario

    Floats = NDArray[np.float64]

WIDTH = 3.92
"""Standard deviations between the ends of a central 95 % range."""
NORMAL = NormalDist()
LEAST_SHARE, MOST_SHARE = 5e-324, 1.0 - 2.0**-53
"""The least and the largest share whose quantile is finite."""
_SEQUENCE = sorted(
    (name for name, key in KEYS.items() if key.uncertain), key=lambda name: not KEYS[name].unknown
)
"""Every constant that a range may stand for, in the order of its coordinate in the sequence: those
that may be ``unknown`` have the first ones, which fill space best together."""


class Law(NamedTuple):
    """The law of one constant: normal, of its logarithm where both ends are positive."""

    constant: str
    """Key path."""
    logarithmic: bool
    """Whether it is the logarithm that is normal."""
    centre: float
    """Median, of the logarithm where that is normal."""
    spread: float
    """Standard deviation of the same."""
    least: float
    """Least legal value."""
    most: float
    """Largest legal value."""
    whole: bool
    """Whether values are rounded to whole numbers."""

    def at(self, shares: Floats) -> Floats:
        """Quantiles: the value below which a share of the law lies.

        Truncation to the legal values is by inversion, so that no draw is thrown away.
        """
        if self.spread == 0.0:
            centre = math.exp(self.centre) if self.logarithmic else self.centre
            values = np.full(shares.shape, centre)
        else:
            with np.errstate(divide="ignore"):
                ends = np.array([self.least, self.most])
                ends = np.log(np.maximum(ends, 0.0)) if self.logarithmic else ends
            below, upto = (
                0.5 * math.erfc(-z * 0.5**0.5) for z in (ends - self.centre) / self.spread
            )
            within = np.clip(below + shares * (upto - below), LEAST_SHARE, MOST_SHARE)
            # SciPy has the same for whole arrays, but takes longer to load than all this.
            normal = [NORMAL.inv_cdf(share) for share in within.ravel().tolist()]
            values = self.centre + self.spread * np.reshape(normal, within.shape)
            values = np.exp(values) if self.logarithmic else values
        values = np.rint(values) if self.whole else values
        legal: Floats = np.clip(values, self.least, self.most)
        return legal


def law_of(assumption: Assumption) -> Law:
    """The law that a range, or ``unknown``, stands for: the range is a central 95 %."""
    key, low, high = KEYS[assumption.constant], assumption.low, assumption.high
    least = -math.inf if key.at_least is None else key.at_least
    most = math.inf if key.at_most is None else key.at_most
    least = least if key.above is None else math.nextafter(key.above, math.inf)
    most = most if key.below is None else math.nextafter(key.below, -math.inf)
    logarithmic = low > 0.0
    low, high = (math.log(low), math.log(high)) if logarithmic else (low, high)
    return Law(
        constant=assumption.constant,
        logarithmic=logarithmic,
        centre=0.5 * (low + high),
        spread=(high - low) / WIDTH,
        least=least,
        most=most,
        whole=key.kind == "whole",
    )


def laws_of(scenario: Scenario) -> tuple[Law, ...]:
    """The laws of all constants that the scenario does not know; they are independent."""
    return tuple(
        law_of(assumption) for assumption in scenario.assumed if assumption.low < assumption.high
    )


def shares(laws: Sequence[Law], draws: int, seed: int) -> Floats:
    """A scrambled Sobol sequence of quantiles in (0, 1), shape (draws, laws).

    Those of a constant depend on its key and the seed alone, so that scenarios with different
    ranges, as columns of a comparison and points of a sweep, share their draws.
    """
    found = points(draws, [_SEQUENCE.index(law.constant) for law in laws], seed)
    return np.clip(found, 0.5 ** (BITS + 1), None)


def scenarios_of(scenario: Scenario, laws: Sequence[Law], at: Floats) -> tuple[Scenario, ...]:
    """The scenario with the quantiles of each row set, in place of what it does not know.

    Raises
    ------
    ScenarioError
        Where values that are each legal are not so together.
    """
    columns = [law.at(at[:, index]) for index, law in enumerate(laws)]
    plain = all(_is_a_field(scenario, law.constant) for law in laws)
    found = []
    for row in zip(*columns, strict=True):
        values = {
            law.constant: int(value) if law.whole else float(value)
            for law, value in zip(laws, row, strict=True)
        }
        # Reading a scenario anew takes a hundred times as long as copying it.
        if plain:
            drawn = scenario
            for name, number in values.items():
                drawn = _with_field(drawn, name.split("."), number)
        else:
            drawn = scenario.with_values(values)
        found.append(drawn)
    return tuple(found)


def _is_a_field(scenario: Scenario, constant: str) -> bool:
    """Whether a constant is a number of the resolved scenario, not one that others come from."""
    node: Any = scenario
    for name in constant.split("."):
        node = getattr(node, name, None)
    return isinstance(node, (int, float))


def _with_field(section: Any, path: Sequence[str], value: float) -> Any:
    name, *rest = path
    inner = _with_field(getattr(section, name), rest, value) if rest else value
    return section.model_copy(update={name: inner})
