"""Random streams: every draw of a member is a function of (seed, purpose, index), so it depends on no other member.

Nothing has to be stored to resume: epoch 7's order or step 900's dropout is drawn again from its own index.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Generator


def stream(seed: int, purpose: str, index: int = 0, device: str | torch.device = "cpu") -> Generator:
    """A generator for one purpose (`init`, `order`, `dropout`) of one member at one epoch or step."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
