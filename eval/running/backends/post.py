"""`backend=post`: nothing runs here; the jobs are posted for `posgen work`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eval.running.backends.remote import run_ids
from eval.running.job import Job, Outcome, RunSettings
from eval.running.posted import portable, post


class Post:
    """The backend; see eval.running.sweep.Backend. `results`: the folder whose queue takes the jobs."""

    def __init__(self, settings: RunSettings, results: Path) -> None:
        portable(settings, results)
        self.results = results

    def __call__(self, jobs: Sequence[Job]) -> Outcome:
        file = post(jobs, self.results)
        chunks = f"{len(jobs)} chunk{'s' * (len(jobs) > 1)}"
        print(f"posgen: posted {chunks} in {file}; `posgen work {self.results}` takes them", flush=True)
        return Outcome(submitted=[run_id for job in jobs for run_id in run_ids(job)])
