"""Linear algebra over Z_m, the integers modulo m, where m need not be prime and most numbers have no inverse.

A token of a linear task is a linear map of the random seed, a row of n coefficients. `Span` holds the rows that can be
combined from some given ones, in Howell's form (Howell 1986; Storjohann 2000, chapter 4): the echelon form over Z_m.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Row = tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """All combinations over Z_m of some rows of equal width.

    `pivots`: column -> a row that is zero before that column and has a divisor of m there. Howell's property: whatever
    in the span is zero up to a column is a combination of the pivots behind it. So a row is in the span just when
    subtracting pivots, column by column, leaves nothing.
    """

    modulus: int
    pivots: dict[int, Row] = field(default_factory=dict)

    @staticmethod
    def of(modulus: int, rows: Iterable[Sequence[int]]) -> Span:
        """The span of these rows, of integers of any size."""
        span = Span(modulus)
        for row in rows:
            span = span.extended(row)
        return span

    def extended(self, row: Sequence[int]) -> Span:
        """The span of what is in this one and another row."""
        m, pivots = self.modulus, dict(self.pivots)
        waiting = [tuple(value % m for value in row)]
        while waiting:
            new = waiting.pop()
            for column in range(len(new)):
                if not new[column]:
                    continue
                old = pivots.get(column)
                if old is None:
                    g = math.gcd(new[column], m)
                    pivots[column] = _times(_unit(new[column], m), new, m)
                    waiting.append(_times(m // g, new, m))  # zero in this column, and perhaps not behind it
                    break
                if new[column] % old[column] == 0:
                    new = _combined(1, new, -(new[column] // old[column]), old, m)
                    continue
                # Both rows by a matrix of determinant 1: the span stays, the pivot becomes the greatest common divisor.
                g, s, t = _bezout(old[column], new[column])
                pivots[column] = _combined(s, old, t, new, m)
                new = _combined(old[column] // g, new, -(new[column] // g), old, m)
                waiting.append(_times(m // g, pivots[column], m))
        return Span(m, pivots)

    def order(self, row: Sequence[int]) -> int:
        """The least d >= 1 for which d times the row is in the span; it divides m. 1: the row itself is."""
        m, rest, order = self.modulus, tuple(value % self.modulus for value in row), 1
        for column in range(len(rest)):
            if not rest[column]:
                continue
            pivot = self.pivots.get(column)
            step = m if pivot is None else pivot[column]
            factor = step // math.gcd(step, rest[column])
            if factor > 1:
                order, rest = order * factor, _times(factor, rest, m)
            if pivot is not None:
                rest = _combined(1, rest, -(rest[column] // step), pivot, m)
        return order


def _times(factor: int, row: Row, m: int) -> Row:
    return tuple(factor * value % m for value in row)


def _combined(a: int, one: Row, b: int, other: Row, m: int) -> Row:
    return tuple((a * x + b * y) % m for x, y in zip(one, other, strict=True))


def _bezout(a: int, b: int) -> tuple[int, int, int]:
    """(g, s, t) with g = gcd(a, b) = s a + t b."""
    s, t, u, v = 1, 0, 0, 1
    while b:
        quotient, rest = divmod(a, b)
        a, b, s, t, u, v = b, rest, u, v, s - quotient * u, t - quotient * v
    return a, s, t


def _unit(a: int, m: int) -> int:
    """A number with an inverse modulo m that takes a to gcd(a, m)."""
    g = math.gcd(a, m)
    start = pow(a // g, -1, m // g) if m // g > 1 else 1
    return next(u for k in range(g + 1) if math.gcd(u := start + k * (m // g), m) == 1)
