"""Tokens as linear maps of uniform random numbers over Z_m: probabilities by algebra, at any modulus and length.

Let R be the matrix of the known tokens' rows, t the answer's row and s the random numbers, uniform over Z_m^n. Given
R s, s is uniform over a coset of the kernel K of R, so the answer t s is uniform over a coset of t K, a cyclic subgroup
of Z_m. If d is its size, the best guess is right with probability 1/d. And d is the least number with d t = 0 on K,
which is the least with d t in the row span of R: Z_m is an injective module over itself, so a linear map that vanishes
on the kernel of R is a combination of its rows, for a composite m as for a prime one. A constant in h moves every coset
and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from posgen.audit.asked import JOINT, Asked
from posgen.audit.spans import Row, Span

# Spans kept for one position: neighbouring sets begin with the same tokens.
_KEPT = 20_000
_KEPT_JOINTS = 50


@dataclass
class Linear:
    """`rows`: of every token its coefficients on the random numbers; `answers`: of every answer, by its position."""

    modulus: int
    asked: tuple[Asked, ...]
    rows: Sequence[Row]
    answers: dict[int, Row]
    method: str = "linear algebra over Z_m"
    _spans: dict[tuple[int, ...], Span] = field(default_factory=dict, repr=False)
    _joints: dict[tuple[tuple[int, Row], ...], np.ndarray] = field(default_factory=dict, repr=False)

    def accuracy(self, asked: Asked, known: Sequence[int]) -> Fraction:
        """1 over the order of the answer's row modulo the known rows."""
        return Fraction(1, self._span(tuple(known)).order(self.answers[asked.position]))

    def determined(self, asked: Asked, known: Sequence[int]) -> bool:
        """Whether the answer's row is a combination of the known ones."""
        return self._span(tuple(known)).order(self.answers[asked.position]) == 1

    def joint(self, asked: Asked, known: Sequence[int]) -> np.ndarray | None:
        """The values of the known tokens and the answer together are uniform over a subgroup of Z_m^(known + 1), which
        the columns of their rows generate; it is counted out."""
        m, rows = self.modulus, [*(self.rows[position] for position in known), self.answers[asked.position]]
        if m ** len(rows) > JOINT:
            return None
        used = [column for column in zip(*rows, strict=True) if any(column)]
        key = tuple(sorted(Span.of(m, used).pivots.items()))
        if key not in self._joints:
            if len(self._joints) > _KEPT_JOINTS:
                self._joints.clear()
            group = np.zeros((1, len(rows)), np.int64)
            for column, pivot in key:
                multiples = np.arange(m // pivot[column])[:, None] * np.array(pivot)
                group = (group[:, None] + multiples[None]).reshape(-1, len(rows)) % m
            weights = m ** np.arange(len(rows) - 1, -1, -1)
            counts = np.bincount(group @ weights, minlength=m ** len(rows)) * (m ** len(rows) // len(group))
            self._joints[key] = counts.reshape(-1, m)
        return self._joints[key]

    def _span(self, known: tuple[int, ...]) -> Span:
        if len(self._spans) > _KEPT:
            self._spans.clear()
        have = next((n for n in range(len(known), 0, -1) if known[:n] in self._spans), 0)
        span = self._spans[known[:have]] if have else Span(self.modulus)
        for count in range(have, len(known)):
            span = self._spans[known[: count + 1]] = span.extended(self.rows[known[count]])
        return span


def read(modulus: int, asked: Sequence[Asked], coefficients: Sequence[int], length: int) -> Linear:
    """A sequence of `length` tokens whose answers are tokens of it, the combinations of their arguments, and whose
    other tokens are independent. `coefficients`: far arguments first; an answer with fewer arguments lacks far ones."""
    answers = {each.position: each for each in asked}
    free = [position for position in range(length) if position not in answers]
    rows: list[Row] = []
    for position in range(length):
        if position in answers:
            rows.append(_combination(answers[position], coefficients, rows, modulus))
        else:
            rows.append(tuple(int(position == other) for other in free))
    return Linear(modulus, tuple(asked), rows, {position: rows[position] for position in answers})


def hidden(modulus: int, asked: Sequence[Asked], coefficients: Sequence[int], length: int) -> Linear:
    """A sequence of `length` independent tokens, and answers, combinations of their arguments, that are not in it."""
    rows = [tuple(int(position == other) for other in range(length)) for position in range(length)]
    answers = {each.position: _combination(each, coefficients, rows, modulus) for each in asked}
    return Linear(modulus, tuple(asked), rows, answers)


def _combination(asked: Asked, coefficients: Sequence[int], rows: Sequence[Row], modulus: int) -> Row:
    own = coefficients[len(coefficients) - len(asked.arguments) :]
    columns = zip(*(rows[argument] for argument in asked.arguments), strict=True)
    return tuple(sum(map(int.__mul__, own, column)) % modulus for column in columns)
