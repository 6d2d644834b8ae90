"""FoX, the Forgetting Transformer: each token decides how much of what came before it is forgotten (Lin et al. 2025,
arXiv 2503.02130; github.com/zhixuan-lin/forgetting-transformer at 246d5e3).

Claimed: better than RoPE in long language modelling and beyond the training length, without a position encoding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import torch
from torch import Generator, Tensor

from models.encodings.base import PREFIX, Encoding, Weights
from models.encodings.inputs import Gate, Tables
from models.encodings.rotary import Rotary
from models.encodings.scalings.none import NoScaling
from models.spec import ModelSpec
from posgen.errors import require

STD = 0.02
"""Of the initial weights of a `full` gate: the code's `initializer_range`."""


class GateType(Enum):
    """The code's `fgate_type`. `full`: of the token's content. `bias_only`: a trained number for each head and layer.
    `fixed`: that number as it started, which is ALiBi with slopes 1 / T_h. `none`: nothing is forgotten."""

    full = "full"
    bias_only = "bias_only"
    fixed = "fixed"
    none = "none"


class Rope(Enum):
    """What rotates queries and keys besides (the code's `use_rope`)."""

    none = "none"
    rope = "rope"
    resonance_rope = "resonance_rope"


@dataclass(frozen=True)
class FoX(Encoding):
    """f_t = sigmoid(w_h x_t + b_h) for each head and layer, x_t what the layer's projections read; the sum of log f
    over the tokens j + 1..i is added to the logit of query i on key j (the paper's section 3).

    `bias_only` and `fixed` gates start at b_h = -log(exp(1 / T_h) - 1), so that f = exp(-1 / T_h), where the decay
    times T_h (tokens) are spaced evenly in their logarithms from `decay_time_min` to `decay_time_max`; a single head
    has the first. `bias_only` without them starts at b = 0, as `full` always does. The code keeps the numbers of
    `bias_only` from weight decay; here all weights have the same.
    """

    gate: GateType = GateType.full
    decay_time_min: float | None = None
    decay_time_max: float | None = None
    rope: Rope = Rope.none
    rope_base: float = 10_000.0

    trainable: ClassVar[bool] = True
    source: ClassVar[str] = "Lin et al. 2025 (FoX), arXiv 2503.02130"

    def __post_init__(self) -> None:
        low, high = self.decay_time_min, self.decay_time_max
        timed = self.gate in (GateType.bias_only, GateType.fixed)
        for key, value in (("decay_time_min", low), ("decay_time_max", high)):
            require(timed or value is None, key, value, f"gate={self.gate.value} has no decay times: use null")
            needed = "gate=fixed needs it: use tokens above 0, such as 2"
            require(self.gate is not GateType.fixed or value is not None, key, value, needed)
            require(value is None or 1e-2 <= value <= 1e9, key, value, "use tokens from 0.01 to 1e9")
        if low is None or high is None:
            require(low is high, "decay_time_max", high, "give both decay times or none")
        else:
            require(low <= high, "decay_time_max", high, f"use at least decay_time_min ({low:g})")
        object.__setattr__(self, "trainable", self.gate in (GateType.full, GateType.bias_only))  # not of every gate
        require(1.0 < self.rope_base <= 1e12, "rope_base", self.rope_base, "use a number above 1 (the code: 500000)")

    def sources(self) -> tuple[str, ...]:
        rotary = self._rotary()
        return (self.source,) if rotary is None else (self.source, *rotary.sources())

    def remark(self) -> str:
        words = {Rope.none: "", Rope.rope: "RoPE", Rope.resonance_rope: "Resonance RoPE"}[self.rope]
        return f"queries and keys rotate as under {words}, base {self.rope_base:g}" if words else ""

    def decay_times(self, heads: int) -> Tensor | None:
        """T_h in tokens, float64 [heads]; None where the gates start at b = 0."""
        if self.decay_time_min is None or self.decay_time_max is None:
            return None
        low, high = math.log(self.decay_time_min), math.log(self.decay_time_max)
        return torch.linspace(low, high, heads, dtype=torch.float64).exp()

    def _start(self, heads: int) -> Tensor:
        """b_h at the start, float32 [heads]."""
        times = self.decay_times(heads)
        return torch.zeros(heads) if times is None else -torch.log(torch.expm1(1 / times)).float()

    def shapes(self, model: ModelSpec) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        if self.gate is GateType.full:
            shapes["gate.weight"] = (model.layers, model.d_model, model.heads)
        if self.gate in (GateType.full, GateType.bias_only):
            shapes["gate.bias"] = (model.layers, model.heads)
        return shapes

    def initialise(self, model: ModelSpec, generator: Generator) -> dict[str, Tensor]:
        weights = {}
        for name, shape in self.shapes(model).items():
            drawn = name == "gate.weight"
            weights[name] = (
                torch.randn(shape, generator=generator) * STD
                if drawn
                else self._start(model.heads).expand(shape).clone()
            )
        return weights

    def gates(self, weights: Weights, model: ModelSpec) -> tuple[Gate, ...] | None:
        if self.gate is GateType.none:
            return None
        if self.gate is GateType.fixed:
            return (Gate(None, self._start(model.heads)[None]),) * model.layers
        weight, bias = weights.get(f"{PREFIX}gate.weight"), weights[f"{PREFIX}gate.bias"]
        return tuple(Gate(None if weight is None else weight[:, i], bias[:, i]) for i in range(model.layers))

    def _rotary(self) -> Rotary | None:
        if self.rope is Rope.none:
            return None
        return Rotary(self.name, self.head_dim, self.rope_base, NoScaling(), self.rope is Rope.resonance_rope)

    def rotation(self, positions: Tensor, length: int) -> Tables | None:
        rotary = self._rotary()
        return None if rotary is None else rotary.rotation(positions, length)


ENCODING = FoX
