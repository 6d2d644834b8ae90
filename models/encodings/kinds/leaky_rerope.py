"""Leaky ReRoPE: beyond a window distances grow more slowly (Su 2023, kexue.fm/archives/9708; leaky_rerope_patch.py of
github.com/bojone/rerope at 2cbd019).

Claimed: as ReRoPE, and unlike it able to tell distances beyond the window apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from models.encodings.remapped import Remapped
from posgen.errors import require


@dataclass(frozen=True)
class LeakyReRoPE(Remapped):
    """The distance is i - j below the window w and w + (i - j - w) / k from it on: queries stand at (t + w (k - 1)) / k
    and keys at t / k. The source has w = 512 and k = 16 for a training length of 4,096, and multiplies queries by
    max(1, log n / log L).

    Those positions are fractions, so Theorem 1 does not cover far pairs under Resonance: only every k-th distance among
    them is a whole number, whose angle was trained.
    """

    k: float = 8.0

    source: ClassVar[str] = "Su 2023 (Leaky ReRoPE), kexue.fm/archives/9708"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1.0 <= self.k <= 1e9, "k", self.k, "use 1 (plain RoPE) or more (the source: 16)")

    def query_positions(self, positions: Tensor) -> Tensor:
        return (positions.double() + self.window * (self.k - 1)) / self.k

    def key_positions(self, positions: Tensor) -> Tensor:
        return positions.double() / self.k


ENCODING = LeakyReRoPE
