"""train, sweep, evaluate and status for real, at the smoke profile: one sweep, and then everything that reads it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from tests.command import run

TASKS = ("recursive", "cot", "semi_recursive")

PES = ("rope", "resonance_rope", "yarn", "resonance_yarn")
START = "from cli.main import main; main()"
# Ctrl-C within the fifth step: sent from outside, it would come too early on a slow machine or too late on a fast one.
INTERRUPTED = (
    "import signal\n"
    "from models.population import Population\n"
    "step = Population.step\n"
    "def pressed(self, *batch):\n"
    "    if self.steps == 4:\n"
    "        signal.raise_signal(signal.SIGINT)\n"
    "    return step(self, *batch)\n"
    f"Population.step = pressed\n{START}"
)


def records(folder: Path) -> list[AccuracyRecord]:
    return load(folder / "records.jsonl")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `posgen sweep --profile smoke` has run, in a process of its own as users run it."""
    folder = tmp_path_factory.mktemp("swept")
    command = [sys.executable, "-c", START, "sweep", "--profile", "smoke", "--threads", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    return folder


@pytest.fixture(autouse=True)
def workplace(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(swept)
    return swept


def test_a_sweep_fills_every_cell_of_both_protocols(swept: Path) -> None:
    measured = records(swept / "results" / "smoke")
    cells = sorted((p, r.task, r.pe) for r in measured for p in r.protocols)
    assert cells == sorted((p, t, pe) for p in ("paper", "zero_shot") for t in TASKS for pe in PES)
    assert len({r.run_id for r in measured}) == 12
    for r in measured:
        assert (r.status, r.profile, r.sweep, r.length, r.train_length) == (
            "finished", "smoke", "smoke", 32, 16
        )  # fmt: skip
        assert all(value is not None and 0 <= value <= 1 for value in (r.id_accuracy, r.ood_accuracy))
        assert r.training.label == "smoke test, its numbers mean nothing"


def test_what_a_sweep_prints_are_its_records(swept: Path) -> None:
    out = (swept / "stdout").read_text()
    assert out.startswith("12 members: ")
    assert "12 trained and measured" in out
    for r in records(swept / "results" / "smoke"):
        assert f"{100 * (r.ood_accuracy or 0.0):.2f}" in next(
            line for line in out.splitlines() if line.startswith(r.run_id) and f"  {r.test_encoding} " in line
        )


def test_what_is_finished_is_not_trained_again(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = swept / "results" / "smoke" / "records.jsonl"
    before = store.read_bytes()
    same = ("--task", "cot", "--pe", "yarn", "--profile", "smoke", "--threads", "1")
    assert run("sweep", *same, "--protocol", "paper") == 0
    assert "1 already finished" in capsys.readouterr().out
    assert run("train", *same) == 0
    assert "1 already trained, now measured" in capsys.readouterr().out
    assert store.read_bytes() == before


@pytest.mark.slow
def test_fresh_trains_again_and_gets_the_same_numbers(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "train",
        "--task",
        "cot",
        "--pe",
        "rope",
        "--profile",
        "smoke",
        "--threads",
        "1",
        "paths.results=again",
    )
    assert run(*arguments) == 0
    (first,) = records(swept / "again" / "runs")
    assert run(*arguments, "--fresh") == 0
    assert "1 trained and measured" in capsys.readouterr().out
    (second,) = records(swept / "again" / "runs")
    assert second.metrics == first.metrics
    assert second.history == first.history


def test_what_differs_does_not_enter_the_profiles_records(swept: Path) -> None:
    """Neither changed settings nor seeds beyond the profile's, and nothing that `train` does."""
    before = (swept / "results" / "smoke" / "records.jsonl").read_bytes()
    one = ("--profile", "smoke", "--threads", "1", "--task", "cot", "--pe", "rope")
    assert run("sweep", *one, "optim.lr=1e-2") == 0
    assert run("sweep", *one, "--seed", "7,8") == 0
    assert run("train", *one, "--seed", "9") == 0
    assert (swept / "results" / "smoke" / "records.jsonl").read_bytes() == before
    changed = records(swept / "results" / "smoke+optim.lr=1e-2")
    assert {r.profile for r in changed} == {"smoke+optim.lr=1e-2"}
    assert {r.training.optim.lr for r in changed} == {0.01}
    assert {r.seed for r in records(swept / "results" / "smoke+seed=7_8")} == {7, 8}
    assert [r.seed for r in records(swept / "results" / "runs") if r.sweep == "train"][-1] == 9


def test_status_lists_finished_runs_with_their_validation(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--runs", "--json") == 0
    rows = {row["run_id"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    for record in records(swept / "results" / "smoke"):
        row = rows[record.run_id]
        assert (row["status"], row["task"], row["seed"]) == ("finished", record.task, record.seed)
        chosen = next(h for h in record.history if h.epoch == record.checkpoint_epoch)
        assert row["validation"][record.test_encoding]["id_accuracy"] == chosen.validation_id_accuracy
    assert run("status", "--runs") == 0
    assert len(re.findall(r"^[0-9a-f]{12}  finished", capsys.readouterr().out, re.MULTILINE)) >= 12


def test_table1_and_figure3_are_drawn_from_the_records(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("table1", "--profile", "smoke") == 0
    assert "smoke test, its numbers mean nothing" in " ".join(capsys.readouterr().out.split())
    assert run("figure3", "--profile", "smoke", "--out", "drawn") == 0
    assert {path.suffix for path in (swept / "drawn").iterdir()} >= {".png", ".pdf"}


def one_run(folder: Path) -> AccuracyRecord:
    """The record of a RoPE training under RoPE."""
    return next(r for r in records(folder / "results" / "smoke") if (r.task, r.pe) == ("cot", "rope"))


def measured_again(folder: Path, run_id: str) -> list[AccuracyRecord]:
    return [r for r in records(folder / "results" / "runs") if r.run_id == run_id]


def test_evaluate_measures_other_lengths(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = one_run(swept).run_id
    assert run("evaluate", run_id, "--length", "8,48", "--threads", "1") == 0
    assert capsys.readouterr().out.count(run_id) == 4  # two lengths under its two encodings
    assert {r.length for r in measured_again(swept, run_id)} >= {8, 48}


def test_evaluate_runs_free(swept: Path) -> None:
    run_id = one_run(swept).run_id
    assert run("evaluate", run_id, "--accuracy", "free_running", "--threads", "1") == 0
    assert "free_running" in {r.accuracy_mode for r in measured_again(swept, run_id)}


def test_evaluate_fits_other_encodings_to_the_runs_lengths(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = one_run(swept).run_id
    assert run("evaluate", run_id, "--pe", "pi,yarn", "--threads", "1") == 0
    assert "pi" in capsys.readouterr().out
    again = {r.test_encoding.partition("~")[0]: r for r in measured_again(swept, run_id) if r.length == 32}
    # protocol zero_shot fits YaRN to the lengths 16 -> 32 exactly as the sweep did: no second YaRN appears
    assert {"yarn", "pi"} <= set(again) <= {"rope", "yarn", "pi"}
    of_run = [r for r in records(swept / "results" / "smoke") if r.run_id == run_id]
    swept_yarn = next(r for r in of_run if r.test_encoding.startswith("yarn"))
    assert again["yarn"].metrics == swept_yarn.metrics
    assert again["pi"].spec.params == {"factor": 33 / 17}


def test_two_forms_of_one_encoding_are_two_measurements(swept: Path) -> None:
    run_id = one_run(swept).run_id
    for factor in (4, 8):
        assert run("evaluate", run_id, "--pe", "ntk", f"pe.params.factor={factor}", "--threads", "1") == 0
    found = [r.spec.params["factor"] for r in measured_again(swept, run_id) if r.pe == "ntk"]
    assert sorted(found) == [4.0, 8.0]


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--protocol", "paper,zero_shot"], "give one"),
        (["pe.params.factor=2"], "need --pe"),
        (["--pe", "pi", "pe.params.factor=0"], "factor"),
        (["--length", "3"], "length=3"),
    ],
)
def test_evaluate_answers_mistakes_in_one_line(
    arguments: list[str], remedy: str, swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (swept / "results" / "smoke" / "records.jsonl").read_bytes()
    assert run("evaluate", one_run(swept).run_id, *arguments) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"posgen: error: [^\n]+\n", err)
    assert remedy in err
    assert (swept / "results" / "smoke" / "records.jsonl").read_bytes() == before


def test_too_few_prefixes_are_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("train", "--profile", "smoke", "--threads", "1", "task.modulus=2") == 2
    assert re.fullmatch(r"posgen: error: [^\n]+\n", capsys.readouterr().err)
    assert not list(tmp_path.rglob("*.json*"))


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_the_same_command_finishes(tmp_path: Path) -> None:
    def call(code: str) -> subprocess.CompletedProcess[str]:
        words = ["train", "--profile", "smoke", "--threads", "1", "optim.epochs=6", "optim.validate_every=6"]
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    stopped = call(INTERRUPTED)
    assert stopped.returncode == 130, stopped.stderr
    assert "the same command resumes" in stopped.stderr
    (state,) = tmp_path.glob("results/runs/*/run.json")
    found = json.loads(state.read_text())
    assert (found["status"], found["epoch"], found["epochs"]) == ("interrupted", 2, 6)  # two steps an epoch
    done = call(START)
    assert done.returncode == 0, done.stderr
    assert json.loads(state.read_text())["status"] == "finished"
    assert "1 trained and measured" in done.stdout


@pytest.mark.slow
def test_a_users_own_scaling_and_function(tmp_path: Path) -> None:
    """As the README shows them, from a file in the folder where the command is typed."""
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from models.encodings.scalings.base import Scaling, rope_inv_freq\n"
        "@dataclass(frozen=True)\n"
        "class Half(Scaling):\n"
        "    slower: float = 2.0\n"
        "    def inv_freq(self, head_dim, base, length):\n"
        "        return rope_inv_freq(head_dim, base) / self.slower\n"
        "def weighted(args, modulus):\n"
        "    return (args * [1, 2, 3]).sum(1) % modulus\n"
    )
    base = [sys.executable, "-c", START, "train", "--profile", "smoke", "--threads", "1", "--pe", "rope"]
    own = ["pe.scaling=mine:Half", "task.h=mine:weighted", "task.near=2"]
    for words, status, said in (
        (["pe.params.slower=3"], 0, "1 trained and measured"),
        (["pe.params.slowr=3"], 2, "did you mean slower?"),
        (["pe.params.slower=fast"], 2, "must be a number"),
    ):
        done = subprocess.run([*base, *own, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert said in done.stdout + done.stderr
    (config,) = tmp_path.glob("results/runs/*/config.yaml")
    assert "slower: 3" in config.read_text()
    (data,) = tmp_path.glob("results/data/*/manifest.json")
    assert "mine:weighted" in data.read_text()


@pytest.mark.slow
def test_an_edited_function_or_encoding_is_another_run(tmp_path: Path) -> None:
    """A run's identity holds the files' hashes: what was edited is neither found finished nor measured again."""
    base = [sys.executable, "-c", START]
    train = [*base, "train", "--profile", "smoke", "--threads", "1", "task.h=mine:h", "--pe", "own.py:Mine"]
    own = (
        "from dataclasses import dataclass\nfrom models.encodings.scalings.base import Scaling, rope_inv_freq\n"
        "@dataclass(frozen=True)\nclass Mine(Scaling):\n    def inv_freq(self, head_dim, base, length):\n"
        "        return rope_inv_freq(head_dim, base) * 1.0\n"
    )
    (tmp_path / "own.py").write_text(own)
    (tmp_path / "mine.py").write_text("def h(args, modulus): return args.sum(axis=1) % modulus\n")
    said: list[str] = []
    runs: list[str] = []
    for change in (None, "mine.py", "own.py"):
        if change:
            file = tmp_path / change
            file.write_text(
                file.read_text().replace("args.sum(axis=1)", "(2 * args.sum(axis=1))").replace("1.0", "3.0")
            )
        done = subprocess.run(train, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
        (new,) = {f.parent.name for f in tmp_path.glob("results/runs/*/run.json")}.difference(runs)
        runs.append(new)
    assert all("1 trained and measured" in out for out in said)
    trusted = [*base, "evaluate", runs[0], "--code", "mine:h", "--code", "own.py:Mine"]
    done = subprocess.run(trusted, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "edited since" in done.stderr


def test_what_cannot_work_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, told in (
        (("--pe", "learned", "pe.params.max_length=20"), "pe.params.max_length=20"),
        (("--pe", "randomized", "pe.params.max_position=10"), "pe.params.max_position=10"),
        (("--pe", "sinusoidal", "model.d_model=31"), "model.d_model=31"),
        (("--pe", "dynamic_ntk", "model.head_dim=2"), "model.head_dim=2"),
        (("model.dropout=0.999999",), "model.dropout=0.999999"),
        (("optim.eps=inf",), "optim.eps=inf"),
    ):
        assert run("train", "--profile", "smoke", "--threads", "1", *words) == 2
        assert told in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json*"))


def test_a_warm_up_that_ends_at_step_0_trains(swept: Path) -> None:
    """10 steps and a tenth of them to warm up: torch's schedule would divide by zero."""
    assert run("train", "--profile", "smoke", "--threads", "1", "--pe", "rope", "optim.epochs=5") == 0


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param("return None", "its code fails", marks=pytest.mark.slow),
        pytest.param("return rope_inv_freq(head_dim, base)[:3]", "must be", marks=pytest.mark.slow),
        ("raise KeyError('boom')", "KeyError"),
        pytest.param("return rope_inv_freq(head_dim, base) * float('nan')", "finite", marks=pytest.mark.slow),
        ("import torch; return rope_inv_freq(head_dim, base) * torch.rand(1)", "always the same"),
    ],
)
def test_own_code_that_misbehaves_is_one_line(body: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from dataclasses import dataclass\nfrom models.encodings.scalings.base import Scaling, rope_inv_freq\n"
        "@dataclass(frozen=True)\nclass Bad(Scaling):\n"
        f"    def inv_freq(self, head_dim, base, length):\n        {body}\n"
    )
    command = [sys.executable, "-c", START, "train", "--profile", "smoke", "--pe", "bad.py:Bad"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"posgen: error: [^\n]+\n", done.stderr)
    assert told in done.stderr
    assert not (tmp_path / "results").exists()


def test_an_empty_option_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["train", "--profile", ""], ["train", "--pe", " "], ["evaluate", "pe.params.factor=4"]):
        assert run(*words) == 2
        assert re.fullmatch(r"posgen: error: [^\n]+\n", capsys.readouterr().err)
