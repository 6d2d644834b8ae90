"""YaRN (Peng et al. 2023, arXiv 2309.00071): NTK-by-parts, and attention logits scaled by (0.1 ln s + 1)^2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from models.encodings.scalings.ntk_by_parts import NTKByParts
from posgen.errors import require


@dataclass(frozen=True)
class YaRN(NTKByParts):
    """Frequencies: see NTKByParts. `attention_factor` overrides 0.1 ln(s) + 1; 1 turns it off."""

    attention_factor: float | None = None

    source: ClassVar[str] = "Peng et al. 2023, arXiv 2309.00071"
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.attention_factor is None or self.attention_factor > 0.0, "attention_factor", self.attention_factor,
            "use null (0.1 ln(factor) + 1), a number above 0, or 1 for none",
        )  # fmt: skip

    def compute_attention_factor(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        # Of cos and sin, hence of both q and k: the attention logits are multiplied by its square, which is YaRN's 1/t.
        return 0.1 * math.log(self.factor) + 1.0 if self.factor > 1.0 else 1.0


SCALING = YaRN
