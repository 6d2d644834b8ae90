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
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from models.dropout import Dropout
from models.elementwise import drop_relu, normalise
from models.encodings.base import Gate, PositionInputs
from models.precision import emulated, product
from models.rotating import Rotation, far_rotation_of, rotation_of
from models.spec import ModelSpec, Precision, SoftmaxScale


@dataclass
class Cache:
    """Rotated keys and values of the positions seen so far, one pair a layer: for free-running generation, and for
    sequences that are read in pieces. Room for `capacity` positions is taken at once: copying what was seen at every
    step would cost more than the step. `far_keys`: rotated for distant pairs; `forgotten`: the sums of log f."""

    capacity: int
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    far_keys: list[Tensor] = field(default_factory=list)
    forgotten: list[Tensor] = field(default_factory=list)
    length: int = 0
    _mask: Tensor | None = None
    _masked: tuple[int, int, int | None] = (0, 0, None)

    def extend(self, kept: list[Tensor], layer: int, new: Tensor) -> Tensor:
        """What a layer keeps of all positions so far, [P, B, H, S, ...] with `new` [P, B, H, T, ...] at the end. `kept`
        is one of the lists above; the layers come in their order."""
        while layer >= len(kept):  # a layer before it may keep nothing of this kind
            kept.append(new.new_empty(*new.shape[:3], self.capacity if layer == len(kept) else 0, *new.shape[4:]))
        seen = self.length + new.shape[3]
        kept[layer][:, :, :, self.length : seen] = new
        return kept[layer][:, :, :, :seen]

    def later(self, queries: int, keys: int, like: Tensor, window: int | None = None) -> Tensor:
        """`hidden` for the last `queries` of `keys` positions, in one memory for all layers and pieces, whose shapes
        change: what is freed and taken in turns grows."""
        count = queries * keys
        if self._mask is None or self._mask.numel() < count:
            self._mask, self._masked = like.new_empty(1 << (count - 1).bit_length()), (0, 0, None)
        mask = self._mask[:count].view(queries, keys)
        if self._masked != (queries, keys, window):
            mask.zero_()
            mask[:, keys - queries :] = like.new_full((queries, queries), float("-inf")).triu(1)
            if window is not None:
                mask += hidden(queries, keys, like, window)
            self._masked = (queries, keys, window)
        return mask


def hidden(queries: int, keys: int, like: Tensor, window: int | None = None) -> Tensor:
    """-inf where a key stands after the query, or `window` keys or more before it, else 0 [queries, keys], for the last
    `queries` of `keys` positions. In the numbers of the scores: the kernel would make them of true and false."""
    full = torch.full((queries, keys), float("-inf"), device=like.device)
    mask = full.triu(keys - queries + 1)
    return mask if window is None else mask + full.tril(keys - queries - window)


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
    rotation, far = rotation_of(positions), far_rotation_of(positions)
    for i in range(model.layers):
        x = _attention(params, i, model, x, (B, T), rotation, far, positions, dropout, cache)
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
    far: Rotation | None,
    positions: PositionInputs,
    dropout: Dropout | None,
    cache: Cache | None,
) -> Tensor:
    """x + drop(o(attention(norm(x)))), x [P, B*T, D]; `rotation` and `far` are those of `positions`, of all pairs and
    of distant ones."""
    (B, T), P, H, K, name = batch, x.shape[0], model.heads, model.head_dim, f"layers.{layer}.attention"
    rotates = positions.layers is None or positions.layers.rotates(layer)
    window = None if positions.layers is None else positions.layers.window_of(layer)
    norm, inputs = params[f"{name}.norm"][:, :, None], normalise(x, model.norm_eps)
    qkv = product(inputs, norm * params[f"{name}.qkv"], model.precision).view(P, B, T, 3, H, K)
    # (P, B, H, T, K) each, but q and k (P, B, H, T, 2 K) where they are polar
    q, k, v = qkv.permute(3, 0, 1, 4, 2, 5) if rotation is None or not rotates else rotation(qkv)
    q = _scaled_queries(q, positions.logit_scale, layer)
    scale = K**-0.5 if model.softmax_scale is SoftmaxScale.inverse_sqrt or positions.polar else 1.0
    distant = None
    if far is not None and positions.far is not None:
        far_q, far_k, _ = far(qkv)
        distant = _Distant(_scaled_queries(far_q, positions.logit_scale, layer), far_k, positions.far.beyond)
    forgotten = None
    if positions.gates is not None:
        forgotten = _forgotten(inputs, norm, positions.gates[layer], (B, T), cache, layer)
    if cache is not None:
        k, v = cache.extend(cache.keys, layer, k), cache.extend(cache.values, layer, v)
        if distant is not None:
            distant = replace(distant, k=cache.extend(cache.far_keys, layer, distant.k))
        if window is not None:  # no query sees what stands before
            k, v = k[:, :, :, -(T + window - 1) :], v[:, :, :, -(T + window - 1) :]
    # torch's fused kernel where it computes the same: it takes neither our dropout masks nor a trained bias, and does
    # not emulate TF32. Its causal mask is for as many keys as queries.
    bias, seen = positions.bias, k.shape[3]
    by_pair = bias is not None or distant is not None or forgotten is not None
    if dropout is None and not by_pair and (T > 1 or seen == 1) and not emulated(model.precision, x.device):
        causal = seen == T and window is None
        mask = None
        if not causal:
            mask = hidden(T, seen, q, window) if cache is None else cache.later(T, seen, q, window)
        mixed = F.scaled_dot_product_attention(
            q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask, is_causal=causal, scale=scale
        ).view(P, B, H, T, K)
    else:
        added = None if bias is None else bias[:, None]  # (P, 1, H, T, S)
        if forgotten is not None:
            decay = forgotten[..., -T:, None] - forgotten[..., None, :]  # (P, B, H, T, S)
            added = decay if added is None else added + decay
        mixed = _explicit_attention(q, k, v, scale, added, distant, window, dropout, model.precision)
    mixed = mixed.transpose(2, 3).reshape(P, B * T, H * K)
    return _residual(x, mixed, params[f"{name}.o"], dropout, model.precision)


@dataclass(frozen=True)
class _Distant:
    """Queries and keys [P, B, H, ., K] of the pairs that are `beyond` tokens apart or more."""

    q: Tensor
    k: Tensor
    beyond: int


def _scaled_queries(q: Tensor, logit_scale: Tensor | None, layer: int) -> Tensor:
    """q [P, B, H, T, K] times the layer's scale of each query, in fp32 and cast back."""
    if logit_scale is None:
        return q
    scale = logit_scale[:, layer if logit_scale.shape[1] > 1 else 0]  # (P, H or 1, T)
    return (q.float() * scale[:, None, :, :, None]).to(q.dtype)


def _forgotten(
    inputs: Tensor, norm: Tensor, gate: Gate, batch: tuple[int, int], cache: Cache | None, layer: int
) -> Tensor:
    """The sums of log f over the tokens up to each one [P, B, H, S], of those in the cache as well. `inputs`
    [P, B*T, D] are normalised, but not yet multiplied by the norm's weight [P, D, 1]."""
    (B, T), P = batch, inputs.shape[0]
    logits = gate.bias[:, None, :, None]  # (P or 1, 1, H, 1)
    if gate.weight is not None:
        content = product(inputs, norm * gate.weight, Precision.fp32).view(P, B, T, -1)
        logits = logits + content.transpose(2, 3)
    sums = F.logsigmoid(logits).expand(P, B, -1, T).cumsum(-1)
    if cache is None:
        return sums
    if cache.length:
        sums = sums + cache.forgotten[layer][:, :, :, cache.length - 1 : cache.length]
    return cache.extend(cache.forgotten, layer, sums)


def _explicit_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    bias: Tensor | None,
    distant: _Distant | None,
    window: int | None,
    dropout: Dropout | None,
    precision: Precision,
) -> Tensor:
    """softmax(q k^T + bias) v with each member's own dropout mask on the probabilities, which no fused kernel can draw.
    1 / (1 - p) is multiplied into the output projection (`_residual`). `bias`: [P, B or 1, H, T, S]."""
    P, B, H, T, _ = q.shape
    S = k.shape[3]

    def logits(q: Tensor, k: Tensor) -> Tensor:
        q, k = (t.reshape(P * B * H, -1, t.shape[-1]) for t in (_times(q, scale), k))
        return product(q, k, precision, transposed=True).float()

    scores = logits(q, k)
    if distant is not None:
        # The T queries are the last of S positions, here as in `hidden`.
        near = torch.ones(T, S, dtype=torch.bool, device=q.device).triu(S - T + 1 - distant.beyond)
        scores = torch.where(near, scores, logits(distant.q, distant.k))
    scores = scores + hidden(T, S, q, window)
    if bias is not None:
        scores = (scores.view(P, B, H, T, S) + bias).view(P * B * H, T, S)
    probabilities = scores.softmax(-1)
    if dropout is not None:
        probabilities = probabilities * dropout.mask(B, H, T, S).view(P * B * H, T, S)
    return product(probabilities, v.reshape(P * B * H, S, -1), precision).view(P, B, H, T, -1)


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
