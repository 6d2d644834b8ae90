"""Randomized positions for RoPE: a sorted random subset of a longer range (Ruoss et al. 2023, arXiv 2305.16843)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from models.encodings.rotary import Rotary
from models.streams import stream
from posgen.errors import require


@dataclass(frozen=True)
class RandomizedRotary(Rotary):
    """RoPE whose positions are a sorted random subset of 0..max_position-1: drawn anew for every training step, and one
    fixed draw a length when measured. Lengths above those trained on then meet no new position."""

    max_position: int = 2_048

    only_rotates: ClassVar[bool] = True
    source: ClassVar[str] = "Ruoss et al. 2023, arXiv 2305.16843"

    def training_positions(self, length: int, generator: Generator) -> Tensor:
        require(
            length <= self.max_position, "params.max_position", self.max_position,
            f"use at least the longest sequence, {length} positions",
        )  # fmt: skip
        return torch.randperm(self.max_position, generator=generator)[:length].sort().values

    def positions_bytes(self, length: int) -> int:
        return 2 * 8 * self.max_position + 2 * 8 * length  # drawn from all, sorted

    def positions(self, length: int) -> Tensor:
        return self.training_positions(length, stream(0, "measured-positions", length))


ENCODING = RandomizedRotary
