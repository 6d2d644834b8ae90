"""YaRN (Peng et al. 2023, arXiv 2309.00071): interpolate slow features by s, leave fast ones, a ramp between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from models.encodings.scalings.base import Scaling, rope_inv_freq, rope_pos_freqs
from posgen.errors import require


class Ramp(Enum):
    """Ledger row 5. `index`: linear in the feature index, over frequencies (released code and transformers).
    `wavelength`: linear in L / lambda, over wavelengths (the paper's text)."""

    index = "index"
    wavelength = "wavelength"


@dataclass(frozen=True)
class YaRN(Scaling):
    """`factor` is s; `ramp_length` is the length (tokens) that decides where the ramp lies: features that turn more
    than `beta_fast` times within it keep their frequency, those below `beta_slow` turns are interpolated by s.

    `ramp_length`, train_length and test_length are three things: the released code passes 257 here (ledger row 3).
    `attention_factor` overrides 0.1 ln(s) + 1.
    """

    factor: float = 4.0
    ramp_length: int = 64
    beta_fast: float = 2.0
    beta_slow: float = 1.0
    ramp: Ramp = Ramp.index
    attention_factor: float | None = None

    def __post_init__(self) -> None:
        require(self.factor >= 1.0, "factor", self.factor, "use at least 1 (s = test_length / train_length)")
        require(self.ramp_length >= 1, "ramp_length", self.ramp_length, "use a length in tokens (the paper: 64)")
        require(self.beta_slow > 0.0, "beta_slow", self.beta_slow, "use a number of turns above 0 (the code: 1)")
        require(
            self.beta_fast > self.beta_slow, "beta_fast", self.beta_fast, f"use more than beta_slow ({self.beta_slow})"
        )

    def correction_range(self, head_dim: int, base: float) -> tuple[int, int]:
        """First and last feature of the index ramp: floor and ceil of where beta_fast and beta_slow turns fall."""

        def feature(turns: float) -> float:
            return head_dim * math.log(self.ramp_length / (turns * 2 * math.pi)) / (2 * math.log(base))

        return max(math.floor(feature(self.beta_fast)), 0), min(math.ceil(feature(self.beta_slow)), head_dim - 1)

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        plain = rope_inv_freq(head_dim, base)
        if self.ramp is Ramp.wavelength:
            wavelength = 2 * math.pi / plain.double()
            keep = ((self.ramp_length / wavelength - self.beta_slow) / (self.beta_fast - self.beta_slow)).clamp(0, 1)
            return (2 * math.pi / (keep * wavelength + (1 - keep) * self.factor * wavelength)).float()
        low, high = self.correction_range(head_dim, base)
        width = high - low if high != low else 0.001  # transformers' guard against a ramp of no width
        index = torch.arange(head_dim // 2, dtype=torch.float32)
        keep = 1 - ((index - low) / width).clamp(0, 1)
        return 1.0 / (self.factor * rope_pos_freqs(head_dim, base)) * (1 - keep) + plain * keep

    def compute_attention_factor(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        return 0.1 * math.log(self.factor) + 1.0 if self.factor > 1.0 else 1.0


SCALING = YaRN
