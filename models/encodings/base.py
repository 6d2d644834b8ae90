"""What a position encoding is, and what it can hand the decoder: a rotation, an attention bias, an input embedding.

An encoding is a frozen value without state. Encodings of one `structure` train side by side; whatever weights an
encoding trains live among the member's own, under `position.`, with the member axis in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from models.spec import ModelSpec

PREFIX = "position."
"""Front of the names of an encoding's weights in a member's parameters."""

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class PositionInputs:
    """What the decoder reads of the positions of P members (or 1 for all); None: nothing of that kind.

    `rotation`: cos and sin [P, T, head_dim / 2]. `bias` [P, heads, T, S]: added to the attention logits of T queries on
    S keys. `embedding` [P, T, d_model]: added to the token embeddings.
    """

    rotation: tuple[Tensor, Tensor] | None = None
    bias: Tensor | None = None
    embedding: Tensor | None = None

    def rows(self, now: slice) -> PositionInputs:
        """Only the queries of these positions, on the keys up to the last of them: one step of generation."""
        rotation = None if self.rotation is None else (self.rotation[0][:, now], self.rotation[1][:, now])
        bias = None if self.bias is None else self.bias[:, :, now, : now.stop]
        return PositionInputs(rotation, bias, None if self.embedding is None else self.embedding[:, now])

    def members(self, chosen: slice) -> PositionInputs:
        """Only these members."""

        def part(x: Tensor | None) -> Tensor | None:
            return x if x is None or x.shape[0] == 1 else x[chosen]

        rotation = None if self.rotation is None else (self.rotation[0][chosen], self.rotation[1][chosen])
        return PositionInputs(rotation, part(self.bias), part(self.embedding))


@dataclass(frozen=True)
class Encoding:
    """The base of all encodings; by itself it gives the decoder nothing.

    `head_dim` is the dimension of one head. `source` names the paper in one line.
    """

    name: str
    head_dim: int

    rotary: ClassVar[bool] = False
    """Whether it rotates queries and keys."""
    trainable: ClassVar[bool] = False
    """Whether it has weights that are trained."""
    only_rotates: ClassVar[bool] = False
    """Whether a rotation is all that it gives the decoder: no bias, no embedding, no weights. Every class says so
    itself: what it inherits does not count, because it may add one of these (`structure`)."""
    source: ClassVar[str] = ""

    def cited(self) -> str:
        """Where it comes from, in one line."""
        return self.source

    def structure(self) -> str:
        """Encodings of equal structure can share a population. Those that only rotate all do, whatever their
        frequencies, for their tables have one shape. A bias or an embedding is computed once for all members, by the
        first one's encoding, so such encodings must be equal in every field, which the text of a frozen value lists."""
        return "rotary" if vars(type(self)).get("only_rotates", False) else repr(self)

    def shapes(self, model: ModelSpec) -> dict[str, tuple[int, ...]]:
        """Name -> shape of one member's weights that this encoding trains (without `PREFIX`)."""
        return {}

    def initialise(self, model: ModelSpec, generator: Generator) -> dict[str, Tensor]:
        """One member's initial weights of these shapes, float32."""
        return {}

    def training_positions(self, length: int, generator: Generator) -> Tensor | None:
        """Positions [length] for one training step where they are drawn anew for each step; None: 0..length-1. Only for
        encodings that declare `only_rotates`."""
        return None

    def positions(self, length: int) -> Tensor:
        """Positions [length] of a sequence that is measured."""
        return torch.arange(length)

    def positions_bytes(self, length: int) -> int:
        """Bytes that `positions` takes for a sequence of this length while it is made: what estimates count."""
        return 8 * length

    def rotation(self, positions: Tensor, length: int) -> tuple[Tensor, Tensor] | None:
        """cos and sin, float32 [T, head_dim / 2], of `positions` [T] in a sequence of `length` tokens."""
        return None

    def bias(self, weights: Weights, positions: Tensor, model: ModelSpec) -> Tensor | None:
        """Attention bias [P or 1, heads, T, T] of queries (rows) on keys; what a causal mask hides is never read."""
        return None

    def pair_bytes(self, model: ModelSpec) -> int:
        """Bytes that `bias` takes while it is made, for each pair of positions of one member: what estimates count."""
        return 3 * 8 + 3 * 4 * model.heads

    def embedding(self, weights: Weights, positions: Tensor, model: ModelSpec) -> Tensor | None:
        """[P or 1, T, d_model], added to the token embeddings."""
        return None
