"""What fine-tuning and measuring a language model take: bytes on the device and operations, by arithmetic.

Counted is the way that `posgen llm finetune` goes: weights, gradients and AdamW's two moments in fp32 (16 bytes for
each weight that is trained), products in bf16 by autocast, activations computed again in the backward pass, attention
that never holds a matrix of scores, logits of `CHUNK` positions at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.lm.sizes import Sizes

CHUNK = 1024
"""Positions whose logits are held at once (models.lm.nll.CHUNK)."""
OPTIMISER = 8
"""Bytes of AdamW's two moments a weight, fp32."""


@dataclass(frozen=True)
class Memory:
    """Bytes, by what holds them. `inputs`: those of each layer, kept for the backward pass; `layer`: what one layer
    holds while it is computed; `logits`: of one chunk."""

    weights: float
    gradients: float
    moments: float
    inputs: float
    layer: float
    logits: float

    @property
    def total(self) -> float:
        return self.states + self.inputs + self.layer + self.logits

    @property
    def states(self) -> float:
        """What does not follow the batch: weights, gradients and moments."""
        return self.weights + self.gradients + self.moments


def tuning_memory(
    sizes: Sizes, length: int, batch: int, *, lora_rank: int | None = None, base_bytes: int = 4,
    checkpointing: bool = True, moments: int = OPTIMISER, product_bytes: int = 2,
) -> Memory:  # fmt: skip
    """Of full fine-tuning or, with `lora_rank`, of an adapter on weights of `base_bytes`; `batch` sequences at once.
    `moments`: bytes a trained weight. `product_bytes`: 2 where autocast makes products bf16, else 4."""
    tokens = float(length) * batch
    trained = sizes.parameters if lora_rank is None else sizes.adapter_parameters(lora_rank)
    frozen = 0 if lora_rank is None else sizes.parameters
    stream = 4 if lora_rank is None else base_bytes  # the residual stream has the dtype of the embedding
    per_layer = tokens * (5 * stream * sizes.width + product_bytes * _products(sizes))
    kept = sizes.layers * (tokens * stream * sizes.width if checkpointing else per_layer)
    return Memory(
        weights=4.0 * trained + base_bytes * frozen,
        gradients=4.0 * trained,
        moments=float(moments) * trained,
        inputs=kept,
        layer=per_layer + tokens * product_bytes * 2 * sizes.intermediate,  # and gradients of the widest
        logits=_logits(sizes, length, batch, product_bytes),
    )


def measuring_memory(sizes: Sizes, length: int, batch: int, dtype_bytes: int = 2) -> Memory:
    """Of a forward pass without gradients that gives the loss of each token, all in one dtype."""
    tokens = float(length) * batch
    layer = tokens * dtype_bytes * max(3 * sizes.intermediate, 2 * sizes.queries + 2 * sizes.keys)
    return Memory(
        weights=float(dtype_bytes) * sizes.parameters,
        gradients=0.0,
        moments=0.0,
        inputs=2 * tokens * dtype_bytes * sizes.width,
        layer=layer,
        logits=_logits(sizes, length, batch, dtype_bytes),
    )


def step_flops(sizes: Sizes, length: int, sequences: int, *, lora: bool = False, checkpointing: bool = True) -> float:
    """Operations of one optimiser step over `sequences`: a forward pass, once more in the backward pass where
    activations are computed again, and the backward pass. That takes two forward passes, of the products with frozen
    weights one: they have no gradient."""
    forward = 2 if checkpointing else 1
    linear = sizes.linear_flops(length) * (forward + (1 if lora else 2))
    return sequences * (linear + sizes.attention_flops(length) * (forward + 2))


def _products(sizes: Sizes) -> int:
    """Numbers a token that a layer's products make and its backward pass needs: q, k, v before and after rotation,
    the attention's output, the normed inputs, and gate, up, their activation and product."""
    return 3 * sizes.queries + 3 * sizes.keys + 3 * sizes.width + 4 * sizes.intermediate


def _logits(sizes: Sizes, length: int, batch: int, product_bytes: int) -> float:
    """Of one chunk: as they are made, as float32, and their gradient."""
    return float(min(CHUNK, length)) * batch * sizes.vocabulary * (product_bytes + 8)
