"""The tails against 50-digit references, against their own definitions, and at the extremes.

``python tests/bound/test_tails.py`` writes ``tests/reference/tails.json`` from the mpmath formulas
below (50 digits): survival and excess at thresholds that are exact floats, and the inverse
survival by Newton's method at the exact value of the float ``p``.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_budget.bound.tails import (
    Empirical,
    Exponential,
    Gamma,
    Gaussian,
    HalfNormal,
    LogNormal,
    Lomax,
    Tail,
    Weibull,
)

REFERENCE = Path(__file__).parents[1] / "reference" / "tails.json"
FAMILIES = {
    tail.family: tail
    for tail in (Gaussian, Exponential, HalfNormal, Gamma, Weibull, LogNormal, Lomax)
}
LEVELS = (0.999, 0.9, 0.5, 1e-1, 1e-2, 1e-3, 1e-6, 1e-9, 1e-12, 5e-13)
GRIDS: dict[str, list[tuple[float, ...]]] = {
    "gaussian": [
        (1e-6, math.sqrt(2e-6)),
        (1e-6, 1e-6),
        (0.5, 1.0),
        (1.0, 30.0),
        (12.0, math.sqrt(24.0)),
        (40.0, 3.0),
        (1e6, 1e-6),
        (1e6, math.sqrt(2e6)),
    ],
    "exponential": [(1e-6,), (12.0,), (1e6,)],
    "half_normal": [(1e-6,), (9.0,), (1e6,)],
    "gamma": [
        *itertools.product((0.05, 0.9, 1.0, 2.5, 19.0, 21.0, 50.0, 150.0, 199.0), (4.0, 0.037)),
        (1e3, 0.37),
        (1e4, 4.0),
        (1e6, 4.0),
        (1e6, 0.037),
    ],
    "weibull": [*itertools.product((0.006, 0.05, 0.3, 0.8, 2.0, 30.0, 1e3, 1e6), (10.0, 0.037))],
    "lognormal": [
        *itertools.product((-5.0, 2.0), (1e-6, 1e-4, 1e-3, 0.011, 0.06, 0.1, 0.101, 0.3, 0.8, 4.0))
    ],
    "lomax": [*itertools.product((1.000001, 1.05, 2.5, 1e4, 1e6, 1e9), (1e-3, 15.0))],
}
HANDFUL = {
    "gaussian": (12.0, 4.5),
    "exponential": (12.0,),
    "half_normal": (9.0,),
    "gamma": (2.5, 4.0),
    "weibull": (0.8, 10.0),
    "lognormal": (2.0, 0.0625),
    "lomax": (2.5, 15.0),
}


# --- the references -------------------------------------------------------------------------


def upper_normal(z: Any) -> Any:
    return mpmath.erfc(z / mpmath.sqrt(2)) / 2


def normal_loss(z: Any) -> Any:
    return mpmath.npdf(z) - z * upper_normal(z)


def reference(  # noqa: PLR0911 (one formula a family)
    family: str, parameters: tuple[float, ...], threshold: Any
) -> tuple[Any, Any]:
    """Survival and excess in closed form, as printed in docs/theory.md, with 50 digits."""
    t = mpmath.mpf(threshold)
    first, second = (mpmath.mpf(value) for value in (*parameters, 0)[:2])
    if family == "gaussian":
        a, b = (t - first) / second, (t + first) / second
        return upper_normal(a) + upper_normal(b), second * (normal_loss(a) + normal_loss(b))
    if family == "exponential":
        return mpmath.exp(-t / first), first * mpmath.exp(-t / first)
    if family == "half_normal":
        return 2 * upper_normal(t / first), 2 * first * normal_loss(t / first)
    if family == "gamma":
        x = t / second
        upper = mpmath.gammainc(first, x, regularized=True)
        # Q(k + 1, x) - Q(k, x), so that the printed k·Q(k + 1, x) needs no second series.
        kernel = mpmath.exp(first * mpmath.log(x) - x - mpmath.loggamma(first)) / first
        return upper, second * (first * (upper + kernel) - x * upper)
    if family == "weibull":
        power, a = (t / second) ** first, 1 / first
        mean = second * mpmath.gamma(1 + a)
        return mpmath.exp(-power), mean * mpmath.gammainc(a, power, regularized=True)
    if family == "lomax":
        base = 1 + t / second
        return base**-first, second / (first - 1) * base ** (1 - first)
    z = (mpmath.log(t) - first) / second
    mean = mpmath.exp(first + second**2 / 2)
    return upper_normal(z), mean * upper_normal(z - second) - t * upper_normal(z)


def reference_inverse(
    family: str, parameters: tuple[float, ...], probability: float, start: float
) -> Any:
    """Threshold of the survival ``probability``: Newton's method from a float close to it."""
    t = mpmath.mpf(start)
    for _ in range(3):
        step = t * mpmath.mpf(10) ** -20
        here, ahead = (reference(family, parameters, at)[0] for at in (t, t + step))
        t -= (here - probability) * step / (ahead - here)
    return t


def write_reference() -> None:
    """Write the golden values of every grid point and level."""
    rows = []
    for family, grid in GRIDS.items():
        for parameters in grid:
            tail = FAMILIES[family](*parameters)
            for p in LEVELS:
                t = tail.inverse_survival(p)
                if t < 1e-300:
                    continue
                with mpmath.workdps(50):
                    values = (
                        *reference(family, parameters, t),
                        reference_inverse(family, parameters, p, t),
                    )
                    digits = [mpmath.nstr(value, 22) for value in values]
                rows.append([family, parameters, p, t, *digits])
    note = (
        "Written by `python tests/bound/test_tails.py` from 50-digit mpmath formulas. Each row: "
        "family, parameters, p, t (an exact float), survival(t), excess(t), inverse_survival(p)."
    )
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    REFERENCE.write_text(f'{{"note": {json.dumps(note)},\n "rows": [\n{lines}\n]}}\n')


def relative_error(value: float, exact: Any) -> float:
    with mpmath.workdps(50):
        return float(abs(mpmath.mpf(value) / mpmath.mpf(exact) - 1))


def golden_rows(family: str) -> list[tuple[Tail, float, float, str, str, str]]:
    rows = json.loads(REFERENCE.read_text())["rows"]
    return [(FAMILIES[name](*values), *rest) for name, values, *rest in rows if name == family]


# --- accuracy -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", GRIDS)
def test_survival_and_excess_keep_twelve_digits_down_to_the_last_level(family: str) -> None:
    rows = golden_rows(family)
    assert len(rows) > 20
    for tail, _, t, survival, excess, _ in rows:
        assert relative_error(tail.survival(t), survival) < 1e-12, (tail, t)
        assert relative_error(tail.excess(t), excess) < 1e-12, (tail, t)


@pytest.mark.parametrize("family", GRIDS)
def test_arrays_are_as_accurate_as_floats(family: str) -> None:
    for _, group in itertools.groupby(golden_rows(family), key=lambda row: row[0]):
        rows = list(group)
        tail = rows[0][0]
        t = np.array([row[2] for row in rows])
        for row, survival, excess in zip(rows, tail.survival(t), tail.excess(t), strict=True):
            assert relative_error(survival, row[3]) < 1e-12, row
            assert relative_error(excess, row[4]) < 1e-12, row


@pytest.mark.parametrize("family", GRIDS)
def test_inverse_survival_keeps_twelve_digits(family: str) -> None:
    for tail, p, _, _, _, inverse in golden_rows(family):
        # Close to p = 1 a Gaussian's survival hardly moves with t, so rounding it moves t.
        limit = 1e-9 if family == "gaussian" and p > 0.99 else 1e-12
        assert relative_error(tail.inverse_survival(p), inverse) < limit, (tail, p)


@pytest.mark.parametrize("family", HANDFUL)
def test_the_references_are_reproduced_and_are_integrals_of_the_survival(family: str) -> None:
    parameters = HANDFUL[family]
    tail = FAMILIES[family](*parameters)
    with mpmath.workdps(30):
        for p in (0.3, 1e-5):
            t = tail.inverse_survival(p)
            survival, excess = reference(family, parameters, t)
            assert relative_error(tail.survival(t), survival) < 1e-12
            assert relative_error(tail.excess(t), excess) < 1e-12
            # u = (s - t)/(1 + s - t) maps the infinite range to [0, 1).
            integral = mpmath.quad(
                lambda u, t=t: reference(family, parameters, t + u / (1 - u))[0] / (1 - u) ** 2,
                [0, 0.125, 0.25, 0.5, 0.75, 0.875, 0.9375, 0.96875, 1],
            )
            assert relative_error(tail.excess(t), integral) < 1e-11


@pytest.mark.parametrize(
    ("tail", "mean"),
    [
        # The mean of a folded normal: std·√(2/π)·exp(-kl²/2std²) + kl·erf(kl/(std·√2)).
        (
            Gaussian(3.0, 2.0),
            math.sqrt(8.0 / math.pi) * math.exp(-1.125) + 3.0 * math.erf(1.5 / math.sqrt(2.0)),
        ),
        (Gaussian(0.0, 3.0), 3.0 * math.sqrt(2.0 / math.pi)),
        (Exponential(12.0), 12.0),
        (HalfNormal(9.0), 9.0 * math.sqrt(2.0 / math.pi)),
        (Gamma(2.5, 4.0), 10.0),
        (Weibull(0.5, 10.0), 20.0),
        (LogNormal(2.0, 0.8), math.exp(2.32)),
        (LogNormal(2.0, 1e-5), math.exp(2.0 + 5e-11)),
        (Lomax(2.5, 15.0), 10.0),
        (Empirical([1.0, -2.0, 6.0]), 3.0),
    ],
)
def test_the_excess_over_zero_is_the_mean(tail: Tail, mean: float) -> None:
    assert tail.excess(0.0) == pytest.approx(mean, rel=1e-9)
    assert tail.survival(0.0) == 1.0
    assert tail.inverse_survival(1.0) == 0.0


def test_weibull_and_gamma_of_shape_one_are_exponential() -> None:
    t = np.geomspace(1e-3, 300.0, 60)
    for same in (Weibull(1.0, 12.0), Gamma(1.0, 12.0)):
        np.testing.assert_allclose(same.survival(t), Exponential(12.0).survival(t), rtol=1e-13)
        np.testing.assert_allclose(same.excess(t), Exponential(12.0).excess(t), rtol=1e-12)


def test_a_gaussian_without_a_mean_is_half_normal() -> None:
    t = np.linspace(0.0, 60.0, 60)
    gaussian, half = Gaussian(0.0, 9.0), HalfNormal(9.0)
    np.testing.assert_allclose(gaussian.survival(t), half.survival(t), rtol=1e-14)
    np.testing.assert_allclose(gaussian.excess(t), half.excess(t), rtol=1e-12)
    p = np.array([0.9, 0.1, 1e-6, 1e-12])
    np.testing.assert_allclose(gaussian.inverse_survival(p), half.inverse_survival(p), rtol=1e-12)


# --- properties -----------------------------------------------------------------------------


def powers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(math.log(low), math.log(high)).map(math.exp)


SCALES = powers(1e-3, 1e3)
PARAMETRIC = st.one_of(
    st.builds(Gaussian, powers(1e-6, 1e6), SCALES),
    st.builds(Exponential, SCALES),
    st.builds(HalfNormal, SCALES),
    st.builds(Gamma, powers(0.05, 1e4), SCALES),
    st.builds(Weibull, powers(0.05, 1e4), SCALES),
    st.builds(LogNormal, st.floats(-5.0, 5.0), powers(1e-6, 5.0)),
    st.builds(Lomax, powers(1e-3, 1e6).map(lambda extra: 1.0 + extra), SCALES),
)
SAMPLES = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, -1.0, 2.5])), min_size=1, max_size=40
)
TAILS = st.one_of(PARAMETRIC, PARAMETRIC, SAMPLES.map(Empirical))
PROBABILITIES = powers(1e-12, 0.999)
quick = settings(deadline=None, max_examples=150)


@quick
@given(TAILS, st.lists(PROBABILITIES, min_size=2, max_size=12))
def test_survival_excess_and_inverse_decrease(tail: Tail, probabilities: list[float]) -> None:
    p = np.sort(np.array(probabilities))
    t = tail.inverse_survival(p)
    for values in (t, tail.survival(t[::-1]), tail.excess(t[::-1])):
        assert (np.diff(values) <= 1e-12 * values[:-1]).all()


@quick
@given(TAILS, PROBABILITIES, st.floats(1e-6, 1.0))
def test_slope_of_the_excess_lies_between_the_survivals(
    tail: Tail, probability: float, width: float
) -> None:
    low = tail.inverse_survival(probability)
    high = low + width * max(tail.excess(low), 1e-9 * low, 1e-12)
    fall = tail.excess(low) - tail.excess(high)
    rounding = 2e-12 * tail.excess(low) + 1e-300
    assert fall <= tail.survival(low) * (high - low) + rounding
    assert fall >= tail.survival(high) * (high - low) - rounding


@quick
@given(TAILS, PROBABILITIES, PROBABILITIES, st.floats(0.0, 1.0))
def test_excess_is_convex(tail: Tail, first: float, second: float, share: float) -> None:
    low, high = sorted((tail.inverse_survival(first), tail.inverse_survival(second)))
    between = low + share * (high - low)
    chord = tail.excess(low) + (tail.excess(high) - tail.excess(low)) * share
    # The chord's own point moves by the rounding of `between`, times the slope of at most 1.
    assert tail.excess(between) <= chord * (1.0 + 1e-11) + 4.0 * math.ulp(high)


@quick
@given(PARAMETRIC, powers(1e-12, 0.5))
def test_excess_is_the_integral_of_the_survival(tail: Tail, probability: float) -> None:
    low = tail.inverse_survival(probability)
    high = tail.inverse_survival(0.5 * probability)
    # Over ln(t), because small shapes are steep powers of t.
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = 0.5 * math.log1p((high - low) / low)
    t = low * np.exp(half * (1.0 + nodes))
    integral = half * float(weights @ (t * tail.survival(t)))
    rounding = 2e-12 * tail.excess(low) + 8.0 * math.ulp(high) * probability
    assert tail.excess(low) - tail.excess(high) == pytest.approx(integral, 1e-9, rounding)


@quick
@given(PARAMETRIC, PROBABILITIES)
def test_inverse_survival_undoes_survival(tail: Tail, probability: float) -> None:
    t = tail.inverse_survival(probability)
    # Half a dozen roundings of t is all the inverse may be off by.
    above, below = t * (1.0 - 1e-14), t * (1.0 + 1e-14)
    assert tail.survival(below) * (1.0 - 1e-12) <= probability
    assert tail.survival(above) * (1.0 + 1e-12) >= probability


@quick
@given(TAILS, st.lists(PROBABILITIES, min_size=1, max_size=6))
def test_floats_and_arrays_agree(tail: Tail, probabilities: list[float]) -> None:
    t = [tail.inverse_survival(p) for p in probabilities]
    for function, values in (
        (tail.inverse_survival, probabilities),
        (tail.survival, t),
        (tail.excess, t),
    ):
        one_by_one = [function(value) for value in values]
        together = function(np.array(values))
        assert all(type(value) is float for value in one_by_one)
        assert together.shape == (len(values),)
        np.testing.assert_allclose(together, one_by_one, rtol=2e-13, atol=1e-300)


def test_arrays_keep_their_shape_and_numpy_scalars_become_floats() -> None:
    for tail in (*(FAMILIES[name](*values) for name, values in HANDFUL.items()), Empirical([1, 2])):
        for function in (tail.survival, tail.excess, tail.inverse_survival):
            assert function(np.full((2, 3), 0.25)).shape == (2, 3)
            assert function(np.zeros((0,))).shape == (0,)
            assert type(function(np.float64(0.25))) is float
            assert type(function(1)) is float


# --- extremes -------------------------------------------------------------------------------


def extreme_tails() -> list[Tail]:
    sizes = (1e-6, 1e-3, 1.0, 50.0, 1e6)
    shapes = (0.05, 0.5, 1.0, 30.0, 1e3, 1e6)
    pairs = list(itertools.product(shapes, (*sizes, 1e-300)))
    return [
        *(Gaussian(*pair) for pair in itertools.product((0.0, *sizes), (*sizes, 1e-300, 1e300))),
        *(Exponential(size) for size in (*sizes, 1e-300, 1e300)),
        *(HalfNormal(size) for size in (*sizes, 1e-300, 1e300)),
        *(Gamma(*pair) for pair in pairs),
        *(Weibull(*pair) for pair in pairs),
        *(Lomax(1.0 + shape, scale) for shape, scale in pairs),
        *(LogNormal(*pair) for pair in itertools.product((-600.0, 0.0, 10.0), (1e-12, 1e-3, 5.0))),
        LogNormal(600.0, 5.0),
        Empirical([0.0]),
        Empirical([1e308, -1e308, 1e308]),
    ]


def test_extreme_parameters_and_thresholds_give_numbers_and_no_warning() -> None:
    small = [0.0, 5e-324, 1e-300, 1e-12, 1e-3]
    t = np.array([*small, 1.0, 12.0, 1e6, 1e12, 1e100, 1e300, 1.7e308, math.inf])
    p = np.array([*small, 0.5, 0.9, 1.0 - 1e-10, 1.0 - 2.0**-53, 1.0, 1.5, math.inf])
    for tail in extreme_tails():
        for function, values in (
            (tail.survival, t),
            (tail.excess, t),
            (tail.inverse_survival, p),
        ):
            together = function(values)
            alone = np.array([function(float(value)) for value in values])
            np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-307, err_msg=str(tail))
            assert (together >= 0.0).all(), tail
            assert (together[1:] <= together[:-1] * (1.0 + 1e-12)).all(), tail
        assert math.isfinite(tail.excess(0.0))
        assert tail.survival(math.inf) == tail.excess(math.inf) == 0.0
        assert tail.inverse_survival(1.0) == 0.0


@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        (Gaussian, (-1.0, 1.0)),
        (Gaussian, (1.0, 0.0)),
        (Gaussian, (math.nan, 1.0)),
        (Exponential, (0.0,)),
        (HalfNormal, (math.inf,)),
        (Gamma, (-1.0, 1.0)),
        (Gamma, (1e200, 1e200)),
        (Weibull, (0.001, 1.0)),
        (Weibull, (5e-324, 1.0)),
        (LogNormal, (0.0, 60.0)),
        (LogNormal, (math.nan, 1.0)),
        (Lomax, (1.0, 1.0)),
        (Lomax, (0.5, 1.0)),
        (Empirical, ([],)),
        (Empirical, ([[1.0, 2.0]],)),
        (Empirical, ([1.0, math.nan],)),
    ],
)
def test_impossible_parameters_are_refused(family: type, parameters: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"must|finite"):
        family(*parameters)


def test_a_small_weibull_shape_whose_gamma_function_overflows_is_still_usable() -> None:
    tail = Weibull(0.005, 1e-100)
    with mpmath.workdps(50):
        mean = mpmath.mpf(1e-100) * mpmath.gamma(1 + 1 / mpmath.mpf(0.005))
    assert relative_error(tail.excess(0.0), mean) < 1e-12


def test_the_excess_is_never_negative_where_its_digits_run_out() -> None:
    tail = HalfNormal(1.0)
    t = np.linspace(38.0, 38.6, 2000)  # survivals from 1e-315 to the least float
    assert (tail.excess(t) >= 0.0).all()
    assert min(tail.excess(float(value)) for value in t) >= 0.0


def test_the_excess_of_a_narrow_weibull_below_its_mean_is_the_mean_less_the_threshold() -> None:
    tail = Weibull(1e6, 10.0)
    with mpmath.workdps(50):
        expected = 10 * mpmath.gamma(1 + mpmath.mpf(10) ** -6) - mpmath.mpf(9.9)
    assert relative_error(tail.excess(9.9), expected) < 1e-12


def test_only_gamma_and_weibull_load_scipy() -> None:
    program = """
import sys
from rlhf_budget.bound.tails import *
for tail in (Gaussian(12.0, 5.0), Exponential(12.0), HalfNormal(9.0), LogNormal(2.0, 0.05),
             Lomax(2.5, 15.0), Empirical([1.0, 2.0]), Gamma(2.5, 4.0), Weibull(0.8, 10.0)):
    if tail.family not in {"gamma", "weibull"}:
        tail.survival(3.0), tail.excess(3.0), tail.inverse_survival(0.01)
assert not any(name.partition(".")[0] == "scipy" for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


# --- samples --------------------------------------------------------------------------------


@quick
@given(SAMPLES, st.floats(0.0, 1e6), st.integers(0, 39))
def test_samples_against_the_definitions(samples: list[float], t: float, pick: int) -> None:
    tail = Empirical(samples)
    for threshold in (t, abs(samples[pick % len(samples)])):
        above = [Fraction(abs(x)) - Fraction(threshold) for x in samples if abs(x) > threshold]
        assert tail.samples_above(threshold) == len(above)
        assert tail.survival(threshold) == len(above) / len(samples)
        exact = sum(above, Fraction(0)) / len(samples)
        assert tail.excess(threshold) == pytest.approx(float(exact), rel=1e-14, abs=0.0)


@quick
@given(SAMPLES, st.one_of(st.floats(0.0, 1.0), PROBABILITIES))
def test_inverse_of_samples_is_the_least_threshold(samples: list[float], p: float) -> None:
    tail = Empirical(samples)
    t = tail.inverse_survival(p)
    assert tail.survival(t) <= p
    assert t == 0.0 or tail.survival(math.nextafter(t, 0.0)) > p


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10, 49, 93, 100, 1000])
def test_a_share_of_exactly_k_samples_gives_the_kth_order_statistic(size: int) -> None:
    tail = Empirical(np.arange(1.0, size + 1.0))
    k = np.arange(size + 1)
    np.testing.assert_array_equal(tail.inverse_survival(k / size), size - k)
    assert [tail.inverse_survival(int(count) / size) for count in k] == [*(size - k)]
    just_below = np.nextafter(k[1:] / size, 0.0)
    np.testing.assert_array_equal(tail.inverse_survival(just_below), size - k[1:] + 1)
    assert [tail.inverse_survival(float(p)) for p in just_below] == [*(size - k[1:] + 1)]


def test_zeros_among_the_samples_are_an_atom() -> None:
    tail = Empirical([0.0, -0.0, 0.0, 5.0])
    assert tail.survival(0.0) == 0.25
    assert tail.inverse_survival(0.25) == 0.0
    assert tail.inverse_survival(0.2499) == 5.0
    assert tail.inverse_survival(0.0) == 5.0


def test_close_samples_far_from_zero_keep_the_digits_of_the_excess() -> None:
    samples = [1e6 + k * 2.0**-20 for k in range(1000)]
    t = samples[400]
    exact = sum(Fraction(x) - Fraction(t) for x in samples[401:]) / 1000
    assert Empirical(samples).excess(t) == pytest.approx(float(exact), rel=1e-14)


def test_samples_are_a_value() -> None:
    tail = Empirical([3.0, -1.0, 2.0])
    same = Empirical(np.array([-2.0, 1.0, 3.0]))
    assert tail == same
    assert hash(tail) == hash(same)
    assert tail != Empirical([3.0, 1.0])
    assert tail != "tail"
    assert repr(tail) == "Empirical(<3 samples>)"
    assert tail.magnitudes.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="read-only"):
        tail.magnitudes[0] = 0.0


if __name__ == "__main__":
    write_reference()
