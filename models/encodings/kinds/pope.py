"""PoPE: what a query looks for in its magnitudes, where it looks in its angles (Gopalakrishnan et al. 2025).

Claimed: RoPE entangles the two; apart, a model learns to look up by place or by content alone, and extrapolates
further than YaRN without any tuning. arXiv 2509.10534, "Decoupling the 'What' and 'Where' With Polar Coordinate
Positional Embeddings": all d numbers of a head are magnitudes, softplus(q_c) and softplus(k_c), at d frequencies
theta_c = b^(-c/d), so that q and k have 2 d dimensions in their product:
sum_c softplus(q_c) softplus(k_c) cos((s - t) theta_c + delta_c) for query t and key s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import torch
from torch import Generator, Tensor

from models.encodings.base import PREFIX, Weights
from models.encodings.rotary import Rotary
from models.spec import ModelSpec


class DeltaStart(Enum):
    """Where delta starts: at 0, or drawn from U(-2 pi, 0), which is all that it may become."""

    zero = "zero"
    uniform = "uniform"


@dataclass(frozen=True)
class PoPE(Rotary):
    """delta is trained for each head and feature, shared by all layers, and clamped to [-2 pi, 0]; `delta`: its start.

    Products are divided by sqrt(d), as the paper's are, also in a decoder whose queries are initialised instead for a
    product without a scale (T5's): of softplus(q) that initialisation says nothing. Scalings and Resonance act on the d
    frequencies as on those of a head of dimension 2 d.
    """

    delta: DeltaStart = DeltaStart.zero

    trainable: ClassVar[bool] = True
    polar: ClassVar[bool] = True
    source: ClassVar[str] = "Gopalakrishnan et al. 2025, arXiv 2509.10534"

    def remark(self) -> str:
        return "each number of a head is a magnitude at its own frequency; delta, an angle for each, is trained"

    @property
    def rotary_dim(self) -> int:
        return 2 * self.head_dim

    def own_structure(self) -> str:
        return "pope"  # delta's start and the frequencies may differ from member to member

    def shapes(self, model: ModelSpec) -> dict[str, tuple[int, ...]]:
        return {"delta": (model.heads, self.head_dim)}

    def initialise(self, model: ModelSpec, generator: Generator) -> dict[str, Tensor]:
        delta = -2 * math.pi * torch.rand(model.heads, self.head_dim, generator=generator)
        return {"delta": torch.zeros_like(delta) if self.delta is DeltaStart.zero else delta}

    def key_rotation(
        self, weights: Weights, rotation: tuple[Tensor, Tensor], positions: Tensor, model: ModelSpec
    ) -> tuple[Tensor, Tensor]:
        delta = weights[f"{PREFIX}delta"].clamp(-2 * math.pi, 0.0)[:, :, None]  # (P, H, 1, d)
        cos, sin = rotation[0][:, None], rotation[1][:, None]  # (P, 1, T, d)
        return cos * delta.cos() - sin * delta.sin(), sin * delta.cos() + cos * delta.sin()


ENCODING = PoPE
