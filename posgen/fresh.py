"""Fresh tokens: uniform and independent, for the tokens of a sequence that no rule computes.

Each is a hash of how its sequence begins and of its position, in plain 64-bit integers: the same sequence continues in
the same way to any length, on every machine and under every version of numpy.
"""

from __future__ import annotations

import numpy as np

from posgen.permutation import GOLDEN, mix


class Fresh:
    """The fresh tokens of N sequences."""

    def __init__(self, prefixes: np.ndarray, modulus: int) -> None:
        """prefixes: unsigned [N, w], how each sequence begins."""
        self._modulus = np.uint64(modulus)
        self._state = mix(np.full(len(prefixes), prefixes.shape[1], np.uint64))
        for column in prefixes.T:
            self._state = mix(self._state + (column.astype(np.uint64) + np.uint64(1)) * GOLDEN)

    def at(self, position: int) -> np.ndarray:
        """The sequences' tokens at this position, uint64 [N]: output number `position` of SplitMix64 from each
        sequence's own state. Its remainder mod m is uniform to within m / 2^64."""
        return mix(self._state + np.array([position + 1], np.uint64) * GOLDEN) % self._modulus
