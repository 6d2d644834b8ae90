"""ALiBi: a penalty on attention that grows with distance (Press, Smith and Lewis 2021, arXiv 2108.12409)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.base import Encoding, Weights
from models.spec import ModelSpec


def slopes(heads: int) -> list[float]:
    """m_h = 2^(-8h/H), h = 1..H, for a power of two; else those of the power of two below, then every second one of
    the power above (section 3 and the authors' code)."""
    if math.log2(heads).is_integer():
        return [2.0 ** (-8.0 * h / heads) for h in range(1, heads + 1)]
    below = 2 ** math.floor(math.log2(heads))
    return slopes(below) + slopes(2 * below)[0::2][: heads - below]


@dataclass(frozen=True)
class ALiBi(Encoding):
    """Adds -m_h (i - j) to the logits of query i on key j."""

    source: ClassVar[str] = "Press et al. 2021, arXiv 2108.12409"

    def bias(self, weights: Weights, positions: Tensor, model: ModelSpec) -> Tensor:
        distance = (positions[:, None] - positions[None, :]).float()
        return (-torch.tensor(slopes(model.heads), device=positions.device)[:, None, None] * distance)[None]


ENCODING = ALiBi
