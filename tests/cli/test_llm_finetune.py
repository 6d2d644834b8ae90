"""`posgen llm finetune` and `posgen llm plan` as a user types them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import run
from tests.committed import ROOT
from tests.eval.running.small_llama import write_model, write_texts

FAST = ("length=32", "steps=3", "batch=2", "lr=1e-3", "--threads", "1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model")
    write_texts(tmp_path / "texts")
    return tmp_path


def finetune(*more: str) -> int:
    return run("llm", "finetune", "model", "--texts", "texts", "--out", "out/tuned", *FAST, *more)


def test_what_it_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune("--leave-out", "text-0,text-1", "tracker=none", "rope.beta_fast=16") == 0
    said = capsys.readouterr().out
    assert "from 2 texts, batches " in said
    assert "wrote out/tuned: short adaptation with batch=2, length=32, lr=0.001, steps=3, 0.000183 %" in said
    assert '"beta_fast": 16' in (here / "out/tuned/config.json").read_text()
    assert (here / "results/llm/tuning.jsonl").is_file()
    assert finetune("--leave-out", "text-0,text-1", "rope.beta_fast=16") == 0
    assert "out/tuned is tuned already" in capsys.readouterr().out
    assert sorted(path.name for path in (here / "out").iterdir()) == ["tuned"]


@pytest.mark.slow
def test_two_tuned_models_are_compared_each_under_its_own_encoding(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rope in ("yarn", "resonance_yarn"):
        words = ("--texts", "texts", "--leave-out", "text-0,text-1,text-2", *FAST)
        assert run("llm", "finetune", "model", "--rope", rope, "--out", f"out/{rope}", *words) == 0
        measured = ("--preset", "paper", "--dtype", "fp32", "--threads", "1", "lengths=[32,64]", "samples=3")
        assert run("llm", "perplexity", f"out/{rope}", "--texts", "texts", *measured) == 0
    capsys.readouterr()
    assert run("llm", "figure4") == 0
    said = capsys.readouterr().out
    assert "model, tuned under each encoding (short adaptation with batch=2, " in said
    assert "fp32, trained on 64 tokens, s = 2: " in said
    (line,) = [line for line in said.partition("Paired differences")[2].splitlines() if "Resonance YaRN" in line]
    assert line.count("±") == 2
    assert (here / "results/llm/figure4-tuned-s2.png").is_file()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--rope", "yarm"], "rope=yarm: did you mean yarn?"),
        (["--factor", "0.5"], "factor=0.5: use at least 1"),
        (["rope.beta_fsat=3"], "yarn.beta_fsat=3: did you mean beta_fast?"),
        (["--texts", "nowhere"], "texts=nowhere: there is no such file or folder"),
        (["--texts", "model"], "texts=model: the folder has no *.txt, *.jsonl, *.parquet, *.arrow"),
        (["--leave-out", "text-9"], "leave-out=text-9: did you mean text-"),
        (["block=100000"], "less than one sequence takes (block=100,000); add texts"),
        (["--recipe", "long"], "recipe=long: one of extended, paper, short"),
        (["--out", "texts"], "out=texts: is there and holds something else"),
        (["--out", "texts/text-0.txt"], "is a file; name a folder"),
        (["--device", "cuda:9"], "device=cuda:9: this machine has cpu"),
        (["seed"], "trailing arguments are written KEY=VALUE"),
        (["--save-seconds", "0"], "save-seconds=0.0: use seconds above 0"),
        (["tracker=wandbb"], "tracker=wandbb: did you mean wandb?"),
    ],
)
def test_a_mistake_is_one_line(here: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str) -> None:
    assert finetune(*more) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("posgen: error")]
    assert len(lines) == 1
    assert told in lines[0]
    assert not (here / "out" / "tuned").exists()


@pytest.mark.slow
def test_wandb_offline(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve of each step goes to a run of its own."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert finetune("tracker=wandb", "tracker.mode=offline") == 0
    assert len(list((here / "results" / "wandb").glob("offline-run-*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_process_that_ends_goes_on(here: Path, signum: int, status: int) -> None:
    words = ["llm", "finetune", "model", "--texts", "texts", *FAST[:1], "steps=60", "batch=2", "repeat=true"]
    words += ["--threads", "1", "--save-seconds", "0.5", "--records", "records.jsonl"]
    command = [sys.executable, "-c", "from cli.main import main; main()", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, "--out", "whole"], check=True, env=environment, capture_output=True)
    process = subprocess.Popen([*command, "--out", "cut"], env=environment, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list((here / "cut").glob(".tuning/step-*")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signum)
    assert process.wait(60) == status
    again = subprocess.run([*command, "--out", "cut"], check=True, env=environment, capture_output=True, text=True)
    assert "resumed after step" in again.stdout
    one, two = ((here / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert one == two


@pytest.mark.slow
def test_two_processes_are_one(here: Path) -> None:
    """By accelerate launch on two processes: the same batches, gradients averaged, one result."""
    from safetensors.torch import load_file

    words = ["llm", "finetune", "model", "--texts", "texts", *FAST, "batch=4", "precision=fp32", "--out"]
    words.remove("batch=2")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "cli.main"]
    one = [sys.executable, "-m", "cli.main"]
    for command, name in ((launch, "two"), (one, "one")):
        done = subprocess.run([*command, *words, name], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    first, second = (load_file(here / name / "model.safetensors") for name in ("one", "two"))
    assert first.keys() == second.keys()
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-4


def test_a_plan_of_7b(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("llm", "plan", "--model", "llama2-7b", "--length", "32768", "--batch", "64") == 0
    said = capsys.readouterr().out
    assert "6,738,415,616 weights" in said
    assert "assumed 350 TFLOP/s" in said
    assert "50 steps of 64 x 32,768 tokens (100 % of the paper's tokens)" in said
    assert "operations 1.83e+17 a step, 9.15e+18 in all" in said
    assert "fits: NO" in said
    for words in ("LoRA on bf16 weights", "optimiser on the CPU", "8-bit moments", "3 devices"):
        assert words in said
    assert run("llm", "plan", "--model", "llama2-7b", "--length", "32768", "--gpu", "h200") == 0
    assert "does not fit" not in capsys.readouterr().out
    assert run("llm", "plan", "--model", "llama2-7b", "--length", "32768", "--gpu", "rtx4090", "--lora") == 0
    assert "does not fit" in capsys.readouterr().out


def test_a_plan_of_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("llm", "plan", "--model", "model", "--recipe", "short", "--gpu", "cpu", "--teraflops", "0.5") == 0
    assert "assumed 0.5 TFLOP/s" in capsys.readouterr().out
    for words, told in (
        (["--model", "llama2-7bb"], "did you mean llama2-7b?"),
        (["--model", "model", "--gpu", "h1000"], "gpu=h1000: did you mean h100?"),
        (["--model", "model", "--length", "1"], "length=1: use 2 to"),
        ([], "model=: give it"),
    ):
        assert run("llm", "plan", *words) == 2
        assert told in capsys.readouterr().err
