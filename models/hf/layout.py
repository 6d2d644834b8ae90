"""How a model's rotary module hands out cos and sin: every architecture arranges the features in its own way.

The arrangement is found by asking the stock module itself with known frequencies, not by a list of architectures.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from posgen.errors import UserError

Arrangement = Callable[[Tensor, Tensor], Any]


def _half(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Feature j at j and j + d/2: Llama, Mistral, Qwen, Phi, GPT-NeoX, OLMo, Gemma."""
    return torch.cat((cos, cos), dim=-1), torch.cat((sin, sin), dim=-1)


def _pairs(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Feature j at 2j and 2j + 1: Cohere."""
    return cos.repeat_interleave(2, dim=-1), sin.repeat_interleave(2, dim=-1)


def _single(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Every feature once: GPT-OSS."""
    return cos, sin


def _complex(cos: Tensor, sin: Tensor) -> Tensor:
    """cos + i sin: Llama 4, DeepSeek V2."""
    return torch.complex(cos, sin)


@dataclass(frozen=True)
class _Recomposed:
    """The stock module's own mixture of three axes of positions: Qwen-VL, Qwen 3.5."""

    recompose: Callable[[Tensor], Tensor]

    def __call__(self, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        return self.recompose(cos), self.recompose(sin)


@dataclass(frozen=True)
class Layout:
    """`cast`: whether cos and sin take the type of the hidden states, or stay float32 (OLMo). `axes`: how many rows of
    positions, for models that count time, height and width apart (Qwen-VL); None for one."""

    arrange: Arrangement
    cast: bool = True
    axes: int | None = None

    def positions(self, position_ids: Tensor) -> Tensor:
        """Position ids [batch, T], with the axes in front where the model has them."""
        return position_ids if self.axes is None else position_ids.expand(self.axes, -1, -1)

    def __call__(self, cos: Tensor, sin: Tensor, dtype: torch.dtype) -> Any:
        """What the model's attention expects of cos and sin, float32 [..., T, features]."""
        arranged = self.arrange(cos, sin)
        if isinstance(arranged, Tensor):
            return arranged
        return tuple(part.to(dtype) if self.cast else part for part in arranged)


def layout_of(stock: nn.Module, layer_types: list[str | None]) -> Layout:
    """The layout of a stock rotary module. UserError when it is none that we know."""
    with torch.device("cpu"), torch.no_grad():
        features = getattr(stock, prefix_of(layer_types[0]) + "inv_freq").shape[-1]
        inv_freq = torch.linspace(0.9, 0.1, features, dtype=torch.float32)  # whatever dtype the model is loaded in
        probe = _probe(stock, layer_types, inv_freq)
        position_ids = torch.tensor([[1, 2, 5]])
        layer = [name for name in layer_types[:1] if name is not None]
        for layout in _candidates(stock):
            angles = layout.positions(position_ids)[..., None] * inv_freq
            try:
                # Recomposition writes into what it is given: every call gets its own.
                output = probe(torch.zeros(1, dtype=torch.float32), position_ids, *layer)
                output_bf16 = probe(torch.zeros(1, dtype=torch.bfloat16), position_ids, *layer)
                wanted = layout(angles.cos(), angles.sin(), torch.float32)
            except Exception:  # a module with another interface: UserError below
                continue
            if _equal(output, wanted):
                cast = isinstance(output_bf16, Tensor) or output_bf16[0].dtype == torch.bfloat16
                return Layout(layout.arrange, cast, layout.axes)
    raise UserError(
        f"{type(stock).__name__} arranges cos and sin in a way that models.hf does not know; "
        "use a fixed table through posgen export-rope instead"
    )


def prefix_of(layer_type: str | None) -> str:
    """What stands before the names of a stock module's attributes for one layer type."""
    return "" if layer_type is None else f"{layer_type}_"


def _probe(stock: nn.Module, layer_types: list[str | None], inv_freq: Tensor) -> nn.Module:
    """A copy of the module with these frequencies, fixed."""
    probe = copy.deepcopy(stock, {id(stock.config): stock.config})
    probe.rope_type = "default" if layer_types == [None] else dict.fromkeys(layer_types, "default")  # type: ignore[assignment]
    for layer_type in layer_types:
        setattr(probe, prefix_of(layer_type) + "inv_freq", inv_freq.clone())
        setattr(probe, prefix_of(layer_type) + "attention_scaling", 1.0)
    return probe


def _candidates(stock: nn.Module) -> list[Layout]:
    plain = [Layout(_half), Layout(_pairs), Layout(_single), Layout(_complex)]
    recompose = getattr(stock, "recomposition_frequencies", None)
    section = getattr(stock, "mrope_section", None)
    if recompose is None or section is None:
        return plain
    return [Layout(_Recomposed(recompose), axes=len(section)), *plain]


def _equal(output: Any, wanted: Any) -> bool:
    if isinstance(output, Tensor) and isinstance(wanted, Tensor):
        return output.shape == wanted.shape and torch.allclose(output, wanted, atol=1e-5)
    if isinstance(output, Tensor) or isinstance(wanted, Tensor):
        return False
    return len(output) == len(wanted) and all(map(_equal, output, wanted))
