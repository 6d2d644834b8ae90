"""Real configurations with transformers' own tables, and configurations that were once changed in silence: the right
values stand in tests/golden/cases."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from models.encodings import build_rotary
from models.hf import re_rope
from models.hf.export import ModelConfig
from models.hf.longrope import longrope
from models.hf.ropes import read, rotary_of
from models.hf.small import small_config, small_model
from models.spec import EncodingSpec
from posgen.errors import UserError
from tests import command
from tests.committed import ROOT

CASES = ROOT / "tests" / "golden" / "cases"
CONFIGS = sorted(path.stem.removeprefix("config_") for path in CASES.glob("config_*.json"))


def case(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return found


def written(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def model_from(folder: Path, config: dict[str, Any]) -> Any:
    """A causal language model of a config as it stands, with random weights."""
    written(folder, config)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), attn_implementation="eager").eval()


def logits(model: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(torch.arange(3, 43)[None], use_cache=False, **inputs).logits
    return found


def again(model: Any, folder: Path) -> Any:
    """The model saved and loaded."""
    model.save_pretrained(folder)
    return type(model).from_pretrained(folder, attn_implementation="eager").eval()


def assert_rounded(own: list[float], inv_freq: list[float]) -> None:
    """Whole wavelengths, each the nearest to transformers': float32 may take its neighbour at a half."""
    for theta, plain in zip(own, inv_freq, strict=True):
        wavelength, exact = 2 * math.pi / theta, 2 * math.pi / plain
        assert wavelength == pytest.approx(round(wavelength), rel=1e-6)
        assert abs(round(wavelength) - exact) <= 0.5 + 1e-6 * exact


@pytest.mark.parametrize("name", CONFIGS)
def test_resonance_goes_on_transformers_own_table(name: str) -> None:
    golden = case(f"config_{name}")
    text = ModelConfig.read(golden["config"]).text
    for layer, expected in golden["expected"].items():
        layer_type = None if layer == "all" else layer
        for table in expected["tables"]:
            inv_freq, factor = rotary_of(text, layer_type).frequencies(table["length"])
            assert inv_freq.tolist() == pytest.approx(table["inv_freq"], rel=1e-6)
            assert factor == pytest.approx(table["attention_factor"], rel=1e-6)
    model = small_model(small_config(text))
    for module in re_rope(model):
        for layer, expected in golden["expected"].items():
            for table in expected["tables"]:
                own = module.inv_freq(None if layer == "all" else layer, table["length"])
                assert_rounded(own.tolist(), table["inv_freq"])


def test_the_softmax_scale_follows_the_factor(tmp_path: Path) -> None:
    golden = case("fault_deepseek_v3_softmax_scale")
    model = model_from(tmp_path / "stock", {**golden["config"], "model_type": golden["model_type"]})
    re_rope(model, {"rope_type": "resonance_yarn", "factor": 4.0})
    wanted = golden["expected"]["softmax_scale_after_re_rope"]
    assert [layer.self_attn.scaling for layer in model.model.layers] == pytest.approx([wanted] * 2, rel=1e-12)
    assert torch.equal(logits(model), logits(again(model, tmp_path / "saved")))
    # Plain RoPE under a name of ours would be taken for a scaling: refused, and nothing is changed.
    before = model.config.to_dict()
    with pytest.raises(UserError, match=r"self_attn\.scaling follows the name of the rope type"):
        re_rope(model, {"rope_type": "resonance"})
    assert model.config.to_dict() == before
    assert model.model.layers[0].self_attn.scaling == pytest.approx(wanted)


def test_sections_of_three_axes_stay(tmp_path: Path) -> None:
    golden = case("fault_qwen2vl_mrope_section_lost")
    sections = golden["config"]["rope_scaling"]["mrope_section"]
    text = {
        **{"hidden_size": 256, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 2},
        **{"intermediate_size": 64, "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2},
        **{key: golden["config"][key] for key in ("rope_theta", "rope_scaling")},
    }
    vision = {"depth": 1, "embed_dim": 32, "num_heads": 2, "hidden_size": 256, "mlp_ratio": 2}
    tokens: dict[str, Any] = {
        f"{name}_token_id": 60 + i for i, name in enumerate(("image", "video", "vision_start", "vision_end"))
    }
    config = Qwen2VLConfig(text_config=text, vision_config=vision, **tokens)
    model = Qwen2VLForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    re_rope(model, {"rope_type": "resonance_yarn", "factor": 8.0, "original_max_position_embeddings": 32768})
    assert read(model.config.get_text_config(), None)["mrope_section"] == sections
    loaded = again(model, tmp_path / "saved")
    axes = torch.stack([torch.arange(40), torch.arange(40) // 3, torch.arange(40) % 7])[:, None]
    assert torch.equal(logits(model, position_ids=axes), logits(loaded, position_ids=axes))


def test_frequencies_of_an_architectures_own_are_refused(tmp_path: Path) -> None:
    golden = case("fault_hunyuan_v1_dense_alpha")
    config = {**golden["config"], "model_type": golden["model_type"]}
    model = model_from(tmp_path / "model", config)
    own = model.model.rotary_emb.inv_freq.tolist()
    assert own == pytest.approx(golden["expected"]["stock_inv_freq"], rel=1e-6)
    before = logits(model)
    with pytest.raises(UserError, match="computes frequencies of its own under rope type dynamic"):
        re_rope(model)
    assert torch.equal(logits(model), before)
    with pytest.raises(UserError, match="computes frequencies of its own under rope type dynamic"):
        ModelConfig.read(config)


def test_a_rotary_module_that_is_not_used_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = case("fault_falcon_alibi_accepted")
    config = {**golden["config"], "vocab_size": 64, "num_hidden_layers": 2}
    with pytest.raises(UserError, match="a rotary module that its attention does not use"):
        re_rope(model_from(tmp_path / "model", config))
    assert command.run("export-rope", "--config", str(tmp_path / "model"), "--out", str(tmp_path / "out")) == 2
    assert "does not use" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_factor_of_the_configuration_counts() -> None:
    golden = case("fault_llama32_own_factor")
    model = ModelConfig.read(golden["config"])
    plain, factor = model.encoding(resonance=False).frequencies(1)
    assert plain.tolist() == pytest.approx(golden["expected"]["stock_inv_freq"], rel=1e-6)
    assert factor == golden["expected"]["attention_factor"]
    own = model.encoding(resonance=True).frequencies(1)[0].tolist()
    assert own == pytest.approx(golden["expected"]["resonance_inv_freq"], rel=1e-6)


@pytest.mark.slow
def test_what_the_attention_reads_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = case("fault_ministral3_export_crashes")
    source = written(tmp_path / "source", golden["config"])
    lengths = ["--train-length", "16384", "--test-length", "262144"]
    out = tmp_path / "out"
    assert (
        command.run("export-rope", "--pe", "resonance_yarn", "--config", str(source), *lengths, "--out", str(out)) == 0
    )
    assert "within and beyond 16384 positions: hidden states as in memory" in capsys.readouterr().out
    rope = json.loads((out / "config.json").read_text())["rope_parameters"]
    assert (rope["rope_type"], rope["llama_4_scaling_beta"]) == ("longrope", 0.1)
    exported = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(out), attn_implementation="eager").eval()
    original = model_from(tmp_path / "model", golden["config"])
    re_rope(original)
    exported.load_state_dict(original.state_dict())
    torch.testing.assert_close(logits(exported), logits(original), rtol=0, atol=1e-4)


def test_other_engines_read_the_same_attention_factor() -> None:
    golden = case("fault_consumers_ignore_attention_factor")
    params = {"factor": 8.0, "ramp_length": 4096, "beta_fast": 32}
    rope = longrope(build_rotary(EncodingSpec("y", "yarn", True, params=params), 128), 4096, 32768)
    wanted = golden["expected"]["attention_factor"]
    for key in ("attention_factor", "short_mscale", "long_mscale"):
        assert rope[key] == pytest.approx(wanted)


def test_an_unknown_model_type_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = written(tmp_path / "source", {"model_type": "omni_speech_llama", "hidden_size": 64})
    assert command.run("export-rope", "--config", str(source), "--out", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert "does not know the model type omni_speech_llama; set model_type to the architecture" in error
    assert "--head-dim and --base instead of --config" in error


@pytest.mark.parametrize("module", ["posgen", "cli.main"])
def test_python_m_runs_the_command_line(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("posgen ")
    done = subprocess.run([sys.executable, "-m", module, "no-such-verb"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
