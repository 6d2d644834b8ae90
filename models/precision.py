"""Matrix products at a chosen precision; everything between them is fp32 (models.spec.Precision)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from models.spec import Precision


def product(a: Tensor, b: Tensor, precision: Precision) -> Tensor:
    """a @ b over the first axis: [n, i, k] x [n, k, o] -> [n, i, o], bfloat16 for bf16 and float32 otherwise."""
    if precision is Precision.bf16:
        return torch.bmm(a.to(torch.bfloat16), b.to(torch.bfloat16))
    if emulated(precision, a.device):
        out: Tensor = _RoundedProduct.apply(a, b)
        return out
    return torch.bmm(a, b)


def emulated(precision: Precision, device: torch.device) -> bool:
    """Only CUDA has TF32 in hardware."""
    return precision is Precision.tf32 and device.type != "cuda"


@contextmanager
def allowed(precision: Precision, device: torch.device) -> Iterator[None]:
    """Within: CUDA's fp32 products take TF32 where, and only where, it is asked for."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision is Precision.tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def round_tf32(x: Tensor) -> Tensor:
    """float32 with its mantissa rounded to TF32's 10 bits, half to even (NaN and infinities stay)."""
    bits = x.contiguous().view(torch.int32)
    odd = (bits >> 13) & 1
    rounded = ((bits + (odd + 0x0FFF)) & ~0x1FFF).view(torch.float32)
    return torch.where(x.isfinite(), rounded, x)


class _RoundedProduct(torch.autograd.Function):
    """What TF32 hardware computes: every product of a step, backward ones too, takes rounded factors."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        a, b = round_tf32(a), round_tf32(b)
        ctx.save_for_backward(a, b)
        return torch.bmm(a, b)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        grad = round_tf32(grads[0])
        return torch.bmm(grad, b.transpose(1, 2)), torch.bmm(a.transpose(1, 2), grad)
