"""`posgen export-rope`: what stock transformers reads from the files, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.main import PACKAGES
from models.encodings import build_rotary
from models.hf import longrope_check
from models.hf.longrope import StockRope, deviation, longrope, merged, standalone, stock_rope
from models.spec import EncodingSpec
from posgen.errors import UserError
from tests import command
from tests.committed import ROOT

LENGTHS = ["--train-length", "4096", "--test-length", "32768"]
LLAMA = {"factor": 8.0, "ramp_length": 4096, "beta_fast": 32}
SIZES: dict[str, Any] = {
    **{"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 6, "num_attention_heads": 2, "vocab_size": 8},
    **{"max_position_embeddings": 4096},
}
RESONANCE = EncodingSpec("r", "none", True)
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 5e5}


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    return command.run("export-rope", *arguments)


def read_here(
    config: dict[str, Any], folder: Path, lengths: list[int], save_small: Callable[[Path], None] | None = None
) -> dict[str, Any]:
    """What the checking program says of a configuration, without a process of its own."""
    folder.mkdir(exist_ok=True)
    if save_small is not None:
        save_small(folder / "small")
    (folder / "config.json").write_text(json.dumps(config))
    return longrope_check.main(str(folder), "full_attention", lengths)


def test_a_fragment_for_any_llama(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--pe", "resonance_yarn", "--head-dim", "128", "--base", "10000", *LENGTHS, "--out", "here") == 0
    out = capsys.readouterr().out
    assert "wrote here/rope.json: resonance_yarn (base 10000, factor 8.0, ramp_length 4096, beta_fast 32.0" in out
    assert "without posgen: 64 frequencies at lengths 1, 4096, 32768, 65536, the largest relative deviation" in out
    keys = json.loads((workplace / "here" / "rope.json").read_text())
    found = read_here(standalone(128, keys), workplace / "model", [1, 4097, 40_000])
    wanted, factor = build_rotary(EncodingSpec("y", "yarn", True, params=dict(LLAMA)), 128).frequencies(1)
    for table in found["inv_freq"]:
        assert table == pytest.approx(wanted.tolist(), rel=1e-6)
    assert found["attention_factor"] == pytest.approx(factor)
    assert (found["rope_type"], found["max_position_embeddings"]) == ("longrope", 32768)


def test_the_whole_config_of_a_model_with_two_bases(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Without processes, which take seconds each.
    monkeypatch.setattr(
        "models.hf.longrope.stock_rope",
        lambda config, lengths, small: StockRope(**read_here(config, workplace / "check", list(lengths), small)),
    )
    bases = {"sliding_attention": 10_000.0, "full_attention": 1_000_000.0}
    rope = {name: {"rope_type": "default", "rope_theta": base} for name, base in bases.items()}
    config = {"model_type": "gemma3_text", **SIZES, "head_dim": 32, "rope_parameters": rope, "kept": [1, 2]}
    (workplace / "config.json").write_text(json.dumps(config))
    words = [
        "--pe",
        "resonance_yarn",
        "--config",
        "config.json",
        "--test-length",
        "32768",
        "yarn.beta_fast=16",
        "--out",
    ]
    assert run(*words, "longer") == 0
    out = capsys.readouterr().out
    assert "base 1e+06, factor 8.0, ramp_length 4096, beta_fast 16.0" in out
    assert "within and beyond 4096 positions: hidden states as in memory" in out
    written = json.loads((workplace / "longer" / "config.json").read_text())
    assert written["kept"] == [1, 2]
    assert written["rope_parameters"]["sliding_attention"] == rope["sliding_attention"]
    assert written["rope_parameters"]["full_attention"]["original_max_position_embeddings"] == 4096

    assert run("--config", ".", "--test-length", "32768", "--out", ".") == 2
    assert "would replace config.json" in capsys.readouterr().err
    assert run(*words, "other.json", "--base", "10000") == 2
    assert "--base=10000.0: the configuration says 1e+06; leave --base out" in capsys.readouterr().err
    assert json.loads((workplace / "config.json").read_text()) == config


@pytest.mark.parametrize(
    ("spec", "config", "rotated"),
    [
        (RESONANCE, {"model_type": "gpt_neox", "rotary_pct": 0.5}, 16),
        (RESONANCE, {"model_type": "gpt_neox", "rotary_emb_base": 10_000}, 8),
        (EncodingSpec("y", "yarn", False, params=dict(LLAMA)), {"model_type": "mistral"}, 32),
        (
            EncodingSpec("l", "longrope", True, params={"factor": 8.0, "train_length": 4096}),
            {"model_type": "llama"},
            32,
        ),
        (EncodingSpec("n", "ntk", True, 5e5, {"factor": 8.0}), {"model_type": "llama", "rope_parameters": DYNAMIC}, 32),
        (RESONANCE, {"model_type": "phi", "partial_rotary_factor": 0.5, "rope_theta": 10_000.0}, 16),
    ],
)
def test_stock_transformers_reads_the_same_table(
    spec: EncodingSpec, config: dict, rotated: int, workplace: Path
) -> None:
    encoding = build_rotary(spec, rotated)
    written = merged({**SIZES, **config}, longrope(encoding, 4096, 32768), 32768)
    lengths = [1, 4096, 4097, 50_000]
    found = read_here(written, workplace / "model", lengths)
    for length, table in zip(lengths, found["inv_freq"], strict=True):
        inv_freq, factor = encoding.frequencies(length)
        assert table == pytest.approx(inv_freq.tolist(), rel=1e-6)
        assert found["attention_factor"] == pytest.approx(factor, rel=1e-6)


def test_the_check_fires() -> None:
    encoding = build_rotary(EncodingSpec("r", "none", True), 32)
    inv_freq = encoding.frequencies(1)[0].tolist()
    right = StockRope("5.0.0", "longrope", 10_000.0, [inv_freq, inv_freq], 1.0, 256)
    assert deviation(encoding, right, [1, 256]) == 0.0
    bent = [theta * (1.00001 if j == 3 else 1.0) for j, theta in enumerate(inv_freq)]
    with pytest.raises(UserError, match=r"\(feature 3 deviates by 1.0e-05, attention factor 1.0 where 1.0 is right\)"):
        deviation(encoding, replace(right, inv_freq=[inv_freq, bent]), [1, 256])
    with pytest.raises(UserError, match=r"attention factor 1\.1 where 1\.0 is right"):
        deviation(encoding, replace(right, attention_factor=1.1), [1, 256])
    with pytest.raises(UserError, match="rotates 15 features of a head, the encoding 16"):
        deviation(encoding, replace(right, inv_freq=[inv_freq[1:]]), [1])


@pytest.mark.slow
def test_the_checking_process_never_imports_this_package(workplace: Path) -> None:
    (workplace / "config.json").write_text(json.dumps(standalone(32, {})))
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['check', {str(workplace)!r}, 'full_attention', '1']\n"
        f"runpy.run_path({longrope_check.__file__!r}, run_name='__main__')\n"
        f"assert not set({PACKAGES!r}) & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rope_type"] == "default"


@pytest.mark.slow
def test_what_transformers_refuses_is_one_line() -> None:
    with pytest.raises(UserError, match="transformers cannot use this configuration: GPT2Model has no rotary module"):
        stock_rope({"model_type": "gpt2", "n_embd": 8, "n_head": 1, "n_layer": 1}, [1])


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--pe", "alibi", "--head-dim", "64", *LENGTHS], "pe=alibi: does not rotate"),
        (["--pe", "fox", "--head-dim", "64", *LENGTHS], "pe=fox: does not rotate"),
        (["--pe", "rnope", "--head-dim", "64", *LENGTHS], "pe=rnope: does more than rotate, which a rope type"),
        (["--pe", "resonance_rerope", "--head-dim", "64", *LENGTHS], "pe=resonance_rerope: does more than rotate"),
        (["--pe", "resonance_dynamic_ntk", "--head-dim", "64", *LENGTHS], "its table follows the length"),
        (["--pe", "p_rope", "--head-dim", "64", *LENGTHS], "some of its features do not rotate"),
        (["--pe", "resonance_yarm", "--head-dim", "64", *LENGTHS], "did you mean resonance_yarn?"),
        (["--head-dim", "63", *LENGTHS], "--head-dim=63: use an even number"),
        ([*LENGTHS], "--head-dim is missing: give it, or --config"),
        (["--head-dim", "64", "--train-length", "64"], "--test-length is missing"),
        (
            ["--head-dim", "64", "--train-length", "64", "--test-length", "32"],
            "--test-length=32: use at least --train-length (64)",
        ),
        (["--head-dim", "64", *LENGTHS, "yarn.beta_fats=1"], "did you mean"),
        (["--config", "no.json", "--test-length", "64"], "config=no.json: No such file"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    arguments: list[str], remedy: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--out", "rope.json") == 2
    error = capsys.readouterr().err
    assert error.startswith("posgen: error: ")
    assert error.count("\n") == 1
    assert remedy in error
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("given", [["--head-dim", "64", *LENGTHS], ["--config", "config.json"]])
def test_without_transformers_it_says_what_to_install(given: list[str], workplace: Path) -> None:
    (workplace / "config.json").write_text(json.dumps({"model_type": "llama", **SIZES}))
    code = (
        "import sys; sys.modules['transformers'] = None; from cli.main import main\n"
        f"main(['export-rope', *{given!r}, '--out', 'out'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "posgen: error: models.hf needs transformers: pip install 'posgen[llm]'\n"
    assert not (workplace / "out").exists()


LLAMA3 = {
    **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    **{"original_max_position_embeddings": 512, "rope_theta": 5e5},
}


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (
            ["--pe", "resonance_rope"],
            "pe=resonance_rope: would drop the configuration's llama3 (factor 8); leave --pe out",
        ),
        (["--pe", "resonance_llama3", "llama3.factor=4"], "llama3.factor=4: the configuration's llama3 says 8.0"),
        (["--pe", "resonance_llama3", "llama3.train_length=64"], "the configuration's llama3 says 512"),
        (["--train-length", "4096"], "--train-length=4096: the configuration says 512"),
        (["--head-dim", "64"], "--head-dim=64: the configuration says 32"),
        (["--test-length", "8192"], "--test-length=8192: the configuration's llama3 reaches 4096"),
    ],
)
def test_what_the_configuration_contradicts_is_refused(
    arguments: list[str], remedy: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "config.json").write_text(json.dumps({"model_type": "llama", **SIZES, "rope_parameters": LLAMA3}))
    assert run("--config", "config.json", *arguments, "--out", "out") == 2
    error = capsys.readouterr().err
    assert remedy in error
    assert error.count("\n") == 1
    assert not (workplace / "out").exists()


@pytest.mark.slow
def test_an_unbelievably_long_context_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = ["--train-length", "262144", "--test-length", "10000000"]
    assert run("--head-dim", "128", "--base", "500000", *lengths, "--out", "rope.json") == 0
    assert "factor 38.1" in capsys.readouterr().out
