"""A scale of the attention logits that depends on how many keys a query sees: z -> scale(n) z before the softmax.

Claimed: what falls in long sequences is the sharpness of attention, whose softmax spreads over more and more keys, so
that logits which grow with log n keep models good beyond their training length. z is q k; an encoding's bias is added
after it. Sources: log n as a factor of the queries in bojone's code (leaky_rerope_patch.py of
github.com/bojone/rerope), SSMax in Nakanishi 2025, arXiv 2501.19399.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.spec import LogitScale, ModelSpec
from posgen.errors import BadValue

WEIGHT = "logit_scale"
"""The name of SSMax's trained s among an encoding's weights."""
SSMAX_SOURCE = "Nakanishi 2025 (SSMax), arXiv 2501.19399"


@dataclass(frozen=True)
class LogitScaling:
    """scale(n) for a query on n keys, itself included (with a BOS: the one in front counts).

    `log_n`: max(1, log n / log L), L = `length`: exactly 1 up to L. `ssmax`: s log n with s trained, one for each layer
    and head, from `s`; `ssmax_fixed`: s log n. `s` None: one over the mean of log n for n = 1..L, so that training
    starts with a scale of 1 on average (0.168 for sequences of 1,024 tokens).
    """

    kind: LogitScale
    length: int | None = None
    s: float | None = None

    @property
    def source(self) -> str:
        """Where it comes from, in one line."""
        return "bojone 2023 (log n), github.com/bojone/rerope" if self.kind is LogitScale.log_n else SSMAX_SOURCE

    def remark(self) -> str:
        """What it does to the logits of a query on n keys, in one line."""
        if self.kind is LogitScale.log_n:
            return f"attention logits on n keys are multiplied by max(1, log n / log {self.length})"
        if self.trained:
            return f"attention logits on n keys are multiplied by s log n, s trained from {self.start():.4g}"
        return f"attention logits on n keys are multiplied by {self.start():.4g} log n"

    @property
    def trained(self) -> bool:
        """Whether it has weights."""
        return self.kind is LogitScale.ssmax

    def start(self) -> float:
        """s, or where it starts."""
        if self.s is not None:
            return self.s
        if self.length is None:
            remedy = "give the training length in tokens, which log n is divided by the logarithm of"
            raise BadValue("logit_length", self.length, remedy)
        return self.length / math.lgamma(self.length + 1)  # log 1 + ... + log L = log L!

    def shapes(self, model: ModelSpec) -> dict[str, tuple[int, ...]]:
        """As `Encoding.shapes`."""
        return {WEIGHT: (model.layers, model.heads)} if self.trained else {}

    def initialise(self, model: ModelSpec) -> dict[str, Tensor]:
        """As `Encoding.initialise`; nothing is drawn."""
        return {name: torch.full(shape, self.start()) for name, shape in self.shapes(model).items()}

    def scale(self, weights: Mapping[str, Tensor], keys: Tensor) -> Tensor:
        """[P, layers, heads, T] where it is trained (`weights` hold s [P, layers, heads]), else [1, N, 1, T], float32,
        for queries on n = `keys` [N, T] keys, N = layers, or 1 where all see as many."""
        log_n = keys.double().log()  # in float64: 1 at n = L to the last bit
        if self.trained:
            return weights[WEIGHT][..., None] * log_n.float()[:, None]
        if self.kind is LogitScale.log_n:
            assert self.length is not None
            scale = (log_n / math.log(self.length)).clamp(min=1.0)
            scale[keys <= self.length] = 1.0
        else:
            scale = self.start() * log_n
        return scale.float()[None, :, None]
