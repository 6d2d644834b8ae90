"""Self-attention of P members at once, on all positions or on new ones after those of a cache.

Shapes as in models.transformer. Every query sees the keys up to its own, in a window where its layer has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from models.dropout import Dropout
from models.elementwise import normalise, times
from models.encodings.inputs import Gate, PositionInputs
from models.precision import emulated, product
from models.rotating import Rotation
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
                _hide_before(mask, window)
            self._masked = (queries, keys, window)
        return mask


def hidden(queries: int, keys: int, like: Tensor, window: int | None = None) -> Tensor:
    """-inf where a key stands after the query, or `window` keys or more before it, else 0 [queries, keys], for the last
    `queries` of `keys` positions. In the numbers of the scores: the kernel would make them of true and false."""
    mask = torch.full((queries, keys), float("-inf"), device=like.device).triu(keys - queries + 1)
    return mask if window is None else _hide_before(mask, window)


def _hide_before(mask: Tensor, window: int) -> Tensor:
    """The mask, with the keys hidden that stand `window` or more before the query."""
    queries, keys = mask.shape
    before = torch.ones(queries, keys, dtype=torch.bool, device=mask.device).tril(keys - queries - window)
    return mask.masked_fill_(before, float("-inf"))


def attention(
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
    """What a layer's attention makes of x [P, B*T, D]: the mixed values [P, B*T, H*K], before the output projection.
    `rotation` and `far` are those of `positions`, of all pairs and of distant ones. On dropout's factor see
    models.transformer."""
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
        # Fast kernels want values as wide as keys, which polar ones are not.
        wide = F.pad(v, (0, k.shape[-1] - K)) if positions.polar else v
        mixed = F.scaled_dot_product_attention(
            q.flatten(0, 1), k.flatten(0, 1), wide.flatten(0, 1), mask, is_causal=causal, scale=scale
        ).view(P, B, H, T, -1)[..., :K]
    else:
        added = None if bias is None else bias[:, None]  # (P, 1, H, T, S)
        if forgotten is not None:
            decay = forgotten[..., -T:, None] - forgotten[..., None, :]  # (P, B, H, T, S)
            added = decay if added is None else added + decay
        mixed = _explicit_attention(q, k, v, scale, added, distant, window, dropout, model.precision)
    return mixed.transpose(2, 3).reshape(P, B * T, H * K)


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
    1 / (1 - p) is multiplied into the output projection (models.transformer). `bias`: [P, B or 1, H, T, S]."""
    P, B, H, T, _ = q.shape
    S = k.shape[3]

    def logits(q: Tensor, k: Tensor) -> Tensor:
        q, k = (t.reshape(P * B * H, -1, t.shape[-1]) for t in (times(q, scale), k))
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
