"""RoPE in the arithmetic of 16 bits: what becomes of a model whose rotation is computed, or kept, in bf16 or fp16.

A model that is cast as a whole (`model.to(torch.bfloat16)`) casts its frequencies and multiplies them by positions in
16 bits, unless its code prevents it. bf16 has 8 significant bits: whole numbers are exact to 256, and an angle of 200
radians is known to half a radian. Resonance takes t mod lambda before it multiplies, so that its angles stay below one
turn and do not lose digits as t grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.rotary import Rotary


class Format(Enum):
    """Numbers of 16 bits: 8 significant ones, or 11 and a range that ends at 65,504."""

    bf16 = "bf16"
    fp16 = "fp16"


class Narrowed(Enum):
    """What is computed in 16 bits: all, from the positions on, or the finished cosines and sines alone (transformers
    computes in float32 and casts these)."""

    angles = "angles"
    tables = "tables"


_DTYPES = {Format.bf16: torch.bfloat16, Format.fp16: torch.float16}


@dataclass(frozen=True)
class Narrow(Rotary):
    """Rotary with angles, cosines and sines, or the latter alone, rounded to a format of 16 bits. For tests: a model
    that was trained with fp32 tables, and then cast."""

    format: Format = Format.bf16
    narrowed: Narrowed = Narrowed.angles

    only_rotates: ClassVar[bool] = True
    stretches: ClassVar[bool] = True  # like all that is for tests: under `zero_shot` RoPE trains

    @property
    def dtype(self) -> torch.dtype:
        return _DTYPES[self.format]

    def angles(self, positions: Tensor, length: int) -> Tensor:
        """As `Rotary.angles`; where angles are narrowed, each factor and the product are rounded, float32."""
        if self.narrowed is Narrowed.tables:
            return super().angles(positions, length)
        steps = positions.double()[:, None]
        if self.resonance:  # of whole numbers, as an index into a table of one period would be
            steps = torch.remainder(steps, self.wavelengths(length))
        return (steps.to(self.dtype) * self.frequencies(length)[0].to(self.dtype)).float()

    def exact_angles(self, positions: Tensor, length: int) -> Tensor:
        """The angles that models get: their rounding is what is looked at."""
        return self.angles(positions, length).double()

    def rotation(self, positions: Tensor, length: int) -> tuple[Tensor, Tensor]:
        cos, sin = super().rotation(positions, length)
        return cos.to(self.dtype).float(), sin.to(self.dtype).float()


ENCODING = Narrow
