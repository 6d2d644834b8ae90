"""ReRoPE: no distance is above a window (Su 2023, kexue.fm/archives/9708; github.com/bojone/rerope at 2cbd019).

Claimed: without any training, the loss at many times the training length is no higher than within it, and lower than
with NTK scaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.remapped import Remapped


@dataclass(frozen=True)
class ReRoPE(Remapped):
    """The distance is min(i - j, window). The source has a window of 512 for a training length of 4,096, and multiplies
    queries by max(1, log n / log L)."""

    source: ClassVar[str] = "Su 2023 (ReRoPE), kexue.fm/archives/9708"

    def query_positions(self, positions: Tensor) -> Tensor:
        return torch.full_like(positions, self.window)

    def key_positions(self, positions: Tensor) -> Tensor:
        return torch.zeros_like(positions)


ENCODING = ReRoPE
