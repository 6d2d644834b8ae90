"""Tiny random language models of every architecture, and rotary tables by hand from transformers' own YaRN."""

from __future__ import annotations

import math
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

L, FACTOR = 16, 4.0
YARN = {"rope_type": "resonance_yarn", "factor": FACTOR, "original_max_position_embeddings": L}
SIZES: dict[str, Any] = {
    **{"vocab_size": 31, "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
GROUPED = {**SIZES, "num_key_value_heads": 1}
HEADS = {**GROUPED, "head_dim": 32}
# name -> (its own keys, dimensions of a head that rotate)
ARCHITECTURES: dict[str, tuple[dict[str, Any], int]] = {
    "Llama": (GROUPED, 32),
    "Mistral": (GROUPED, 32),
    "Qwen2": (GROUPED, 32),
    "Qwen3": (HEADS, 32),
    "Phi": ({**GROUPED, "partial_rotary_factor": 0.5}, 16),
    "Phi3": ({**GROUPED, "original_max_position_embeddings": L}, 32),
    "GPTNeoX": ({**SIZES, "rotary_pct": 0.5}, 16),
    "Olmo2": (GROUPED, 32),
    "Gemma2": (HEADS, 32),
    "Gemma3": ({**HEADS, "num_hidden_layers": 6, "sliding_window": 8}, 32),
    "Cohere": (GROUPED, 32),
}


def tiny(name: str, **keys: Any) -> Any:
    """A causal language model with random weights, in eval mode."""
    suffix = "TextConfig" if name == "Gemma3" else "Config"
    config = getattr(transformers, name + suffix)(**ARCHITECTURES[name][0], **keys)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def sentence(length: int) -> Tensor:
    return torch.randint(3, SIZES["vocab_size"], (1, length), generator=torch.Generator().manual_seed(1))


def yarn_by_transformers(rotated: int, base: float) -> tuple[list[float], float]:
    """inv_freq [rotated / 2] and the attention factor of `YARN` without Resonance, from stock's function."""
    rope = {**YARN, "rope_type": "yarn"}
    config = transformers.LlamaConfig(**{**SIZES, "hidden_size": 2 * rotated, "rope_theta": base, "rope_scaling": rope})
    inv_freq, factor = ROPE_INIT_FUNCTIONS["yarn"](config, torch.device("cpu"))
    return inv_freq.tolist(), factor


def by_hand(inv_freq: list[float], factor: float, positions: list[int]) -> tuple[Tensor, Tensor]:
    """cos and sin [1, T, features] of Resonance on these frequencies: exact in integers, rounded once."""
    waves = [round(2 * math.pi / theta) for theta in inv_freq]
    angles = [[2 * math.pi * (t % wave) / wave for wave in waves] for t in positions]
    cos = torch.tensor([[[factor * math.cos(angle) for angle in row] for row in angles]])
    sin = torch.tensor([[[factor * math.sin(angle) for angle in row] for row in angles]])
    return cos, sin


class Fixed(nn.Module):
    """A rotary module that hands out given tables: {layer type or None: (cos, sin)} [1, T, rotated]."""

    def __init__(self, tables: dict[str | None, tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.tables = tables

    def forward(self, x: Tensor, position_ids: Tensor, layer_type: str | None = None) -> tuple[Tensor, Tensor]:
        cos, sin = self.tables[layer_type]
        return cos.to(x.dtype), sin.to(x.dtype)
