"""Clip: the features whose wavelength exceeds the training length do not rotate, or rotate more slowly.

Claimed: such a feature meets angles beyond the training length that it never had, so stopping it costs nothing within
that length and extrapolates, and doing so gradually is better than at once. `hard` stops all of them: HardClip of
CoPE (Li et al. 2026, arXiv 2602.05258), and what HoPE (Chen et al. 2024, arXiv 2410.21216) calls position-independent
components. `cosine` slows them down along half a cosine, CoPE's own: the n clipped features, the last ones, get
theta'_(d/2-n+i) = theta_(d/2-n+i) (1 + cos(pi i / (n - 1))) / 2, i = 0..n-1. The first keeps its frequency and the last
stops, so that n = 1 changes nothing (as in the authors' code).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.scalings.base import Scaling, rope_inv_freq
from posgen.errors import require


class Shape(Enum):
    """What happens to the clipped features."""

    hard = "hard"
    cosine = "cosine"


class Acts(Enum):
    """What the taper multiplies: the feature's frequency (the authors' code), or its part of the attention logits (the
    text's words: a weight w_j of each spectral component)."""

    frequency = "frequency"
    component = "component"


@dataclass(frozen=True)
class Clip(Scaling):
    """`critical` is the length, in tokens, above which a wavelength is clipped; `n` None: all those features, as the
    paper says. The authors' code has n = 20 of 64 whatever the length, which `n` is for. Where `acts_on` is
    `component`, frequencies stay, and clipped features count less in the product of query and key: not at all where
    `shape` is hard."""

    shape: Shape = Shape.hard
    critical: int = 64
    n: int | None = None
    acts_on: Acts = Acts.frequency

    source: ClassVar[str] = "Li et al. 2026 (CoPE), arXiv 2602.05258"
    stretches: ClassVar[bool] = False
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.critical >= 1, "critical", self.critical, "use the training length, in tokens")
        require(self.n is None or self.n >= 0, "n", self.n, "use null (what exceeds critical) or 0 to head_dim / 2")

    def clipped(self, head_dim: int, base: float) -> int:
        """How many of the slowest features are clipped. Counted without tensors: models are made where these have no
        values (torch's meta device)."""
        features = head_dim // 2
        if self.n is None:
            return sum(2 * math.pi * base ** (2 * j / head_dim) > self.critical for j in range(features))
        require(self.n <= features, "n", self.n, f"a head has {features} features; use at most that, or null")
        return self.n

    def taper(self, head_dim: int, base: float) -> Tensor:
        """What is left of each feature, float32 [head_dim / 2], from 1 to 0."""
        n = self.clipped(head_dim, base)
        left = torch.ones(head_dim // 2, dtype=torch.float64)
        left[len(left) - n :] = 0.0
        if self.shape is Shape.cosine:
            steps = torch.arange(n, dtype=torch.float64) / max(1, n - 1)
            left[len(left) - n :] = (1 + torch.cos(math.pi * steps)) / 2
        return left.float()

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        inv_freq = rope_inv_freq(head_dim, base)
        left = self.taper(head_dim, base)
        return inv_freq * left if self.acts_on is Acts.frequency else inv_freq

    def weights(self, head_dim: int, base: float) -> Tensor | None:
        return None if self.acts_on is Acts.frequency else self.taper(head_dim, base)


SCALING = Clip
