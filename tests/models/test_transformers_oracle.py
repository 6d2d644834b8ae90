"""Every scaling that transformers has, against its own untouched functions over a grid of shapes and lengths."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from models.encodings import build_rotary
from models.hf.ropes import STOCK  # without what models.hf adds to transformers
from models.spec import EncodingSpec

HEAD_DIMS = (32, 64, 128, 256)
BASES = (1e4, 5e5)
LENGTHS = (64, 2048, 8192)
FACTORS = (1.0, 2.0, 4.0, 8.0, 32.0)
Case = tuple[dict[str, Any], str, dict[str, Any]]
"""(rope_parameters of transformers, our scaling, its params)."""


def searched(head_dim: int, length: int, steepness: float) -> list[float]:
    """Factors as LongRoPE's search finds them: rising, and by no formula that is ours."""
    rng = np.random.default_rng([head_dim, length])
    return [round(f, 4) for f in (1 + np.sort(rng.random(head_dim // 2)) * steepness).tolist()]


def default(head_dim: int, length: int, factor: float) -> Iterator[Case]:
    if factor == 1.0:
        yield {"rope_type": "default"}, "none", {}


def linear(head_dim: int, length: int, factor: float) -> Iterator[Case]:
    yield {"rope_type": "linear", "factor": factor}, "pi", {"factor": factor}


def dynamic(head_dim: int, length: int, factor: float) -> Iterator[Case]:
    yield {"rope_type": "dynamic", "factor": factor}, "dynamic_ntk", {"factor": factor, "train_length": length}


def yarn(head_dim: int, length: int, factor: float) -> Iterator[Case]:
    given = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": length}
    ours = {"factor": factor, "ramp_length": length, "beta_fast": 32, "beta_slow": 1}
    for truncate, attention_factor in itertools.product((True, False), (None, 1.0, 1.375)):
        both = {"truncate": truncate, "attention_factor": attention_factor}
        yield {**given, **both}, "yarn", {**ours, **both}
    betas = {"beta_fast": 2, "beta_slow": 0.5}
    yield {**given, **betas}, "yarn", {**ours, **betas}
    # NTK-by-parts is YaRN without its attention factor.
    yield {**given, "attention_factor": 1.0}, "ntk_by_parts", ours


def longrope(head_dim: int, length: int, factor: float) -> Iterator[Case]:
    factors = {"short_factor": searched(head_dim, length, 0.3), "long_factor": searched(head_dim, length, factor)}
    given = {"rope_type": "longrope", "factor": factor, "original_max_position_embeddings": length, **factors}
    for attention_factor in (None, 1.0, 1.25):
        yield (
            {**given, "attention_factor": attention_factor},
            "longrope",
            {"factor": factor, "train_length": length, **factors, "attention_factor": attention_factor},
        )


def llama3(head_dim: int, length: int, factor: float) -> Iterator[Case]:
    for low, high in ((1.0, 4.0), (0.5, 8.0)):
        turns = {"low_freq_factor": low, "high_freq_factor": high}
        given = {"rope_type": "llama3", "factor": factor, "original_max_position_embeddings": length}
        yield {**given, **turns}, "llama3", {"factor": factor, "train_length": length, **turns}


def proportional(head_dim: int, length: int, factor: float) -> Iterator[Case]:
    for p in (0.0, 0.25, 0.7, 0.75, 1.0):
        given = {"rope_type": "proportional", "factor": factor, "partial_rotary_factor": p}
        yield given, "p_rope", {"p": p, "factor": factor}


KINDS: dict[str, Callable[[int, int, float], Iterator[Case]]] = {
    f.__name__: f for f in (default, linear, dynamic, yarn, longrope, llama3, proportional)
}


def transformers_frequencies(
    rope: dict[str, Any], head_dim: int, base: float, length: int, factor: float, current: int
) -> tuple[torch.Tensor, float]:
    trained = rope["rope_type"] == "dynamic"  # whose max_position_embeddings is the length trained on
    config = LlamaConfig(
        hidden_size=4 * head_dim,
        num_attention_heads=4,
        head_dim=head_dim,
        max_position_embeddings=length if trained else int(2 * length * factor),
        rope_parameters={**rope, "rope_theta": base},
    )
    if rope["rope_type"] == "default":
        return LlamaRotaryEmbedding.compute_default_rope_parameters(config)
    return ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"), seq_len=current)


def test_every_rope_type_is_covered() -> None:
    assert set(KINDS) == set(STOCK)


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_and_attention_factor(kind: str, head_dim: int) -> None:
    for base, length, factor in itertools.product(BASES, LENGTHS, FACTORS):
        for rope, scaling, params in KINDS[kind](head_dim, length, factor):
            encoding = build_rotary(EncodingSpec("case", scaling, False, base, params), head_dim)
            for current in (length // 2, length, length + 1, int(length * factor), 3 * length):
                golden, golden_factor = transformers_frequencies(rope, head_dim, base, length, factor, current)
                inv_freq, attention_factor = encoding.frequencies(current)
                told = f"{rope} base={base} current={current}"
                np.testing.assert_allclose(inv_freq.double(), golden.double(), rtol=1e-6, atol=0, err_msg=told)
                assert attention_factor == pytest.approx(golden_factor, rel=1e-6), told
                if kind not in ("dynamic", "longrope"):
                    break  # the current length plays no part


@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_partial_rotary_is_gpt_neox(head_dim: int, fraction: float) -> None:
    for base in BASES:
        config = GPTNeoXConfig(
            hidden_size=4 * head_dim,
            num_attention_heads=4,
            rope_parameters={"rope_type": "default", "rope_theta": base, "partial_rotary_factor": fraction},
        )
        golden, _ = GPTNeoXRotaryEmbedding.compute_default_rope_parameters(config)
        encoding = build_rotary(
            EncodingSpec("case", "partial", False, base, {"partial_rotary_factor": fraction}), head_dim
        )
        found = encoding.frequencies(64)[0]
        np.testing.assert_allclose(found[: len(golden)].double(), golden.double(), rtol=1e-6)
        assert len(golden) == int(head_dim * fraction) // 2
        assert not found[len(golden) :].any()
