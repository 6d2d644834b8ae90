"""What a population needs in memory, what the machine has, and how to divide when the one exceeds the other."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from models.encodings import build
from models.parameters import parameter_count
from models.spec import MemberSpec, ModelSpec, Precision
from posgen.errors import UserError
from posgen.resources import free_memory, reductions, size

SHARE = 0.8
"""Fraction of the free memory that a plan may take; allocators lose some, and other programs need some."""


def weight_count(spec: MemberSpec) -> int:
    """Weights of a member, those of its encoding included."""
    encoding = build(spec.train_encoding, spec.model.head_dim)
    of_encoding = sum(torch.Size(shape).numel() for shape in encoding.all_shapes(spec.model).values())
    return parameter_count(spec.model, spec.task.vocabulary) + of_encoding


def resident_bytes(spec: MemberSpec) -> int:
    """What a member keeps on the device for its whole training: weights, gradients and two moments, in fp32."""
    return 4 * 4 * weight_count(spec)


def checkpoint_bytes(spec: MemberSpec) -> int:
    """The member's chosen checkpoints, one for each test encoding, in the host's memory."""
    return 4 * len(spec.test_encodings) * weight_count(spec)


def activation_bytes(
    model: ModelSpec, batch: int, inputs: int, vocabulary: int, explicit: bool = False, polar: bool = False
) -> int:
    """What one member's step keeps for its backward pass over `batch` sequences of `inputs` positions. `explicit`: the
    fused kernel cannot compute its attention (`Encoding.explicit`). `polar`: its encoding makes queries and keys of
    twice the width."""
    tokens, inner, D = batch * inputs, model.heads * model.head_dim, model.d_model
    rounded = model.precision is Precision.bf16
    product = 2 if rounded else 4
    # Normalised inputs (two, and rounded ones for the products), the rms, and the masks before the residual.
    layer = tokens * 4 * (2 * D + (2 * D if model.dropout else 0) + 2) + (tokens * 2 * 2 * D if rounded else 0)
    # q, k and v as rotated, the mixed values (twice with a fused kernel), the hidden layer, which shows its own mask.
    layer += tokens * product * ((4 if model.dropout else 5) * inner + model.d_ff)
    # Magnitudes, their products with cosines and sines, both side by side, and values as wide as keys.
    layer += tokens * 4 * 14 * inner if polar else 0
    # Probabilities, their mask, and what both make; a fused kernel keeps none of them.
    layer += tokens * model.heads * inputs * (8 + product if model.dropout else 4 + product if explicit else 0)
    ends = tokens * 4 * (2 * D + (2 * D if model.dropout else 0) + 4 * vocabulary)
    return model.layers * layer + ends


def step_bytes(spec: MemberSpec) -> int:
    """`activation_bytes` of a member's largest batch, and as much again as a layer's gradients need on the way back."""
    inputs = spec.data.train_length + int(spec.model.bos) - 1
    batch = min(spec.optim.batch_size, spec.data.train_size)
    encoding = build(spec.train_encoding, spec.model.head_dim)
    vocabulary = spec.task.vocabulary
    kept = activation_bytes(spec.model, batch, inputs, vocabulary, encoding.explicit(), encoding.polar)
    return kept + kept // spec.model.layers


def saved_bytes(spec: MemberSpec) -> int:
    """A member's state as it is copied to the host and written: weights, two moments, and its chosen checkpoints."""
    return 3 * 4 * weight_count(spec) + checkpoint_bytes(spec)


def free_bytes(device: torch.device) -> int | None:
    """Memory that this process could still take on the device, limits of this process and its containers respected;
    None where the system does not say."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    return free_memory()


def smaller(spec: MemberSpec) -> Iterator[tuple[str, object, MemberSpec]]:
    """The member with one of its sizes reduced, as (dotted key, present value, member)."""
    for group in ("model", "data", "optim", "task"):
        for key, value, reduced in reductions(getattr(spec, group)):
            yield f"{group}.{key}", value, replace(spec, **{group: reduced})
    for key, value in spec.train_encoding.params.items():
        if type(value) is int and value > 1:
            halved = replace(spec.train_encoding, params={**spec.train_encoding.params, key: value // 2})
            yield f"pe.params.{key}", value, replace(spec, train_encoding=halved, test_encodings=(halved,))


def parts(members: int, each: int, once: int, free: int | None) -> int:
    """Into how many parts of equal size `members` that need `each` bytes must be divided, so that a part and `once`
    bytes more fit into `SHARE` of the free memory. Never more parts than members."""
    if free is None:
        return 1
    fitting = max(1, int((SHARE * free - once) // max(1, each)))
    return min(members, -(-members // fitting))


def divided(size: int, count: int) -> list[slice]:
    """`size` things as `count` slices, whose sizes differ by at most one."""
    return [slice(size * i // count, size * (i + 1) // count) for i in range(count)]


def ran_out(error: BaseException) -> bool:
    """Whether memory ran out: by the error's type, or by the words of libraries that have no type for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = str(error).lower()
    return any(sign in words for sign in ("can't allocate memory", "out of memory", "status_alloc_failed"))


@contextmanager
def shortage_told(work: str) -> Iterator[None]:
    """Within `with`: memory that runs out all the same is a UserError, one line."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        free = free_memory()
        left = "" if free is None else f" ({size(free)} are free now)"
        remedy = "end other programs, or use fewer threads, a smaller model or shorter sequences"
        raise UserError(f"memory ran out while {work}{left}: {remedy}") from error


def release(device: torch.device) -> None:
    """Give unused memory back. Reference cycles hold models and errors until Python collects them, which it does not do
    because memory is short; and the C library keeps what is freed (see cli/main.py) until it is asked to return it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


class Peak:
    """Within `with`: the most memory that was taken, in `bytes` afterwards. On a CPU that of the whole process, where
    the system can tell (Linux); else None."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None

    def __enter__(self) -> Peak:
        if self.device.type == "cuda":
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the present use
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.type == "cuda":
            self.bytes = int(torch.cuda.max_memory_allocated(self.device))
            return
        with contextlib.suppress(OSError, StopIteration):
            lines = Path("/proc/self/status").read_text().splitlines()
            self.bytes = next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
