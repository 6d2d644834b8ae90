"""xPos: RoPE whose features fade with distance, the fast ones faster (Sun et al. 2022, arXiv 2212.10554).

Claimed: attention that fades steadily with distance, where RoPE's oscillates, extrapolates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.base import Weights
from models.encodings.rotary import Rotary
from models.spec import ModelSpec
from posgen.errors import BadValue, require

_LARGEST = 60.0
"""Natural logarithm of the largest factor: fp32 ends at 88, and products of queries and keys need some of it."""


@dataclass(frozen=True)
class XPos(Rotary):
    """The part of feature j in the product of query t and key s is multiplied by zeta_j^((t - s) / scale_base), with
    zeta_j = (2 j / d + gamma) / (1 + gamma): q by zeta_j^(t / scale_base), k by its inverse. (The authors' code counts
    positions from the middle of a sequence, which changes no product.)"""

    gamma: float = 0.4
    scale_base: float = 512.0

    source: ClassVar[str] = "Sun et al. 2022, arXiv 2212.10554"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma > 0.0, "gamma", self.gamma, "use a number above 0 (the paper: 0.4)")
        require(self.scale_base > 0.0, "scale_base", self.scale_base, "use a number of tokens above 0 (the paper: 512)")

    def own_structure(self) -> str:
        return f"xpos {self.gamma} {self.scale_base}"  # the frequencies may differ from member to member

    def remark(self) -> str:
        fastest, slowest = (math.log(0.5) / float(self.decays(torch.ones(1))[0, j]) for j in (0, -1))
        return f"the fastest feature fades to one half over {fastest:,.0f} tokens, the slowest over {slowest:,.0f}"

    def decays(self, positions: Tensor) -> Tensor:
        """log zeta_j / scale_base times the position, float64 [T, head_dim / 2]: at most 0."""
        feature = torch.arange(self.features, dtype=torch.float64, device=positions.device)
        zeta = (feature / self.features + self.gamma) / (1 + self.gamma)
        return positions.double()[:, None] * (zeta.log() / self.scale_base)

    def rotation(self, positions: Tensor, length: int) -> tuple[Tensor, Tensor]:
        cos, sin = super().rotation(positions, length)
        decays = self.decays(positions)
        steepest = -float(decays.min()) if decays.numel() else 0.0
        if steepest > _LARGEST:
            most = int(int(positions.max()) * _LARGEST / steepest)
            remedy = f"fades so fast that fp32 holds only {most:,} positions; use a longer one, or shorter sequences"
            raise BadValue("params.scale_base", self.scale_base, remedy)
        return (cos * decays.exp()).float(), (sin * decays.exp()).float()

    def key_rotation(
        self, weights: Weights, rotation: tuple[Tensor, Tensor], positions: Tensor, model: ModelSpec
    ) -> tuple[Tensor, Tensor]:
        back = (-2 * self.decays(positions)).exp()
        return (rotation[0] * back).float(), (rotation[1] * back).float()


ENCODING = XPos
