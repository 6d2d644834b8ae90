"""Dropout for a population: each member draws its masks from its own stream, one draw a step for all sites.

Random bits are 16-bit lanes of 64-bit integers, several times faster than one float per element; the probability is
therefore a multiple of 2^-16 (0.1 becomes 0.100006), and kept values are scaled by exactly one over what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.streams import stream

LANES = 65_536


class Dropout:
    """The masks of one step for P members. Sites must ask in the same order each step; a site's mask is [P, *shape]."""

    def __init__(self, probability: float, seeds: Sequence[int], step: int, lanes: int, device: torch.device) -> None:
        self.dropped = round(probability * LANES)
        self.scale = LANES / (LANES - self.dropped)
        words = torch.empty(len(seeds), -(-lanes // 4), dtype=torch.int64, device=device)
        for row, seed in zip(words, seeds, strict=True):
            # All 64 bits: random_() without bounds leaves the sign bit zero, which would bias every fourth lane.
            row.random_(-(2**63), None, generator=stream(seed, "dropout", step, device))
        self.lanes = words.view(torch.int16)
        self.used = 0

    def mask(self, *shape: int) -> Tensor:
        """The next mask, float32 [P, *shape]: 0 where dropped, else 1 / (1 - p)."""
        count = torch.Size(shape).numel()
        lanes = self.lanes[:, self.used : self.used + count]
        self.used += count
        keep = lanes >= self.dropped - LANES // 2
        return (keep.to(torch.float32) * self.scale).view(-1, *shape)
