"""Partial rotary (GPT-J; GPT-NeoX-20B, Black et al. 2022, arXiv 2204.06745): only a head's first dimensions rotate.

With r = partial_rotary_factor * d rotating dimensions: theta'_j = base^(-2j/r) for j < r/2 and 0 for the rest, float32
[head_dim / 2], radians per token. The frequencies are those of a head of dimension r, so they span the whole range
(`p_rope` keeps the fast ones of the whole head instead). transformers' `partial_rotary_factor` of rope type `default`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.scalings.base import Scaling, rope_inv_freq
from posgen.errors import require


@dataclass(frozen=True)
class Partial(Scaling):
    """`partial_rotary_factor` is the fraction of the head's dimensions that rotates; the product is rounded down."""

    partial_rotary_factor: float = 0.25

    source: ClassVar[str] = "Black et al. 2022 (GPT-NeoX), arXiv 2204.06745"
    stretches: ClassVar[bool] = False
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(
            0.0 < self.partial_rotary_factor <= 1.0, "partial_rotary_factor", self.partial_rotary_factor,
            "use above 0 and at most 1 (GPT-NeoX: 0.25)",
        )  # fmt: skip

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        rotating = int(head_dim * self.partial_rotary_factor)
        require(
            rotating >= 2 and rotating % 2 == 0, "partial_rotary_factor", self.partial_rotary_factor,
            f"must give an even number of rotating dimensions, 2 or more, of {head_dim}; it gives {rotating}",
        )  # fmt: skip
        inv_freq = torch.zeros(head_dim // 2, dtype=torch.float32)
        inv_freq[: rotating // 2] = rope_inv_freq(rotating, base)
        return inv_freq


SCALING = Partial
