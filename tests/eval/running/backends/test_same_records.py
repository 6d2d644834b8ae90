"""The same sweep gives the same records whatever runs it, also when processes are killed in mid-training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conf.backends import BackendKind, BackendSpec, Executor
from eval.running.backends import backend_of
from eval.running.backends.local import Processes
from eval.running.job import Job
from eval.running.sweep import run_sweep
from eval.store.runs import Run
from posgen.errors import UserError
from tests.committed import ROOT
from tests.eval.running.backends.dies import dies
from tests.eval.running.backends.sweeps import TASKS, disturbed, expected, plan, small_chunks
from tests.eval.running.test_sweep import measured, settings

pytestmark = pytest.mark.usefixtures("small_chunks")
__all__ = ["small_chunks"]

LOCAL = BackendSpec(processes=2)
RAY = BackendSpec(kind=BackendKind.ray)
SLURM = BackendSpec(kind=BackendKind.slurm, executor=Executor.local)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "signals"),
    [
        (LOCAL, [signal.SIGKILL]),
        (RAY, [signal.SIGKILL]),
        # A preemption, after which submitit queues the job again; and a kill, after which the sweep does.
        (SLURM, [signal.SIGUSR2, signal.SIGKILL]),
    ],
    ids=["local", "ray", "slurm"],
)
def test_a_worker_killed_in_mid_training_changes_no_record(
    tmp_path: Path, spec: BackendSpec, signals: list[signal.Signals], capfd: pytest.CaptureFixture[str]
) -> None:
    whole = expected(tmp_path)
    folder = tmp_path / "there"
    backend = backend_of(spec, settings(folder), folder)
    with disturbed(folder, signals) as met:
        outcome = run_sweep(plan(), settings(folder, save_seconds=0.01), backend=backend)
    assert len(met) == len(signals)
    assert len(outcome.finished) == 8
    assert measured(folder) == whole
    lines = [line for line in (folder / "records.jsonl").read_text().splitlines() if '"kind":"accuracy"' in line]
    assert len(lines) == len(whole)  # nothing twice
    assert all(Run(folder / "runs", member.spec.run_id).claimable() for member in plan())
    said = capfd.readouterr()
    if spec.kind is BackendKind.slurm:
        logs = "".join(file.read_text() for file in (folder / "slurm").rglob("*.out"))
        assert "Requeued job" in logs
        assert "ended without a word" in said.err
    if spec.kind is BackendKind.local:
        assert "its process was ended by signal 9; another one goes on from the last state" in said.err


@pytest.mark.slow
def test_a_sweep_of_processes_that_is_ended_saves_and_goes_on(tmp_path: Path) -> None:
    words = ["sweep", "--profile", "smoke", "--task", ",".join(TASKS), "--pe", "rope", "--seed", "1,2"]
    call = [
        sys.executable, "-c", "from cli.main import main; main()", *words, "backend.processes=2",
        "optim.epochs=2000", "optim.validate_every=1000", "save_seconds=1",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(call, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    runs = tmp_path / "results" / "runs"
    end = time.monotonic() + 300
    while not list(runs.glob(".states/*.pt")) and time.monotonic() < end:
        time.sleep(0.05)
    process.terminate()
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 128 + signal.SIGTERM, said
    assert said.rstrip().endswith("posgen: interrupted; the same command resumes")
    folders = [Run(runs, path.name) for path in runs.glob("[0-9a-f]*")]
    assert folders
    assert all(folder.claimable() for folder in folders)
    assert all(folder.info().get("status", "interrupted") == "interrupted" for folder in folders)
    assert any(folder.validated_epoch() == 0 and folder.state() for folder in folders)
    assert not list((tmp_path / "results").rglob("records.jsonl"))


@pytest.mark.slow
def test_a_chunk_that_always_dies_is_given_up_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.running.backends.local._work", dies)
    backend = backend_of(LOCAL, settings(tmp_path), tmp_path)
    assert isinstance(backend, Processes)
    members = plan()[:1]
    backend._deaths.note(Job(tuple(members), settings(tmp_path)), "died")
    backend._deaths.note(Job(tuple(members), settings(tmp_path)), "died")
    with pytest.raises(UserError, match=r"^backend=local: the sweep was given up: its process ended with status 7, 3"):
        run_sweep(members, settings(tmp_path), backend=backend)
    assert not (tmp_path / "records.jsonl").exists()


@pytest.mark.slow
def test_a_mistake_in_another_process_is_one_line_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.running.sweep.check_until", lambda *_: None)  # here, so that it is told there
    with pytest.raises(UserError, match=r"^until=7: use a multiple of 20: validations are 20 epochs apart$"):
        run_sweep(plan()[:1], settings(tmp_path, until=7), backend=backend_of(LOCAL, settings(tmp_path), tmp_path))
