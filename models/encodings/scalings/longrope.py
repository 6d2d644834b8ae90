"""LongRoPE (Ding et al. 2024, arXiv 2402.13753), as transformers' rope type `longrope`: a factor for every feature.

theta'_j = theta_j / f_j, float32 [head_dim / 2], radians per token. f is `short_factor` for sequences up to the length
trained on and `long_factor` above it. Which of them depends on the current length alone: nothing is remembered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.scalings.base import Scaling, rope_pos_freqs
from posgen.errors import require


@dataclass(frozen=True)
class LongRoPE(Scaling):
    """`factor` is s, `train_length` (tokens, BOS included) transformers' original_max_position_embeddings.

    `short_factor` and `long_factor` hold head_dim / 2 numbers each. LongRoPE finds them for one model by a search,
    which is not done here: None stands for 1 (short) and for one of the points that the search starts from,
    NTK-aware's s^(2j/(d-2)) (long). `attention_factor` overrides sqrt(1 + ln(s) / ln(train_length)); 1 turns it off. It
    holds at every length, as in transformers.
    """

    factor: float = 4.0
    train_length: int = 64
    short_factor: tuple[float, ...] | None = None
    long_factor: tuple[float, ...] | None = None
    attention_factor: float | None = None

    source: ClassVar[str] = "Ding et al. 2024, arXiv 2402.13753"

    def __post_init__(self) -> None:
        require(self.factor >= 1.0, "factor", self.factor, "use at least 1 (s = test_length / train_length)")
        require(
            self.train_length >= 2, "train_length", self.train_length, "use the length trained on, 2 tokens or more"
        )
        for key in ("short_factor", "long_factor"):
            numbers = getattr(self, key)
            require(numbers is None or all(f > 0.0 for f in numbers), key, numbers, "use null or numbers above 0")
        require(
            self.attention_factor is None or self.attention_factor > 0.0, "attention_factor", self.attention_factor,
            "use null (sqrt(1 + ln(factor) / ln(train_length))), a number above 0, or 1 for none",
        )  # fmt: skip

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        for key in ("short_factor", "long_factor"):
            given = len(getattr(self, key) or ())
            remedy = f"give one for each of the {head_dim // 2} features (head_dim / 2), or null"
            require(getattr(self, key) is None or given == head_dim // 2, key, f"[{given} numbers]", remedy)
        factors = self._long(head_dim) if length > self.train_length else self._short(head_dim)
        return 1.0 / (factors * rope_pos_freqs(head_dim, base))

    def compute_attention_factor(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        return math.sqrt(1 + math.log(self.factor) / math.log(self.train_length))

    def _short(self, head_dim: int) -> Tensor:
        if self.short_factor is None:
            return torch.ones(head_dim // 2, dtype=torch.float32)
        return torch.tensor(self.short_factor, dtype=torch.float32)

    def _long(self, head_dim: int) -> Tensor:
        if self.long_factor is not None:
            return torch.tensor(self.long_factor, dtype=torch.float32)
        require(head_dim > 2, "head_dim", head_dim, "the factors s^(2j/(d-2)) need more than 2; or give long_factor")
        return self.factor ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / (head_dim - 2))


SCALING = LongRoPE
