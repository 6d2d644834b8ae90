"""What passes of a language model cost: floating-point operations, and memory before any is taken.

Attention grows with the square of the length, so that a pass of 16,384 tokens of a small model takes 20 times as long
as one of 2,048. Time is estimated by operations, of which the machine's rate is measured on what it has done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from models.lm.nll import CHUNK, token_nll
from models.memory import free_bytes
from posgen.errors import UserError
from posgen.resources import size

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


def flops(owner: Any, length: int) -> float:
    """Of one pass over `length` tokens: of its products with weights and of its attention."""
    return linear_flops(owner, length) + attention_flops(owner, length)


def attention_flops(owner: Any, length: int) -> float:
    """Of causal attention: 2 T^2 for each dimension of all layers' heads."""
    config = owner.config.get_text_config(decoder=True)
    return float(2 * length**2 * _layers(config) * _heads(config))


def linear_flops(owner: Any, length: int) -> float:
    """Two for each weight and token, output layer included."""
    embeddings = owner.get_input_embeddings().weight
    weights = sum(weight.numel() for weight in owner.base_model.parameters()) - embeddings.numel()
    return float(2 * (weights + embeddings.numel()) * length)


def speeds(owner: Any, length: int = 1024) -> tuple[float, float]:
    """(products with weights, attention), operations a second, timed here: attention alone over twice the length, and
    a pass over `length` tokens, less what its attention takes. Attention is several times slower in bf16 on a CPU."""
    config = owner.config.get_text_config(decoder=True)
    weight = owner.get_input_embeddings().weight
    heads = int(config.num_attention_heads)
    states = torch.randn(1, heads, 2 * length, _heads(config) // heads, dtype=weight.dtype, device=weight.device)
    attend = partial(torch.nn.functional.scaled_dot_product_attention, states, states, states, is_causal=True)
    attention = attention_flops(owner, 2 * length) / _layers(config) / _seconds(attend)
    token_nll(owner, torch.zeros(128, dtype=torch.long))  # what a first pass sets up
    whole = _seconds(partial(token_nll, owner, torch.zeros(length, dtype=torch.long)))
    rest = max(whole - attention_flops(owner, length) / attention, 0.2 * whole)
    return linear_flops(owner, length) / rest, attention


@torch.inference_mode()
def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def stored_weights(folder: Path) -> int | None:
    """Weights in a folder's safetensors files, by their headers; None where there are none."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        total += sum(_product(shape) for shape in shapes)
    return total or None


def pass_bytes(config: Any, dtype: str, length: int, attention: str | None) -> int:
    """Memory that one pass takes beside the weights, bytes: hidden states and the widest layer, the rotary tables, one
    chunk of logits, and of eager attention the scores of all pairs."""
    number, width = BYTES[dtype], int(config.hidden_size)
    inner = int(getattr(config, "intermediate_size", None) or 4 * width)
    layer = length * number * (4 * width + 3 * inner + 4 * _heads(config))
    tables = length * (_heads(config) // int(config.num_attention_heads)) * 16
    logits = 3 * 4 * min(length, CHUNK) * int(config.vocab_size)
    scores = 2 * 4 * int(config.num_attention_heads) * length**2 if attention == "eager" else 0
    return layer + tables + logits + scores


def check_memory(need: int, what: str, device: str, remedy: str) -> None:
    """UserError with the numbers unless `need` bytes are free on the device."""
    free = free_bytes(torch.device(device))
    if free is not None and need > free:
        raise UserError(f"{what} needs about {size(need)} and {size(free)} is free on {device}; {remedy}")


def _layers(config: Any) -> int:
    return int(config.num_hidden_layers)


def _heads(config: Any) -> int:
    """Dimensions of all heads of a layer together."""
    heads = int(config.num_attention_heads)
    return heads * int(getattr(config, "head_dim", None) or int(config.hidden_size) // heads)


def _product(shape: Iterable[int]) -> int:
    result = 1
    for extent in shape:
        result *= extent
    return result
