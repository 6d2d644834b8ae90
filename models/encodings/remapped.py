"""Relative distances that are remapped when a model is tested: pairs of tokens that are far apart are rotated as if
they were nearer, so that no distance is new. The base of `kinds/rerope.py`, `leaky_rerope.py` and `self_extend.py`.

Queries and keys are rotated twice: at their positions for pairs nearer than `window`, and at remapped positions for the
others, whose difference is the distance that these are to have. Attention selects by the distance i - j.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from models.encodings.inputs import Far
from models.encodings.rotary import Rotary
from posgen.errors import require


@dataclass(frozen=True)
class Remapped(Rotary):
    """RoPE whose distances i - j of `window` tokens or more are remapped. Subclasses say how, in `query_positions` and
    `key_positions`. The angles of near and far pairs are of one table, Resonance's if it is set."""

    window: int = 32

    only_rotates: ClassVar[bool] = False
    stretches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.window <= 10**9, "window", self.window, "use 1 or more tokens, below the training length")

    def remark(self) -> str:
        return f"the features are those of pairs less than {self.window} tokens apart; others have remapped distances"

    def own_structure(self) -> str:
        """Their tables have one shape, and attention selects between them at one distance."""
        return f"remapped beyond {self.window}"

    def query_positions(self, positions: Tensor) -> Tensor:
        """Where far pairs have a query that stands at `positions` [T]."""
        raise NotImplementedError

    def key_positions(self, positions: Tensor) -> Tensor:
        """Where far pairs have a key that stands at `positions` [T]."""
        raise NotImplementedError

    def far(self, positions: Tensor, length: int) -> Far:
        queries, keys = self.query_positions(positions), self.key_positions(positions)
        return Far(self.rotation(queries, length), self.rotation(keys, length), self.window)
