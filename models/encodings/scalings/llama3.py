"""Llama 3.1's scaling (Llama Team 2024, arXiv 2407.21783), as transformers' rope type `llama3`.

With r_j = train_length / lambda_j, the rotations of feature j within the length trained on: theta_j is kept above
`high_freq_factor` rotations, divided by s below `low_freq_factor`, and between them
theta'_j = g_j theta_j + (1 - g_j) theta_j / s with g_j = (r_j - low) / (high - low). float32 [head_dim / 2], in radians
per token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.scalings.base import Scaling, rope_inv_freq
from posgen.errors import require


@dataclass(frozen=True)
class Llama3(Scaling):
    """`factor` is s, `train_length` (tokens) transformers' original_max_position_embeddings; the rest rotations."""

    factor: float = 4.0
    train_length: int = 64
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    source: ClassVar[str] = "Llama Team 2024, arXiv 2407.21783"
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.factor >= 1.0, "factor", self.factor, "use at least 1 (s = test_length / train_length)")
        require(self.train_length >= 1, "train_length", self.train_length, "use the length trained on, in tokens")
        require(
            self.low_freq_factor > 0.0,
            "low_freq_factor",
            self.low_freq_factor,
            "use a number of rotations above 0 (Llama: 1)",
        )
        require(
            self.high_freq_factor > self.low_freq_factor, "high_freq_factor", self.high_freq_factor,
            f"use more than low_freq_factor ({self.low_freq_factor})",
        )  # fmt: skip

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        plain = rope_inv_freq(head_dim, base)
        rotations = self.train_length / (2 * math.pi / plain)
        keep = (rotations - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        smooth = (1 - keep) * plain / self.factor + keep * plain
        return torch.where(keep > 1, plain, torch.where(keep < 0, plain / self.factor, smooth))


SCALING = Llama3
