"""What a tuning leaves: models and adapters that load with their encoding, and records."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from eval.running.llm.adaptation import Tuned
from eval.store.lm_kinds import AdaptationRecord
from eval.store.records import check, load
from models.hf.ropes import rotary_of
from models.lm.loading import load as load_model
from models.lm.loading import refuse_other_rope
from models.lm.nll import token_nll
from models.lm.ropes import Ropes
from posgen.errors import BadValue, UserError
from tests.eval.running.small_llama import CONTEXT, quiet, record_of, tuning, write_all
from tests.sampled import sampled


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("tuning"))


@pytest.fixture(scope="module")
def full(place: Path) -> Tuned:
    return quiet(dataclasses.replace(tuning(place, "full"), records=place / "full.jsonl"))


def inv_freq(model: Any) -> Tensor:
    return rotary_of(model.config).frequencies(2 * CONTEXT)[0]


def test_a_tuned_model_loads_with_its_encoding(place: Path, full: Tuned) -> None:
    tuned = load_model(str(place / "full"))
    assert tuned.tuned_with == "yarn"
    assert "short adaptation" in tuned.name
    assert "% of the paper's tokens" in tuned.name
    by_hand = load_model(str(place / "model"))
    Ropes(by_hand.model).install("yarn", 2.0)
    by_hand.model.load_state_dict(load_file(place / "full" / "model.safetensors"))
    ids = torch.arange(100) % 300
    expected = token_nll(by_hand.model, ids)
    assert np.array_equal(token_nll(tuned.model, ids), expected)
    ropes = Ropes(tuned.model)
    assert ropes.train_length == CONTEXT
    assert tuned.config.max_position_embeddings == 2 * CONTEXT
    ropes.install("pi", 2.0)
    assert not np.array_equal(token_nll(tuned.model, ids), expected)
    ropes.install("none", 1.0)
    assert np.array_equal(token_nll(tuned.model, ids), expected)
    refuse_other_rope(tuned, ["none", "yarn"])
    refuse_other_rope(tuned, ["pi"], override=True)
    with pytest.raises(BadValue, match="was tuned with yarn"):
        refuse_other_rope(tuned, ["pi"])


def test_a_changed_config_is_no_tuned_model(place: Path, full: Tuned, tmp_path: Path) -> None:
    shutil.copytree(place / "full", tmp_path / "copy")
    config = tmp_path / "copy" / "config.json"
    config.write_text(config.read_text().replace('"factor": 2.0', '"factor": 4.0'))
    with pytest.raises(UserError, match="loads with another encoding than it was tuned with"):
        load_model(str(tmp_path / "copy"))


def test_an_adapter_brings_its_encoding(place: Path) -> None:
    quiet(tuning(place, "adapter", lora=True, rope="resonance_yarn"))
    plain, adapted = load_model(str(place / "model")), load_model(str(place / "model"), adapter=str(place / "adapter"))
    assert adapted.tuned_with == "resonance_yarn"
    assert adapted.identity["rope"] != plain.identity["rope"]
    assert adapted.name != plain.name
    assert adapted.key != plain.key
    ids = torch.arange(100) % 300
    with_rope = load_model(str(place / "model"))
    Ropes(with_rope.model).install("resonance_yarn", 2.0)
    assert torch.equal(inv_freq(adapted.owner), inv_freq(with_rope.owner))
    with adapted.model.disable_adapter():
        assert np.array_equal(token_nll(adapted.model, ids), token_nll(with_rope.model, ids))
    assert not np.array_equal(token_nll(adapted.model, ids), token_nll(with_rope.model, ids))
    with pytest.raises(BadValue, match="is an adapter"):
        load_model(str(place / "adapter"))
    weights = load_file(place / "adapter" / "adapter_model.safetensors")
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in weights}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_frozen_weights_may_be_bf16_trained_ones_not(place: Path) -> None:
    record = record_of(quiet(tuning(place, "bf16-base", "base_precision=bf16", "precision=bf16", lora=True)))
    weights = load_file(place / "bf16-base" / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert record.losses[-1] < record.losses[0]
    with pytest.raises(BadValue, match="base_precision=bf16: weights that are trained stay fp32"):
        quiet(tuning(place, "bf16-full", "base_precision=bf16"))
    assert not (place / "bf16-full").exists()


ROPES = ["pi", "ntk", "dynamic_ntk", "resonance", "clip", "resonance_ntk_by_parts"]


@pytest.mark.parametrize("rope", sampled(ROPES, {"dynamic_ntk", "clip"}))
def test_every_encoding_is_saved_and_loaded(place: Path, rope: str, tmp_path: Path) -> None:
    factor = 1.0 if rope == "resonance" else 2.0
    asked = tuning(place, f"saved-{rope}", "steps=1", "batch=1", "micro_batch=1", rope=rope, factor=factor)
    quiet(asked)
    tuned, by_hand = load_model(str(asked.out)), load_model(str(place / "model"))
    Ropes(by_hand.model).install(rope, factor)
    assert torch.equal(inv_freq(tuned.owner), inv_freq(by_hand.owner))
    assert Ropes(tuned.model).train_length == CONTEXT


def test_the_record(place: Path, full: Tuned) -> None:
    (record,) = load(place / "full.jsonl", kind=AdaptationRecord)
    assert record == record_of(full)
    assert (record.encoding, record.factor, record.train_length, record.tokens) == ("yarn", 2.0, CONTEXT, 4 * 4 * 32)
    assert record.recipe.startswith("short adaptation with ")
    assert record.recipe.endswith("0.000488 % of the paper's tokens")
    assert record.protocol["lr"] == 1e-2
    assert record.training.config["tuning"]["documents"].keys() == {f"text-{n}" for n in range(4)}
    assert check(place / "full.jsonl")[2] == []
