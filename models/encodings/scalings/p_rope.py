"""p-RoPE (Barbero et al. 2024, "Round and Round We Go!", arXiv 2410.06205): only the fastest features rotate.

theta'_j = theta_j for the first p d/2 features and 0 for the slow rest, float32 [head_dim / 2], in radians per token.
p = 1 is RoPE, p = 0 is NoPE. The kept frequencies are those of the whole head; `partial` is the other way to rotate a
part of it. The same as transformers' rope type `proportional`, which calls p partial_rotary_factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from models.encodings.scalings.base import Scaling, rope_inv_freq
from posgen.errors import require


@dataclass(frozen=True)
class PRoPE(Scaling):
    """`p` is the fraction kept, rounded down to whole features. `factor` divides what rotates, as `proportional` can;
    1 in the paper."""

    p: float = 0.75
    factor: float = 1.0

    source: ClassVar[str] = "Barbero et al. 2024, arXiv 2410.06205"
    stretches: ClassVar[bool] = False
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(0.0 <= self.p <= 1.0, "p", self.p, "use 0 to 1, the fraction of the features that rotate")
        require(self.factor >= 1.0, "factor", self.factor, "use at least 1 (the paper: 1)")

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        inv_freq = rope_inv_freq(head_dim, base) / self.factor
        inv_freq[int(self.p * head_dim // 2) :] = 0.0
        return inv_freq


SCALING = PRoPE
