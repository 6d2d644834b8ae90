"""Learned absolute positions, added to the token embeddings (Gehring et al. 2017; GPT-2, BERT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from models.encodings.base import PREFIX, Encoding, Weights
from models.spec import ModelSpec
from posgen.errors import require


@dataclass(frozen=True)
class Learned(Encoding):
    """A trained vector a position, up to `max_length` positions, BOS included. Those beyond the training length are
    never trained: what extrapolation is left is what the rest of the model makes of noise."""

    max_length: int = 257
    std: float = 0.02

    trainable: ClassVar[bool] = True
    source: ClassVar[str] = "Gehring et al. 2017, arXiv 1705.03122"

    def __post_init__(self) -> None:
        require(self.max_length >= 1, "max_length", self.max_length, "use the longest length in tokens, BOS included")
        require(self.std > 0.0, "std", self.std, "use a number above 0 (GPT-2: 0.02)")

    def shapes(self, model: ModelSpec) -> dict[str, tuple[int, ...]]:
        return {"table": (self.max_length, model.d_model)}

    def initialise(self, model: ModelSpec, generator: Generator) -> dict[str, Tensor]:
        return {"table": torch.randn(self.max_length, model.d_model, generator=generator) * self.std}

    def embedding(self, weights: Weights, positions: Tensor, model: ModelSpec) -> Tensor:
        need = int(positions.max()) + 1
        remedy = f"a sequence of {need} positions needs at least that; train with pe.params.max_length={need}"
        require(need <= self.max_length, "params.max_length", self.max_length, remedy)
        return weights[f"{PREFIX}table"][:, positions]


ENCODING = Learned
