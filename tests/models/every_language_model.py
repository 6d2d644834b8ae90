"""Tiny random models of every causal language model class of the installed transformers that has rotary parameters."""

from __future__ import annotations

import copy
import re
from dataclasses import fields
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

TRAINED, LONGEST, VOCABULARY, HEADS, HEAD = 16, 64, 64, 2, 32
ORDINARY = 32  # token ids from here on are no special tokens
SCALE = 1.5  # of the weights, over the root of their inputs: attention scores of order 1
# The largest value of an integer field: that of the first pattern which its whole name matches.
LARGEST = [
    (r"original_max_position_embeddings", TRAINED),
    (r".*vocab_size.*|.*byte_group_vocab|.*max_position_embeddings|max_seq_len", LONGEST),
    (r"hidden_size_per_layer_input|laurel_rank|qk_(rope|nope)_head_dim|mamba_d_state|gated_norm_rank", 16),
    (r".*intermediate.*size.*|.*ffn_(hidden_size|dim)|mlp_dim|.*lora_rank|hc_lowrank", 32),
    (r".*hidden_size.*|d_model|.*embed_dim|lru_width|adapter_(in_dim|out_dim|input_size)|projector_.*_dim", 64),
    (r".*vision_output_dim|output_channels|.*conv_channels|.*_out_channel|mamba_d_(ssm|head)", 64),
    (r"(.*_)?head_dim|query_pre_attn_scalar|input_size", HEAD),
    (r".*sliding_window|.*attention_window.*|(.*_)?chunk_size|local_attention|index_topk", 8),
    (r"(moe_)?num_(local_)?experts|n_routed_experts|zero_expert_num", 4),
    (r"(.*_)?(n|num)_(.*_)?heads(_per_layer)?|attention_heads|n_group|o_groups", HEADS),
    (r"num_experts_per_tok(en)?|moe_top_?k|moe_k", 2),
    (r"n_shared_experts|(moe_)?num_shared_experts|topk_group", 1),
]
DEPTHS = ("num_hidden_layers", "n_layers", "num_layers", "num_blocks", "depth")
INDICES = ("mlp_only_layers", "cross_attention_layers", "full_attn_idxs", "moe_layers")  # lists of layers
FROM_START = ("first_k_dense_replace", "num_dense_layers")  # counts of layers
FROM_END = ("num_kv_shared_layers",)
KEY_HEADS = ("num_key_value_heads", "kv_n_heads", "num_kv_heads")  # as many as heads, or one
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# What the names do not tell: by the model type of a config or sub-config, after everything else.
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    # Its attention wants a base there, which it does not use.
    "dbrx": {"attn_config": {"kv_n_heads": 1, "clip_qkv": 8.0, "rope_theta": 1e4}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "deepseek_v4": {
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 8},
        "layer_types": ["heavily_compressed_attention", "compressed_sparse_attention", "sliding_attention"],
    },
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},  # None by default
    "dots3_note_text": {"head_dim": 64, "qk_nope_head_dim": 32},  # a quarter of the first rotates
    "granite_swa": {"layer_rope_theta": None},  # made from the rotary parameters
    "granitemoe_swa": {"layer_rope_theta": None},
    "granitemoehybrid": {"position_embedding_type": "rope", "layer_types": ["linear_attention", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"head_dim": 16},  # that of the rotated part
    "nemotron": {"num_key_value_heads": 1},
    "qwen4_exp_text": {
        **{"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 32},
        **{"indexer_budget": 8, "indexer_compress_ratio": 4},
    },
    "recurrent_gemma": {"num_hidden_layers": 3},  # the first with attention
    "zamba2": {"use_mem_rope": True},
    "zaya": {"sliding_window": 8},
}
CANNOT_RUN = {
    "gemma3n": "its vision tower is built by the timm package; gemma3n_text is its language model",
    "gemma4_assistant": "takes hidden states and keys of another model, no token ids",
    "gemma4_unified_assistant": "takes hidden states and keys of another model, no token ids",
}


@cache
def rope_models() -> list[str]:
    """The model types with rotary parameters, and those whose default config does not build."""
    return [model_type for model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if _has_rope(model_type)]


def _has_rope(model_type: str) -> bool:
    try:
        config = CONFIG_MAPPING[model_type]()
    except Exception:  # of any kind: then nothing says that it has none
        return True
    return bool(getattr(config.get_text_config(decoder=True), "rope_parameters", None))


def tiny_config(model_type: str, **rope: Any) -> Any:
    """The default config with its sizes made small; `rope` goes into each set of its rotary parameters."""
    config = CONFIG_MAPPING[model_type]()
    return _tiny(config, config.get_text_config(decoder=True), {}, rope)


def tiny_model(model_type: str, **rope: Any) -> Any:
    """A causal language model with random weights, in eval mode; `rope` as in `tiny_config`."""
    config = tiny_config(model_type, **rope)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=SCALE / weight.shape[-1] ** 0.5)
            elif weight.numel() == 1 and not weight.any():  # Zaya's temperature: without it all scores are 0
                weight.fill_(1.0)
    return model


def token_ids(length: int) -> Tensor:
    """[1, length] of ordinary tokens."""
    return torch.randint(ORDINARY, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(1))


def _tiny(config: Any, text: Any, outer_rope: dict[str, Any], rope: dict[str, Any]) -> Any:
    """`config` made small, its sub-configs too; `rope` goes into `text` and what is inside it."""
    config.allow_global_per_layer_attribute_access = True
    inner_rope = rope if config is text else outer_rope
    names = [*(field.name for field in fields(config)), "rope_parameters"]
    every = {name: getattr(config, name, None) for name in names}
    values = {name: value for name, value in every.items() if value is not None}
    depth = next((name for name in DEPTHS if name in values), None)
    total = values[depth] if depth else 0
    layers = _kept_layers(values, total)
    special = dict(SPECIAL)
    changes: dict[str, Any] = {depth: len(layers)} if depth else {}
    if "head_dim" in every:
        changes["head_dim"] = HEAD
    for name, value in values.items():
        if isinstance(value, PreTrainedConfig):
            changes[name] = _tiny(value, text, inner_rope, rope)
        elif re.fullmatch(r".*_token_(id|index)", name):
            changes[name] = special.setdefault(name, len(special))
        elif name in INDICES:
            changes[name] = [index for index, layer in enumerate(layers) if layer in value]
        elif name in FROM_START:
            changes[name] = sum(layer < value for layer in layers)
        elif name in FROM_END:
            changes[name] = sum(layer >= total - value for layer in layers)
        elif name == "attention_multiplier":  # Granite's, 1 by default: far too much
            changes[name] = HEAD**-0.5
        elif name in KEY_HEADS:
            changes[name] = HEADS if value == values.get("num_attention_heads") else 1
        elif isinstance(value, list) and depth and len(value) == total:
            changes[name] = [_small(name, value[layer]) for layer in layers]
        elif name != depth and _small(name, value) != value:
            changes[name] = _small(name, value)
    changes |= copy.deepcopy(EXCEPTIONS.get(config.model_type, {}))
    small = values | changes
    if own := getattr(config, "_heterogeneity_spec", None):  # values that some layers have for themselves
        overrides = [own.per_layer_overrides.get(layer, {}) for layer in layers]
        changes["per_layer_config"] = {
            index: {name: value * small[name] // values[name] for name, value in override.items()}
            for index, override in enumerate(overrides)
        }
    if "rope_parameters" in values:
        changes |= {name: value for name, value in inner_rope.items() if name in values}
        _use_every_layer_type(changes, values["rope_parameters"])
        head = small.get("qk_rope_head_dim") or small.get("head_dim") or HEAD
        changes["rope_parameters"] = _tiny_rope(values["rope_parameters"], inner_rope, head)
    return type(config)(**changes)


def _kept_layers(values: dict[str, Any], total: int) -> list[int]:
    """The first layer of each kind in every list of the config, and at least two."""
    lists = [
        value
        for name, value in values.items()
        if name not in INDICES and isinstance(value, list) and len(value) == total
    ]
    lists += [[layer in values[name] for layer in range(total)] for name in INDICES if name in values]
    lists += [[layer < values[name] for layer in range(total)] for name in FROM_START if name in values]
    lists += [[layer >= total - values[name] for layer in range(total)] for name in FROM_END if name in values]
    kinds = [[one[layer] for one in lists] for layer in range(total)]
    first = [layer for layer in range(total) if kinds.index(kinds[layer]) == layer]
    return first if len(first) > 1 else list(range(min(total, 2)))


def _use_every_layer_type(changes: dict[str, Any], rope_parameters: dict[str, Any]) -> None:
    """The last layer becomes of the type that has rotary parameters and, by default, no layer."""
    types = changes.get("layer_types", [])
    unused = [layer_type for layer_type in rope_parameters if layer_type not in types]
    if len(unused) == 1 and set(types) < set(rope_parameters):
        types[-1] = unused[0]


def _small(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    return min([value, *[largest for pattern, largest in LARGEST if re.fullmatch(pattern, name)][:1]])


def _tiny_rope(parameters: dict[str, Any], rope: dict[str, Any], head: int) -> dict[str, Any]:
    """One set of rotary parameters, or one for each type of layer, for heads of this size."""
    if nested := {name: value for name, value in parameters.items() if isinstance(value, dict)}:
        return parameters | {name: _tiny_rope(value, rope, head) for name, value in nested.items()}
    small = dict(parameters)
    half = int(head * parameters.get("partial_rotary_factor", 1.0)) // 2
    if "original_max_position_embeddings" in small:
        small["original_max_position_embeddings"] = TRAINED
    if section := small.get("mrope_section"):
        parts = [part * half // sum(section) for part in section]
        small["mrope_section"] = [half - sum(parts[1:]), *parts[1:]]
    for name in ("short_factor", "long_factor"):
        if name in small:
            small[name] = small[name][:half]
    return small | rope
