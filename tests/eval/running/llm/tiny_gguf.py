"""A small GGUF file of a Llama, written as llama.cpp writes one, and the values that it stands for."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from tokenizers import pre_tokenizers

HIDDEN, INNER, HEADS, GROUPS, CONTEXT, BASE = 64, 96, 2, 1, 128, 50_000.0
TOKENS = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "the"]
MERGES = ["t h", "th e"]
# name in transformers: (name in the file, rows, columns or None for a vector, type, heads whose rows are interleaved)
LAYER: dict[str, tuple[str, int, int | None, Kind, int | None]] = {
    "input_layernorm": ("attn_norm", HIDDEN, None, Kind.F32, None),
    "post_attention_layernorm": ("ffn_norm", HIDDEN, None, Kind.F32, None),
    "self_attn.q_proj": ("attn_q", HIDDEN, HIDDEN, Kind.Q4_1, HEADS),
    "self_attn.k_proj": ("attn_k", HIDDEN // HEADS * GROUPS, HIDDEN, Kind.Q8_0, GROUPS),
    "self_attn.v_proj": ("attn_v", HIDDEN // HEADS * GROUPS, HIDDEN, Kind.F16, None),
    "self_attn.o_proj": ("attn_output", HIDDEN, HIDDEN, Kind.Q4_1, None),
    "mlp.gate_proj": ("ffn_gate", INNER, HIDDEN, Kind.Q4_1, None),
    "mlp.up_proj": ("ffn_up", INNER, HIDDEN, Kind.Q5_0, None),
    "mlp.down_proj": ("ffn_down", HIDDEN, INNER, Kind.Q8_0, None),
}


def write(path: Path, leave_out: str = "", scaling: str | None = None, factors: float | None = None) -> dict:
    """Write the file; return float32 values by transformers' names, as gguf's own `dequantize` reads them.

    `leave_out`: a tensor that the file lacks. `scaling`: the type of rope scaling that its metadata name. `factors`:
    what the rotary wavelengths are multiplied by, as files of Llama 3 hold it.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(2)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(BASE)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    if scaling:
        writer.add_string("llama.rope.scaling.type", scaling)
        writer.add_rope_scaling_factor(4.0)
    _add_tokenizer(writer)
    values: dict[str, np.ndarray] = {}
    random = np.random.default_rng(0)

    def add(name: str, inside: str, rows: int, columns: int | None, kind: Kind, heads: int | None = None) -> None:
        weight = random.standard_normal((rows,) if columns is None else (rows, columns)).astype(np.float32)
        values[f"{name}.weight"] = gguf.dequantize(gguf.quantize(weight, kind), kind).reshape(weight.shape)
        if heads:  # llama.cpp rotates neighbours (2i, 2i + 1), transformers the features (i, i + half)
            weight = weight.reshape(heads, 2, rows // heads // 2, columns or 1).swapaxes(1, 2).reshape(rows, -1)
        if inside != leave_out:
            writer.add_tensor(f"{inside}.weight", gguf.quantize(weight, kind), raw_dtype=kind)

    add("model.embed_tokens", "token_embd", len(TOKENS), HIDDEN, Kind.Q8_0)
    add("model.norm", "output_norm", HIDDEN, None, Kind.F32)
    for layer in range(2):
        for name, (inside, rows, columns, kind, heads) in LAYER.items():
            add(f"model.layers.{layer}.{name}", f"blk.{layer}.{inside}", rows, columns, kind, heads)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", np.full(HIDDEN // HEADS // 2, factors, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    """Bytes, with two merges."""
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if token in TOKENS[:2] else normal for token in TOKENS])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(1)
