"""The decoder of the paper (section 4.2): T5-Small layers without bias, for P members at once.

Shapes: P members, B sequences, T positions, S keys (T, or more with a cache), D = d_model, H heads, K = head_dim,
F = d_ff, V token ids. Every weight is [P, ...] and every matrix product is batched over P, at the model's precision;
the two with the vocabulary are never bf16. There are no biases, no softmax scale by default (the initialisation of q
carries it), and the output projection is the embedding, scaled by d_model^-1/2.

Dropout is split in two, for speed: a mask of zeros and ones (`_drop`), and the factor 1 / (1 - p) for what it keeps,
which is multiplied into the weight matrix before or after it, of far fewer elements than the activations.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from models.attention import Cache, attention
from models.dropout import Dropout
from models.elementwise import drop_relu, normalise, times
from models.encodings.inputs import PositionInputs
from models.precision import product
from models.rotating import far_rotation_of, rotation_of
from models.spec import ModelSpec, Precision


def model_inputs(tokens: Tensor, bos: int | None) -> Tensor:
    """What the decoder reads to predict `tokens` [P, B, L]: BOS in front when given, and never the last token."""
    if bos is None:
        return tokens[:, :, :-1]
    return torch.cat([torch.full_like(tokens[:, :, :1], bos), tokens[:, :, :-1]], dim=2)


def generated_losses(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    inputs: Tensor,
    targets: Tensor,
    positions: PositionInputs,
    masks: Dropout | None,
    first: int,
    every: int,
) -> tuple[Tensor, Tensor]:
    """Mean loss (nats) and token accuracy [P] over the answers: `targets` [P, B, G] are what the decoder should predict
    from `inputs` [P, B, T] at its outputs first, first + every, first + 2 every, ..., T - 1 at the most."""
    P = targets.shape[0]
    logits = forward(params, model, inputs, positions, masks)[:, :, first::every]  # (P, B, G, V)
    losses = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none").view(P, -1).mean(1)
    return losses, (logits.detach().argmax(-1) == targets).float().mean((1, 2))


def forward(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    inputs: Tensor,
    positions: PositionInputs,
    dropout: Dropout | None = None,
    cache: Cache | None = None,
) -> Tensor:
    """Logits [P, B, T, V] of the next token at each position of `inputs` [P, B, T] (token ids).

    `positions` is what the members' encodings give for these positions. `dropout` holds the step's masks
    (None: evaluation). With `cache`, `inputs` continue the positions that the cache has seen, and it grows.
    """
    P, B, T = inputs.shape
    embedding = params["embedding"]  # (P, V, D)
    # The lookup as a product with one-hot rows: batched over members as all are, and its gradient is a product, too.
    one_hot = F.one_hot(inputs.reshape(P, B * T), embedding.shape[1]).to(embedding.dtype)
    ends = Precision.fp32 if model.precision is Precision.bf16 else model.precision
    kept = 1.0 if dropout is None else dropout.scale
    x = product(one_hot, times(embedding, kept), ends)  # (P, B*T, D)
    if positions.embedding is not None:
        x = (x.view(P, B, T, -1) + times(positions.embedding[:, None], kept)).view(P, B * T, -1)
    x = _drop(x, dropout)
    rotation, far = rotation_of(positions), far_rotation_of(positions)
    for i in range(model.layers):
        mixed = attention(params, i, model, x, (B, T), rotation, far, positions, dropout, cache)
        x = _residual(x, mixed, params[f"layers.{i}.attention.o"], dropout, model.precision)
        x = _feed_forward(params, f"layers.{i}.ffn", model, x, dropout)
    if cache is not None:
        cache.length += T
    x = _drop(normalise(x, model.norm_eps) * params["final_norm"][:, None], dropout)
    logits = product(x, embedding * (model.d_model**-0.5 * kept), ends, transposed=True)  # (P, B*T, V)
    return logits.view(P, B, T, -1)


def _feed_forward(
    params: Mapping[str, Tensor], name: str, model: ModelSpec, x: Tensor, dropout: Dropout | None
) -> Tensor:
    """x + drop(wo(drop(relu(wi(norm(x)))))): T5's ungated feed-forward layer."""
    weight = params[f"{name}.norm"][:, :, None] * params[f"{name}.wi"]  # (P, D, F)
    hidden = product(normalise(x, model.norm_eps), weight, model.precision)  # (P, B*T, F)
    mask = None if dropout is None else dropout.mask(*hidden.shape[1:], dtype=hidden.dtype)
    hidden = drop_relu(hidden, mask)
    return _residual(x, hidden, params[f"{name}.wo"], dropout, model.precision)


def _residual(x: Tensor, inner: Tensor, weight: Tensor, dropout: Dropout | None, precision: Precision) -> Tensor:
    """x + drop(inner weight), where a mask was applied to `inner`, but not its factor."""
    if dropout is None:
        return x + product(inner, weight, precision).float()
    # One factor 1 / (1 - p) for the mask on `inner` and one for the mask on the result.
    new = product(inner, weight * dropout.scale**2, precision).float()
    return torch.addcmul(x, new, dropout.mask(*x.shape[1:]))


def _drop(x: Tensor, dropout: Dropout | None) -> Tensor:
    """x times the mask, without the factor 1 / (1 - p)."""
    return x if dropout is None else x * dropout.mask(*x.shape[1:])


def dropout_lanes(model: ModelSpec, batch: int, length: int) -> int:
    """Random lanes that one member's step needs: the elements of all dropout sites for `batch` x `length` positions."""
    # In a layer: both residual branches [D each], the hidden layer [F], the probabilities [H, T]. Outside: the embedded
    # tokens and the last normalised values.
    per_layer = batch * length * (2 * model.d_model + model.d_ff + model.heads * length)
    return batch * length * 2 * model.d_model + model.layers * per_layer
