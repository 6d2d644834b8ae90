"""Dynamic NTK: the base grows with the current length, recomputed for each length, with no memory of longer inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.scalings.base import Scaling, rope_inv_freq
from posgen.errors import require


@dataclass(frozen=True)
class DynamicNTK(Scaling):
    """b * ((f * Lc / L) - (f - 1))^(d/(d-2)) for a current length Lc above L = `train_length`, plain RoPE up to L."""

    factor: float = 4.0
    train_length: int = 64

    source: ClassVar[str] = "emozilla 2023 (dynamic NTK), in Peng et al. 2023, arXiv 2309.00071"

    def __post_init__(self) -> None:
        require(self.factor >= 1.0, "factor", self.factor, "use at least 1")
        require(self.train_length >= 1, "train_length", self.train_length, "use the length trained on, in tokens")

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        require(head_dim > 2, "head_dim", head_dim, "dynamic NTK's exponent d/(d-2) needs more than 2")
        # Grown in float32, as transformers does: the base is raised to 2j/d, which would show the difference.
        growth = self.factor * max(length, self.train_length) / self.train_length - (self.factor - 1)
        return rope_inv_freq(head_dim, base * torch.tensor(growth, dtype=torch.float32) ** (head_dim / (head_dim - 2)))


SCALING = DynamicNTK
