"""What the decoder computes between its matrix products: the norm, the rotation and the masked relu.

Their derivatives are written by hand, which takes fewer passes over memory and keeps less for the backward pass than
autograd. Shapes as in models.transformer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Normalise(torch.autograd.Function):
    """x / rms(x): T5's norm without its weight w, which is multiplied into the next matrix: (x w) W = x (diag(w) W).

    The backward pass needs y and the rms only; autograd would keep more.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        # The mean of x^2 from the norm, so that no x^2 is written to memory.
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        inverse_rms = mean_square.add_(eps).rsqrt_()
        y = x * inverse_rms
        ctx.save_for_backward(y, inverse_rms)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # y = x / r with r = rms(x), hence dx = (dy - y mean(dy y)) / r.
        y, inverse_rms = ctx.saved_tensors
        along = (grads[0] * y).mean(-1, keepdim=True)
        return torch.addcmul(grads[0], y, along, value=-1.0).mul_(inverse_rms), None


class _RotateQK(torch.autograd.Function):
    """Splits the fused projection and rotates q and k by the positions' angles, interleaved pairs as complex numbers.

    One pass over memory forward and one backward, and the gradient is written into one buffer: slicing and joining
    would take four more.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, phase: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # qkv [P, B, T, 3, H, K] and phase complex [P, 1, 1, T, K/2] -> q, k, v [P, B, H, T, K]
        qk = torch.view_as_complex(qkv[:, :, :, :2].unflatten(-1, (-1, 2))).permute(3, 0, 1, 4, 2, 5)
        rotated = torch.view_as_real(qk.mul(phase).contiguous()).flatten(-2)
        ctx.save_for_backward(phase)
        return rotated[0], rotated[1], qkv[:, :, :, 2].transpose(2, 3).clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (phase,) = ctx.saved_tensors
        P, B, H, T, K = grads[0].shape
        out = grads[0].new_empty(P, B, T, 3, H, K)
        back = phase.conj().resolve_conj()  # z -> phase z has the gradient conj(phase) dy
        for i in range(2):  # q, then k, each into its part of the buffer
            grad = torch.view_as_complex(grads[i].contiguous().unflatten(-1, (-1, 2)))
            target = torch.view_as_complex(out[:, :, :, i].unflatten(-1, (-1, 2))).transpose(2, 3)
            torch.mul(grad, back, out=target)
        out[:, :, :, 2].transpose(2, 3).copy_(grads[2])
        return out, None


class _RotateCompiled(torch.autograd.Function):
    """The same without complex numbers, for torch.compile. The derivative that it would find by itself adds up three
    arrays of the size of qkv, each padded with zeros."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        # Copies: torch 2.11 loses the gradient of a function's output that is a view.
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        q, k = rotated(q, cos, sin).clone(), rotated(k, cos, sin).clone()
        return q, k, v.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        parts = (rotated(grads[0], cos, -sin), rotated(grads[1], cos, -sin), grads[2])
        return torch.stack([part.transpose(2, 3) for part in parts], dim=3), None, None


class _DropRelu(torch.autograd.Function):
    """relu(x) times a mask of zeros and ones. The backward pass needs only the output: it is above zero exactly where
    the gradient passes."""

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
    if torch.compiler.is_compiling():  # which fuses the plain expression, forward and backward, by itself
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    out: Tensor = _Normalise.apply(x, eps)
    return out


def phase_of(cos: Tensor, sin: Tensor) -> Tensor:
    """What `rotate` takes: cos + i sin [P, 1, 1, T, K/2], or both side by side [2, P, 1, 1, T, K/2] for torch.compile,
    which does not fuse complex numbers."""
    if torch.compiler.is_compiling():
        return torch.stack((cos, sin))[:, :, None, None]
    return torch.complex(cos, sin)[:, None, None]


def rotate(qkv: Tensor, phase: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v [P, B, H, T, K] from the projection [P, B, T, 3, H, K], q and k rotated in fp32 and cast back."""
    if phase.is_complex():
        q, k, v = _RotateQK.apply(qkv.float(), phase)
        return q.to(qkv.dtype), k.to(qkv.dtype), v.to(qkv.dtype)
    rotated: tuple[Tensor, Tensor, Tensor] = _RotateCompiled.apply(qkv, *phase)
    return rotated


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., T, K] with every interleaved pair (2j, 2j + 1) rotated; cos and sin [..., T, K/2]."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    pairs = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1)
    return pairs.flatten(-2).to(x.dtype)


def drop_relu(x: Tensor, mask: Tensor | None) -> Tensor:
    """relu(x), times a mask of zeros and ones if there is one."""
    y: Tensor = _DropRelu.apply(x, mask)
    return y


def times(x: Tensor, factor: float) -> Tensor:
    """x times a factor; x itself where that is 1."""
    return x if factor == 1.0 else x * factor
