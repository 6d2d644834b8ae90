"""Which kernel multiplies matrices: the fastest exact one of this machine, by a rule and not by a race.

On an AMD processor with AVX-512, torch's own fp32 product (MKL) uses code for older processors, while oneDNN, which
torch includes too, detects what the processor has. Measured on one core in GFLOP/s, MKL against oneDNN: 82-107 against
159-239 on Zen 5, whose AVX-512 units have full width, and 81-100 against 89-110 on Zen 4. Both round alike.

The rule looks only at the processor and at shapes, never at the clock, so that the same machine gives the same bits
every time: an interrupted and resumed training ends as an uninterrupted one. `POSGEN_KERNEL=torch` in the environment
keeps torch's own.

Where a CPU has no bf16 instructions that oneDNN can use, bf16 factors are multiplied as fp32 and the result is rounded:
what such an instruction does, but for the order of a sum.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import torch
from torch import Tensor

ZEN_4, ZEN_5 = 25, 26
"""AMD's processor families in /proc/cpuinfo; 25 is also Zen 3, which has no AVX-512."""
ROWS, WIDTH = 256, 16
"""Smaller matrices gain nothing: the call costs more than the kernel saves."""


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a @ b over the first axis, [n, i, k] x [n, k, o] -> [n, i, o], each with any strides."""
    if a.dtype is torch.float32 and a.device.type == "cpu" and _by_onednn(a, b):
        return linear(a[0], b[0])[None]
    if a.dtype is torch.bfloat16 and not torch.compiler.is_compiling() and bf16_is_slow(a.device.type):
        return torch.bmm(a.float(), b.float()).to(torch.bfloat16)
    return torch.bmm(a, b)


def kernels(device: str | torch.device = "cpu") -> str:
    """What multiplies fp32 matrices on this device, in the words that `posgen bench step` prints."""
    if torch.device(device).type != "cpu":
        return "torch.bmm"
    family = _family()
    if family is None:
        return "torch.bmm"
    small = "torch.bmm for many small ones" + ("" if family >= ZEN_5 else " and for the gradients of weights")
    return f"oneDNN for large products, {small}"


@functools.cache
def bf16_is_slow(device: str = "cpu") -> bool:
    """Whether torch's products in bf16 take longer than in fp32: on a CPU for which oneDNN has no bf16 code, such as
    x86 without AVX-512, torch takes a plain loop: on two cores of Zen 3 1 to 15 GFLOP/s, fp32 51 to 142. False where
    torch cannot tell."""
    if device.partition(":")[0] != "cpu":
        return False
    try:
        return not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):  # a private operator, which may go away
        return False


def single() -> bool:
    """Whether single matrices are multiplied so much faster than batches that members should run one at a time."""
    return (_family() or 0) >= ZEN_5


def _by_onednn(a: Tensor, b: Tensor) -> bool:
    if torch.compiler.is_compiling() or a.shape[0] != 1:
        return False
    family = _family()
    if family is None:
        return False
    _, rows, inner = a.shape
    # The gradient of a weight sums over all B*T tokens: x^T [D_in, B*T] times dy [B*T, D_out]. It shows by its long
    # inner side and by its left factor, a transposed view. Only full-width units gain from oneDNN there.
    if inner > max(rows, b.shape[2]) and a.stride(1) == 1:
        return family >= ZEN_5 and inner >= ROWS and min(rows, b.shape[2]) >= WIDTH
    return rows >= ROWS and min(inner, b.shape[2]) >= WIDTH


@functools.cache
def _family() -> int | None:
    """The processor's family where oneDNN is known to be faster: AMD with AVX-512. None elsewhere, where torch has no
    such operator (it is private and may go away), or where POSGEN_KERNEL=torch asks for torch's own."""
    if os.environ.get("POSGEN_KERNEL") == "torch" or not has_linear():
        return None
    processor: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            processor.setdefault(key.strip(), value.strip())
    except OSError:
        return None
    if processor.get("vendor_id") != "AuthenticAMD" or "avx512f" not in processor.get("flags", "").split():
        return None
    family = int(processor["cpu family"]) if processor.get("cpu family", "").isdigit() else 0
    return family if family >= ZEN_4 else None


def linear(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, [i, k] x [k, o], by oneDNN's linear layer, which takes its weight as [o, k] with any strides: no copy is
    made of either factor. Its operator is private to torch: ask `has_linear` first."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
    return out


def has_linear(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this torch has `linear`, runs it for the type on this processor, and gets the product right."""
    a, b = torch.eye(16, 24, dtype=dtype), torch.arange(48.0).view(24, 2).to(dtype)  # whole numbers: exact in bf16 too
    try:
        return bool(torch.equal(linear(a, b), b[:16]))
    except (AttributeError, RuntimeError, TypeError):
        return False
