"""What `backend=slurm` hands to Slurm, with a queue of our own in the place of a cluster's."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from conf.backends import BackendKind, BackendSpec
from eval.running.backends import backend_of
from eval.running.sweep import run_sweep
from tests.committed import ROOT
from tests.eval.running.backends.sweeps import small_chunks
from tests.eval.running.test_sweep import LENGTHENED, measured, planned, settings

__all__ = ["small_chunks"]

QUEUE = {
    "sbatch": '#!/bin/sh\ncp "$1" "$QUEUE/job.sh"\necho "Submitted batch job 42"\n',
    # srun's own options stand before the command
    "srun": '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do\n  case $1 in --output|--error) shift;; esac\n  shift\ndone\n'
    'exec "$@"\n',
}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.slow
def test_an_array_of_chunks_that_slurm_runs_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in QUEUE.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(tmp_path))
    spec = BackendSpec(
        kind=BackendKind.slurm, partition="spot", account="us", minutes=90, memory_gb=3, cpus=2, gpus=1, at_once=7,
        setup=["export MARK=set-up"], wait=False,
    )  # fmt: skip
    members = planned(*LENGTHENED, tasks=("cot", "recursive"))
    there = settings(tmp_path / "there")
    outcome = run_sweep(members, there, backend=backend_of(spec, there, tmp_path / "there"))
    assert sorted(outcome.submitted) == sorted(member.spec.run_id for member in members)
    assert "posgen: submitted 2 jobs: 42_0, 42_1; logs in " in capsys.readouterr().out
    script = (tmp_path / "job.sh").read_text()
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.+)$", script, flags=re.MULTILINE))
    assert (asked["array"], asked["partition"], asked["account"], asked["time"]) == ("0-1%2", "spot", "us", "90")
    assert (asked["mem"], asked["cpus-per-task"], asked["gpus-per-node"]) == ("3GB", "2", "1")
    assert asked["signal"] == "USR2@120"
    assert "\nexport MARK=set-up\n" in script
    for task in ("0", "1"):
        slurm = {
            "SLURM_JOB_ID": f"4{task}", "SLURM_ARRAY_JOB_ID": "42", "SLURM_ARRAY_TASK_ID": task, "SLURM_NTASKS": "1",
            "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0",
        }  # fmt: skip
        environment = {**os.environ, **slurm, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(["sh", str(tmp_path / "job.sh")], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    run_sweep(members, settings(tmp_path / "here"))
    assert measured(tmp_path / "there") == measured(tmp_path / "here")
    again = run_sweep(members, there, backend=backend_of(spec, there, tmp_path / "there"))
    assert (len(again.skipped), again.submitted) == (8, [])


@pytest.mark.usefixtures("small_chunks")
def test_what_sbatch_refuses_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from posgen.errors import UserError

    refusal = "sbatch: error: invalid partition specified: spot"
    (tmp_path / "sbatch").write_text(f'#!/bin/sh\necho "{refusal}" >&2\nexit 1\n')
    (tmp_path / "srun").write_text(QUEUE["srun"])
    for name in QUEUE:
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    spec = BackendSpec(kind=BackendKind.slurm, partition="spot")
    there = settings(tmp_path / "there")
    with pytest.raises(UserError, match=r"^backend=slurm: .*invalid partition specified: spot") as told:
        run_sweep(planned(), there, backend=backend_of(spec, there, tmp_path / "there"))
    assert "\n" not in str(told.value)
