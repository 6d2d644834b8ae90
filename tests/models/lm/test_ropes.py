"""Encodings by name: against models built by stock transformers, and back to what the model was loaded with."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM

from models.hf.ropes import rotary_of
from models.lm.ropes import NAMES, Ropes, check_names, plain_of, title
from posgen.errors import BadValue
from tests.models.tiny_language_models import GROUPED, SIZES, L, sentence, tiny

SHORT = {**GROUPED, "max_position_embeddings": L}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": L}
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": L}  # fmt: skip


def llama(rope: dict[str, Any] | None = None, **keys: Any) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {**SHORT, **keys} | ({"rope_scaling": dict(rope)} if rope else {})
    config = transformers.LlamaConfig(**sizes)
    return AutoModelForCausalLM.from_config(config).eval()


def logits(model: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model(ids, use_cache=False).logits


@pytest.mark.parametrize(
    ("name", "rope", "length"),
    [
        ("pi", {"rope_type": "linear", "factor": 4.0}, 40),
        ("dynamic_ntk", {"rope_type": "dynamic", "factor": 4.0}, 40),
        ("yarn", YARN, 40),
        ("llama3", LLAMA3, 40),
    ],
)
def test_a_name_is_what_stock_transformers_builds(name: str, rope: dict[str, Any], length: int) -> None:
    ids, model, stock = sentence(length), llama(), llama(rope)
    plain = logits(model, ids)
    installed = Ropes(model).install(name, 4.0)
    torch.testing.assert_close(logits(model, ids), logits(stock, ids), rtol=0, atol=2e-6)
    assert not torch.allclose(logits(model, ids), plain, atol=1e-5)
    assert installed.fixed == (name != "dynamic_ntk")


def deepseek() -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {**SIZES, "num_key_value_heads": 2, "q_lora_rank": 16, "kv_lora_rank": 16, 
             "qk_rope_head_dim": 16,
             "qk_nope_head_dim": 16, "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1,
             "topk_group": 1, "moe_intermediate_size": 16, "first_k_dense_replace": 2,
             "n_shared_experts": 1}  # fmt: skip
    rope = {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}
    return AutoModelForCausalLM.from_config(transformers.DeepseekV3Config(**{**sizes, "rope_scaling": rope})).eval()


FEW = ("yarn", "resonance_dynamic_ntk", "resonance")


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        ("plain", ("pi", "dynamic_ntk", "resonance_ntk_by_parts", "clip", "resonance")),
        *((kind, FEW) for kind in ("yarn", "llama3", "resonance_yarn", "Gemma3")),
        ("DeepseekV3", ("yarn", "resonance_yarn", "resonance")),
        pytest.param("plain", NAMES, marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} names",
)
def test_through_names_and_back_changes_no_bit(kind: str, chosen: tuple[str, ...]) -> None:
    ids = sentence(40)
    if kind == "DeepseekV3":
        model = deepseek()
    elif kind == "Gemma3":
        model = tiny("Gemma3")
    else:
        model = llama({"plain": None, "yarn": YARN, "llama3": LLAMA3,
                       "resonance_yarn": {**YARN, "rope_type": "resonance_yarn"}}[kind])  # fmt: skip
    before, ropes = logits(model, ids), Ropes(model)
    scaling = [module.scaling for module in model.modules() if isinstance(getattr(module, "scaling", None), float)]
    assert ropes.install("none", 2.0).name == "none"
    assert torch.equal(logits(model, ids), before)
    seen = {}
    for name in chosen:
        ropes.install(name, 2.0)
        seen[name] = logits(model, ids)
    for name in chosen[2::-2]:  # each starts from what was loaded, not from the one before it
        ropes.install(name, 2.0)
        assert torch.equal(logits(model, ids), seen[name]), name
    ropes.install("none", 3.0)
    assert torch.equal(logits(model, ids), before)
    assert scaling == [m.scaling for m in model.modules() if isinstance(getattr(m, "scaling", None), float)]


def test_clip_keeps_exactly_the_features_that_turn_within_the_training_length() -> None:
    for length in (7, 16, 60, 5_000):
        model = llama(max_position_embeddings=length)
        ropes = Ropes(model)
        ropes.install("clip", 2.0)
        inv_freq, factor = rotary_of(model.config).frequencies(4 * length)
        for j, theta in enumerate(inv_freq.tolist()):
            own = 10_000.0 ** (-2 * j / 32)
            wanted = own if 2 * math.pi / own <= length else 0.0
            assert theta == pytest.approx(wanted, rel=1e-6), (length, j)
        assert factor == 1.0


def test_what_is_wrong_is_refused_and_changes_nothing() -> None:
    model, ids = llama(), sentence(40)
    ropes = Ropes(model)
    ropes.install("yarn", 4.0)
    before = logits(model, ids)
    wrong = [
        (("yarm", 2.0, {}), "did you mean yarn"),
        (("yarn", 0.5, {}), "factor=0.5: use at least 1"),
        (("yarn", math.nan, {}), "factor=nan: use at least 1"),
        (("yarn", 2.0, {"beta_fats": 3}), "yarn.beta_fats=3: did you mean beta_fast"),
        (("none", 2.0, {"beta_fast": 3}), "none.beta_fast=3: it has no parameters"),
        (("resonance", 2.0, {"p": 3}), "resonance.p=3: it has no parameters"),
        (("clip", 2.0, {"p": 3}), "p=3"),
        (("yarn", math.inf, {}), "factor=inf"),
    ]
    for (name, factor, params), line in wrong:
        with pytest.raises(BadValue) as error:
            ropes.install(name, factor, params)
        assert line in str(error.value)
        assert torch.equal(logits(model, ids), before), (name, factor, params)


def test_every_name_has_a_title_and_a_plain_form() -> None:
    assert check_names(["yarn", "yarn", "none"]) == ("yarn", "none")
    assert title("resonance_yarn") == "Resonance YaRN"
    assert plain_of("resonance") == "none"
    assert len({title(name) for name in NAMES}) == len(NAMES)
    assert {plain_of(name) for name in NAMES} == set(NAMES[::2])
    with pytest.raises(BadValue):
        check_names([])
