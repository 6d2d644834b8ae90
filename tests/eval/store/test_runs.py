"""Files of a run that are not what training wrote: told in one line, never measured or continued."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from eval.running.evaluation import evaluate_runs
from eval.running.sweep import run_sweep
from eval.store.runs import Run
from posgen.errors import UserError
from tests.eval.running.test_sweep import LENGTHENED, StopAfter, planned, settings


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    members = planned()[:2]
    run_sweep(members, settings(tmp_path))
    return Run(tmp_path / "runs", members[0].spec.run_id)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("history.json", "[]"), ("history.json", "{}"), ("history.json", "{"), ("spec.json", "[]"), ("spec.json", "{}"),
        ("config.yaml", "{"), ("config.yaml", ""), ("config.yaml", None), ("weights-rope.safetensors", None),
    ],
)  # fmt: skip
def test_damage_is_told_and_no_record_is_replaced(finished: Run, name: str, content: str | None) -> None:
    file, folder = finished.path / name, finished.path.parent.parent
    before = (folder / "records.jsonl").read_bytes()
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(UserError) as told:
        evaluate_runs([finished.run_id], settings(folder))
    assert "\n" not in str(told.value)
    assert finished.run_id in str(told.value)
    assert (folder / "records.jsonl").read_bytes() == before


def test_weights_that_training_did_not_write_are_refused(finished: Run) -> None:
    file, folder = finished.path / "weights-rope.safetensors", finished.path.parent.parent
    content = bytearray(file.read_bytes())
    content[-8] ^= 2
    file.write_bytes(content)
    with pytest.raises(UserError, match="is not what training wrote"):
        evaluate_runs([finished.run_id], settings(folder))


@pytest.mark.slow
def test_states_of_version_0_1_lie_in_the_run_folders_and_go_on(tmp_path: Path) -> None:
    """Files of their own, without checksums: they are continued to the same end, and each only by its run."""
    members = planned(*LENGTHENED)[:2]
    run_sweep(members, settings(tmp_path / "whole"))
    run_sweep(members, settings(tmp_path), StopAfter(1))
    runs = [Run(tmp_path / "runs", member.spec.run_id) for member in members]
    for run in runs:
        torch.save({**(run.state() or {}), "run_id": run.run_id}, run.path / "state.pt")
    shutil.rmtree(tmp_path / "runs" / ".states")
    first, second = ((run.path / "state.pt").read_bytes() for run in runs)
    (runs[0].path / "state.pt").write_bytes(second)
    with pytest.raises(UserError, match=f"belongs to run {runs[1].run_id}"):
        run_sweep(members, settings(tmp_path))
    (runs[0].path / "state.pt").write_bytes(first)
    run_sweep(members, settings(tmp_path))
    assert all(run.done and not (run.path / "state.pt").exists() for run in runs)
    for run in runs:
        whole = Run(tmp_path / "whole" / "runs", run.run_id)
        assert run.result().history == whole.result().history
        assert (run.path / "history.json").read_bytes() == (whole.path / "history.json").read_bytes()
