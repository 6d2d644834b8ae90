"""Random streams: every draw of a member is a function of (seed, purpose, index), so it depends on no other member.

Nothing has to be stored to resume: epoch 7's order or step 900's dropout is drawn again from its own index.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Generator


def stream(seed: int, purpose: str, index: int = 0, device: str | torch.device = "cpu") -> Generator:
    """A generator for one purpose of one member at one epoch or step.

    Purposes in use: `init`, `init-position`, `order`, `positions`, `measured-positions`, and for weights and tokens
    that only try something out `try`, `probe` and `lengths`. Dropout draws from `words`.
    """
    seed_63 = _number(seed, purpose, index) >> 1  # torch's seeds are signed
    return torch.Generator(device=device).manual_seed(seed_63)


def words(seed: int, purpose: str, index: int, count: int) -> np.ndarray:
    """`count` random 64-bit words, uint64 [count]: several times faster on a CPU than from a torch generator."""
    source = np.random.Generator(np.random.SFC64(_number(seed, purpose, index)))
    return source.integers(0, 2**64 - 1, count, dtype=np.uint64, endpoint=True)


def _number(seed: int, purpose: str, index: int) -> int:
    """A 64-bit seed for this draw alone. A hash, so that neighbouring members and steps have unrelated seeds."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()[:8], "little")
