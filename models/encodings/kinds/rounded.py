"""Resonance in parts: which wavelengths are rounded, and to what. For experiments on what rounding does.

Resonance (arXiv 2403.00071, Algorithm 1) rounds all wavelengths to whole tokens. Theorem 1 speaks of those below the
training length alone, and nothing of the others; and any whole number of tokens would do for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.rotary import RESONANCE_SOURCE, Rotary, resonance_angles
from posgen.errors import require


class Rounds(Enum):
    """The features whose wavelength is rounded: all, or those below (from) the critical length on."""

    all = "all"
    pre_critical = "pre_critical"
    post_critical = "post_critical"


@dataclass(frozen=True)
class Rounded(Rotary):
    """Rotary with the wavelengths of some features moved to the nearest (k + offset) unit tokens, k whole.

    `critical` (tokens) separates the features, by their wavelengths after the scaling. `unit` 1 and `offset` 0 round
    as Resonance does. An irrational `offset` is the control: wavelengths are moved by no more, and none repeats.
    """

    rounds: Rounds = Rounds.pre_critical
    critical: int = 64
    unit: float = 1.0
    offset: float = 0.0

    only_rotates: ClassVar[bool] = True
    takes_resonance: ClassVar[bool] = False
    source: ClassVar[str] = f"{RESONANCE_SOURCE}, in parts"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.resonance, "resonance", self.resonance, "rounded says itself what is rounded: use false")
        require(self.critical >= 1, "critical", self.critical, "use the training length, in tokens")
        require(0.0 < self.unit <= 1e6, "unit", self.unit, "use a number of tokens above 0 (Resonance: 1)")
        require(0.0 <= self.offset < 1.0, "offset", self.offset, "use 0 to below 1, a share of the unit (Resonance: 0)")

    def wavelengths(self, length: int) -> Tensor:
        plain = super().wavelengths(length)
        # The least is one unit, or one token, whichever is longer: nothing may rotate infinitely fast.
        least = 0 if self.offset else 1
        steps = torch.round(plain / self.unit - self.offset).clamp(min=least)
        moved = ((steps + self.offset) * self.unit).clamp(min=1.0)
        return torch.where(self._rounded(plain), moved, plain)

    def frequencies(self, length: int) -> tuple[Tensor, float]:
        plain, factor = super().frequencies(length)
        rounded = self._rounded(super().wavelengths(length))
        return torch.where(rounded, 2 * math.pi / self.wavelengths(length).float(), plain), factor

    def angles(self, positions: Tensor, length: int) -> Tensor:
        """Of rounded features as Resonance computes them, of the others as without it, float64 [T, head_dim / 2]."""
        return self._with_rounded(super().angles(positions, length), positions, length)

    def exact_angles(self, positions: Tensor, length: int) -> Tensor:
        return self._with_rounded(super().exact_angles(positions, length), positions, length)

    def _with_rounded(self, plain: Tensor, positions: Tensor, length: int) -> Tensor:
        rounded = self._rounded(super().wavelengths(length))
        return torch.where(rounded, resonance_angles(positions, self.wavelengths(length)), plain.double())

    def _rounded(self, plain: Tensor) -> Tensor:
        """Which features are rounded, bool [head_dim / 2]; one that does not rotate has no period to round."""
        if self.rounds is Rounds.all:
            return plain.isfinite()
        return plain.isfinite() & ((plain < self.critical) == (self.rounds is Rounds.pre_critical))


ENCODING = Rounded
