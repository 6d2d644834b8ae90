"""NTK-by-parts (bloc97 2023; Peng et al. 2023, arXiv 2309.00071): YaRN's frequencies, without its attention factor.

Slow features are interpolated by s, fast ones are left as they are, and a ramp g_j from 1 to 0 lies between them:
theta'_j = g_j theta_j + (1 - g_j) theta_j / s, float32 [head_dim / 2], radians per token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

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
class NTKByParts(Scaling):
    """`factor` is s; `ramp_length` is the length (tokens) that decides where the ramp lies: features that turn more
    than `beta_fast` times within it keep their frequency, those below `beta_slow` turns are interpolated by s.

    `ramp_length`, train_length and test_length are three things: the released code passes 257 here (ledger row 3).
    `truncate` widens the index ramp to whole features, as the released code does and transformers by default.
    """

    factor: float = 4.0
    ramp_length: int = 64
    beta_fast: float = 2.0
    beta_slow: float = 1.0
    ramp: Ramp = Ramp.index
    truncate: bool = True

    source: ClassVar[str] = "bloc97 2023 (NTK-by-parts), in Peng et al. 2023, arXiv 2309.00071"
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.factor >= 1.0, "factor", self.factor, "use at least 1 (s = test_length / train_length)")
        require(self.ramp_length >= 1, "ramp_length", self.ramp_length, "use a length in tokens (the paper: 64)")
        require(self.beta_slow > 0.0, "beta_slow", self.beta_slow, "use a number of turns above 0 (the code: 1)")
        require(
            self.beta_fast > self.beta_slow, "beta_fast", self.beta_fast, f"use more than beta_slow ({self.beta_slow})"
        )
        require(
            self.truncate or self.ramp is Ramp.index, "truncate", self.truncate,
            "only the index ramp has correction dims to truncate: use ramp=index",
        )  # fmt: skip

    def correction_range(self, head_dim: int, base: float) -> tuple[float, float]:
        """First and last feature of the index ramp: where beta_fast and beta_slow turns fall, whole with `truncate`."""

        def feature(turns: float) -> float:
            return head_dim * math.log(self.ramp_length / (turns * 2 * math.pi)) / (2 * math.log(base))

        low, high = feature(self.beta_fast), feature(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        return max(low, 0), min(high, head_dim - 1)

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


SCALING = NTKByParts
