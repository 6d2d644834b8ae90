"""The rotary module that takes the place of a model's own: the same interface, cos and sin from our encodings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.encodings import Rotary
from models.encodings.rotary import resonance_angles, resonance_wavelengths
from models.hf.layout import Layout, layout_of, prefix_of
from models.hf.ropes import (
    POSGEN,
    is_fixed,
    layer_types,
    longest,
    read,
    rotary_of,
    stock_type,
    with_head_dim,
    with_parameters,
    write,
)
from posgen.errors import UserError, told

TOLERANCE = 1e-6
"""Largest relative deviation of a frequency from the stock module's."""


class ResonanceRotary(nn.Module):
    """cos and sin of a model's rotary encodings, one for each layer type that has rope parameters of its own.

    What a stock module lacks: under Resonance the angle is (t mod lambda~) * 2 pi / lambda~ in float64, so that a table
    repeats exactly at any position, where stock's float32 product t * theta~ drifts; there is no buffer that
    `.to(bfloat16)` could round; and what depends on the length (dynamic NTK, LongRoPE) is computed for the length at
    hand, with no memory of longer inputs. Without Resonance the angle is stock's float32 product.

    With a key-value cache the older keys keep the rotation of the length at which they came, as in stock transformers:
    generation with dynamic NTK or LongRoPE beyond the length trained on depends on the cache. Fixed tables do not.
    """

    def __init__(self, config: Any, layout: Layout, stock: type[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.layout = layout
        self.stock = stock
        self.encodings = {name: rotary_of(config, name) for name in layer_types(config)}
        # Fixed tables by layer type and device. Not buffers, which `.to(bfloat16)` would round.
        self._fixed: dict[tuple[str | None, torch.device], tuple[Tensor, float]] = {}

    @classmethod
    def in_place_of(cls, stock: nn.Module) -> ResonanceRotary:
        """What replaces a stock rotary module, by its config.

        UserError when its layout is none that we know, or when without Resonance its table would not be the stock
        module's own, so that Resonance would go on top of something else.
        """
        if isinstance(stock, ResonanceRotary):
            ours = cls(stock.config, stock.layout, stock.stock)
        else:
            ours = cls(stock.config, layout_of(stock, layer_types(stock.config)), type(stock))
            for name in _asked_for(stock) - vars(ours).keys():
                setattr(ours, name, getattr(stock, name))
        ours._compare_with_stock()
        return ours

    def _compare_with_stock(self) -> None:
        """UserError unless our table without Resonance equals that of the stock class, which is built anew for this:
        the loaded module may have been cast to a lower precision."""
        config = with_head_dim(self.config)
        plain = {}
        for layer_type in self.encodings:
            parameters = read(config, layer_type)
            if parameters["rope_type"] == POSGEN:  # its table is its own
                continue
            plain[layer_type] = {**parameters, "rope_type": stock_type(parameters["rope_type"])}
        if not plain:
            return
        for layer_type in self.encodings:
            write(config, layer_type, plain.get(layer_type, next(iter(plain.values()))))
        length = longest(config)
        with torch.device("cpu"):
            try:
                stock: Any = self.stock(config=config)
            except Exception as error:
                raise UserError(f"{self.stock.__name__} cannot be built to compare with ({told(error)})") from error
            for layer_type, parameters in plain.items():
                prefix = prefix_of(layer_type)
                encoding = rotary_of(with_parameters(self.config, layer_type, parameters), layer_type)
                for now in (1, length, 4 * length):  # ascending: stock modules remember longer inputs
                    positions = self.layout.positions(torch.tensor([[0, now - 1]]))
                    stock(torch.zeros(1), positions, *([] if layer_type is None else [layer_type]))
                    ours, factor = encoding.frequencies(now)
                    inv_freq, stock_factor = (
                        getattr(stock, f"{prefix}inv_freq"),
                        getattr(stock, f"{prefix}attention_scaling"),
                    )
                    if ours.shape != inv_freq.shape or not torch.allclose(ours, inv_freq, rtol=TOLERANCE, atol=0):
                        raise UserError(
                            f"{self.stock.__name__} computes frequencies of its own under rope type "
                            f"{parameters['rope_type']}, which Resonance cannot be put on"
                        )
                    if abs(factor - stock_factor) > TOLERANCE * abs(factor):
                        raise UserError(
                            f"{self.stock.__name__} has the attention factor {stock_factor:g}, not {factor:g} as rope "
                            f"type {parameters['rope_type']} says"
                        )

    def put(self, layer_type: str | None, encoding: Rotary) -> None:
        """Replace the encoding of a layer type, whatever its config says."""
        self.encodings[layer_type] = encoding
        self._fixed.clear()

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
        result = features.to(positions.device), encoding.scaling.compute_attention_factor()
        if fixed:
            self._fixed[key] = result
        return result

    def extra_repr(self) -> str:
        return ", ".join(f"{name or 'all layers'}: {rotary.name}" for name, rotary in self.encodings.items())


def _asked_for(stock: nn.Module) -> set[str]:
    """Public plain attributes of a stock module that its model may ask for, such as LFM 3's `layer_types`."""
    general = {"rope_type", "attention_scaling", "max_seq_len_cached", "original_max_seq_len"}
    values = vars(stock).items()
    return {k for k, v in values if not k.startswith("_") and isinstance(v, (list, tuple, set, str, int))} - general
