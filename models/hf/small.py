"""The architecture of a real configuration with small weights and the same rotary dimensions: to run, not to use."""

from __future__ import annotations

from typing import Any

import torch

SMALL: dict[str, int] = {
    **{"vocab_size": 64, "intermediate_size": 32, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    **{"n_routed_experts": 4, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2},
    **{
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "ffn_dim": 32,
        "n_inner": 32,
    },
    **{"first_k_dense_replace": 1, "vocab_size_per_layer_input": 64, "hidden_size_per_layer_input": 16},
}
"""Sizes by the names that transformers' configs give them; other sizes stay."""
LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
KEY_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
HEADS = 2
POSITIONS = 6
"""Tokens of each forward pass."""
TOKENS = list(range(2, 2 + POSITIONS))


def small_config(config: Any) -> Any:
    """A text model's config made small: two layers of each kind that the rope parameters name, two heads of the same
    size. Raises whatever the class raises where its sizes do not go together."""
    values = config.to_dict()
    depth = next(name for name in LAYERS if name in values)
    kept = _kept_layers(values, depth)
    for name, value in values.items():
        if isinstance(value, list) and len(value) == values[depth] and depth != name:
            values[name] = [value[layer] for layer in kept]
    head_dim = getattr(config, "head_dim", None) or values["hidden_size"] // values["num_attention_heads"]
    heads = {"num_attention_heads": HEADS, "hidden_size": HEADS * head_dim} | dict.fromkeys(KEY_HEADS, HEADS)
    values.update({name: size for name, size in {**SMALL, **heads}.items() if isinstance(values.get(name), int)})
    values[depth] = len(kept)
    if "head_dim" in values:
        values["head_dim"] = head_dim
    values.update({name: 1 for name in values if name.endswith("_token_id") and values[name] is not None})
    values.pop("quantization_config", None)
    small = type(config).from_dict(values)
    small._attn_implementation = "eager"
    return small


def small_model(config: Any) -> Any:
    """A text model without a head, with random float32 weights under which attention scores are of order 1."""
    from transformers import AutoModel

    generator = torch.Generator().manual_seed(0)
    model = AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=1.5 / weight.shape[-1] ** 0.5, generator=generator)
    return model


def positions(first: int) -> list[int]:
    """Of the tokens of a forward pass that begins at position `first`."""
    return list(range(first, first + POSITIONS))


def hidden_states(model: Any, first: int) -> torch.Tensor:
    """Last hidden states [POSITIONS, hidden] of a few tokens from position `first` on."""
    ids, places = torch.tensor([TOKENS]), torch.tensor([positions(first)])
    with torch.no_grad():
        output = model(input_ids=ids, position_ids=places, use_cache=False)
    states: torch.Tensor = output[0][0]
    return states


def _kept_layers(values: dict[str, Any], depth: str) -> list[int]:
    """The first two layers of each layer type, or the first two."""
    types = values.get("layer_types") or ["all"] * values[depth]
    return sorted(layer for kind in set(types) for layer in [i for i, name in enumerate(types) if name == kind][:2])
