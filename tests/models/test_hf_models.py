"""Re-roped language models of every architecture: they run, save and load, and turn queries and keys as by hand."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from models.hf import ResonanceRotary, check_rope, re_rope
from models.hf.ropes import layer_types, read
from tests.models.tiny_language_models import ARCHITECTURES, YARN, Fixed, by_hand, sentence, tiny, yarn_by_transformers


def logits(model: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model(ids, use_cache=False).logits


def tables_by_hand(model: Any, name: str, length: int) -> dict[str | None, tuple[Tensor, Tensor]]:
    """{layer type: (cos, sin) [1, length, features]} of resonance_yarn."""
    bases = {layer: read(model.config, layer)["rope_theta"] for layer in layer_types(model.config)}
    rotated = ARCHITECTURES[name][1]
    return {
        layer: by_hand(*yarn_by_transformers(rotated, base), positions=list(range(length)))
        for layer, base in bases.items()
    }


def arranged(name: str, table: Tensor) -> Tensor:
    return table.repeat_interleave(2, dim=-1) if name == "Cohere" else torch.cat((table, table), dim=-1)


def body(model: Any) -> Any:
    """The module that holds `rotary_emb`."""
    return model.gpt_neox if hasattr(model, "gpt_neox") else model.model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_generates_saves_and_loads(name: str, tmp_path: Path) -> None:
    model, ids = tiny(name), sentence(24)
    plain = logits(model, ids)
    re_rope(model, YARN)
    changed = logits(model, ids)
    assert not torch.allclose(plain, changed, atol=1e-4)
    same = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
    assert torch.equal(model.generate(ids, use_cache=True, **same), model.generate(ids, use_cache=False, **same))
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    check_rope(again)
    assert torch.equal(logits(again, ids), changed)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_model_turns_by_the_table_made_by_hand(name: str) -> None:
    model, ids = tiny(name), sentence(40)
    (module,) = re_rope(model, YARN)
    tables = {
        layer: (arranged(name, cos), arranged(name, sin))
        for layer, (cos, sin) in tables_by_hand(model, name, 40).items()
    }
    for layer, (cos, sin) in tables.items():
        found = module(torch.zeros(1), torch.arange(40)[None], layer)
        torch.testing.assert_close(found[0], cos, rtol=0, atol=2e-7)
        torch.testing.assert_close(found[1], sin, rtol=0, atol=2e-7)
    ours = logits(model, ids)
    assert body(model).rotary_emb is module
    body(model).rotary_emb = Fixed(tables)
    torch.testing.assert_close(ours, logits(model, ids), rtol=0, atol=1e-5)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [heads, T, head_dim] with dimensions j and j + d/2 of its first d rotated as one complex number."""
    half = cos.shape[-1]
    pair = torch.complex(x[..., :half], x[..., half : 2 * half]) * torch.complex(cos, sin)
    return torch.cat((pair.real, pair.imag, x[..., 2 * half :]), dim=-1)


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of [heads, T, head_dim]; [T, heads * head_dim]."""
    length, head_dim = q.shape[1:]
    scores = (q @ k.transpose(1, 2)) / head_dim**0.5
    scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).reshape(length, -1)


@pytest.mark.parametrize("name", ["Llama", "GPTNeoX"])
def test_attention_equals_one_rotated_by_hand(name: str) -> None:
    model, ids = tiny(name), sentence(40)
    re_rope(model, YARN)
    layer = body(model).layers[0]
    attention = layer.self_attn if name == "Llama" else layer.attention
    seen: dict[str, Tensor] = {}

    def keep(module: Any, args: tuple, kwargs: dict, output: tuple) -> None:
        seen["x"], seen["y"] = (kwargs["hidden_states"] if "hidden_states" in kwargs else args[0], output[0])

    attention.register_forward_hook(keep, with_kwargs=True)
    logits(model, ids)
    x = seen["x"][0]  # [T, hidden]
    ((cos, sin),) = tables_by_hand(model, name, 40).values()
    with torch.no_grad():
        if name == "Llama":
            q, k, v = (
                p(x).view(40, -1, 32).transpose(0, 1) for p in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            k, v, out = k.expand(2, -1, -1), v.expand(2, -1, -1), attention.o_proj
        else:
            q, k, v = attention.query_key_value(x).view(40, 2, 96).transpose(0, 1).chunk(3, dim=-1)
            out = attention.dense
        by_hand_y = out(attended(turned(q, cos, sin), turned(k, cos, sin), v))
    torch.testing.assert_close(seen["y"][0], by_hand_y, rtol=0, atol=1e-6)


def test_bfloat16_rounds_no_wavelength(tmp_path: Path) -> None:
    model = tiny("Llama")
    (module,) = re_rope(model, YARN)
    far = torch.tensor([[0, 1, 1_000, 1_000_000]])
    cos, sin = module(torch.zeros(1), far)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    for low in (model.to(torch.bfloat16), loaded):
        check_rope(low)
        assert low.dtype == torch.bfloat16
        rotary = low.model.rotary_emb
        assert torch.equal(rotary(torch.zeros(1), far)[0], cos)
        found = rotary(torch.zeros(1, dtype=torch.bfloat16), far)
        assert torch.equal(found[0], cos.bfloat16())
        assert torch.equal(found[1], sin.bfloat16())
    stock = tiny("Llama").to(torch.bfloat16).model.rotary_emb  # what would have happened: half a per cent
    whole = tiny("Llama").model.rotary_emb.inv_freq
    assert float((stock.inv_freq.float() / whole - 1).abs().max()) > 1e-3


@pytest.mark.slow
def test_copies_and_a_compiled_graph_turn_alike() -> None:
    model, ids = tiny("Llama"), sentence(20)
    re_rope(model, YARN)
    wanted = logits(model, ids)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        check_rope(again)
        assert torch.equal(logits(again, ids), wanted)
    # One graph, without a break: nothing in it depends on the values of the positions.
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(logits(compiled, ids), wanted, rtol=0, atol=1e-6)


def test_layer_types_are_changed_apart() -> None:
    model, stock = tiny("Gemma3"), tiny("Gemma3")
    (module,) = re_rope(model, YARN, layer_type="full_attention")
    positions, x = torch.arange(40)[None], torch.zeros(1)
    local = [rotary.model.rotary_emb(x, positions, "sliding_attention") for rotary in (model, stock)]
    assert all(torch.equal(a, b) for a, b in zip(*local, strict=True))
    cos, _ = by_hand(*yarn_by_transformers(32, 1_000_000.0), positions=list(range(40)))
    torch.testing.assert_close(module(x, positions, "full_attention")[0], arranged("Gemma3", cos), rtol=0, atol=2e-7)


def test_without_resonance_the_numbers_are_stock() -> None:
    ids = sentence(40)
    rope = {**YARN, "rope_type": "yarn"}
    stock, ours = tiny("Llama", rope_scaling=dict(rope)), tiny("Llama")
    assert not isinstance(stock.model.rotary_emb, ResonanceRotary)
    re_rope(ours, rope)
    assert torch.equal(logits(stock, ids), logits(ours, ids))
