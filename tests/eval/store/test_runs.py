"""Files of a run that are not what training wrote: told in one line, never measured or continued."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    members = planned(*LENGTHENED)[:2]
    run_sweep(members, settings(tmp_path), StopAfter(1))
    mine, other = (Run(tmp_path / "runs", m.spec.run_id) for m in members)
    (mine.path / "state.pt").write_bytes((other.path / "state.pt").read_bytes())
    with pytest.raises(UserError, match=f"belongs to run {other.run_id}"):
        run_sweep(members, settings(tmp_path))
    assert json.loads((mine.path / "run.json").read_text())["status"] == "interrupted"
