"""The rotary module that takes the place of a model's own: the same interface, cos and sin from our encodings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.encodings import Rotary
from models.encodings.rotary import resonance_angles, resonance_wavelengths
from models.hf.layout import Layout, layout_of
from models.hf.ropes import is_fixed, layer_types, rotary_of


class ResonanceRotary(nn.Module):
    """cos and sin of a model's rotary encodings, one for each layer type that has rope parameters of its own.

    What a stock module lacks: under Resonance the angle is (t mod lambda~) * 2 pi / lambda~ in float64, so that a table
    repeats exactly at any position, where stock's float32 product t * theta~ drifts; there is no buffer that
    `.to(bfloat16)` could round; and what depends on the length (dynamic NTK, LongRoPE) is computed for the length at
    hand, with no memory of longer inputs. Without Resonance the angle is stock's float32 product.

    With a key-value cache the older keys keep the rotation of the length at which they came, as in stock transformers:
    generation with dynamic NTK or LongRoPE beyond the length trained on depends on the cache. Fixed tables do not.
    """

    def __init__(self, config: Any, layout: Layout) -> None:
        super().__init__()
        self.config = config
        self.layout = layout
        self.encodings = {name: rotary_of(config, name) for name in layer_types(config)}
        # Fixed tables by layer type and device. Not buffers: a model's dtype is no business of theirs.
        self._fixed: dict[tuple[str | None, torch.device], tuple[Tensor, float]] = {}

    @classmethod
    def in_place_of(cls, stock: nn.Module) -> ResonanceRotary:
        """What replaces a stock rotary module, by its config. UserError when its layout is none that we know."""
        if isinstance(stock, ResonanceRotary):
            return cls(stock.config, stock.layout)
        return cls(stock.config, layout_of(stock, layer_types(stock.config)))

    def inv_freq(self, layer_type: str | None = None, length: int = 1) -> Tensor:
        """Frequencies, float32 [features], in radians per token, for `length` tokens."""
        return self.encodings[layer_type].frequencies(length)[0]

    @torch.no_grad()
    def forward(self, x: Tensor, position_ids: Tensor, layer_type: str | None = None) -> Any:
        """cos and sin of the positions in the model's layout, in the type and on the device of the hidden states x."""
        encoding = self.encodings[layer_type]
        # Apple's GPU has no float64.
        positions = self.layout.positions(position_ids).to("cpu" if x.device.type == "mps" else x.device)
        features, factor = self._features(encoding, layer_type, positions)
        if encoding.resonance:
            angles = resonance_angles(positions, features)
        else:
            angles = positions[..., None].float() * features
        cos, sin = (angles.cos() * factor).float(), (angles.sin() * factor).float()
        return self.layout(cos.to(x.device), sin.to(x.device), x.dtype)

    def _features(self, encoding: Rotary, layer_type: str | None, positions: Tensor) -> tuple[Tensor, float]:
        """Wavelengths (Resonance) or frequencies [features], and the attention factor, for the length at hand."""
        key = (layer_type, positions.device)
        if key in self._fixed:
            return self._fixed[key]
        fixed = is_fixed(encoding)
        length = 1 if fixed else int(positions.max()) + 1
        inv_freq = encoding.scaling.inv_freq(encoding.head_dim, encoding.base, length)
        features = resonance_wavelengths(inv_freq) if encoding.resonance else inv_freq
        found = features.to(positions.device), encoding.scaling.compute_attention_factor()
        if fixed:
            self._fixed[key] = found
        return found

    def extra_repr(self) -> str:
        return ", ".join(f"{name or 'all layers'}: {rotary.name}" for name, rotary in self.encodings.items())
