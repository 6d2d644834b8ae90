"""Rotary encodings: the angles, with or without Resonance, and the tables that the decoder reads.

Convention: feature j rotates the interleaved pair of dimensions (2j, 2j+1) of a head (GPT-J style, as the released
code). There is no cache: a table is a pure function of the encoding and the length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.base import Encoding
from models.encodings.scalings.base import Scaling

RESONANCE_SOURCE = "Wang et al. 2024, arXiv 2403.00071"


def resonance_wavelengths(inv_freq: Tensor) -> Tensor:
    """lambda~_j = round(2 pi / theta_j), tokens, float32 [d/2], half to even, for every feature (paper, Algorithm 1).

    Infinite where a feature does not rotate. At least 1, should a scaling give a feature a period below one token.
    """
    return torch.round(2 * math.pi / inv_freq.float()).clamp(min=1.0)


def resonance_angles(positions: Tensor, wavelengths: Tensor) -> Tensor:
    """(t mod lambda~) * 2 pi / lambda~ in float64, radians [..., d/2], of positions t [...]: exact repetition, where
    t * theta~ drifts.

    What does not rotate stays at 0: t mod infinity is t, and 2 pi / infinity is 0.
    """
    # The order matters: t mod lambda~ is exact for whole numbers, so positions one period apart get the same angle to
    # the last bit. t * (2 pi / lambda~) would carry the rounding error of the frequency, multiplied by t.
    wavelengths = wavelengths.double()
    return torch.remainder(positions.double()[..., None], wavelengths) * (2 * math.pi / wavelengths)


@dataclass(frozen=True)
class Rotary(Encoding):
    """RoPE under a scaling, with Resonance on top when `resonance` is set: scaling first, rounding after it.

    `head_dim` is the dimension d of one head, `base` the b of theta_j = b^(-2j/d).
    """

    base: float
    scaling: Scaling
    resonance: bool

    rotary: ClassVar[bool] = True
    only_rotates: ClassVar[bool] = True
    takes_resonance: ClassVar[bool] = True
    """Whether it has a form with Resonance; one that rounds by itself has none."""

    def __post_init__(self) -> None:
        # A scaling that does not fit heads of this size says so now, before a run has written anything.
        self.scaling.inv_freq(self.rotary_dim, self.base, 1)

    @property
    def rotary_dim(self) -> int:
        """The d of the frequencies b^(-2j/d), j = 0..d/2-1: a pair of a head's dimensions for each."""
        return self.head_dim

    @property
    def features(self) -> int:
        """How many frequencies a head has."""
        return self.rotary_dim // 2

    def sources(self) -> tuple[str, ...]:
        """The kind's own source if it has one, the scaling's, and Resonance's."""
        return (self.source, self.scaling.source, RESONANCE_SOURCE if self.resonance else "")

    def wavelengths(self, length: int) -> Tensor:
        """Tokens a turn in a sequence of `length` tokens, float64 [head_dim / 2]; infinite where a feature does not
        rotate, whole numbers under Resonance."""
        inv_freq = self.scaling.inv_freq(self.rotary_dim, self.base, length)
        # Resonance after the scaling: the wavelengths that the decoder sees are the ones that must be whole numbers.
        return resonance_wavelengths(inv_freq).double() if self.resonance else 2 * math.pi / inv_freq.double()

    def frequencies(self, length: int) -> tuple[Tensor, float]:
        """(inv_freq float32 [head_dim / 2] in radians per token, attention_factor) for `length` tokens."""
        if self.resonance:
            inv_freq = 2 * math.pi / self.wavelengths(length).float()  # in float32, as the field computes them
        else:
            inv_freq = self.scaling.inv_freq(self.rotary_dim, self.base, length)
        return inv_freq, self.scaling.compute_attention_factor()

    def angles(self, positions: Tensor, length: int) -> Tensor:
        """Angles [T, head_dim / 2] in radians of `positions` [T] (tokens) in a sequence of `length` tokens.

        float64 under Resonance, see `resonance_angles`; otherwise float32, as the field computes them.
        """
        if not self.resonance:
            return self.scaling.angles(positions, self.rotary_dim, self.base, length)
        return resonance_angles(positions, self.wavelengths(length))

    def exact_angles(self, positions: Tensor, length: int) -> Tensor:
        """`angles` in float64 without the rounding of a float32 product, which grows with the position."""
        if self.resonance:
            return self.angles(positions, length)
        return positions.double()[:, None] * self.frequencies(length)[0].double()

    def rotation(self, positions: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """cos and sin, float32 [T, head_dim / 2], with the attention factor and the features' weights multiplied in."""
        angles = self.angles(positions, length)
        factor = self.scaling.compute_attention_factor()
        # The cosine of a float32 angle is taken in float64: its own rounding then adds nothing to the table.
        angles = angles.double()
        weights = self.scaling.weights(self.rotary_dim, self.base)
        # Of queries and keys each the root: their product has the weight.
        amplitude = factor if weights is None else factor * weights.double().sqrt()
        return (angles.cos() * amplitude).float(), (angles.sin() * amplitude).float()

    def tables(self, length: int) -> tuple[Tensor, Tensor]:
        """cos and sin, float32 [length, head_dim / 2], of all positions of a sequence."""
        return self.rotation(self.positions(length), length)
