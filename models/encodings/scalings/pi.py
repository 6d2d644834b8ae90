"""Position interpolation (Chen et al. 2023, arXiv 2306.15595): position t becomes t / s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.scalings.base import Scaling, rope_inv_freq
from posgen.errors import require


@dataclass(frozen=True)
class PositionInterpolation(Scaling):
    """Every wavelength s times longer. `factor` is s = L'/L."""

    factor: float = 4.0

    source: ClassVar[str] = "Chen et al. 2023, arXiv 2306.15595"
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.factor >= 1.0, "factor", self.factor, "use at least 1 (s = test_length / train_length)")

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        return rope_inv_freq(head_dim, base) / self.factor

    def angles(self, positions: Tensor, head_dim: int, base: float, length: int) -> Tensor:
        # t / s first, then the plain frequency: the paper's definition, and in float32 not the same as t * (theta / s)
        # unless s is a power of two.
        return (positions.to(torch.float32) / self.factor)[:, None] * rope_inv_freq(head_dim, base)


SCALING = PositionInterpolation
