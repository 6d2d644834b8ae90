"""After re_rope a model in memory equals itself saved and loaded, and what is refused changes nothing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.utils import logging

from models.encodings import build_rotary
from models.hf import check_rope, check_saved_rope, load_rope, re_rope, save_rope
from models.hf.readers import keys_read
from models.hf.ropes import is_fixed, read, rotary_of
from models.spec import EncodingSpec
from posgen.errors import BadValue, UserError
from tests.models.every_language_model import CANNOT_RUN, rope_models, tiny_config, tiny_model, token_ids
from tests.models.tiny_language_models import SIZES, sentence, tiny

YARN = {"rope_type": "resonance_yarn", "factor": 4.0, "original_max_position_embeddings": 16}
RESONANCE = EncodingSpec("res", resonance=True)
# One of each kind: a softmax scale, an attention temperature, a base for each layer type, complex tables, half of a
# head, pairs side by side, every feature once, types by layer that a class insists on, a head size left open.
KINDS = [
    "deepseek_v3", "ministral3", "gemma3_text", "deepseek_v2", "glm4", "cohere", "gpt_oss", "modernbert-decoder",
    "llama4_text", "mixtral", "bamba", "lfm3",
]  # fmt: skip
REFUSED = {
    "granite_swa": "a rotary module with a config of its own",
    "phimoe": "arranges cos and sin in a way",
    "recurrent_gemma": "does not support RoPE types other than",
    "blt": "no rotary module",
}


def logits(model: Any, length: int) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(token_ids(length), use_cache=False).logits
    return found


def step_by_step(model: Any, length: int) -> Tensor:
    """Logits with the key-value cache: half of the tokens at once, then one after another."""
    ids, half = token_ids(length), length // 2
    with torch.no_grad():
        output = model(ids[:, :half], use_cache=True)
        parts = [output.logits]
        for i in range(half, length):
            output = model(ids[:, i : i + 1], past_key_values=output.past_key_values, use_cache=True)
            parts.append(output.logits)
    return torch.cat(parts, dim=1)


def outcome(model_type: str, rope: Any, folder: Path) -> str:
    """`right`, or the sentence of the refusal. AssertionError for anything else."""
    model = tiny_model(model_type)
    before, plain = copy.deepcopy(model.config.to_dict()), logits(model, 40)
    try:
        re_rope(model, rope)
    except UserError as error:
        assert model.config.to_dict() == before
        assert torch.equal(logits(model, 40), plain)
        return str(error)
    changed = logits(model, 40)
    assert not torch.equal(changed, plain)
    model.save_pretrained(folder)
    again = type(model).from_pretrained(folder, attn_implementation="eager").eval()
    check_rope(again)
    for length in (12, 40):
        # Equal to the bit but where loading puts weights elsewhere in memory and a product sums in another order.
        torch.testing.assert_close(logits(again, length), logits(model, length), rtol=0, atol=1e-5)
    stock = tiny_model(model_type)
    if float((step_by_step(stock, 20) - logits(stock, 20)).abs().max()) < 1e-3:  # some caches are no exact ones
        torch.testing.assert_close(step_by_step(model, 20), logits(model, 20), rtol=0, atol=1e-3)
    return "right"


@pytest.mark.parametrize("model_type", KINDS)
def test_in_memory_is_as_saved_and_loaded(model_type: str, tmp_path: Path) -> None:
    assert outcome(model_type, None, tmp_path) == "right"


def test_a_head_size_that_the_config_leaves_open(tmp_path: Path) -> None:
    from transformers import MixtralConfig

    sizes = {**SIZES, "num_key_value_heads": 1, "num_local_experts": 2, "head_dim": None}
    model = AutoModelForCausalLM.from_config(MixtralConfig(**sizes), attn_implementation="eager").eval()
    re_rope(model, YARN)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert torch.equal(again(sentence(40)).logits, model(sentence(40)).logits)


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_cannot_be_promised_is_refused(model_type: str, tmp_path: Path) -> None:
    assert REFUSED[model_type] in outcome(model_type, None, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("rope", ["own", "yarn", "spec"])
def test_every_language_model_is_right_or_refused(rope: str, tmp_path: Path) -> None:
    logging.disable_progress_bar()
    asked = {"own": None, "yarn": YARN, "spec": EncodingSpec(scaling="ntk", resonance=True, params={"factor": 4.0})}
    outcomes = {name: outcome(name, asked[rope], tmp_path / name) for name in rope_models() if name not in CANNOT_RUN}
    right = [name for name, text in outcomes.items() if text == "right"]
    print(f"\n{rope}: {len(right)} of {len(outcomes)} model types right, the others refused:")
    for name, text in outcomes.items():
        if text != "right":
            print(f"  {name}: {text}")
    assert len(right) > 100


def test_readers_are_found_in_the_source() -> None:
    wanted = {
        "deepseek_v3": {"mscale_all_dim", "factor"},
        "ministral3": {"llama_4_scaling_beta", "original_max_position_embeddings"},
        "qwen3_5_text": {"mrope_section"},
        "hunyuan_v1_dense": {"alpha"},
        "phimoe": {"short_mscale", "long_mscale", "original_max_position_embeddings"},
        "llama": set(),
    }
    for model_type, keys in wanted.items():
        general = {"rope_type", "rope_theta", "partial_rotary_factor"}
        assert keys_read(tiny_config(model_type)) - general == keys, model_type


def test_a_specification_takes_base_lengths_and_betas_from_the_model() -> None:
    model = tiny("Llama", rope_theta=1e5)
    re_rope(model, RESONANCE)
    assert read(model.config, None)["rope_theta"] == 1e5
    re_rope(model, EncodingSpec(scaling="yarn", resonance=True), test_length=256)
    encoding = read(model.config, None)["encoding"]
    assert encoding["name"] == "resonance_yarn"
    assert encoding["params"] == {"factor": 4.0, "ramp_length": 64, "beta_fast": 32.0}
    assert model.config.max_position_embeddings == 256
    wanted = EncodingSpec("y", "yarn", True, 1e5, {"factor": 4.0, "ramp_length": 64, "beta_fast": 32.0})
    assert torch.equal(rotary_of(model.config).frequencies(1)[0], build_rotary(wanted, 32).frequencies(1)[0])
    re_rope(model, EncodingSpec("own", base=5e5))
    assert read(model.config, None)["rope_theta"] == 5e5

    stretched = tiny("Llama", rope_scaling={**YARN, "rope_type": "yarn", "beta_fast": 16.0})
    re_rope(stretched, EncodingSpec("y", "yarn", True))
    assert read(stretched.config, None)["encoding"]["params"] == {"factor": 4.0, "ramp_length": 16, "beta_fast": 16.0}
    with pytest.raises(BadValue, match=r"params\.factor=None: give it, or test_length="):
        re_rope(tiny("Llama"), EncodingSpec(scaling="yarn"))


def test_resonance_on_an_encoding_of_ours_is_named_so() -> None:
    model = tiny("Llama")
    re_rope(model, EncodingSpec("ntk", scaling="ntk", params={"factor": 8.0}))
    re_rope(model)
    assert read(model.config, None)["encoding"]["name"] == "resonance_ntk"


def test_the_length_trained_on_must_be_known() -> None:
    model = tiny("Llama")
    re_rope(model, {"rope_type": "resonance_yarn", "factor": 4.0})
    assert read(model.config, None)["original_max_position_embeddings"] == 64  # the model was not stretched before
    linear = tiny("Llama", rope_scaling={"rope_type": "linear", "factor": 4.0})
    with pytest.raises(BadValue, match="the model's linear does not say the length trained on"):
        re_rope(linear, {"rope_type": "resonance_yarn", "factor": 4.0})
    with pytest.raises(Exception, match="original_max_position_embeddings"):
        LlamaConfig(**{**SIZES, "rope_scaling": {"rope_type": "resonance_yarn", "factor": 4.0}})


def test_a_longer_length_is_written_where_the_table_does_not_depend_on_it() -> None:
    model = tiny("Llama")
    re_rope(model, {"rope_type": "resonance_yarn"}, test_length=512)
    parameters = read(model.config, None)
    assert (parameters["factor"], model.config.max_position_embeddings) == (8.0, 512)
    with pytest.raises(BadValue, match="reads max_position_embeddings as the length trained on"):
        re_rope(tiny("Llama"), {"rope_type": "resonance_dynamic", "factor": 2.0}, test_length=512)


@pytest.mark.parametrize(
    ("rope", "remedy"),
    [
        ({**YARN, "factr": 4.0}, "rope.factr=4.0: did you mean factor?"),
        ({**YARN, "low_freq_factor": 1.0}, "rope.low_freq_factor=1.0: one of"),
        ({**YARN, "factor": "four"}, "transformers cannot compute the rope type yarn"),
        ({"rope_type": "resonance_llama3", "factor": 2.0}, "Missing required keys"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(rope: dict[str, Any], remedy: str) -> None:
    model = tiny("Llama")
    before, module = copy.deepcopy(model.config.to_dict()), model.model.rotary_emb
    with pytest.raises(UserError) as raised:
        re_rope(model, rope)
    assert remedy in str(raised.value)
    assert str(raised.value).count("\n") == 0
    assert (model.config.to_dict(), model.model.rotary_emb) == (before, module)
    with pytest.raises(Exception, match="did you mean factor"):
        LlamaConfig(**{**SIZES, "rope_scaling": {"rope_type": "resonance_linear", "factr": 4.0}})


@pytest.mark.slow
def test_a_fixed_scaling_of_ours_needs_one_graph() -> None:
    for scaling, fixed in (("yarn", True), ("ntk", True), ("pi", True), ("dynamic_ntk", False), ("longrope", False)):
        assert is_fixed(build_rotary(EncodingSpec("s", scaling), 32)) is fixed
    model = tiny("Llama")
    re_rope(model, EncodingSpec(scaling="yarn", resonance=True, params={"factor": 4.0}))
    with torch.no_grad():
        wanted = model(sentence(20), use_cache=False).logits
    compiled = torch.compile(model, backend="eager", fullgraph=True)  # a synchronisation would break the graph
    with torch.no_grad():
        torch.testing.assert_close(compiled(sentence(20), use_cache=False).logits, wanted, rtol=0, atol=1e-6)


def test_an_adapter_remembers_its_rope(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = tiny("Llama")
    base.save_pretrained(tmp_path / "base")
    re_rope(base, {"rope_type": "resonance_yarn"}, test_length=256)
    adapted = peft.get_peft_model(base, peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    check_rope(adapted)
    ids = sentence(20)
    wanted = adapted.eval()(ids, use_cache=False).logits
    adapted.save_pretrained(tmp_path / "adapter")
    save_rope(adapted, tmp_path / "adapter")

    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base", attn_implementation="eager").eval()
    with pytest.raises(UserError, match=r"rope\.json: the adapter was trained with rope_parameters"):
        check_saved_rope(plain, tmp_path / "adapter")
    load_rope(plain, tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    check_saved_rope(again, tmp_path / "adapter")
    torch.testing.assert_close(again(ids, use_cache=False).logits, wanted, rtol=0, atol=1e-6)
    with pytest.raises(UserError, match=r"rope\.json: No such file or directory; write it with models\.hf\.save_rope"):
        check_saved_rope(again, tmp_path / "base")
    # An adapted model can be changed, too.
    re_rope(again, RESONANCE)
    with pytest.raises(UserError, match="the adapter was trained with"):
        check_saved_rope(again, tmp_path / "adapter")
