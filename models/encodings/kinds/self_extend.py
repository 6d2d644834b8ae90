"""SelfExtend: beyond a window tokens share positions in groups (Jin et al. 2024, arXiv 2401.01325; the code is
github.com/datamllab/LongLM at 18950b5).

Claimed: a model understands several times its training length without any training, where it is given positions that
it has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from torch import Tensor

from models.encodings.remapped import Remapped
from posgen.errors import require


class Offset(Enum):
    """What brings grouped queries beyond the window. `floor`: W - W // G (the text, equation 4, and the code's step of
    generation). `exact`: W - W / G (the code's pass over a whole sequence). They differ where G does not divide W."""

    floor = "floor"
    exact = "exact"


@dataclass(frozen=True)
class SelfExtend(Remapped):
    """The distance is i - j below the window W and i // G - j // G + W - W // G from it on, G = `group`. The code has
    G = 8 and W = 1,024 for a training length of 4,096.

    Grouped positions are whole numbers (with `offset` floor), so Theorem 1 covers far pairs under Resonance.
    """

    group: int = 8
    offset: Offset = Offset.floor

    source: ClassVar[str] = "Jin et al. 2024 (SelfExtend), arXiv 2401.01325"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.group <= 10**9, "group", self.group, "use 1 (plain RoPE) or more tokens (the code: 8)")

    def query_positions(self, positions: Tensor) -> Tensor:
        grouped = positions // self.group
        if self.offset is Offset.exact:
            return grouped.double() + (self.window - self.window / self.group)
        return grouped + (self.window - self.window // self.group)

    def key_positions(self, positions: Tensor) -> Tensor:
        return positions // self.group


ENCODING = SelfExtend
