"""What the decoder reads of the positions: a rotation, an attention bias, an input embedding, a scale of the logits,
which layers rotate, another rotation for distant pairs, forget gates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

Tables = tuple[Tensor, Tensor]
"""cos and sin."""


@dataclass(frozen=True)
class Layers:
    """Which layers rotate, repeated for deeper models. `window`: how many keys a query of a rotating layer sees, its
    own included; None: all."""

    rotate: tuple[bool, ...]
    window: int | None = None

    def rotates(self, layer: int) -> bool:
        return self.rotate[layer % len(self.rotate)]

    def window_of(self, layer: int) -> int | None:
        return self.window if self.rotates(layer) else None


@dataclass(frozen=True)
class Far:
    """Pairs `beyond` tokens apart or more: their queries and keys are rotated by these tables [P, T, head_dim / 2]."""

    query: Tables
    key: Tables
    beyond: int

    def part(self, index: Any) -> Far:
        """The tables at an index of theirs."""
        (q_cos, q_sin), (k_cos, k_sin) = self.query, self.key
        return Far((q_cos[index], q_sin[index]), (k_cos[index], k_sin[index]), self.beyond)


@dataclass(frozen=True)
class Gate:
    """A layer's forget gate log f_t = logsigmoid(x_t weight + bias), x the layer's normalised input: `weight`
    [P, d_model, heads] (None: the gate does not look at the content), `bias` [P or 1, heads]. The sum of log f over
    the tokens j + 1..i is added to the logit of query i on key j."""

    weight: Tensor | None
    bias: Tensor


@dataclass(frozen=True)
class PositionInputs:
    """What the decoder reads of the positions of P members (or 1 for all); None: nothing of that kind.

    `rotation`: cos and sin [P, T, F] of queries and keys, F = head_dim / 2. `key_rotation`: those of the keys where
    they differ, [P, T, F] or [P, heads, T, F]. `polar`: the projections are no pairs that rotate, but F = head_dim
    magnitudes, softplus of them, at these angles. `bias` [P, heads, T, S]: added to the attention logits of T queries
    on S keys. `embedding` [P, T, d_model]: added to the token embeddings. `logit_scale` [P, layers, heads, T], or 1 for
    all: multiplies the queries, hence their logits before the bias. `layers`: which of them rotate, None: all. `far`:
    the rotation of distant pairs. `gates`: one a layer.
    """

    rotation: Tables | None = None
    bias: Tensor | None = None
    embedding: Tensor | None = None
    key_rotation: Tables | None = None
    polar: bool = False
    logit_scale: Tensor | None = None
    layers: Layers | None = None
    far: Far | None = None
    gates: tuple[Gate, ...] | None = None

    @property
    def by_pair(self) -> bool:
        """As `Encoding.by_pair`."""
        windowed = self.layers is not None and self.layers.window is not None
        return windowed or self.far is not None or self.gates is not None

    def rows(self, now: slice) -> PositionInputs:
        """Only the queries of these positions, on the keys up to the last of them: one step of generation."""
        return replace(
            self,
            rotation=_tables(self.rotation, lambda x: x[..., now, :]),
            key_rotation=_tables(self.key_rotation, lambda x: x[..., now, :]),
            bias=None if self.bias is None else self.bias[:, :, now, : now.stop],
            embedding=None if self.embedding is None else self.embedding[:, now],
            logit_scale=None if self.logit_scale is None else self.logit_scale[..., now],
            far=None if self.far is None else self.far.part((slice(None), now)),
        )

    def members(self, chosen: slice) -> PositionInputs:
        """Only these members."""

        def part(x: Tensor) -> Tensor:
            return x if x.shape[0] == 1 else x[chosen]

        def gate(of: Gate) -> Gate:
            return Gate(None if of.weight is None else part(of.weight), part(of.bias))

        return replace(
            self,
            rotation=_tables(self.rotation, lambda x: x[chosen]),
            key_rotation=_tables(self.key_rotation, part),
            bias=None if self.bias is None else part(self.bias),
            embedding=None if self.embedding is None else part(self.embedding),
            logit_scale=None if self.logit_scale is None else part(self.logit_scale),
            far=None if self.far is None else self.far.part(chosen),
            gates=None if self.gates is None else tuple(map(gate, self.gates)),
        )


def _tables(pair: Tables | None, change: Callable[[Tensor], Tensor]) -> Tables | None:
    return None if pair is None else (change(pair[0]), change(pair[1]))
