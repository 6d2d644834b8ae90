"""The rope types that models.hf adds to transformers: their numbers, their memory, and what re_rope refuses."""

from __future__ import annotations

import copy
import logging
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from models.encodings import build_rotary
from models.hf import ROPE_TYPES, ResonanceRotary, check_rope, re_rope
from models.hf.layout import layout_of
from models.hf.ropes import layer_types, read
from models.spec import EncodingSpec
from posgen.errors import BadValue, UserError
from tests.models.tiny_language_models import SIZES, YARN, tiny

CPU = torch.device("cpu")
KEYS: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
    "llama3": {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
    "longrope": {"short_factor": [1.0 + j / 16 for j in range(16)], "long_factor": [2.0 + j for j in range(16)],
                 "factor": 4.0, "original_max_position_embeddings": 16},
    "proportional": {"partial_rotary_factor": 0.5},
}  # fmt: skip
TYPES = [name for name in KEYS if name in ("default", *ROPE_INIT_FUNCTIONS)]


def llama(rope_type: str, keys: dict[str, Any]) -> Any:
    return tiny("Llama", rope_scaling={"rope_type": rope_type, **copy.deepcopy(keys)})


def stock_table(name: str, length: int | None) -> tuple[torch.Tensor, float]:
    if name == "default":
        return 1.0 / (10_000.0 ** (torch.arange(0, 32, 2, dtype=torch.int64).float() / 32)), 1.0
    config = LlamaConfig(**{**SIZES, "rope_scaling": {"rope_type": name, **copy.deepcopy(KEYS[name])}})
    return ROPE_INIT_FUNCTIONS[name](config, CPU, seq_len=None if length is None else torch.tensor(length))


def resonance(name: str) -> str:
    return "resonance" if name == "default" else f"resonance_{name}"


def test_every_rope_type_of_transformers_has_its_resonance() -> None:
    stock = {name for name in ROPE_INIT_FUNCTIONS if name not in ROPE_TYPES} | {"default"}
    assert stock >= {"default", "linear", "dynamic", "yarn", "llama3", "longrope"}
    assert set(ROPE_TYPES) == {resonance(name) for name in stock} | {"posgen"}
    assert stock == set(TYPES)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("length", [8, 200])
def test_numbers_are_stocks_rounded_to_whole_wavelengths(name: str, length: int) -> None:
    model = llama(resonance(name), KEYS[name])
    module = model.model.rotary_emb
    assert isinstance(module, ResonanceRotary)
    check_rope(model)
    inv_freq, factor = stock_table(name, length)
    waves = [round(2 * math.pi / theta) if theta else math.inf for theta in inv_freq.tolist()]
    wanted = torch.tensor([2 * math.pi / wave for wave in waves])
    torch.testing.assert_close(module.inv_freq(length=length), wanted, rtol=1e-6, atol=0)
    cos, _ = module(torch.zeros(1), torch.tensor([[0, length - 1]]))
    exact = [factor * math.cos(2 * math.pi * ((length - 1) % wave) / wave) for wave in waves]
    torch.testing.assert_close(cos[0, 1, :16], torch.tensor(exact), rtol=0, atol=2e-7)
    # As transformers calls it, should a stock module be built with the type.
    found, _ = ROPE_INIT_FUNCTIONS[resonance(name)](model.config, CPU, seq_len=length)
    assert torch.equal(found, module.inv_freq(length=length))


@pytest.mark.parametrize("name", TYPES)
def test_transformers_validates_without_a_word(name: str, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        LlamaConfig(**{**SIZES, "rope_scaling": {"rope_type": resonance(name), **copy.deepcopy(KEYS[name])}})
    finally:
        logger.removeHandler(caplog.handler)
    assert [r.message for r in caplog.records if "Missing validation" in r.message or "Unrecognized" in r.message] == []


def test_a_missing_key_is_found_by_transformers() -> None:
    with pytest.raises(Exception, match="factor"):
        tiny("Llama", rope_scaling={"rope_type": "resonance_linear"})
    model = tiny("Llama")
    before = copy.deepcopy(model.config.to_dict())
    with pytest.raises(UserError, match="factor"):
        re_rope(model, {"rope_type": "resonance_linear"})
    assert model.config.to_dict() == before


@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_no_memory_of_longer_inputs(name: str) -> None:
    module = llama(resonance(name), KEYS[name]).model.rotary_emb
    x, short, long = torch.zeros(1), torch.arange(12)[None], torch.arange(300)[None]
    first = module(x, short)[0].clone()
    longer = module(x, long)[0].clone()
    assert not torch.allclose(longer[:, :12], first)
    for _ in range(2):
        assert torch.equal(module(x, short)[0], first)
        assert torch.equal(module(x, long)[0], longer)
        assert torch.equal(module(x, torch.arange(80)[None])[0], module(x, torch.arange(80)[None])[0])


def test_exact_where_the_float32_product_drifts() -> None:
    module = llama("resonance", {}).model.rotary_emb
    position = 1_000_000
    cos, _ = module(torch.zeros(1), torch.tensor([[position]]))
    waves = [round(2 * math.pi / theta) for theta in stock_table("default", None)[0].tolist()]
    exact = torch.tensor([math.cos(2 * math.pi * (position % wave) / wave) for wave in waves])
    torch.testing.assert_close(cos[0, 0, :16], exact, rtol=0, atol=1e-7)
    naive = (torch.tensor(float(position)) * module.inv_freq()).cos()
    assert float((naive - exact).abs().max()) > 1e-2


def test_an_encoding_of_ours_by_its_specification() -> None:
    spec = EncodingSpec("ntk", scaling="ntk", resonance=True, base=50_000.0, params={"factor": 8.0})
    model = tiny("GPTNeoX")
    (module,) = re_rope(model, spec)
    wanted, _ = build_rotary(spec, 16).frequencies(1)
    assert torch.equal(module.inv_freq(), wanted)
    assert read(model.config, None)["rope_theta"] == 50_000.0
    with pytest.raises(BadValue, match="a number above 1"):
        re_rope(model, EncodingSpec("bad", scaling="none", base=1.0))


def test_resonance_goes_on_top_of_what_a_model_has() -> None:
    model = llama("llama3", KEYS["llama3"])
    (module,) = re_rope(model)
    parameters = read(model.config, None)
    assert parameters["rope_type"] == "resonance_llama3"
    assert {key: parameters[key] for key in KEYS["llama3"]} == KEYS["llama3"]
    assert torch.equal(module.inv_freq(), llama("resonance_llama3", KEYS["llama3"]).model.rotary_emb.inv_freq())


def test_the_check_fires_when_something_is_off() -> None:
    model = tiny("Llama")
    stock = model.model.rotary_emb
    (module,) = re_rope(model, YARN)
    check_rope(model)
    wrong = module.encodings[None]
    object.__setattr__(wrong, "resonance", False)
    with pytest.raises(UserError, match="does not rotate as resonance_yarn does"):
        check_rope(model)
    object.__setattr__(wrong, "resonance", True)
    check_rope(model)
    model.model.rotary_emb = stock
    with pytest.raises(UserError, match="transformers' own LlamaRotaryEmbedding"):
        check_rope(model)
    model.model.rotary_emb = module
    model.config.rope_parameters["factor"] = 2.0
    with pytest.raises(UserError, match="does not rotate"):
        check_rope(model)


def test_what_re_rope_refuses_leaves_the_model_as_it_was() -> None:
    model = tiny("Llama")
    before, rotary = copy.deepcopy(model.config.to_dict()), model.model.rotary_emb
    wrong: list[tuple[Any, dict, str]] = [
        ({"rope_type": "resonance_yarm"}, {}, "transformers and models.hf have"),
        ({"factor": 4.0}, {}, "name a rope_type"),
        (YARN, {"layer_type": "full_attention"}, "layers are alike"),
        (EncodingSpec("x", scaling="yarn", params={"factr": 4.0}), {}, "did you mean factor"),
        (EncodingSpec("alibi", kind="alibi"), {}, "does not rotate"),
        (EncodingSpec("rnope", kind="mixed", params={"window": 8}), {}, "pe=rnope: does more than rotate"),
        (EncodingSpec("self_extend", kind="self_extend"), {}, "pe=self_extend: does more than rotate"),
        (
            {"rope_type": "resonance_longrope", **KEYS["longrope"], "short_factor": [1.0, 2.0]},
            {},
            "cannot compute the rope type",
        ),
    ]
    for rope, where, remedy in wrong:
        with pytest.raises(UserError, match=remedy):
            re_rope(model, rope, **where)
        assert model.config.to_dict() == before
        assert model.model.rotary_emb is rotary
    gpt2 = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(UserError, match="no rotary module"):
        re_rope(gpt2, YARN)
    gemma = tiny("Gemma3")
    if layer_types(gemma.config) != [None]:
        with pytest.raises(BadValue, match="one base and this model several"):
            re_rope(gemma, EncodingSpec(base=20_000.0))


@pytest.mark.parametrize(
    ("package", "module", "config", "keys"),
    [
        ("cohere", "CohereRotaryEmbedding", "CohereConfig", {}),
        ("gpt_oss", "GptOssRotaryEmbedding", "GptOssConfig", {}),
        ("llama4", "Llama4TextRotaryEmbedding", "Llama4TextConfig", {}),
        ("deepseek_v2", "DeepseekV2RotaryEmbedding", "DeepseekV2Config", {"qk_rope_head_dim": 32}),
        ("olmo2", "Olmo2RotaryEmbedding", "Olmo2Config", {}),
        ("gemma4", "Gemma4TextRotaryEmbedding", "Gemma4TextConfig", {"global_head_dim": 64}),
        ("qwen3_5", "Qwen3_5TextRotaryEmbedding", "Qwen3_5TextConfig", {"head_dim": 64}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_layout_equals_the_stock_module(
    package: str, module: str, config: str, keys: dict, dtype: torch.dtype
) -> None:
    own = getattr(transformers, config)(**{**SIZES, "head_dim": 32, "num_hidden_layers": 6, **keys})
    stock = getattr(__import__(f"transformers.models.{package}.modeling_{package}", fromlist=[module]), module)(own)
    ours = ResonanceRotary.in_place_of(stock)
    x, positions = torch.zeros(1, dtype=dtype), torch.arange(50)[None]
    for layer in layer_types(own):
        named = () if layer is None else (layer,)
        wanted, found = stock(x, positions, *named), ours(x, positions, *named)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-7)  # a complex table is rounded apart


def test_an_unknown_layout_is_refused() -> None:
    class Strange(nn.Module):
        def __init__(self, config: Any) -> None:
            super().__init__()
            self.config, self.rope_type, self.inv_freq = config, "default", torch.ones(4)

        def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(UserError, match="Strange arranges cos and sin in a way"):
        layout_of(Strange(None), [None])


def test_without_transformers_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['transformers'] = None\ntry: import models.hf\nexcept ImportError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "models.hf needs transformers: pip install 'posgen[llm]'\n"
