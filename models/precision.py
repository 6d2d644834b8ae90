"""Matrix products at a chosen precision; everything between them is fp32 (models.spec.Precision).

All products of the decoder, forward and backward, in training and in evaluation, go through `product`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from models.kernels import multiply
from models.spec import Precision


def product(a: Tensor, b: Tensor, precision: Precision, transposed: bool = False) -> Tensor:
    """a @ b over the first axis: [n, i, k] x [n, k, o] -> [n, i, o], or a @ b^T with `transposed`: b is [n, o, k].
    bfloat16 for bf16 and float32 otherwise."""
    rounded = emulated(precision, a.device)
    if precision is Precision.bf16:
        a, b = a.to(torch.bfloat16), b.to(torch.bfloat16)
    elif rounded:
        a, b = _RoundTf32.apply(a), _RoundTf32.apply(b)
    out: Tensor = _Product.apply(a, b, transposed, rounded)
    return out


class _Product(torch.autograd.Function):
    """Gives each gradient in the memory layout of its factor: torch's own gradient of b^T would come transposed.
    `rounded`: the incoming gradient is rounded to TF32, too."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, transposed: bool, rounded: bool) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.transposed, ctx.rounded = transposed, rounded
        return multiply(a, b.transpose(1, 2) if transposed else b)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        a, b = ctx.saved_tensors
        grad, of_a, of_b = grads[0], None, None
        if ctx.rounded:
            grad = round_tf32(grad)
        # y = a b: da = dy b^T and db = a^T dy. With b given transposed, y = a b^T: da = dy b and db = dy^T a.
        if ctx.needs_input_grad[0]:
            of_a = multiply(grad, b if ctx.transposed else b.transpose(1, 2))
        if ctx.needs_input_grad[1]:
            left, right = (grad, a) if ctx.transposed else (a, grad)
            of_b = multiply(left.transpose(1, 2), right)
        return of_a, of_b, None, None


def emulated(precision: Precision, device: torch.device) -> bool:
    """Whether the rounding must be done here: only CUDA has TF32 in hardware."""
    return precision is Precision.tf32 and device.type != "cuda"


@contextmanager
def allowed(precision: Precision, device: torch.device) -> Iterator[None]:
    """Within `with`: CUDA's fp32 products use TF32 if, and only if, the precision is tf32."""
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
    # fp32 has 23 bits of mantissa. Adding just under half of bit 13, or half where that bit is 1, and clearing the 13
    # bits below it rounds half to even; a carry into the exponent is right, too.
    bits = x.contiguous().view(torch.int32)
    odd = (bits >> 13) & 1
    rounded = ((bits + (odd + 0x0FFF)) & ~0x1FFF).view(torch.float32)
    return torch.where(x.isfinite(), rounded, x)


class _RoundTf32(torch.autograd.Function):
    """Rounds a factor. Its gradient passes unchanged: `_Product` has rounded what it is computed from."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return round_tf32(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]
