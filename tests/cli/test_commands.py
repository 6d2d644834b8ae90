"""The commands that train nothing, and what the command line does with every kind of mistake."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from cli.main import PACKAGES
from tests.command import run

HEAVY = ("torch", "pandas", "scipy", "wandb", "matplotlib", "hydra", "omegaconf", "pyarrow", "numpy")
COMMANDS = (
    "generate", "show", "train", "sweep", "evaluate", "status", "table1", "figure3", "export-rope", "ledger",
    "positions", "curves", "gap", "lengths", "league",
    "work",
)  # fmt: skip


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an estimate times takes one second: what is estimated from that is the same on every machine."""
    seconds = itertools.count()
    monkeypatch.setattr("eval.running.populations.time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("arguments", [["--help"], [], *([command, "--help"] for command in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from cli.main import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"assert not set({HEAVY!r}) & set(sys.modules), set({HEAVY!r}) & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: posgen" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert capsys.readouterr().out.count(f"posgen {command}") >= 2  # the usage line, and an example


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert re.fullmatch(r"posgen \d+\.\d+\.\d+\n", capsys.readouterr().out)


WRONG = {
    "unknown command": (["trian"], "train"),
    "unknown option": (["train", "--pee", "rope"], "--pe"),
    "option without value": (["train", "--pe"], "--pe"),
    "option of another type": (["train", "--threads", "x"], "threads=x: use a whole number"),
    "unknown encoding": (["train", "--pe", "resonance_yarm"], "did you mean resonance_yarn?"),
    "unknown encoding among known ones": (["sweep", "--pe", "rope,yarm"], "did you mean yarn?"),
    "unknown task": (["generate", "--task", "recursiv"], "did you mean recursive?"),
    "unknown profile": (["sweep", "--profile", "smok"], "did you mean smoke?"),
    "unknown protocol": (["train", "--protocol", "papper"], "did you mean paper?"),
    "seed that is no number": (["train", "--seed", "one"], "seed=one"),
    "seed out of range": (["train", "--seed", "-1"], "4294967295"),
    "empty entry": (["train", "--pe", "rope,,yarn"], "empty"),
    "unknown key": (["train", "model.d_modle=64"], "did you mean model.d_model?"),
    "value of another type": (["train", "model.d_model=big"], "whole number"),
    "value out of range": (["train", "optim.lr=-1"], "0 < lr"),
    "added key": (["train", "+x=1"], "neither added"),
    "deleted key": (["train", "~tracker"], "neither added"),
    "bad grammar": (["train", "optim.lr=["], "cannot be read"),
    "no equals sign": (["train", "yarn"], "KEY=VALUE"),
    "sweep in train": (["train", "optim.lr=1e-3,2e-3"], "posgen sweep"),
    "given twice": (["train", "--pe", "rope", "pe=yarn"], "once"),
    "parameter of no encoding": (["train", "--pe", "rope", "pe.params.factor=2"], "no parameters"),
    "parameter out of range": (["train", "--pe", "yarn", "pe.params.factor=0"], "pe.params.factor"),
    "no such device": (["train", "--profile", "smoke", "--device", "cuda:99"], "this machine has cpu"),
    "not supported by generate": (["generate", "optim.lr=1"], "leave it out"),
    "not supported by show": (["show", "pe=rope"], "leave it out"),
    "prefix of another length": (["show", "--prefix", "1,2"], "prefix"),
    "prefix out of range": (["show", "--prefix", "1,2,3,9"], "prefix"),
    "prefix that is no number": (["show", "--prefix", "a,b"], "prefix=a,b"),
    "unknown run": (["evaluate", "0123456789ab"], "no such run"),
    "no run": (["evaluate"], "RUN_ID"),
    "unknown accuracy": (["evaluate", "0123456789ab", "--accuracy", "free"], "accuracy"),
    "length below 1": (["evaluate", "0123456789ab", "--length", "0"], "length=0"),
    "not supported by evaluate": (["evaluate", "0123456789ab", "optim.lr=1"], "leave it out"),
    "too few prefixes": (["generate", "task.modulus=2"], "largest"),
    "no records": (["table1", "--profile", "smoke"], "smoke"),
    "no records to draw": (["figure3", "--profile", "smoke"], "smoke"),
}


@pytest.mark.parametrize(("arguments", "remedy"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], remedy: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert re.fullmatch(r"posgen: error: [^\n]+\n", err)
    assert remedy in err
    assert "Traceback" not in out + err
    assert files(workplace) == []


def test_a_place_that_cannot_be_written_is_named(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "taken").write_text("mine")
    assert run("generate", "--profile", "smoke", "paths.data=taken/data") == 2
    assert "taken" in capsys.readouterr().err
    assert (workplace / "taken").read_text() == "mine"


def test_show_prints_figure_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show") == 0
    out = capsys.readouterr().out
    # the paper's Figure 2: modulus 7, seed 2 0 3 1
    for tokens in ("6 3 6 2 3 0 4 2", "6 5 0 6 6 0 0 1", "6 5 5 2 1 4 1 0"):
        assert f"2 0 3 1 {tokens}" in out


def test_show_takes_another_alphabet_seed_and_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run("show", "--task", "recursive", "--modulus", "10", "--prefix", "9 9 9", "--length", "5", "task.near=2") == 0
    )
    assert "9 9 9 7 5" in capsys.readouterr().out  # 27 mod 10, 25 mod 10


def test_generate_writes_checks_and_leaves_alone(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate", "--task", "cot", "--profile", "smoke") == 0
    out = capsys.readouterr().out
    assert "written" in out
    assert "numbers mean nothing" in out
    (folder,) = (workplace / "results" / "data").iterdir()
    assert str(folder.relative_to(workplace)) in out
    for split, shape in (("train", (64, 16)), ("validation", (16, 32)), ("test", (16, 32))):
        tokens = pq.read_table(folder / f"{split}.parquet").column("tokens").to_pylist()
        assert (len(tokens), len(tokens[0])) == shape
        assert hashlib.sha256(bytes(token for row in tokens for token in row)).hexdigest() in out
    before = {path: path.stat().st_mtime_ns for path in files(folder)}
    assert run("generate", "--task", "cot", "--profile", "smoke") == 0
    assert "found, checked" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in files(folder)} == before


def test_generate_follows_the_protocol_and_the_paths(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("generate", "--task", "cot", "--profile", "paper", "--protocol", "paper,released")
    assert run(*words, "paths.results=there") == 0
    manifests = [json.loads(path.read_text()) for path in (workplace / "there").rglob("manifest.json")]
    assert sorted(manifest["data"]["splits"] for manifest in manifests) == ["disjoint", "released"]
    assert {manifest["task"]["modulus"] for manifest in manifests} == {17}
    assert {manifest["splits"]["train"]["rows"] for manifest in manifests} == {10_000}


def test_every_command_takes_profile_quick_by_default(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate", "--task", "cot", "paths.data=there") == 0
    assert run("train", "--dry-run", "--seed", "1") == 0
    assert run("sweep", "--dry-run", "--task", "cot", "--pe", "rope") == 0
    assert capsys.readouterr().out.count("profile quick (quick profile") == 3


def test_dry_run_lists_and_writes_nothing(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", "--profile", "smoke", "--dry-run", "--seed", "1,2,3", "--task", "cot") == 0
    out = capsys.readouterr().out
    assert out.startswith("12 members: task cot, ")
    assert out.count("paper/rope zero_shot/rope zero_shot/yarn") == 3
    assert files(workplace) == []


def test_a_sweep_over_a_setting_is_a_profile_for_each_value(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--profile", "smoke", "--dry-run", "--task", "cot", "--pe", "rope", "optim.lr=1e-3,2e-3"]
    assert run("sweep", *arguments) == 0
    out = capsys.readouterr().out
    for value in ("0.001", "0.002"):
        assert f"results/smoke+optim.lr={value}/records.jsonl" in out


def test_train_alone_is_sensible_and_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--pe", "resonance_yarn", "--dry-run") == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("1 member: task cot, pe resonance_yarn, seed 5549, protocol paper, profile quick (")


@pytest.mark.usefixtures("steady")
def test_trailing_choices_mean_the_same_as_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--pe", "yarn", "--seed", "7", "--profile", "smoke", "--dry-run") == 0
    options = capsys.readouterr().out
    assert "seed 7" in options
    assert run("train", "pe=yarn", "seed=7", "profile=smoke", "--dry-run") == 0
    assert capsys.readouterr().out == options


def test_status_without_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status") == 0
    assert "posgen train" in capsys.readouterr().out
    assert run("status", "--json") == 0
    assert capsys.readouterr().out == ""


def test_status_shows_every_state_and_survives_a_damaged_file(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run_id, state in (("a" * 12, "interrupted"), ("b" * 12, "running"), ("c" * 12, "diverged")):
        folder = workplace / "results" / "runs" / run_id
        folder.mkdir(parents=True)
        known = {"run_id": run_id, "status": state, "epoch": 3, "epochs": 8, "task": "cot", "train_encoding": "rope",
                 "seed": 5549, "profile": "quick", "sweep": "quick", "updated": "2026-11-21T22:00:00Z"}  # fmt: skip
        (folder / "run.json").write_text(json.dumps(known))
    (workplace / "results" / "runs" / ("d" * 12)).mkdir()
    (workplace / "results" / "runs" / ("d" * 12) / "run.json").write_text('{"run_id"')
    assert run("status") == 0
    out = capsys.readouterr().out
    for state in ("interrupted, epoch 3 of 8", "running, epoch 3 of 8", "diverged, epoch 3 of 8", "unreadable"):
        assert state in out
    assert "0.00" not in out  # what was not measured is a dash, never a zero
    assert run("status", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["status"] for row in rows} == {"interrupted", "running", "diverged", "unreadable"}


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "cli"])
def test_a_package_that_hides_ours_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    code = "import cli, sys; sys.path.insert(0, ''); from cli.main import main; main(['--help'])"
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert re.fullmatch(rf"posgen: error: another package named {name} [^\n]+\n", done.stderr)


@pytest.mark.usefixtures("steady")
def test_dry_run_estimates_population_memory_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", "--profile", "smoke", "--threads", "1", "--dry-run", "--pe", "rope,alibi") == 0
    out = capsys.readouterr().out
    # two structures of encodings: two populations, of 3 tasks each; the weights are counted by hand
    layer = 32 * 3 * 32 + 32 * 32 + 32 * 64 + 64 * 32 + 2 * 32
    assert out.count(f"population of 3 members: {10 * 32 + 2 * layer + 32:,} weights each, 4 steps, about ") == 2
    assert re.search(r"about \d+ seconds in total on cpu, estimated from a few steps; nothing has been trained", out)
