"""Dropout for a population: each member draws its masks from its own stream, one draw a step for all sites.

Random bits are 16-bit lanes of 64-bit integers, several times faster than one float per element; the probability is
therefore a multiple of 2^-16 (0.1 becomes 0.100006), and kept values are scaled by exactly one over what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.streams import words

LANES = 65_536


class Dropout:
    """The masks of one step for P members. Sites must ask in the same order each step; a site's mask is [P, *shape]."""

    def __init__(self, probability: float, seeds: Sequence[int], step: int, lanes: int, device: torch.device) -> None:
        self.dropped = round(probability * LANES)
        self.scale = LANES / (LANES - self.dropped)
        drawn = np.stack([words(seed, "dropout", step, -(-lanes // 4)) for seed in seeds])
        self.lanes = torch.from_numpy(drawn.view(np.int16)).to(device)
        self.used = 0

    def mask(self, *shape: int) -> Tensor:
        """The next mask, float32 [P, *shape]: 0 where dropped, else 1 / (1 - p)."""
        count = torch.Size(shape).numel()
        lanes = self.lanes[:, self.used : self.used + count]
        self.used += count
        keep = torch.empty(lanes.shape, device=lanes.device)
        # Comparing straight into floats takes a fifth of the time of a boolean that is converted.
        torch.ge(lanes, self.dropped - LANES // 2, out=keep)
        return keep.mul_(self.scale).view(-1, *shape)
