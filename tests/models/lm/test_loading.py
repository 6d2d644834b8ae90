"""Loading a model: its identity, its encoding, and one line for every mistake."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from models.hf import re_rope
from models.hf.adapter import FILE as ROPE_FILE
from models.hf.adapter import save_rope
from models.lm.loading import NOTE, load, refuse_other_rope
from posgen.errors import BadValue, UserError
from tests.command import run
from tests.models.lm.tiny import WORDS, saved

IDS = torch.arange(4, 28).repeat(4)[None]
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("loading") / "tiny")


def with_adapter(base: Path, place: Path, rank: int = 2) -> Path:
    """A random LoRA adapter of the model, saved by PEFT, for the model's own rope."""
    model = AutoModelForCausalLM.from_pretrained(base)
    save_rope(model, place)
    torch.manual_seed(1)
    lora = LoraConfig(r=rank, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(str(place))
    return place


def with_rope(base: Path, place: Path, rope: dict[str, Any]) -> Any:
    """The model with another rope, saved by transformers with what a tuning writes beside it; the model in memory."""
    shutil.copytree(base, place)
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    re_rope(model, rope)
    model.save_pretrained(place)
    save_rope(model, place)
    (place / NOTE).write_text(json.dumps({"note": "tuned", "tuning": {"encoding": rope["rope_type"]}}))
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS, use_cache=False).logits


def flipped(file: Path) -> None:
    """The lowest bit of the last weight becomes its opposite (float32 is little-endian, the data end the file)."""
    content = bytearray(file.read_bytes())
    content[-4] ^= 1
    file.write_bytes(content)


def test_identity_is_of_the_weights_not_of_the_place(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(str(folder))
    assert first.identity["name"] == "tiny"
    shutil.copytree(folder, tmp_path / "elsewhere" / "tiny")
    monkeypatch.chdir(tmp_path)
    assert first.identity == load("elsewhere/tiny").identity == load("elsewhere/../elsewhere/tiny/").identity
    for dtype, kind in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        other = load(str(folder), dtype=dtype)
        assert other.model.lm_head.weight.dtype == kind
        assert (other.identity, other.key) == (first.identity, first.key)
    flipped(Path("elsewhere/tiny/model.safetensors"))
    changed = load("elsewhere/tiny")
    weights = zip(first.model.parameters(), changed.model.parameters(), strict=True)
    assert sum(int((a != b).sum()) for a, b in weights) == 1
    assert changed.key != first.key
    assert {key for key in first.identity if first.identity[key] != changed.identity[key]} == {"weights"}


def test_identity_is_of_the_adapter_too(folder: Path, tmp_path: Path) -> None:
    adapter = with_adapter(folder, tmp_path / "adapter")
    plain, adapted = load(str(folder)), load(str(folder), adapter=str(adapter))
    assert adapted.name == "adapter"
    assert not torch.equal(logits(adapted.model), logits(plain.model))
    assert not any(weight.requires_grad for weight in adapted.model.parameters())
    (tmp_path / "moved").mkdir()
    moved = Path(shutil.move(adapter, tmp_path / "moved" / "adapter"))
    again = load(str(folder), adapter=str(moved))
    assert again.key == adapted.key
    assert torch.equal(logits(again.model), logits(adapted.model))
    flipped(moved / "adapter_model.safetensors")
    keys = {plain.key, adapted.key, load(str(folder), adapter=str(moved)).key}
    assert len(keys) == 3


@pytest.mark.parametrize("kind", ["resonance_yarn", "resonance_dynamic", "yarn"])
def test_a_saved_rope_type_loads_with_its_encoding(folder: Path, tmp_path: Path, kind: str) -> None:
    rope = {**YARN, "rope_type": kind} if "yarn" in kind else {"rope_type": kind, "factor": 4.0}
    in_memory = with_rope(folder, tmp_path / "tuned", rope)
    loaded = load(str(tmp_path / "tuned"))
    assert torch.equal(logits(loaded.model), logits(in_memory))
    assert not torch.allclose(logits(loaded.model), logits(load(str(folder)).model), atol=1e-6)
    assert loaded.identity["rope"]["all"]["rope_type"] == kind
    assert loaded.tuned_with == kind
    assert loaded.name == "tuned (tuned)"


def test_another_rope_is_refused_unless_meant(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with_rope(folder, tmp_path / "tuned", YARN)
    tuned = load("tuned")
    refuse_other_rope(load(str(folder)), ["none", "pi"])
    refuse_other_rope(tuned, ["none", "yarn"])
    refuse_other_rope(tuned, ["resonance_yarn"], override=True)
    for name in ("pi", "resonance_yarn"):
        with pytest.raises(BadValue, match=f"rope={name}: tuned .tuned. was tuned with yarn; use none"):
            refuse_other_rope(tuned, ["none", name])
    (tmp_path / "text.txt").write_text(" ".join(WORDS * 3))
    words = ("llm", "perplexity", "tuned", "--texts", "text.txt", "--rope", "none,pi", "lengths=[16,32]", "--threads",
             "1", "--dtype", "fp32")  # fmt: skip
    assert run(*words) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line]
    assert told == [
        "posgen: error: rope=pi: tuned (tuned) was tuned with yarn; use none, which is that encoding, or add "
        "--other-rope"
    ]
    assert not (tmp_path / "results").exists()
    assert run(*words, "--other-rope") == 0
    said = capsys.readouterr().out
    assert "tuned (tuned)" in said
    assert (tmp_path / "results/llm/records.jsonl").is_file()


def replaced(name: str, content: bytes | None) -> Change:
    """A change of a folder: a file's content is this, or the file is gone."""

    def change(folder: Path) -> None:
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)

    return change


def config(**keys: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))

    return change


def shortened(name: str) -> Change:
    def change(folder: Path) -> None:
        os.truncate(folder / name, (folder / name).stat().st_size // 2)

    return change


MISTAKES: dict[str, tuple[Change, str]] = {
    "no config": (replaced("config.json", None), "the folder has no config.json; name one that transformers can load"),
    "config": (replaced("config.json", b"{"), "is not a valid JSON file"),
    "no weights": (replaced("model.safetensors", None), "no file named model.safetensors"),
    "half the weights": (shortened("model.safetensors"), "cannot be loaded (SafetensorError"),
    "no bytes": (replaced("model.safetensors", b""), "cannot be loaded (SafetensorError"),
    "other sizes": (config(hidden_size=64), "cannot be loaded"),
    "a layer without weights": (config(num_hidden_layers=3), "the weights model.layers.2.input_layernorm.weight and 8 "
                                "more are missing"),
    "tokenizer": (replaced("tokenizer.json", b"{"), "cannot be loaded (JSONDecodeError"),
    "rope type": (config(rope_parameters={"rope_type": "yarm"}), "cannot be loaded (KeyError: 'yarm'"),
    "note": (replaced(NOTE, b"{"), f"{NOTE} cannot be read (JSONDecodeError"),
    "note in UTF-16": (replaced(NOTE, b"\xff\xfe{\x00"), f"{NOTE} cannot be read (UnicodeDecodeError"),
    "note of a list": (replaced(NOTE, b"[]"), f"{NOTE} is no JSON object; delete or restore it"),
    "note of a number": (replaced(NOTE, b'{"note": 3}'), f"{NOTE}: note is not a str; delete or restore it"),
    "tuning": (replaced(NOTE, b'{"tuning": "yarn"}'), f"{NOTE}: tuning is not a dict; delete or restore it"),
    "rope.json": (replaced(ROPE_FILE, b"{}"), ROPE_FILE),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_damaged_folder_is_one_line(folder: Path, tmp_path: Path, mistake: str) -> None:
    change, told = MISTAKES[mistake]
    change(Path(shutil.copytree(folder, tmp_path / "copy")))
    refused(told, str(tmp_path / "copy"))


def refused(told: str, source: str, **keys: Any) -> None:
    with pytest.raises(UserError) as error:
        load(source, **keys)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_config_that_no_longer_has_the_tuned_rope(folder: Path, tmp_path: Path) -> None:
    with_rope(folder, tmp_path / "tuned", YARN)
    for change in (config(rope_parameters={"rope_type": "default", "rope_theta": 1e4}),
                   config(rope_parameters={**YARN, "factor": 2.0, "rope_theta": 1e4})):  # fmt: skip
        change(tmp_path / "tuned")
        refused("loads with another encoding than it was tuned with", str(tmp_path / "tuned"))


def test_what_is_no_model_is_one_line(folder: Path, tmp_path: Path) -> None:
    model, missing = str(folder), str(tmp_path / "missing")
    refused(f"model={missing}: is no folder; name one", missing)
    refused("is a file; name the folder that transformers can load", str(folder / "model.safetensors"))
    refused("dtype=fp8: one of bf16, fp16, fp32", model, dtype="fp8")
    absent = f"cuda:{torch.cuda.device_count()}"  # one more than there are
    refused(f"device={absent}: torch cannot use it", model, device=absent)
    refused("device=gpu: torch cannot use it", model, device="gpu")


def test_what_is_no_adapter_is_one_line(folder: Path, tmp_path: Path) -> None:
    model, whole = str(folder), with_adapter(folder, tmp_path / "whole")
    refused("is an adapter; name its base as the model", str(whole))
    refused("the folder has no adapter_config.json", model, adapter=model)
    refused("the folder has no adapter_config.json", model, adapter=str(tmp_path / "missing"))
    mistakes: dict[str, tuple[Change, str]] = {
        "weights": (replaced("adapter_model.safetensors", None), "has no weights (*.safetensors)"),
        "half": (shortened("adapter_model.safetensors"), "cannot be loaded (SafetensorError"),
        "config": (replaced("adapter_config.json", b"{"), "cannot be loaded"),
        "rope": (replaced(ROPE_FILE, None), f"{ROPE_FILE}: No such file"),
        "note": (replaced(NOTE, b"[]"), f"{NOTE} is no JSON object"),
    }
    for name, (change, told) in mistakes.items():
        change(Path(shutil.copytree(whole, tmp_path / name)))
        refused(told, model, adapter=str(tmp_path / name))
    base = saved(tmp_path / "base", hidden_size=64, num_attention_heads=4)  # heads of the same size: the rope fits
    wider = with_adapter(base, tmp_path / "wider")
    refused("cannot be loaded (RuntimeError", model, adapter=str(wider))
    partial = with_adapter(folder, tmp_path / "partial")
    lora = json.loads((partial / "adapter_config.json").read_text())
    (partial / "adapter_config.json").write_text(json.dumps({**lora, "target_modules": ["q_proj", "v_proj", "o_proj"]}))
    refused("Found missing adapter keys", model, adapter=str(partial))
