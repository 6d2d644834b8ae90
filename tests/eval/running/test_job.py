"""A job is a value: it travels to another process, and several processes share one sweep."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from conf.schema import TrackerKind, TrackerSpec
from eval.running.job import Job, Outcome, run
from eval.running.request import Sweep, SweepRequest, plan_sweep
from eval.running.sweep import here, jobs, run_sweep
from eval.store.records import load
from tests.committed import ROOT
from tests.eval.running.test_sweep import LENGTHENED, measured, planned, settings

ELSEWHERE = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
from eval.running.job import run
with open(sys.argv[2], "rb") as file:
    job = pickle.load(file)
outcome = run(job)
with open(sys.argv[3], "wb") as file:
    pickle.dump(outcome, file)
"""


@pytest.mark.slow
def test_a_job_run_in_a_fresh_process_gives_the_same_records(tmp_path: Path) -> None:
    """Pickled here, run there, and its outcome is sent back. A tracker travels as its settings."""
    tracker = TrackerSpec(kind=TrackerKind.wandb, directory=str(tmp_path / "there" / "wandb"))
    job = Job(tuple(planned(*LENGTHENED)), settings(tmp_path / "there", tracker=tracker))
    sent, back = tmp_path / "job", tmp_path / "outcome"
    sent.write_bytes(pickle.dumps(job))
    assert pickle.loads(sent.read_bytes()) == job
    command = [sys.executable, "-c", ELSEWHERE, str(ROOT), str(sent), str(back)]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "WANDB_MODE": "disabled"}, timeout=300)
    outcome = pickle.loads(back.read_bytes())
    assert isinstance(outcome, Outcome)
    assert sorted(outcome.finished) == sorted(member.spec.run_id for member in job.members)
    run(dataclasses.replace(job, settings=settings(tmp_path / "here")))
    assert measured(tmp_path / "there") == measured(tmp_path / "here")


def test_the_same_job_twice_does_the_work_once(tmp_path: Path) -> None:
    job = Job(tuple(planned()), settings(tmp_path))
    assert len(run(job).finished) == 4
    before = (tmp_path / "records.jsonl").read_bytes()
    again = run(job)
    assert (len(again.skipped), again.finished, again.remeasured) == (4, [], [])
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_members_that_share_a_training_are_in_one_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("eval.running.populations.TOGETHER", 3)
    request = SweepRequest(["cot", "recursive"], ["rope", "yarn"], [1, 2, 3], None, "smoke", sweep=Sweep.table1)
    members = plan_sweep(request).members
    made = jobs(members, settings(tmp_path))
    assert len(made) > 1
    assert [job.part for job in made] == [f"part {n} of {len(made)}" for n in range(1, len(made) + 1)]
    assert Counter(m.spec.run_id for job in made for m in job.members) == Counter(m.spec.run_id for m in members)
    for job in made:
        others = {m.spec.trajectory for other in made if other is not job for m in other.members}
        assert not others & {m.spec.trajectory for m in job.members}
        assert len({m.spec.trajectory for m in job.members}) <= 3


def test_a_backend_is_given_the_jobs_and_says_what_they_came_to(tmp_path: Path) -> None:
    given: list[Job] = []

    def backend(jobs: Sequence[Job]) -> Outcome:
        given.extend(jobs)
        return here(given)

    assert len(run_sweep(planned(), settings(tmp_path), backend=backend).finished) == 4
    assert [m.spec.run_id for job in given for m in job.members] == [m.spec.run_id for m in planned()]


@pytest.mark.slow
def test_two_sweeps_started_together_share_the_work(tmp_path: Path) -> None:
    """Each training is done once, and both end well, with everything there."""
    words = ["sweep", "--profile", "smoke", "--seed", "1,2,3,4", "--threads", "1", "optim.epochs=4"]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from cli.main import main; main()"
    call = [sys.executable, "-c", code, *words]
    both = [subprocess.Popen(call, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=550)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    (path,) = (tmp_path / "results").glob("smoke*/records.jsonl")
    records = load(path)
    lines = [line for line in path.read_text().splitlines() if line.startswith('{"kind":"accuracy"')]
    assert len(lines) == len(records)  # nothing was measured twice
    trained = [int(line.split()[0]) for text in said for line in text.splitlines() if "trained and measured" in line]
    assert sum(trained) == len({record.run_id for record in records}) == 48
    tables = [sorted(line.split()[0] for line in text.splitlines() if " cot " in line) for text in said]
    assert tables[0] == tables[1]
