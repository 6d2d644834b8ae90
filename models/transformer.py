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
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from models.dropout import Dropout
from models.elementwise import drop_relu, normalise
from models.encodings.base import PositionInputs
from models.precision import emulated, product
from models.rotating import Rotation, rotation_of
from models.spec import ModelSpec, Precision, SoftmaxScale


@dataclass
class Cache:
    """Rotated keys and values of the positions seen so far, one pair a layer: for free-running generation, and for
    sequences that are read in pieces. Room for `capacity` positions is taken at once: copying what was seen at every
    step would cost more than the step."""

    capacity: int
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    length: int = 0
    _mask: Tensor | None = None
    _masked: tuple[int, int] = (0, 0)

    def later(self, queries: int, keys: int, like: Tensor) -> Tensor:
        """-inf where a key stands after the query, else 0 [queries, keys], for the last `queries` of `keys` positions.
        In the numbers of the scores: the kernel would make them of true and false. One memory for all layers and
        pieces, whose shapes change: what is freed and taken in turns grows."""
        count = queries * keys
        if self._mask is None or self._mask.numel() < count:
            self._mask, self._masked = like.new_empty(1 << (count - 1).bit_length()), (0, 0)
        mask = self._mask[:count].view(queries, keys)
        if self._masked != (queries, keys):
            mask.zero_()
            mask[:, keys - queries :] = like.new_full((queries, queries), float("-inf")).triu(1)
            self._masked = (queries, keys)
        return mask


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
) -> tuple[Tensor, Tensor]:
    """Mean loss (nats) and token accuracy [P] over the generated tokens: `targets` [P, B, G] are the last G tokens that
    the decoder predicts from `inputs` [P, B, T]."""
    P, _, G = targets.shape
    logits = forward(params, model, inputs, positions, masks)[:, :, -G:]  # (P, B, G, V)
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
    x = product(one_hot, _times(embedding, kept), ends)  # (P, B*T, D)
    if positions.embedding is not None:
        x = (x.view(P, B, T, -1) + _times(positions.embedding[:, None], kept)).view(P, B * T, -1)
    x = _drop(x, dropout)
    rotation = rotation_of(positions)
    for i in range(model.layers):
        x = _attention(params, i, model, x, (B, T), rotation, positions, dropout, cache)
        x = _feed_forward(params, f"layers.{i}.ffn", model, x, dropout)
    if cache is not None:
        cache.length += T
    x = _drop(normalise(x, model.norm_eps) * params["final_norm"][:, None], dropout)
    logits = product(x, embedding * (model.d_model**-0.5 * kept), ends, transposed=True)  # (P, B*T, V)
    return logits.view(P, B, T, -1)


def _attention(
    params: Mapping[str, Tensor],
    layer: int,
    model: ModelSpec,
    x: Tensor,
    batch: tuple[int, int],
    rotation: Rotation | None,
    positions: PositionInputs,
    dropout: Dropout | None,
    cache: Cache | None,
) -> Tensor:
    """x + drop(o(attention(norm(x)))), x [P, B*T, D]; `rotation` is that of `positions`."""
    (B, T), P, H, K, name = batch, x.shape[0], model.heads, model.head_dim, f"layers.{layer}.attention"
    bias = positions.bias
    weight = params[f"{name}.norm"][:, :, None] * params[f"{name}.qkv"]  # (P, D, 3*H*K)
    qkv = product(normalise(x, model.norm_eps), weight, model.precision).view(P, B, T, 3, H, K)
    # (P, B, H, T, K) each, but q and k (P, B, H, T, 2 K) where they are polar
    q, k, v = qkv.permute(3, 0, 1, 4, 2, 5) if rotation is None else rotation(qkv)
    if positions.logit_scale is not None:
        q = _scaled_queries(q, positions.logit_scale, layer)
    scale = K**-0.5 if model.softmax_scale is SoftmaxScale.inverse_sqrt or positions.polar else 1.0
    if cache is not None:
        k, v = _extend(cache, layer, k, v)
    # torch's fused kernel where it computes the same: it takes neither our dropout masks nor a trained bias, and does
    # not emulate TF32. Its causal mask is for as many keys as queries.
    queries, seen = q.shape[3], k.shape[3]
    if dropout is None and bias is None and (queries > 1 or seen == 1) and not emulated(model.precision, x.device):
        causal = queries == seen
        mask = None if causal or cache is None else cache.later(queries, seen, q)
        mixed = F.scaled_dot_product_attention(
            q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask, is_causal=causal, scale=scale
        ).view(P, B, H, T, K)
    else:
        mixed = _explicit_attention(q, k, v, scale, bias, dropout, model.precision)
    mixed = mixed.transpose(2, 3).reshape(P, B * T, H * K)
    return _residual(x, mixed, params[f"{name}.o"], dropout, model.precision)


def _scaled_queries(q: Tensor, logit_scale: Tensor, layer: int) -> Tensor:
    """q [P, B, H, T, K] times the layer's scale of each query, in fp32 and cast back."""
    scale = logit_scale[:, layer if logit_scale.shape[1] > 1 else 0]  # (P, H or 1, T)
    return (q.float() * scale[:, None, :, :, None]).to(q.dtype)


def _extend(cache: Cache, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values [P, B, H, S, K] of all positions so far, the new ones included."""
    if layer == len(cache.keys):
        cache.keys.append(k.new_empty(*k.shape[:3], cache.capacity, k.shape[4]))
        cache.values.append(v.new_empty(*v.shape[:3], cache.capacity, v.shape[4]))
    seen = cache.length + k.shape[3]
    for kept, new in ((cache.keys[layer], k), (cache.values[layer], v)):
        kept[:, :, :, cache.length : seen] = new
    return cache.keys[layer][:, :, :, :seen], cache.values[layer][:, :, :, :seen]


def _explicit_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    bias: Tensor | None,
    dropout: Dropout | None,
    precision: Precision,
) -> Tensor:
    """softmax(q k^T + bias) v with each member's own dropout mask on the probabilities, which no fused kernel can draw.
    1 / (1 - p) is multiplied into the output projection (`_residual`)."""
    P, B, H, T, _ = q.shape
    S = k.shape[3]
    q, k, v = (t.reshape(P * B * H, -1, t.shape[-1]) for t in (_times(q, scale), k, v))
    # The T queries are the last of S positions: query t sees the keys up to S - T + t.
    future = torch.full((T, S), float("-inf"), device=q.device).triu(S - T + 1)
    scores = product(q, k, precision, transposed=True).float() + future
    if bias is not None:
        scores = (scores.view(P, B, H, T, S) + bias[:, None]).view(P * B * H, T, S)
    probabilities = scores.softmax(-1)
    if dropout is not None:
        probabilities = probabilities * dropout.mask(B, H, T, S).view(P * B * H, T, S)
    return product(probabilities, v, precision).view(P, B, H, T, -1)


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


def _times(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else x * factor


def dropout_lanes(model: ModelSpec, batch: int, length: int) -> int:
    """Random lanes that one member's step needs: the elements of all dropout sites for `batch` x `length` positions."""
    # In a layer: both residual branches [D each], the hidden layer [F], the probabilities [H, T]. Outside: the embedded
    # tokens and the last normalised values.
    per_layer = batch * length * (2 * model.d_model + model.d_ff + model.heads * length)
    return batch * length * 2 * model.d_model + model.layers * per_layer
