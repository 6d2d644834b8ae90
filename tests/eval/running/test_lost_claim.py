"""A process that was away for so long that another took its work over: it stops, and writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from eval.running.job import Job, run
from eval.running.sweep import run_sweep
from eval.running.tracker import NoTracker
from eval.store.leases import Holder, Lease
from eval.store.runs import Run
from tests.eval.running.test_sweep import LENGTHENED, StopAfter, measured, planned, settings

FAR = Holder("0123456789abcdef", "far", "another machine", 1, "1", limit=3600.0)


def take_over(runs: Path) -> None:
    """What another machine does once it has seen no sign of life for long enough."""
    for folder in runs.glob("[0-9a-f]*"):
        (mine,) = folder.glob(".lease-*")
        later = int(mine.name[-9:]) + 1
        (folder / f".lease-{later:09d}").write_bytes(msgspec.json.encode(FAR))
        mine.unlink()


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


class TakenOver(NoTracker):
    """Another machine takes over when the n-th validation has been logged."""

    def __init__(self, folder: Path, validations: int) -> None:
        self.folder, self.left = folder, validations
        self.then: dict[str, bytes] = {}

    def log(self, run_id: str, row: Any) -> None:
        self.left -= 1
        if self.left == 0:
            take_over(self.folder / "runs")
            self.then = files(self.folder)


@pytest.mark.parametrize(
    "validations",
    [
        pytest.param(4, id="in training", marks=pytest.mark.slow),
        pytest.param(8, id="at a state"),
        pytest.param(12, id="at the last step", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_written_after_a_claim_was_lost(
    tmp_path: Path, validations: int, capsys: pytest.CaptureFixture[str]
) -> None:
    members = planned(*LENGTHENED)
    job = Job(tuple(members), settings(tmp_path, save_seconds=0.0))
    tracker = TakenOver(tmp_path, validations)
    outcome = run(job, tracker)
    assert tracker.then
    assert sorted(outcome.elsewhere) == sorted(member.spec.run_id for member in members)
    assert (outcome.finished, outcome.interrupted) == ([], False)
    assert files(tmp_path) == tracker.then
    assert "was taken over by another process" in capsys.readouterr().err
    # The one that took over ends in its turn, and the sweep goes on from what is there.
    for folder in (tmp_path / "runs").glob("[0-9a-f]*"):
        (lease,) = folder.glob(".lease-*")
        lease.rename(f"{lease}.free")
    assert len(run_sweep(members, settings(tmp_path)).finished) == 4
    run_sweep(members, settings(tmp_path / "whole"))
    assert measured(tmp_path) == measured(tmp_path / "whole")


def test_records_are_not_added_after_a_claim_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost between the outcomes and the records: those are added by whoever took over."""
    from eval.running import evaluation

    def tested_late(*arguments: Any) -> Any:
        tested = list(parallel(*arguments))
        take_over(tmp_path / "runs")
        return tested

    parallel = evaluation.parallel
    monkeypatch.setattr(evaluation, "parallel", tested_late)
    outcome = run(Job(tuple(planned()), settings(tmp_path)))
    assert len(outcome.elsewhere) == 4
    assert not (tmp_path / "records.jsonl").exists()


@pytest.mark.slow
def test_a_sweep_waits_for_a_machine_and_takes_over_when_it_is_silent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted elsewhere without a word: the whole chunk is taken up at once, from its state."""
    members = planned(*LENGTHENED)
    assert run_sweep(members, settings(tmp_path), StopAfter(4)).interrupted
    for member in members:
        folder = Run(tmp_path / "runs", member.spec.run_id).path
        assert Lease(folder).available()
        silent = msgspec.structs.replace(FAR, limit=1.5)
        (folder / ".lease-000000099").write_bytes(msgspec.json.encode(silent))
    outcome = run_sweep(members, settings(tmp_path, progress=True))
    assert len(outcome.finished) == 4
    assert "posgen: waiting for process 1 on far, which is training 4 members of this sweep" in capsys.readouterr().err
    run_sweep(members, settings(tmp_path / "whole"))
    assert measured(tmp_path) == measured(tmp_path / "whole")
