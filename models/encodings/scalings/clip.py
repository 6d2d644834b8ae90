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


@dataclass(frozen=True)
class Clip(Scaling):
    """`critical` is the length, in tokens, above which a wavelength is clipped; `n` None: all those features, as the
    paper says. The authors' code has n = 20 of 64 whatever the length, which `n` is for."""

    shape: Shape = Shape.hard
    critical: int = 64
    n: int | None = None

    source: ClassVar[str] = "Li et al. 2026 (CoPE), arXiv 2602.05258"
    stretches: ClassVar[bool] = False
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.critical >= 1, "critical", self.critical, "use the training length, in tokens")
        require(self.n is None or self.n >= 0, "n", self.n, "use null (what exceeds critical) or 0 to head_dim / 2")

    def clipped(self, inv_freq: Tensor) -> int:
        """How many of the slowest features are clipped."""
        if self.n is None:
            return int((2 * math.pi / inv_freq.double() > self.critical).sum())
        features = len(inv_freq)
        require(self.n <= features, "n", self.n, f"a head has {features} features; use at most that, or null")
        return self.n

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        inv_freq = rope_inv_freq(head_dim, base)
        n = self.clipped(inv_freq)
        share = torch.zeros(n, dtype=torch.float64)
        if self.shape is Shape.cosine:
            share = (1 + torch.cos(math.pi * torch.arange(n, dtype=torch.float64) / max(1, n - 1))) / 2
        inv_freq[len(inv_freq) - n :] *= share.float()
        return inv_freq


SCALING = Clip
