"""The commands that train nothing, and what the command line does with every kind of mistake."""

from __future__ import annotations

import errno
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
from posgen.errors import UserError
from tests.command import run

HEAVY = ("torch", "pandas", "scipy", "wandb", "matplotlib", "hydra", "omegaconf", "pyarrow", "numpy")
COMMANDS = (
    "generate", "show", "audit", "train", "sweep", "evaluate", "status", "clean", "table1", "figure3", "export-rope",
    "ledger", "positions", "curves", "gap", "lengths", "interventions", "league",
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
    monkeypatch.setattr("eval.running.timing.time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))


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
    "not supported by audit": (["audit", "pe=rope"], "leave it out"),
    "window of the audit": (["audit", "--window", "0"], "window=0: use 1 to 64 tokens"),
    "audit of a text": (["audit", "--task", "text", "--profile", "text_smoke"], "--profile"),
    "length of the audit": (["audit", "--length", "4"], "length=4: use 5 to 4096 tokens"),
    "format of the audit": (["audit", "--format", "latex"], "format=latex: one of"),
    "audit of too many sets": (["audit", "task.far=8", "task.near=12", "--window", "60"], "every set would take"),
    "audit of too many seeds": (["audit", "task.h=tests.posgen.test_audit:product", "task.near=9"], "are enumerated"),
    "prefix of another length": (["show", "--prefix", "1,2"], "prefix"),
    "prefix out of range": (["show", "--prefix", "1,2,3,9"], "prefix"),
    "prefix that is no number": (["show", "--prefix", "a,b"], "prefix=a,b"),
    "unknown run": (["evaluate", "0123456789ab"], "no such run"),
    "no run": (["evaluate"], "RUN_ID"),
    "unknown accuracy": (["evaluate", "0123456789ab", "--accuracy", "free"], "accuracy"),
    "length below 1": (["evaluate", "0123456789ab", "--length", "0"], "length=0"),
    "not supported by evaluate": (["evaluate", "0123456789ab", "optim.lr=1"], "leave it out"),
    "too few prefixes": (["generate", "task.modulus=2"], "largest"),
    "number of 5000 digits": (["show", f"pe.kind={'9' * 5000}"], "too many digits"),
    "seed of 5000 digits": (["train", "--seed", "9" * 5000], "(5000 characters): use whole numbers"),
    "modulus of 5000 digits": (["show", f"task.modulus={'9' * 5000}"], "too many digits"),
    "brackets in brackets": (["show", f"task.far={'[' * 2000 + ']' * 2000}"], "task.far=["),
    "h of a module without a file": (["generate", "--profile", "smoke", "task.h=builtins:nope"], "h=builtins:nope"),
    "h that is no h": (["generate", "--profile", "smoke", "task.h=builtins:print"], "h=builtins:print: it returned"),
    "interval of a neutral key": (["sweep", "tracker.init_timeout=interval(0,1)"], "give one value"),
    "interval": (["sweep", "optim.lr=interval(0,1)"], "cannot be listed"),
    "several threads": (["sweep", "--threads", "2,2"], "threads=2,2: give one value"),
    "several devices": (["sweep", "--device", "cpu,cpu"], "device=cpu,cpu: give one value"),
    "bomb of a sweep": (["sweep", "data.seed=range(1,1000000)"], "one call plans at most 10,000"),
    "bomb of a data set": (["generate", "data.test_length=100000000", "data.test_size=100000"], "TiB of memory"),
    "bomb of a picture": (["show", "--length", "100000000"], "at most 10000"),
    "seeds that are lists": (["train", "profile.seeds=[[1]]"], "use a list such as [1,2]"),
    "lengths that are mappings": (["lengths", "--lengths", "{a: {b: 1}}"], "lengths"),
    "interpolation of nothing": (["show", "task.far=${nope}"], "the full name of another setting"),
    "unset variable": (["verdict", "verdict.seed=${oc.env:NOT_SET_ANYWHERE}"], "set it, or write ${oc.env:NAME,VALUE}"),
    "unset variable in a setting": (["train", "profile.label=${oc.env:NOT_SET_ANYWHERE}"], "set it, or write"),
    "characters that move the cursor": (["train", "--pe", "\x1b[2J\u2028x"], "\\x1b[2J\\u2028x"),
    "bytes that are no text": (["train", "--pe", "\udcff"], "\\udcff"),
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


WRONG_TABLES = """
import torch
from models.encodings import Encoding
class Base(Encoding):
    pass
class FlatBias(Encoding):
    def bias(self, weights, positions, model): return torch.zeros(model.heads, len(positions), len(positions))
class FixedBias(Encoding):
    def bias(self, weights, positions, model): return torch.zeros(1, model.heads, 7, 7)
class WholeBias(Encoding):
    def bias(self, weights, positions, model): return torch.zeros(1, model.heads, 2, 2, dtype=torch.int64)
class ListBias(Encoding):
    def bias(self, weights, positions, model): return [0.0]
class WideEmbedding(Encoding):
    def embedding(self, weights, positions, model): return torch.zeros(1, len(positions), model.d_model + 1)
class ShortRotation(Encoding):
    rotary = only_rotates = True
    def rotation(self, positions, length): return (torch.ones(len(positions), 1), torch.zeros(len(positions), 1))
"""


@pytest.mark.parametrize("protocol", ["paper", "released"])
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("FlatBias", "its bias for 2 positions should be floats of shape [1, 2, 2, 2], not [2, 2, 2]; fix it"),
        ("FixedBias", "its bias for 2 positions should be floats of shape [1, 2, 2, 2], not [1, 2, 7, 7]; fix it"),
        ("WholeBias", "its bias for 2 positions should be floats of shape [1, 2, 2, 2], not torch.int64; fix it"),
        ("ListBias", "its bias for 2 positions should be floats of shape [1, 2, 2, 2], not list; fix it"),
        ("WideEmbedding", "its embedding for 2 positions should be floats of shape [1, 2, 32], not [1, 2, 33]; fix it"),
        ("ShortRotation", "its rotation's cos for 2 positions should be floats of shape [2, 8], not [2, 1]; fix it"),
    ],
)
def test_tables_of_a_wrong_shape_are_found_before_training(
    name: str, complaint: str, protocol: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "enc.py").write_text(WRONG_TABLES)
    assert run("train", "--profile", "smoke", "--task", "cot", "--protocol", protocol, "--pe", f"enc.py:{name}") == 2
    assert capsys.readouterr().err == f"posgen: error: pe={name}: {complaint}\n"
    assert not (workplace / "results").exists()


def test_a_current_folder_that_is_gone_is_told_in_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'cd "{gone}" && rmdir "{gone}" && exec "{sys.executable}" -c "from cli.main import main; main()" status'
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(
        r"posgen: error: the current folder is gone [^\n]+; cd to one that exists [^\n]+\n", done.stderr
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device; free some, or name"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b: Permission denied; allow it"),
        (
            OSError(errno.EMFILE, "Too many open files", "a/b"),
            "a/b: Too many open files; close other programs, or allow",
        ),
        (
            BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
            "unavailable; close other programs, or ask",
        ),
        (MemoryError(), "out of memory; close other programs, or ask for less"),
    ],
)
def test_what_the_system_refuses_is_told_with_its_own_remedy(
    error: BaseException, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("posgen.dataset.prepare", refuse)
    assert run("generate", "--profile", "smoke", "--task", "cot") == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"posgen: error: [^\n]+\n", err)
    assert told in err


def test_a_line_of_any_length_keeps_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("table1", "x" * 100_000) == 2
    err = capsys.readouterr().err
    assert len(err) < 2000
    assert err.endswith("(see --help)\n")


def test_a_device_is_never_replaced_by_a_file(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from eval.store.files import write_atomically

    os.mkfifo(workplace / "pipe")
    for place in (Path("/dev/null"), Path("/dev/stdout"), workplace / "pipe"):
        with pytest.raises(UserError, match=r"cannot write .* \(a device or a pipe, no file\): name a file"):
            write_atomically(place, b"x")
    assert Path("/dev/null").is_char_device()
    assert (workplace / "pipe").is_fifo()


def test_a_full_disk_says_to_free_some(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eval.store.files import write_atomically

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (workplace / "old").write_text("old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError) as told:
        write_atomically(workplace / "old", b"new")
    remedy = "(No space left on device): free some, or name another place with paths.results=DIR"
    assert str(told.value) == f"cannot write {workplace / 'old'} {remedy}"
    assert [path.name for path in files(workplace)] == ["old"]
    assert (workplace / "old").read_text() == "old"


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


@pytest.mark.slow
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
