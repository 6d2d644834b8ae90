"""What a task asks at each position, and what somebody who knows some of the tokens can say about the answer.

A `Source` holds the tokens of all sequences of a task, each as likely as the others, in a form from which exact
probabilities follow: `linear` (linear maps of the seed), `enumerated` (all seeds) or `independent` (tokens drawn apart,
of which an answer that is never fed back is computed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

JOINT = 2**22
"""Combinations of known tokens and answer, modulus ** (known + 1), that are counted out one by one at most."""


@dataclass(frozen=True)
class Asked:
    """One prediction, of the answer at `position`, made of the tokens before it. `far` and `near`: the positions of the
    tokens that the answer is computed from."""

    position: int
    far: tuple[int, ...]
    near: tuple[int, ...]

    @property
    def arguments(self) -> tuple[int, ...]:
        """Far positions, then near ones."""
        return (*self.far, *self.near)

    def last(self, count: int) -> tuple[int, ...]:
        """The last `count` positions before the answer, the nearest first; all of them where there are fewer."""
        return tuple(range(self.position - 1, max(-1, self.position - 1 - count), -1))


class Source(Protocol):
    """The tokens of a task as random variables."""

    @property
    def modulus(self) -> int:
        """Values that a token can take."""

    @property
    def method(self) -> str:
        """How the probabilities are computed, in words for readers."""

    @property
    def asked(self) -> Sequence[Asked]:
        """What is predicted, in the order of the positions."""

    def accuracy(self, asked: Asked, known: Sequence[int]) -> Fraction:
        """How often the best guess is right that knows the task and the tokens at the positions `known`, and nothing
        else (Bayes accuracy): the mean over sequences of the largest conditional probability. Exact."""

    def determined(self, asked: Asked, known: Sequence[int]) -> bool:
        """Whether the tokens at `known` leave one answer: `accuracy` is 1, told sooner."""

    def joint(self, asked: Asked, known: Sequence[int]) -> np.ndarray | None:
        """Counts [modulus ** known, modulus] of the known tokens' values (distinct positions, the first counts most)
        with the answer's, whose total is the same at every position. None above `JOINT` combinations."""
