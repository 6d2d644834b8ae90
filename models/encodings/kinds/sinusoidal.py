"""Sinusoidal absolute positions, added to the token embeddings (Vaswani et al. 2017, arXiv 1706.03762, section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.base import Encoding, Weights
from models.spec import ModelSpec
from posgen.errors import require


@dataclass(frozen=True)
class Sinusoidal(Encoding):
    """PE(t, 2i) = sin(t / base^(2i/d_model)), PE(t, 2i+1) = cos of the same."""

    base: float = 10_000.0

    source: ClassVar[str] = "Vaswani et al. 2017, arXiv 1706.03762"

    def __post_init__(self) -> None:
        require(self.base > 1.0, "base", self.base, "use a number above 1 (the paper: 10000)")

    def embedding(self, weights: Weights, positions: Tensor, model: ModelSpec) -> Tensor:
        require(model.d_model % 2 == 0, "d_model", model.d_model, "sinusoidal positions need an even number")
        exponents = torch.arange(0, model.d_model, 2, dtype=torch.float64, device=positions.device) / model.d_model
        angles = positions.double()[:, None] / self.base**exponents
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[None].float()


ENCODING = Sinusoidal
