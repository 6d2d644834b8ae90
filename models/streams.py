"""Random streams: every draw of a member is a function of (seed, purpose, index), so it depends on no other member.

Nothing has to be stored to resume: epoch 7's order or step 900's dropout is drawn again from its own index.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Generator


def stream(seed: int, purpose: str, index: int = 0, device: str | torch.device = "cpu") -> Generator:
    """A generator for one purpose (`init`, `order`, `positions`, ...) of one member at one epoch or step."""
    return torch.Generator(device=device).manual_seed(_number(seed, purpose, index) >> 1)


def words(seed: int, purpose: str, index: int, count: int) -> np.ndarray:
    """`count` random 64-bit words, uint64 [count]: several times faster on a CPU than from a torch generator."""
    source = np.random.Generator(np.random.SFC64(_number(seed, purpose, index)))
    return source.integers(0, 2**64 - 1, count, dtype=np.uint64, endpoint=True)


def _number(seed: int, purpose: str, index: int) -> int:
    """64 bits that belong to this draw alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()[:8], "little")
