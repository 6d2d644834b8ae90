"""T5's relative attention bias: one trained number a head and bucket of distances (Raffel et al. 2020, section 2.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from models.encodings.base import PREFIX, Encoding, Weights
from models.spec import ModelSpec
from posgen.errors import require


def bucket(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Bucket of a causal distance i - j >= 0: the first half counts single steps, the rest grow logarithmically up to
    `max_distance`; everything beyond shares the last. Integer tensors of any shape."""
    exact = buckets // 2
    share = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = exact + (share * (buckets - exact)).long()
    return torch.where(distance < exact, distance, far.clamp(max=buckets - 1)).clamp(min=0)


@dataclass(frozen=True)
class T5Bias(Encoding):
    """`buckets` trained numbers a head, shared by all layers as in T5; distances from `max_distance` on share one."""

    buckets: int = 32
    max_distance: int = 128

    trainable: ClassVar[bool] = True
    source: ClassVar[str] = "Raffel et al. 2020, arXiv 1910.10683"

    def __post_init__(self) -> None:
        require(self.buckets >= 2 and self.buckets % 2 == 0, "buckets", self.buckets, "use an even number (T5: 32)")
        require(
            self.max_distance > self.buckets // 2, "max_distance", self.max_distance,
            f"use more than half of buckets, {self.buckets // 2} (T5: 128)",
        )  # fmt: skip

    def shapes(self, model: ModelSpec) -> dict[str, tuple[int, ...]]:
        return {"table": (self.buckets, model.heads)}

    def initialise(self, model: ModelSpec, generator: Generator) -> dict[str, Tensor]:
        # T5's own: normal with d_model^-1/2.
        return {"table": torch.randn(self.buckets, model.heads, generator=generator) * model.d_model**-0.5}

    def bias(self, weights: Weights, positions: Tensor, model: ModelSpec) -> Tensor:
        distance = (positions[:, None] - positions[None, :]).clamp(min=0)
        table = weights[f"{PREFIX}table"]  # (P, buckets, H)
        return table[:, bucket(distance, self.buckets, self.max_distance)].permute(0, 3, 1, 2)


ENCODING = T5Bias
