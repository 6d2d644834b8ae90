"""The group `backend`: what it takes, and that it changes nothing of what a training is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conf.backends import BackendKind
from conf.compose import Choice, compose
from conf.overrides import changed, choices
from conf.schema import ProfileSpec
from eval.running.plan import plan
from tests.command import run

SMOKE = ("sweep", "--profile", "smoke", "--task", "cot", "--pe", "rope")


def test_every_backend_is_a_file_that_composes() -> None:
    assert choices("backend") == ["local", "post", "ray", "slurm"]
    for name in choices("backend"):
        assert compose(Choice(), [f"backend={name}"]).backend.kind is BackendKind(name)
    assert compose(Choice()).backend.kind is BackendKind.local


@pytest.mark.parametrize("name", ["local", "post", "ray", "slurm"])
def test_a_backend_is_no_part_of_a_training_or_a_profile(name: str) -> None:
    here, there = (plan(["cot"], ["rope"], [1], ["paper"], "smoke", more) for more in ((), (f"backend={name}",)))
    assert here == there
    assert "backend" not in there[0].config
    quick = ProfileSpec("quick", "small")
    assert changed(quick, [f"backend={name}", "backend.processes=2"]) == quick


WRONG = {
    "no processes": (["backend.processes=0"], "backend.processes=0: use 1 to 256"),
    "unknown backend": (["backend=slrum"], "did you mean slurm?"),
    "of another backend": (["backend.partition=gpu"], "backend.partition=gpu: is for backend=slurm, and this is"),
    "of two others": (["backend=post", "backend.gpus=1"], "backend.gpus=1: is for backend=slurm or backend=ray"),
    "unknown executor": (["backend=slurm", "backend.executor=pbs"], "backend.executor=pbs: one of local, slurm"),
    "no minutes": (["backend=slurm", "backend.minutes=0"], "backend.minutes=0: use 1 to"),
    "no memory": (["backend=slurm", "backend.memory_gb=0"], "backend.memory_gb=0"),
    "no sbatch": (["backend=slurm"], "backend=slurm: there is no sbatch here; run this on a login node"),
    "no address": (["backend=ray", "backend.address=somewhere"], "use local, auto, HOST:PORT or ray://HOST:PORT"),
    "nobody at the address": (
        ["backend=ray", "backend.address=127.0.0.1:1"], "backend.address=127.0.0.1:1: cannot be reached (ConnectionRef",
    ),
    "more processors than there are": (["backend=ray", "backend.cpus=1024"], "backend.cpus=1024: this machine has"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "line"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line(
    words: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(*SMOKE, *words) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
    assert not list((tmp_path / "results").glob("runs/*"))


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_named(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    assert run(*SMOKE, f"backend={name}") == 2
    err = capsys.readouterr().err
    assert err == f"posgen: error: backend={name} needs {package}: pip install 'posgen[{name}]'\n"


@pytest.mark.parametrize("name", ["local", "post", "ray", "slurm"])
def test_a_dry_run_starts_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*SMOKE, f"backend={name}", "--dry-run") == 0
    assert "nothing has been trained" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_device_of_another_machine_is_not_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert run(*SMOKE, "backend=post", "--device", "cuda") == 0
    assert "posted 1 chunk in" in capsys.readouterr().out
    assert run(*SMOKE, "backend=post", "--device", "cuda", "--dry-run") == 2
    assert "device=cuda: this machine has cpu" in capsys.readouterr().err
    assert run(*SMOKE, "--device", "cuda") == 2
