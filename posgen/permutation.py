"""A seeded shuffle of all modulus^width prefixes, of which any part can be computed without the rest.

Slot i of the shuffle is a prefix, and different slots are different prefixes, so disjoint ranges of slots are
disjoint splits. The arithmetic is plain 64-bit integers: the same seed gives the same prefixes on every machine and
under every version of numpy, whose own random streams may change.
"""

from __future__ import annotations

import numpy as np

# Up to here (the paper: 17^4) all prefixes are shuffled at once by sorting; above, each slot is computed for itself.
SORTABLE = 2**17
# Slots are 64-bit numbers. Of a larger space only the first 2^62 slots are used, which the shuffle spreads all over it.
SLOTS = 2**62
ROUNDS = 8
BLOCK = 65_536

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""The step between the states of SplitMix64: 2^64 over the golden ratio."""


def slots_of(modulus: int, width: int) -> int:
    """Number of slots that can be asked for: modulus^width, at most 2^62."""
    population: int = modulus**width
    return min(population, SLOTS)


def permuted(slots: np.ndarray, modulus: int, width: int, seed: int) -> np.ndarray:
    """The prefixes in these slots. slots: integers [N] below `slots_of` -> smallest unsigned [N, width]."""
    out = np.empty((len(slots), width), np.min_scalar_type(modulus - 1))
    order = sorted_order(modulus**width, seed) if modulus**width <= SORTABLE else None
    for start in range(0, len(slots), BLOCK):
        part = slots[start : start + BLOCK].astype(np.uint64)
        if order is None:
            tokens = feistel(digits(part, modulus, width), modulus, seed)
        else:
            tokens = digits(order[part], modulus, width)
        out[start : start + BLOCK] = tokens.T
    return out


def sorted_order(size: int, seed: int) -> np.ndarray:
    """A shuffle of 0..size-1 as uint64 [size]: the indices in the order of their random keys, which never tie."""
    index = np.arange(1, size + 1, dtype=np.uint64)
    return np.argsort(mix(_key(seed) + index * GOLDEN), kind="stable").astype(np.uint64)


def feistel(tokens: np.ndarray, modulus: int, seed: int) -> np.ndarray:
    """A permutation of the prefixes: a Feistel network on their base-m digits. tokens: uint64 [width, N].

    In each round one half of the digits is shifted, mod m, by a hash of the other half. The shift can be undone, so
    different prefixes stay different. Needs a width of at least 2. Works in place and returns its argument.
    """
    half = len(tokens) // 2
    m = np.uint64(modulus)
    for round_ in range(ROUNDS):
        hashed, shifted = (tokens[:half], tokens[half:]) if round_ % 2 == 0 else (tokens[half:], tokens[:half])
        state = mix(_key(seed) + np.array([round_], np.uint64) * GOLDEN)
        for row in hashed:
            state = mix(state + (row + np.uint64(1)) * GOLDEN)
        for row in shifted:
            state = mix(state + GOLDEN)
            row += state % m
            row %= m
    return tokens


def digits(numbers: np.ndarray, modulus: int, width: int) -> np.ndarray:
    """uint64 [N] -> its digits to the base of the modulus, uint64 [width, N], the highest first."""
    out = np.empty((width, len(numbers)), np.uint64)
    rest, m = numbers, np.uint64(modulus)
    for row in out[::-1]:
        rest, row[:] = np.divmod(rest, m)
    return out


def _key(seed: int) -> np.ndarray:
    """Where a seed's random numbers start, uint64 [1] (an array: numpy warns when a scalar overflows)."""
    return mix(np.array([seed], np.uint64) + GOLDEN)


def mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a one-to-one scramble of 64-bit numbers."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scrambled: np.ndarray = x ^ (x >> np.uint64(31))
    return scrambled
