"""Tokens as their values under every seed: probabilities by counting, for any h, where all the seeds fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from posgen.audit.asked import JOINT, Asked

# Seeds of which two that agree in the known tokens and not in the answer are looked for first.
_SAMPLE = 4096
# Bytes of classes that are kept: neighbouring sets begin with the same tokens.
_KEPT = 2**28


@dataclass(frozen=True)
class _Classes:
    """Seeds by the values of some tokens: the class of each, of `count` that may be. `apart`: no two share one."""

    of: np.ndarray
    count: int
    modulus: int
    apart: bool = False

    @staticmethod
    def one(seeds: int, modulus: int) -> _Classes:
        """All in one class: nothing is known."""
        return _Classes(np.zeros(seeds, np.int64), 1, modulus)

    def refined(self, values: np.ndarray) -> _Classes:
        """The classes of seeds that agreed before and in these values too."""
        if self.apart:
            return self
        finer, count = self.of * self.modulus + values, self.count * self.modulus
        if count <= 4 * len(finer) + 1024:
            return _Classes(finer, count, self.modulus)
        present, finer = np.unique(finer, return_inverse=True)  # most are empty: number the others
        return _Classes(finer, len(present), self.modulus, len(present) == len(finer))

    def most_frequent(self, answers: np.ndarray) -> int:
        """Seeds whose answer is the most frequent one of their class."""
        if self.apart:
            return len(self.of)
        pairs, m = self.of * self.modulus + answers, self.modulus
        if self.count * m <= 8 * len(pairs) + 1024:
            return int(np.bincount(pairs, minlength=self.count * m).reshape(self.count, m).max(1).sum())
        present, counts = np.unique(pairs, return_counts=True)
        starts = np.flatnonzero(np.diff(present // m, prepend=-1))
        return int(np.maximum.reduceat(counts, starts).sum())


@dataclass
class Enumerated:
    """`tokens`: [length, seeds], column s the sequence of seed s; `answers`: of every prediction its values [seeds], by
    its position. Every seed is equally likely."""

    modulus: int
    asked: tuple[Asked, ...]
    tokens: np.ndarray
    answers: Mapping[int, np.ndarray]
    method: str = "enumeration of all seeds"
    _classes: dict[tuple[int, ...], _Classes] = field(default_factory=dict, repr=False)
    _sample: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count = self.tokens.shape[1]
        self._sample = np.random.default_rng(0).permutation(count)[:_SAMPLE]

    def accuracy(self, asked: Asked, known: Sequence[int]) -> Fraction:
        """The seeds that agree in the known tokens form a class; in each the most frequent answer is right."""
        classes = self._classed(tuple(known))
        return Fraction(classes.most_frequent(self.answers[asked.position]), len(classes.of))

    def determined(self, asked: Asked, known: Sequence[int]) -> bool:
        """Whether every class has one answer; a counterexample is sought in a sample of the seeds first."""
        some, answers = self._sample, self.answers[asked.position]
        if len(some) < self.tokens.shape[1]:
            classes = _Classes.one(len(some), self.modulus)
            for position in known:
                classes = classes.refined(self.tokens[position, some])
            if classes.most_frequent(answers[some]) < len(some):
                return False
        return self.accuracy(asked, known) == 1

    def joint(self, asked: Asked, known: Sequence[int]) -> np.ndarray | None:
        """Of every combination of values the number of seeds that have it."""
        m = self.modulus
        if m ** (len(known) + 1) > JOINT:
            return None
        code = np.zeros(self.tokens.shape[1], np.int64)
        for position in known:
            code = code * m + self.tokens[position]
        code = code * m + self.answers[asked.position]
        return np.bincount(code, minlength=m ** (len(known) + 1)).reshape(-1, m)

    def _classed(self, known: tuple[int, ...]) -> _Classes:
        have = next((n for n in range(len(known), 0, -1) if known[:n] in self._classes), 0)
        classes = self._classes[known[:have]] if have else _Classes.one(self.tokens.shape[1], self.modulus)
        for n in range(have, len(known)):
            classes = classes.refined(self.tokens[known[n]])
            if (len(self._classes) + 1) * classes.of.nbytes > _KEPT:
                self._classes.clear()
            self._classes[known[: n + 1]] = classes
        return classes


@dataclass
class Independent:
    """Tokens that are drawn apart from each other, and answers that are computed of them and never read again.

    A token that the answer is not computed from says nothing about it, whatever else is known, so the arguments alone
    are enumerated: `values` [far + near, combinations], `results` [combinations]."""

    modulus: int
    asked: tuple[Asked, ...]
    values: np.ndarray
    results: np.ndarray
    method: str = "enumeration of all arguments; the other tokens are independent of them"
    _table: Enumerated = field(init=False, repr=False)
    _found: dict[tuple[int, ...], Fraction] = field(default_factory=dict, repr=False)
    _joints: dict[tuple[int | None, ...], np.ndarray] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        slots = tuple(range(len(self.values)))
        one = Asked(len(slots), slots, ())
        self._table = Enumerated(self.modulus, (one,), self.values, {len(slots): self.results})

    def accuracy(self, asked: Asked, known: Sequence[int]) -> Fraction:
        """By the arguments among the known tokens."""
        slots = tuple(slot for slot, position in enumerate(asked.arguments) if position in known)
        if slots not in self._found:
            self._found[slots] = self._table.accuracy(self._table.asked[0], slots)
        return self._found[slots]

    def determined(self, asked: Asked, known: Sequence[int]) -> bool:
        """By the arguments among the known tokens."""
        return self.accuracy(asked, known) == 1

    def joint(self, asked: Asked, known: Sequence[int]) -> np.ndarray | None:
        """Of every combination of values the number of arguments that have it, times those of the other tokens."""
        m = self.modulus
        if m ** (len(known) + 1) > JOINT:
            return None
        places = {position: slot for slot, position in enumerate(asked.arguments)}
        slots = tuple(places.get(position) for position in known)
        if slots not in self._joints:
            told = [slot for slot in slots if slot is not None]
            counts = self._table.joint(self._table.asked[0], told)
            assert counts is not None, "it is no larger than the whole"
            full = counts.reshape(*[m] * len(told), m) * m ** len(told)
            for axis, slot in enumerate(slots):
                if slot is None:
                    full = np.repeat(np.expand_dims(full, axis), m, axis)
            self._joints[slots] = np.ascontiguousarray(full).reshape(-1, m)
        return self._joints[slots]
