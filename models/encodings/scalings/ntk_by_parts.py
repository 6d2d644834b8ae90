"""NTK-by-parts (bloc97 2023; Peng et al. 2023, arXiv 2309.00071): YaRN's frequencies, without its attention factor.

Slow features are interpolated by s, fast ones are left as they are, and a ramp g_j from 1 to 0 lies between them:
theta'_j = g_j theta_j + (1 - g_j) theta_j / s, float32 [head_dim / 2], radians per token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.scalings.base import Scaling, rope_inv_freq, rope_pos_freqs
from models.spec import YarnRamp, check_betas
from posgen.errors import require


@dataclass(frozen=True)
class NTKByParts(Scaling):
    """`factor` is s; `ramp_length` is the length (tokens) that decides where the ramp lies: features with more than
    `beta_fast` rotations within it keep their frequency, those with fewer than `beta_slow` are interpolated by s.

    `ramp_length` need be neither train_length nor test_length: the released code passes 257 here (ledger row 3).
    `truncate` widens the index ramp to whole features, as the released code does and transformers by default.
    """

    factor: float = 4.0
    ramp_length: int = 64
    beta_fast: float = 2.0
    beta_slow: float = 1.0
    ramp: YarnRamp = YarnRamp.index
    truncate: bool = True

    source: ClassVar[str] = "bloc97 2023 (NTK-by-parts), in Peng et al. 2023, arXiv 2309.00071"
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.factor >= 1.0, "factor", self.factor, "use at least 1 (s = test_length / train_length)")
        require(self.ramp_length >= 1, "ramp_length", self.ramp_length, "use a length in tokens (the paper: 64)")
        check_betas(self.beta_fast, self.beta_slow)
        require(
            self.truncate or self.ramp is YarnRamp.index, "truncate", self.truncate,
            "only the index ramp has correction dims to truncate: use ramp=index",
        )  # fmt: skip

    def correction_range(self, head_dim: int, base: float) -> tuple[float, float]:
        """First and last feature of the index ramp: those that make beta_fast and beta_slow rotations within
        `ramp_length`; whole numbers with `truncate`."""

        def feature(rotations: float) -> float:
            # Feature j makes L theta_j / (2 pi) rotations within L tokens, theta_j = base^(-2j/d). Solved for j:
            return head_dim * math.log(self.ramp_length / (rotations * 2 * math.pi)) / (2 * math.log(base))

        low, high = feature(self.beta_fast), feature(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        return max(low, 0), min(high, head_dim - 1)

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        plain = rope_inv_freq(head_dim, base)
        if self.ramp is YarnRamp.wavelength:
            # The paper's text: g rises linearly with L / lambda, the rotations of a feature within L, and wavelengths
            # are mixed: lambda' = g lambda + (1 - g) s lambda.
            wavelength = 2 * math.pi / plain.double()
            keep = ((self.ramp_length / wavelength - self.beta_slow) / (self.beta_fast - self.beta_slow)).clamp(0, 1)
            return (2 * math.pi / (keep * wavelength + (1 - keep) * self.factor * wavelength)).float()
        # The code: g falls linearly with the feature's index, and frequencies are mixed. The operations are in the
        # order of transformers, for the same rounding.
        low, high = self.correction_range(head_dim, base)
        width = high - low if high != low else 0.001  # transformers' guard against a ramp of no width
        index = torch.arange(head_dim // 2, dtype=torch.float32)
        keep = 1 - ((index - low) / width).clamp(0, 1)
        return 1.0 / (self.factor * rope_pos_freqs(head_dim, base)) * (1 - keep) + plain * keep


SCALING = NTKByParts
