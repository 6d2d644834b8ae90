"""What all backends share: a job as another process runs it, what that process sends back, and what becomes of jobs
whose process died."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from eval.running.job import Job, Outcome, RunSettings, run
from posgen.errors import UserError

ATTEMPTS = 3
"""How often a job is given to a process before a sweep gives up on it."""


@dataclass
class Report:
    """What the process of a job sends back. `mistake`: the line for the user, where there is nothing else to say."""

    outcome: Outcome = field(default_factory=Outcome)
    mistake: str = ""


def carry_out(job: Job, folder: str) -> Report:
    """Run a job that another process planned in the working folder `folder`."""
    # A user's own code goes by its name, as seen from there.
    if os.path.isdir(folder):
        os.chdir(folder)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return Report(run(job))
    except UserError as error:  # as text: some of them cannot be pickled
        return Report(mistake=str(error))


def placed(jobs: Sequence[Job], threads: int, chosen: bool = True) -> list[Job]:
    """The jobs for other processes: with absolute paths, so many threads each unless the user chose another number
    (and `chosen` lets that count), and without a progress bar, of which a terminal shows one."""
    return [replace(job, settings=_placed(job.settings, threads, chosen)) for job in jobs]


def _placed(settings: RunSettings, threads: int, chosen: bool) -> RunSettings:
    tracker = replace(settings.tracker, directory=os.path.abspath(settings.tracker.directory))
    return replace(
        settings,
        runs_dir=settings.runs_dir.absolute(),
        data_dir=settings.data_dir.absolute(),
        records_path=settings.records_path.absolute(),
        tracker=tracker,
        threads=(chosen and settings.threads) or threads,
        progress=False,
    )


def add_to_path() -> None:
    """Let processes that are started from here on find these packages, from wherever they were imported."""
    root = str(Path(__file__).resolve().parents[3])
    others = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != root]
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *others])


def title(job: Job) -> str:
    """`part 2 of 5`, or `the sweep` where it is one job."""
    return job.part or "the sweep"


def run_ids(job: Job) -> list[str]:
    return [member.spec.run_id for member in job.members]


class Progress:
    """Lines on stderr: which jobs are over. `left` is those of one call of a backend."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.left = len(jobs)
        self.shown = bool(jobs) and jobs[0].settings.progress

    def over(self, job: Job, report: Report) -> None:
        self.left -= 1
        outcome = report.outcome
        ended = len(outcome.ended)
        words = "interrupted" if outcome.interrupted else f"{ended} of {len(job.members)} done"
        self.say(f"{title(job)}: {words}; {self.left} left" if self.left else f"{title(job)}: {words}")

    def say(self, line: str) -> None:
        if self.shown:
            print(f"posgen: {line}", file=sys.stderr, flush=True)


class Deaths:
    """Jobs whose process ended without a report. Each is tried again, but not for ever: one may always run out of
    memory."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._deaths: Counter[tuple[str, ...]] = Counter()

    def note(self, job: Job, how: str, attempts: int = ATTEMPTS) -> Report:
        """What to report for such a job: its members are somebody else's for now, so that the sweep comes back to them.
        UserError when it died too often; `how` says how, in words."""
        key = tuple(run_ids(job))
        self._deaths[key] += 1
        if self._deaths[key] >= attempts:
            raise UserError(
                f"backend={self.backend}: {title(job)} was given up: its process {how}, {self._deaths[key]} times; if "
                "memory ran out, give a job more of it or run fewer at a time; the same command resumes"
            )
        print(
            f"posgen: {title(job)}: its process {how}; another one goes on from the last state",
            file=sys.stderr,
            flush=True,
        )
        return Report(Outcome(elsewhere=run_ids(job)))
