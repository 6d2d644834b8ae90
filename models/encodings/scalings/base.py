"""What a scaling is, and the plain RoPE frequencies that every scaling starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


def rope_pos_freqs(head_dim: int, base: float | Tensor) -> Tensor:
    """base^(2j/d), float32 [head_dim / 2]: wavelengths over 2 pi, in tokens per radian."""
    return base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def rope_inv_freq(head_dim: int, base: float | Tensor) -> Tensor:
    """theta_j = base^(-2j/d), j = 0..d/2-1, float32 [head_dim / 2], in radians per token (paper, eq. 2).

    The operations are the field's usual ones in float32, so that the table equals transformers' to the last bit: a
    table rounded from float64 differs by one unit in the last place, which at position 1,000 moves a cosine by 1e-5.
    """
    return 1.0 / rope_pos_freqs(head_dim, base)


@dataclass(frozen=True)
class Scaling:
    """Changes RoPE's frequencies, most for sequences longer than those trained on. Subclasses: frozen values.

    `source` names the paper in one line. A feature of frequency 0 does not rotate: its wavelength is infinite, and
    Resonance leaves it alone.
    """

    source: ClassVar[str] = ""
    stretches: ClassVar[bool] = True
    """Whether it is there to go beyond the training length: what ledger row 2 leaves out while training."""
    fixed: ClassVar[bool] = False
    """Whether the frequencies are the same at every length. Every class says so itself: what it inherits does not
    count, because its own `inv_freq` may follow the length (`is_fixed`)."""

    @classmethod
    def is_fixed(cls) -> bool:
        """Whether the table is known to be the same at every length; False when in doubt."""
        return bool(vars(cls).get("fixed", False))

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        """Scaled frequencies, float32 [head_dim / 2]; `length` (tokens) is the current sequence's, BOS included."""
        return rope_inv_freq(head_dim, base)

    def compute_attention_factor(self) -> float:
        """Multiplies cos and sin, so the attention logits by its square."""
        return 1.0

    def weights(self, head_dim: int, base: float) -> Tensor | None:
        """What multiplies each feature's part of the attention logits, float32 [head_dim / 2]; None: 1."""
        return None

    def angles(self, positions: Tensor, head_dim: int, base: float, length: int) -> Tensor:
        """Angles [T, d/2] in float32, position by frequency, as the field computes them without Resonance."""
        return positions.to(torch.float32)[:, None] * self.inv_freq(head_dim, base, length)
