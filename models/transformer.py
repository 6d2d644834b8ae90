"""The decoder of the paper (section 4.2): T5-Small layers without bias, for P members at once.

Shapes: P members, B sequences, T positions, D = d_model, H heads, K = head_dim. Every weight is [P, ...] and every
matrix product is batched over P, at the model's precision; the two with the vocabulary are never bf16. There are no
biases, no softmax scale by default (the initialisation of q carries it), and the output projection is the embedding,
scaled by d_model^-1/2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.dropout import Dropout
from models.encodings.base import PositionInputs
from models.precision import emulated, product
from models.spec import ModelSpec, Precision, SoftmaxScale


@dataclass
class Cache:
    """Rotated keys and values of the positions seen so far, one pair a layer, for free-running generation."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    length: int = 0


class _Normalise(torch.autograd.Function):
    """x / rms(x): T5's norm without its weight, which the next matrix carries (exact: (x w) W = x (w W))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        rms = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        y = x * rms
        ctx.save_for_backward(y, rms)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        y, rms = ctx.saved_tensors
        along = (grads[0] * y).mean(-1, keepdim=True)
        return torch.addcmul(grads[0], y, along, value=-1.0).mul_(rms), None


class _RotateQK(torch.autograd.Function):
    """Splits the fused projection and turns q and k by the position's angles, interleaved pairs as complex numbers.

    One pass forward and one backward, and the gradient lands in one buffer: slicing and joining would be four more.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # qkv [P, B, T, 3, H, K]; turn complex [P, 1, 1, T, K/2] -> three times [P, B, H, T, K]
        qk = torch.view_as_complex(qkv[:, :, :, :2].unflatten(-1, (-1, 2))).permute(3, 0, 1, 4, 2, 5)
        rotated = torch.view_as_real(qk.mul(turn).contiguous()).flatten(-2)
        ctx.save_for_backward(turn)
        return rotated[0], rotated[1], qkv[:, :, :, 2].transpose(2, 3).clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (turn,) = ctx.saved_tensors
        P, B, H, T, K = grads[0].shape
        out = grads[0].new_empty(P, B, T, 3, H, K)
        back = turn.conj().resolve_conj()
        for i in range(2):
            grad = torch.view_as_complex(grads[i].contiguous().unflatten(-1, (-1, 2)))
            target = torch.view_as_complex(out[:, :, :, i].unflatten(-1, (-1, 2))).transpose(2, 3)
            torch.mul(grad, back, out=target)
        out[:, :, :, 2].transpose(2, 3).copy_(grads[2])
        return out, None


class _RotateCompiled(torch.autograd.Function):
    """The same for a compiler, which knows no complex numbers. Its own derivative would add three padded arrays."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        # As arrays of their own: torch 2.11 loses the gradient of a function's output that is a view.
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        q, k = _turned(q, cos, sin).clone(), _turned(k, cos, sin).clone()
        return q, k, v.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        parts = (_turned(grads[0], cos, -sin), _turned(grads[1], cos, -sin), grads[2])
        return torch.stack([part.transpose(2, 3) for part in parts], dim=3), None, None


class _DropRelu(torch.autograd.Function):
    """relu(x) times a mask of zeros and ones. What comes out shows what passed, and alone is kept for the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor | None) -> Tensor:
        y = x.relu() if mask is None else x.relu() * mask
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grads[0], y, 0), None


def normalise(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last axis (T5's RMSNorm without its weight)."""
    if torch.compiler.is_compiling():  # a compiler fuses the plain expression, forward and backward, by itself
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    out: Tensor = _Normalise.apply(x, eps)
    return out


def _turn(cos: Tensor, sin: Tensor) -> Tensor:
    """cos + i sin [P, 1, 1, T, K/2], or their stack [2, P, 1, 1, T, K/2] for a compiler, which knows no complex."""
    if torch.compiler.is_compiling():
        return torch.stack((cos, sin))[:, :, None, None]
    return torch.complex(cos, sin)[:, None, None]


def _rotate(qkv: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v [P, B, H, T, K] from the projection [P, B, T, 3, H, K]: q and k turned in fp32, then in its type."""
    if turn.is_complex():
        q, k, v = _RotateQK.apply(qkv.float(), turn)
        return q.to(qkv.dtype), k.to(qkv.dtype), v.to(qkv.dtype)
    turned: tuple[Tensor, Tensor, Tensor] = _RotateCompiled.apply(qkv, *turn)
    return turned


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    pairs = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1)
    return pairs.flatten(-2).to(x.dtype)


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
    embedding = params["embedding"]
    one_hot = F.one_hot(inputs.reshape(P, B * T), embedding.shape[1]).to(embedding.dtype)
    ends = Precision.fp32 if model.precision is Precision.bf16 else model.precision
    # What a mask keeps is worth 1 / (1 - p) times as much; the matrix before or after it is smaller than the values.
    kept = 1.0 if dropout is None else dropout.scale
    x = product(one_hot, _times(embedding, kept), ends)  # (P, B*T, D)
    if positions.embedding is not None:
        x = (x.view(P, B, T, -1) + _times(positions.embedding[:, None], kept)).view(P, B * T, -1)
    x = _drop(x, dropout)
    turn = None if positions.rotation is None else _turn(*positions.rotation)
    for i in range(model.layers):
        x = _attention(params, f"layers.{i}.attention", model, x, (B, T), turn, positions.bias, dropout, cache)
        x = _feed_forward(params, f"layers.{i}.ffn", model, x, dropout)
    if cache is not None:
        cache.length += T
    x = _drop(normalise(x, model.norm_eps) * params["final_norm"][:, None], dropout)
    logits = product(x, embedding * (model.d_model**-0.5 * kept), ends, transposed=True)
    return logits.view(P, B, T, -1)


def _attention(
    params: Mapping[str, Tensor],
    name: str,
    model: ModelSpec,
    x: Tensor,
    batch: tuple[int, int],
    turn: Tensor | None,
    bias: Tensor | None,
    dropout: Dropout | None,
    cache: Cache | None,
) -> Tensor:
    """x + drop(o(attention(norm(x))))."""
    (B, T), P, H, K = batch, x.shape[0], model.heads, model.head_dim
    weight = params[f"{name}.norm"][:, :, None] * params[f"{name}.qkv"]
    qkv = product(normalise(x, model.norm_eps), weight, model.precision).view(P, B, T, 3, H, K)
    q, k, v = qkv.permute(3, 0, 1, 4, 2, 5) if turn is None else _rotate(qkv, turn)  # (P, B, H, T, K) each
    scale = K**-0.5 if model.softmax_scale is SoftmaxScale.inverse_sqrt else 1.0
    if cache is not None:
        k, v = _extend(cache, int(name.split(".")[1]), k, v)
    if dropout is None and bias is None and k.shape[3] == T and not emulated(model.precision, x.device):
        mixed = F.scaled_dot_product_attention(
            q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), is_causal=True, scale=scale
        ).view(P, B, H, T, K)
    else:
        mixed = _explicit_attention(q, k, v, scale, bias, dropout, model.precision)
    mixed = mixed.transpose(2, 3).reshape(P, B * T, H * K)
    return _residual(x, mixed, params[f"{name}.o"], dropout, model.precision)


def _extend(cache: Cache, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    if layer == len(cache.keys):
        cache.keys.append(k)
        cache.values.append(v)
    else:
        cache.keys[layer] = torch.cat([cache.keys[layer], k], dim=3)
        cache.values[layer] = torch.cat([cache.values[layer], v], dim=3)
    return cache.keys[layer], cache.values[layer]


def _explicit_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    bias: Tensor | None,
    dropout: Dropout | None,
    precision: Precision,
) -> Tensor:
    """softmax(q k^T + bias) v with the member's own dropout on the probabilities, which no fused kernel can draw; what
    it keeps is scaled by the next matrix."""
    P, B, H, T, K = q.shape
    S = k.shape[3]
    q, k, v = (t.reshape(P * B * H, -1, K) for t in (_times(q, scale), k, v))
    future = torch.full((T, S), float("-inf"), device=q.device).triu(S - T + 1)
    scores = product(q, k, precision, transposed=True).float() + future
    if bias is not None:
        scores = (scores.view(P, B, H, T, S) + bias[:, None]).view(P * B * H, T, S)
    probabilities = scores.softmax(-1)
    if dropout is not None:
        probabilities = probabilities * dropout.mask(B, H, T, S).view(P * B * H, T, S)
    return product(probabilities, v, precision).view(P, B, H, T, K)


def _feed_forward(
    params: Mapping[str, Tensor], name: str, model: ModelSpec, x: Tensor, dropout: Dropout | None
) -> Tensor:
    """x + drop(wo(drop(relu(wi(norm(x)))))): T5's ungated feed-forward layer."""
    weight = params[f"{name}.norm"][:, :, None] * params[f"{name}.wi"]
    hidden = product(normalise(x, model.norm_eps), weight, model.precision)
    mask = None if dropout is None else dropout.mask(*hidden.shape[1:], dtype=hidden.dtype)
    hidden = _DropRelu.apply(hidden, mask)
    return _residual(x, hidden, params[f"{name}.wo"], dropout, model.precision)


def _residual(x: Tensor, inner: Tensor, weight: Tensor, dropout: Dropout | None, precision: Precision) -> Tensor:
    """x + drop(inner weight), where `inner` is dropped but not yet scaled."""
    if dropout is None:
        return x + product(inner, weight, precision).float()
    new = product(inner, weight * dropout.scale**2, precision).float()
    return torch.addcmul(x, new, dropout.mask(*x.shape[1:]))


def _drop(x: Tensor, dropout: Dropout | None) -> Tensor:
    """x or zero; the scale is owed."""
    return x if dropout is None else x * dropout.mask(*x.shape[1:])


def _times(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else x * factor


def dropout_lanes(model: ModelSpec, batch: int, length: int) -> int:
    """Random lanes that one member's step needs: the elements of all dropout sites for `batch` x `length` positions."""
    per_layer = batch * length * (2 * model.d_model + model.d_ff + model.heads * length)
    return batch * length * 2 * model.d_model + model.layers * per_layer
