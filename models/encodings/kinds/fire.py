"""FIRE: a small network of the progress through the sequence gives the bias (Li et al. 2023, arXiv 2310.04418)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from models.encodings.base import PREFIX, Encoding, Weights
from models.spec import ModelSpec
from posgen.errors import require


@dataclass(frozen=True)
class FIRE(Encoding):
    """b(i, j) = f(psi(i - j) / psi(max(|T|, i))), psi(x) = log(|c| x + 1) (the paper's section 3); f is a network of
    one hidden layer of `width` relu units and one output a head, shared by all layers. c and the threshold, T = t times
    `threshold`, are trained from c = `c` and t = 1 (the paper: 0.1, and 512 for its training lengths).

    Positions count from 1, so that psi of the first query is not zero.
    """

    width: int = 32
    c: float = 0.1
    threshold: float = 64.0

    trainable: ClassVar[bool] = True
    source: ClassVar[str] = "Li et al. 2023, arXiv 2310.04418"

    def __post_init__(self) -> None:
        require(1 <= self.width <= 4096, "width", self.width, "use 1 to 4096 (the paper: 32)")
        require(self.c > 0.0, "c", self.c, "use a number above 0 (the paper: 0.1)")
        require(self.threshold > 0.0, "threshold", self.threshold, "use a length above 0, in tokens")

    def shapes(self, model: ModelSpec) -> dict[str, tuple[int, ...]]:
        return {
            "c": (1,), "scale": (1,), "hidden.weight": (1, self.width), "hidden.bias": (self.width,),
            "out.weight": (self.width, model.heads), "out.bias": (model.heads,),
        }  # fmt: skip

    def initialise(self, model: ModelSpec, generator: Generator) -> dict[str, Tensor]:
        def uniform(fan_in: int, *shape: int) -> Tensor:
            """nn.Linear's: uniform within 1 / sqrt(fan_in)."""
            return (2 * torch.rand(shape, generator=generator) - 1) * fan_in**-0.5

        return {
            "c": torch.tensor([self.c]),
            "scale": torch.ones(1),  # t: the threshold in units of its start
            "hidden.weight": uniform(1, 1, self.width),
            "hidden.bias": uniform(1, self.width),
            "out.weight": uniform(self.width, self.width, model.heads),
            "out.bias": uniform(self.width, model.heads),
        }

    def pair_bytes(self, model: ModelSpec) -> int:
        return super().pair_bytes(model) + 3 * 4 * self.width  # the hidden layer

    def bias(self, weights: Weights, positions: Tensor, model: ModelSpec) -> Tensor:
        net = {name.removeprefix(PREFIX): weight for name, weight in weights.items() if name.startswith(PREFIX)}
        c = net["c"].abs()[:, :, None]  # (P, 1, 1)
        threshold = (net["scale"] * self.threshold).abs()  # (P, 1)
        distance = (positions[:, None] - positions[None, :]).clamp(min=0).float()  # (T, T)
        longest = torch.maximum(threshold, positions.float()[None] + 1)  # (P, T)
        progress = torch.log(c * distance + 1) / torch.log(c * longest[:, :, None] + 1)  # (P, T, T)
        P, T, _ = progress.shape
        hidden = torch.baddbmm(net["hidden.bias"][:, None], progress.reshape(P, T * T, 1), net["hidden.weight"]).relu()
        out = torch.baddbmm(net["out.bias"][:, None], hidden, net["out.weight"])
        return out.view(P, T, T, model.heads).permute(0, 3, 1, 2)


ENCODING = FIRE
