"""Scrambled Sobol sequences, number for number SciPy's.

``scipy.stats.qmc.Sobol`` does the same, and the tests compare the two; loading ``scipy.stats``
takes three times as long as the robust plan of 256 draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Words = NDArray[np.uint32]

BITS = 30
"""Binary digits of a point."""
_DIRECTIONS = """
1 1; 3 1; 7 1 3; 11 1 3 1; 13 1 1 1; 19 1 1 3 3; 25 1 3 5 13; 37 1 1 5 5 17; 41 1 1 5 5 5;
47 1 1 7 11 19; 55 1 1 5 1 1; 59 1 1 1 3 11; 61 1 3 5 5 31; 67 1 3 3 9 7 49; 91 1 1 1 15 21 21;
97 1 3 1 13 27 49; 103 1 1 1 15 7 5; 109 1 3 1 15 13 25; 115 1 1 5 5 19 61; 131 1 3 7 11 23 15 103;
137 1 3 7 13 13 15 69; 143 1 1 3 13 7 35 63; 145 1 3 5 9 1 25 53; 157 1 3 1 13 9 35 107;
167 1 3 1 5 27 61 31; 171 1 1 5 11 19 41 61; 185 1 3 5 3 3 13 69; 191 1 1 7 13 1 19 1;
193 1 3 7 5 13 19 59; 203 1 1 3 9 25 29 41; 211 1 3 5 13 23 1 55; 213 1 3 7 3 13 59 17;
229 1 3 1 3 5 53 69; 239 1 1 5 5 23 33 13; 241 1 1 7 7 1 61 123; 247 1 1 7 9 13 61 49;
253 1 3 3 5 3 55 33; 285 1 3 1 15 31 13 49 245; 299 1 3 5 15 31 59 63 97;
301 1 3 1 11 11 11 77 249; 333 1 3 1 11 27 43 71 9; 351 1 1 7 15 21 11 81 45;
355 1 3 7 3 25 31 65 79; 357 1 3 1 1 19 11 3 205; 361 1 1 5 9 19 21 29 157;
369 1 3 7 11 1 33 89 185; 391 1 3 3 3 15 9 79 71; 397 1 3 7 11 15 39 119 27
"""
"""Primitive polynomial over two elements, as the bits of a number, and first direction numbers of
each dimension: Joe and Kuo, SIAM J. Sci. Comput. 30 (2008), new-joe-kuo-6."""
DIMENSIONS = _DIRECTIONS.count(";") + 1
"""How many there are."""


def points(draws: int, dimensions: Sequence[int], seed: int) -> Floats:
    """Points of a sequence scrambled by a random linear matrix and a random digital shift.

    Parameters
    ----------
    draws
        Number of points, a power of two.
    dimensions
        Which coordinates, each below :data:`DIMENSIONS`: the same ones whichever others are asked
        for.
    seed
        Of the scrambling.

    Returns
    -------
    ndarray of shape (draws, dimensions)
        In [0, 1), in multiples of ``2^-BITS``.
    """
    (generator,) = np.random.default_rng(seed).spawn(1)
    powers = 1 << np.arange(BITS, dtype=np.uint32)
    shape = (DIMENSIONS, BITS)
    shifts = generator.integers(2, size=shape, dtype=np.uint32) @ powers
    matrices = np.tril(generator.integers(2, size=(*shape, BITS), dtype=np.uint32))
    chosen = list(dimensions)
    matrices = matrices[chosen]
    matrices[:, range(BITS), range(BITS)] = 1
    digits = _directions(chosen)[:, :, None] >> np.arange(BITS - 1, -1, -1, dtype=np.uint32) & 1
    # A matrix acts on the binary digits of each direction number, the first digit first.
    columns = (digits @ matrices.transpose(0, 2, 1) % 2) @ powers[::-1]
    found = shifts[chosen].astype(np.uint32)[None, :]
    for bit in range(draws.bit_length() - 1):
        # In the order of a Gray code each point differs from the last by one direction.
        found = np.concatenate((found, found[::-1] ^ columns[:, bit].astype(np.uint32)))
    return found.astype(np.float64) * 0.5**BITS


def _directions(dimensions: Sequence[int]) -> Words:
    """Direction numbers of some dimensions, shape (dimensions, BITS)."""
    table = [[int(word) for word in row.split()] for row in _DIRECTIONS.split(";")]
    found = []
    for dimension in dimensions:
        polynomial, *numbers = table[dimension]
        degree = polynomial.bit_length() - 1
        if degree == 0:
            numbers = [1] * BITS
        while len(numbers) < BITS:
            number = numbers[-degree]
            for back in range(1, degree + 1):
                if polynomial >> (degree - back) & 1:
                    number ^= numbers[-back] << back
            numbers.append(number)
        found.append([number << BITS - 1 - bit for bit, number in enumerate(numbers)])
    return np.array(found, dtype=np.uint32)
