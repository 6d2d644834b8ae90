"""Parameters, memory and operations of language models by hand, from transformers and from PEFT."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.models.mistral import MistralConfig

from conf.language_models import devices, published_sizes
from models.lm.costs import measuring_memory, step_flops, tuning_memory
from models.lm.sizes import Sizes
from posgen.errors import BadValue
from tests.eval.running.small_llama import SIZES

SEVEN = published_sizes()["llama2-7b"]
PUBLISHED = {
    "llama2-7b": 6_738_415_616, "llama2-13b": 13_015_864_320, "llama3-8b": 8_030_261_248, "mistral-7b": 7_241_732_096,
    "smollm2-135m": 134_515_008,
}  # fmt: skip
"""Parameters as the hub's pages of these models count them."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_published_models(name: str) -> None:
    assert published_sizes()[name].parameters == PUBLISHED[name]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", [LlamaConfig, MistralConfig])
def test_parameters_are_those_of_the_model(kind: type, tied: bool) -> None:
    config = kind(**SIZES, tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_config(config)
    sizes = Sizes.of(config)
    assert sizes.parameters == model.num_parameters()
    adapted = get_peft_model(model, LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert sizes.adapter_parameters(3) == adapted.get_nb_trainable_parameters()[0]


def test_operations_are_those_that_torch_counts() -> None:
    """The products of a forward pass; attention apart, of which torch counts the half that is masked as well."""
    from torch.utils.flop_counter import FlopCounterMode

    config = LlamaConfig(**SIZES)  # type: ignore[arg-type]
    sizes = Sizes.of(config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 24, dtype=torch.long))
    counted = counter.get_flop_counts()["Global"]
    linear = sum(count for name, count in counted.items() if str(name) in ("aten.mm", "aten.addmm"))
    attention = sum(count for name, count in counted.items() if str(name) == "aten.bmm")
    rotary = 2 * 24 * sizes.head_dim // 2  # angles: position times frequency
    assert linear == sizes.linear_flops(24)
    assert attention in (2 * sizes.attention_flops(24), 2 * sizes.attention_flops(24) + rotary)


def test_the_papers_fine_tuning_of_7b() -> None:
    """50 steps of 64 x 32,768 tokens. By hand: 6.476e9 weights of layers and 0.131e9 of the output layer give 2 x
    6.607e9 x 32,768 = 4.33e14; attention 2 x 32 layers x 4,096 x 32,768² = 2.81e14; with checkpoints x 4.
    """
    forward = 2 * (6_738_415_616 - 131_072_000 - 65 * 4096) * 32_768 + 2 * 32 * 4096 * 32_768**2
    assert SEVEN.forward_flops(32_768) == forward
    assert 7.1e14 < forward < 7.2e14
    assert 50 * step_flops(SEVEN, 32_768, 64) == 4 * forward * 3200
    assert 9.1e18 < 50 * step_flops(SEVEN, 32_768, 64) < 9.3e18
    assert 5.9e18 < 400 * step_flops(SEVEN, 4_096, 64) < 6.1e18
    hours = 50 * step_flops(SEVEN, 32_768, 64) / (1e12 * devices()["h100"].teraflops) / 3600
    assert 6.5 < hours < 8.5


def test_memory_of_7b_by_hand() -> None:
    full = tuning_memory(SEVEN, 32_768, 1)
    assert full.states == 16 * 6_738_415_616  # 107.8 GB: weights, gradients and two moments in fp32
    assert full.inputs == 32 * 32_768 * 4096 * 4
    assert full.logits == 1024 * 32_000 * 10
    assert 80e9 < full.total < 141e9  # not on an H100, on an H200
    lora = tuning_memory(SEVEN, 32_768, 1, lora_rank=16, base_bytes=2)
    adapter = 32 * 16 * (4 * (4096 + 4096) + 3 * (4096 + 11_008))
    assert lora.states == 16 * adapter + 2 * 6_738_415_616
    assert 25e9 < lora.total < 35e9
    assert tuning_memory(SEVEN, 32_768, 1, moments=2).states == 10 * 6_738_415_616
    assert measuring_memory(SEVEN, 32_768, 1).weights == 2 * 6_738_415_616
    assert measuring_memory(SEVEN, 32_768, 1).total < 24e9


def test_frozen_weights_have_no_gradient() -> None:
    """A backward pass through them takes one product, not two."""
    full, lora = (step_flops(SEVEN, 2048, 1, lora=lora) for lora in (False, True))
    assert full - lora == SEVEN.linear_flops(2048)
    assert step_flops(SEVEN, 2048, 1, checkpointing=False) == 3 * SEVEN.forward_flops(2048)


def test_experts_are_refused() -> None:
    from transformers import MixtralConfig

    with pytest.raises(BadValue, match="has experts"):
        Sizes.of(MixtralConfig())
