"""What a position encoding is: what it can hand the decoder (models.encodings.inputs), part by part.

An encoding is a frozen value without state. Encodings of one `structure` train side by side; whatever weights an
encoding trains live among the member's own, under `position.`, with the member axis in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Generator, Tensor

from models.encodings.inputs import Far, Gate, Layers
from models.encodings.logit_scale import LogitScaling
from models.spec import ModelSpec

PREFIX = "position."
"""Front of the names of an encoding's weights in a member's parameters."""

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Encoding:
    """The base of all encodings; by itself it gives the decoder nothing.

    `head_dim` is the dimension of one head. `source` names the paper in one line. `logit_scaling`: a scale of the
    attention logits beside it (None: none), which `build` puts there.
    """

    name: str
    head_dim: int
    # Not in the text of an encoding, which is part of the key of its population: static scales differ within one.
    logit_scaling: LogitScaling | None = field(default=None, kw_only=True, repr=False)

    rotary: ClassVar[bool] = False
    """Whether it rotates queries and keys."""
    trainable: ClassVar[bool] = False
    """Whether it has weights that are trained."""
    only_rotates: ClassVar[bool] = False
    """Whether a rotation is all that it gives the decoder: no bias, no embedding, no weights. Every class says so
    itself: what it inherits does not count, because it may add one of these (`structure`)."""
    polar: ClassVar[bool] = False
    """Whether it reads the projections as magnitudes (`PositionInputs.polar`)."""
    stretches: ClassVar[bool] = False
    """Whether it is RoPE with something on top that goes beyond the training length: what ledger row 2 leaves out while
    training."""
    source: ClassVar[str] = ""

    def cited(self) -> str:
        """Where all of it comes from, in one line."""
        logits = "" if self.logit_scaling is None else self.logit_scaling.source
        return "; ".join(source for source in (*self.sources(), logits) if source)

    def sources(self) -> tuple[str, ...]:
        """Where it comes from, its scale of the logits aside."""
        return (self.source,)

    def remark(self) -> str:
        """What a reader of its frequencies has to know besides, in a line; empty: nothing."""
        return ""

    def remarks(self) -> list[str]:
        """`remark`, and that of its scale of the logits, as far as there are any."""
        logits = "" if self.logit_scaling is None else self.logit_scaling.remark()
        return [line for line in (self.remark(), logits) if line]

    @property
    def trains(self) -> bool:
        """Whether weights are trained for it: its own or those of its logit scale."""
        return self.trainable or self.trains_logits

    @property
    def trains_logits(self) -> bool:
        """Whether its logit scale has weights."""
        return self.logit_scaling is not None and self.logit_scaling.trained

    def structure(self) -> str:
        """Encodings of equal structure can share a population. Those that only rotate all do, whatever their
        frequencies, for their tables have one shape. A bias or an embedding is computed once for all members, by the
        first one's encoding, so such encodings must be equal in every field, which the text of a frozen value lists."""
        own = "rotary" if vars(type(self)).get("only_rotates", False) else self.own_structure()
        # A scale without weights is one more table, of one shape for all.
        return own + (" with trained logits" if self.trains_logits else "")

    def own_structure(self) -> str:
        """What `structure` compares of an encoding that does more than rotate."""
        return repr(self)

    def all_shapes(self, model: ModelSpec) -> dict[str, tuple[int, ...]]:
        """`shapes` of the encoding and of its logit scale."""
        return {**self.shapes(model), **(self.logit_scaling.shapes(model) if self.logit_scaling else {})}

    def all_initial(self, model: ModelSpec, generator: Generator) -> dict[str, Tensor]:
        """Initial weights of `all_shapes`."""
        own = self.initialise(model, generator)
        return {**own, **(self.logit_scaling.initialise(model) if self.logit_scaling else {})}

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

    def key_rotation(
        self, weights: Weights, rotation: tuple[Tensor, Tensor], positions: Tensor, model: ModelSpec
    ) -> tuple[Tensor, Tensor] | None:
        """cos and sin of the keys where they are not those of the queries: [P, T, F] or [P, heads, T, F] for those of P
        members, `rotation` [P, T, F]."""
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

    def layers(self) -> Layers | None:
        """Which layers rotate, and how far these see; None: all do, and see everything."""
        return None

    def far(self, positions: Tensor, length: int) -> Far | None:
        """Tables [T, head_dim / 2] of `positions` [T], in a sequence of `length` tokens, for the pairs that are far
        apart."""
        return None

    def gates(self, weights: Weights, model: ModelSpec) -> tuple[Gate, ...] | None:
        """A forget gate for each layer."""
        return None

    def gives(self, *names: str) -> bool:
        """Whether it overrides any of these methods, which by themselves give nothing: `bias`, `far`, `gates`, ..."""
        return any(getattr(type(self), name) is not getattr(Encoding, name) for name in names)

    def by_pair(self) -> bool:
        """Whether attention makes numbers for each pair of its queries and keys, a piece of a sequence at a time: two
        logits to choose from, what was forgotten, the mask of a window. (A `bias` is made for all pairs at once.)"""
        layers = self.layers()
        return self.gives("far", "gates") or (layers is not None and layers.window is not None)

    def explicit(self) -> bool:
        """Whether torch's fused kernel does not take what attention reads, so that all probabilities are kept for the
        backward pass."""
        return self.gives("bias", "far", "gates")
