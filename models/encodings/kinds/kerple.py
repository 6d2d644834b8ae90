"""KERPLE: a trained penalty on attention that grows with the logarithm of the distance (Chi et al. 2022).

Claimed: the logarithmic one of the kernels that depend on distance alone extrapolates best, better than ALiBi's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from models.encodings.base import PREFIX, Encoding, Weights
from models.spec import ModelSpec
from posgen.errors import require


@dataclass(frozen=True)
class KERPLE(Encoding):
    """Adds -p log(1 + a (i - j)) to the logits of query i on key j, the paper's logarithmic kernel (arXiv 2205.09921,
    section 4). p and a are trained, one pair for each head, shared by all layers; they start from U(0, 2) and U(0, 1)
    and count as at least `floor`, as in the authors' code."""

    floor: float = 0.01

    trainable: ClassVar[bool] = True
    source: ClassVar[str] = "Chi et al. 2022, arXiv 2205.09921"

    def __post_init__(self) -> None:
        require(self.floor > 0.0, "floor", self.floor, "use a number above 0 (the authors' code: 0.01)")

    def shapes(self, model: ModelSpec) -> dict[str, tuple[int, ...]]:
        return {"p": (model.heads,), "a": (model.heads,)}

    def initialise(self, model: ModelSpec, generator: Generator) -> dict[str, Tensor]:
        p, a = (torch.rand(model.heads, generator=generator) for _ in range(2))
        return {"p": 2 * p, "a": a}

    def bias(self, weights: Weights, positions: Tensor, model: ModelSpec) -> Tensor:
        # The floor is a value, not a wall: below it the gradient is zero, and weight decay alone moves them.
        p, a = (weights[PREFIX + name].clamp(min=self.floor)[:, :, None, None] for name in ("p", "a"))
        distance = (positions[:, None] - positions[None, :]).clamp(min=0).float()
        return -p * torch.log1p(a * distance)


ENCODING = KERPLE
