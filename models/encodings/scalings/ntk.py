"""NTK-aware scaling: a larger base instead of interpolated positions (bloc97 2023; ledger row 26)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from models.encodings.scalings.base import Scaling, rope_inv_freq
from models.spec import NtkBase
from posgen.errors import require


@dataclass(frozen=True)
class NTKAware(Scaling):
    """`factor` is s = L'/L; with `power` the lowest frequency is interpolated by exactly s."""

    factor: float = 4.0
    base_rule: NtkBase = NtkBase.power

    source: ClassVar[str] = "bloc97 2023 (NTK-aware), in Peng et al. 2023, arXiv 2309.00071"
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.factor >= 1.0, "factor", self.factor, "use at least 1 (s = test_length / train_length)")

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        if self.base_rule is NtkBase.plain:
            return rope_inv_freq(head_dim, base * self.factor)
        require(head_dim > 2, "head_dim", head_dim, "the rule b * s^(d/(d-2)) needs more than 2; or base_rule=plain")
        return rope_inv_freq(head_dim, base * self.factor ** (head_dim / (head_dim - 2)))


SCALING = NTKAware
