"""How large a decoder of the Llama family is: parameters, operations and activations, counted from its configuration.

An operation (FLOP) is an addition or a multiplication. Attention is causal: half of its scores are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from posgen.errors import BadValue, UserError, require


@dataclass(frozen=True)
class Sizes:
    """Layers, widths and heads of a decoder with gated feed-forward layers and without biases. `tied`: the output layer
    is the embedding."""

    layers: int
    width: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    context: int

    def __post_init__(self) -> None:
        for name in ("layers", "width", "intermediate", "heads", "kv_heads", "head_dim", "vocabulary", "context"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "use at least 1")
        require(self.heads % self.kv_heads == 0, "kv_heads", self.kv_heads, f"use a divisor of heads={self.heads}")

    @classmethod
    def of(cls, config: Any) -> Sizes:
        """Of a text model's configuration in transformers. BadValue where it has several sizes of layers or experts."""
        values = config.to_dict()
        if any(values.get(key) for key in ("num_experts", "num_local_experts", "n_routed_experts")):
            raise BadValue("model", values.get("model_type"), "has experts, and this counts dense decoders alone")
        try:
            heads, width = int(values["num_attention_heads"]), int(values["hidden_size"])
            return cls(
                layers=int(values["num_hidden_layers"]),
                width=width,
                intermediate=int(values["intermediate_size"]),
                heads=heads,
                kv_heads=int(values.get("num_key_value_heads") or heads),
                head_dim=int(values.get("head_dim") or width // heads),
                vocabulary=int(values["vocab_size"]),
                tied=bool(values.get("tie_word_embeddings")),
                context=int(values["max_position_embeddings"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"model={values.get('model_type')}: its configuration does not say {error}; name a Llama-like model"
            ) from None

    @property
    def queries(self) -> int:
        """Width of all query heads."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.kv_heads * self.head_dim

    @property
    def linear(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of the linear layers of one decoder layer: q, k, v, o, gate, up, down."""
        width, inner = self.width, self.intermediate
        return (
            *((width, self.queries), (width, self.keys), (width, self.keys), (self.queries, width)),
            *((width, inner), (width, inner), (inner, width)),
        )

    @property
    def parameters(self) -> int:
        """All weights, a tied output layer once."""
        matrices = sum(inputs * outputs for inputs, outputs in self.linear)
        embeddings = self.vocabulary * self.width * (1 if self.tied else 2)
        return self.layers * (matrices + 2 * self.width) + self.width + embeddings

    def adapter_parameters(self, rank: int) -> int:
        """Weights of a LoRA adapter of this rank on all linear layers but the output layer (arXiv 2106.09685)."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.linear)

    def linear_flops(self, tokens: int) -> float:
        """Operations of the products with weights in one forward pass, the output layer's included."""
        weights = self.layers * sum(inputs * outputs for inputs, outputs in self.linear) + self.vocabulary * self.width
        return 2.0 * weights * tokens

    def attention_flops(self, tokens: int) -> float:
        """Operations of the scores and their products with values for one sequence: half of 4 T² x width a layer."""
        return 2.0 * self.layers * self.queries * float(tokens) ** 2

    def forward_flops(self, tokens: int) -> float:
        """Operations of one forward pass over one sequence."""
        return self.linear_flops(tokens) + self.attention_flops(tokens)
