"""From a model's config.json to an encoding for `posgen export-rope`: what the model has already, and a small model of
the architecture to run with it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from models.encodings import Rotary
from models.encodings.scalings.base import Scaling
from models.hf.finding import rotary_modules
from models.hf.longrope import LAYER_TYPE
from models.hf.module import ResonanceRotary
from models.hf.parameters import Present
from models.hf.readers import keys_read
from models.hf.rerope import re_rope
from models.hf.ropes import (
    STOCK,
    known_keys,
    layer_types,
    longest,
    resonance_type,
    rotary_of,
    stock_type,
    with_parameters,
)
from models.hf.small import POSITIONS, TOKENS, hidden_states, positions, small_config, small_model
from models.spec import EncodingSpec
from posgen.errors import BadValue, UserError, told

SCALINGS = {
    **{"default": "none", "linear": "pi", "dynamic": "dynamic_ntk", "yarn": "yarn", "llama3": "llama3"},
    **{"longrope": "longrope", "proportional": "p_rope"},
}
"""transformers' rope types and our scalings for the same thing."""


@dataclass(frozen=True)
class ModelConfig:
    """A config.json and what transformers makes of its text model."""

    raw: Mapping[str, Any]
    text: Any
    present: Present

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> ModelConfig:
        """UserError with the cause when transformers cannot read it, or when the model has no rotary module that
        follows rope parameters, or one with frequencies of its own."""
        if isinstance(raw.get("model_type"), str) and raw["model_type"] not in transformers.CONFIG_MAPPING:
            raise UserError(
                f"transformers {transformers.__version__} does not know the model type {raw['model_type']}; set "
                "model_type to the architecture that it follows, such as llama, or give --head-dim and --base instead "
                "of --config"
            )
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(dict(raw)), encoding="utf-8")
            try:
                config = transformers.AutoConfig.from_pretrained(folder)
                text = config.get_text_config(decoder=True)
                types = layer_types(text)
                if types != [None] and LAYER_TYPE not in types:
                    raise UserError(f"its layer types are {', '.join(map(str, types))}, none of them {LAYER_TYPE}")
                present = Present.of(text, LAYER_TYPE if types != [None] else None)
                with torch.device("meta"):
                    skeleton = transformers.AutoModel.from_config(text)
            except UserError as error:
                raise UserError(f"{error}: export-rope cannot say it; use import models.hf and re_rope") from error
            except Exception as error:
                raise UserError(f"transformers cannot use this configuration ({told(error)})") from error
        for _, _, module in rotary_modules(skeleton):
            ResonanceRotary.in_place_of(module)  # compares our table of what the model has with the stock module's
        return cls(raw, text, present)

    @property
    def own_type(self) -> str:
        """The stock rope type that the model has."""
        return stock_type(self.present.parameters["rope_type"])

    @property
    def own_scaling(self) -> str:
        """Our name of it; the rope type itself where we have none."""
        return SCALINGS.get(self.own_type, self.own_type)

    @property
    def length(self) -> int:
        """max_position_embeddings, tokens."""
        return longest(self.text)

    @property
    def trained(self) -> int | None:
        """L, tokens; None where a scaling has extended the model and the configuration does not say from which
        length."""
        try:
            return self.present.train_length
        except BadValue:
            return None

    @property
    def reach(self) -> int | None:
        """The longest sequence that the model's own scaling is made for, tokens: factor times L, or
        max_position_embeddings where that is longer. None: not known."""
        factor = self.present.parameters.get("factor")
        if not self.present.scaled or self.trained is None or factor is None:
            return None
        return max(int(self.trained * factor), self.length)

    def encoding(self, resonance: bool) -> Rotary:
        """The model's own encoding, with Resonance on top or without: every parameter as the config says it."""
        name = resonance_type(self.own_type) if resonance else self.own_type
        parameters = {**self.present.parameters, "rope_type": name}
        return rotary_of(with_parameters(self.text, self.present.layer_type, parameters), self.present.layer_type)

    def kept(self) -> dict[str, Any]:
        """Rope parameters that stay in the file: the architecture reads them by itself, or no rope type has them."""
        owned: set[str] = {"type", "rope_type", "rope_theta"}.union(
            *(set().union(*known_keys(self.text, name)) for name in STOCK)
        )
        stays = (keys_read(self.text) | {"partial_rotary_factor"}) - {"rope_type", "rope_theta"}
        return {k: v for k, v in self.present.parameters.items() if k in stays or k not in owned}

    def small_run(self, encoding: Rotary, rope: EncodingSpec | Mapping[str, Any] | None, train_length: int) -> SmallRun:
        """A small model with the encoding put in by re_rope, in this process, run from position 0 on and across
        `train_length` (tokens). UserError when re_rope refuses; other errors as they come, where the architecture
        cannot be made small."""
        config = small_config(self.text)
        model = small_model(config)
        hidden_states(model, 0)  # fails where even the unchanged model cannot be run, which is not the encoding's fault
        before = json.loads(config.to_json_string())
        layer = self.present.layer_type
        for module in re_rope(model, rope, layer_type=layer):
            # As stock code computes angles, so that what is left to differ is the model around the table.
            table = Rotary(encoding.name, encoding.head_dim, encoding.base, _Table(encoding), resonance=False)
            module.put(layer, table)
        starts = [0, max(0, train_length - POSITIONS // 2)]
        return SmallRun(before, model, starts, [hidden_states(model, first) for first in starts])


@dataclass(frozen=True)
class SmallRun:
    """`config`: the small model's config.json before re_rope. `states`: hidden states [POSITIONS, hidden] of sequences
    that start at the positions `starts`: the first within the length trained on, the second beyond it."""

    config: dict[str, Any]
    model: Any
    starts: list[int]
    states: list[Tensor]

    def save(self, folder: Path, config: Mapping[str, Any]) -> None:
        """The weights, another config.json, and what to run."""
        self.model.save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps({**config, "architectures": None}), encoding="utf-8")
        (folder / "positions.json").write_text(json.dumps([*map(positions, self.starts)]), encoding="utf-8")
        (folder / "ids.json").write_text(json.dumps(TOKENS), encoding="utf-8")

    def deviation(self, states: list[Any]) -> float:
        """Largest deviation of another run's hidden states, relative to the largest of them."""
        pairs = zip(self.states, map(torch.tensor, states), strict=True)
        return max(float((ours - theirs).abs().max() / ours.abs().max()) for ours, theirs in pairs)


@dataclass(frozen=True)
class _Table(Scaling):
    """The frequencies of another encoding, Resonance included, as they are."""

    encoding: Rotary

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        return self.encoding.frequencies(length)[0]

    def compute_attention_factor(self) -> float:
        return self.encoding.frequencies(1)[1]
