"""Dropout for a population: each member draws its masks from its own stream of its seed and step.

A mask takes 16 random bits per element (a lane), so the probability is a multiple of 2^-16 (0.1 becomes 0.100006), and
kept values are scaled by exactly 1 / (1 - that). A mask holds zeros and ones only: every dropout site stands beside a
matrix product, and scaling its matrix is cheaper than scaling the activations. The sites must ask for their masks in
the same order in every step.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.streams import words

LANES = 65_536
"""Values of a lane: an element is dropped when its 16 bits fall below probability x 65,536."""


class Dropout(Protocol):
    """The masks of one step for P members. Who applies a mask also multiplies by `scale`, which is 1 / (1 - p)."""

    scale: float

    def mask(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The next mask [P, *shape]: 0 where dropped, else 1."""
        ...


def draw(probability: float, seeds: Sequence[int], step: int, lanes: int, device: torch.device) -> Dropout:
    """The masks of `step` for members of these seeds; `lanes` is the total number of elements of all sites.

    CPUs and GPUs draw different masks: each has the source that is fastest on it.
    """
    if device.type == "cpu":
        return Drawn(probability, seeds, step, lanes)
    return Counted(probability, keys(tuple(seeds), device), step)


class Drawn:
    """For CPUs: all bits at once from a generator, as 16-bit lanes of 64-bit words. A random float for every element
    would cost much more."""

    def __init__(self, probability: float, seeds: Sequence[int], step: int, lanes: int) -> None:
        self.dropped = round(probability * LANES)
        self.scale = LANES / (LANES - self.dropped)
        drawn = np.stack([words(seed, "dropout", step, -(-lanes // 4)) for seed in seeds])  # four lanes to a word
        self.lanes = torch.from_numpy(drawn.view(np.int16))  # (P, lanes)
        self.used = 0

    def mask(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        count = torch.Size(shape).numel()
        lanes = self.lanes[:, self.used : self.used + count]
        self.used += count
        keep = torch.empty(lanes.shape, dtype=dtype)
        # Lanes are signed here, -32,768 to 32,767: hence the threshold minus a half of all values.
        # Comparing straight into floats takes a fifth of the time of a boolean that is converted.
        torch.ge(lanes, self.dropped - LANES // 2, out=keep)
        return keep.view(-1, *shape)


class Counted:
    """For GPUs: every element's bits are a hash of its place, the step and its member's 64-bit key. No random number is
    stored or sent to the device, and a compiler fuses the hash with the multiplication by the mask."""

    def __init__(self, probability: float, keys: Tensor, step: int) -> None:
        self.dropped = round(probability * LANES)
        self.scale = LANES / (LANES - self.dropped)
        # Filled on the device: a copy from the host would wait for everything that is queued there.
        at = torch.full((), step, dtype=torch.int32, device=keys.device)
        # This step's key of each member, two words [P, 1] each.
        self.first = _mixed(keys[:, :1] ^ at)
        self.second = _mixed(self.first + keys[:, 1:])
        self.used = 0

    def mask(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        count = torch.Size(shape).numel()
        place = torch.arange(self.used, self.used + count, dtype=torch.int32, device=self.first.device)
        self.used += count
        bits = _mixed(place ^ self.first, self.second) & (LANES - 1)
        return (bits >= self.dropped).to(dtype).view(-1, *shape)


@functools.cache
def keys(seeds: tuple[int, ...], device: torch.device) -> Tensor:
    """A member's key as two words, int32 [P, 2], made once for its whole training."""
    drawn = np.stack([words(seed, "dropout", 0, 1).view(np.int32) for seed in seeds])
    return torch.from_numpy(drawn).to(device)


def _mixed(x: Tensor, second: Tensor | int = 0) -> Tensor:
    """A bijection of 32-bit words in which every input bit flips every output bit half of the time (the constants are
    C. Wellons' `lowbias32`, found by search). `second` is a further word of key: without it two members' bits would be
    one sequence in two orders."""
    # int32 overflow wraps around, so these are products modulo 2^32. The second constant as a signed number.
    x = (x ^ _shifted(x, 16)) * 0x7FEB352D + second
    x = (x ^ _shifted(x, 15)) * (0x846CA68B - 2**32)
    return x ^ _shifted(x, 16)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """x >> bits of the word as unsigned: torch's shift copies the sign bit, the mask removes it."""
    return (x >> bits) & (2 ** (32 - bits) - 1)
