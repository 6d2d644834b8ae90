"""A worker: takes posted chunks (eval.running.posted) until none is left. Any number of workers, on any machines that
see the results folder, may be at work; each chunk is done once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from eval.measuring.planned import count
from eval.running.job import Job, Outcome, complete, run
from eval.running.posted import files, read
from eval.running.sweep import wait_for_any
from eval.store.records import load_if_there
from eval.store.runs import Run
from posgen.errors import UserError

POLL = 5.0
"""Seconds between two looks for what is posted."""


@dataclass
class Work:
    """What a worker did. `chunks`: those that it trained or tested something of; `elsewhere`: those that others have;
    `refused`: why posted sweeps cannot be worked on here."""

    outcome: Outcome = field(default_factory=Outcome)
    chunks: int = 0
    elsewhere: int = 0
    refused: dict[Path, str] = field(default_factory=dict)


def work(
    results: Path,
    device: str,
    threads: int | None,
    *,
    max_chunks: int | None = None,
    wait: bool = False,
    any_source: bool = False,
    say: Callable[[str], None] = lambda line: print(f"posgen: {line}", file=sys.stderr, flush=True),
) -> Work:
    """Take chunks until none is left, `max_chunks` are done, or a signal asks for an end. `wait`: when none is left,
    for further ones, for ever."""
    done = Work()
    while True:
        left = []
        for file in files(results):
            jobs = _jobs(file, results, device, threads, any_source, done, say)
            pending = [job for job in map(_restricted, jobs) if job.members]
            if jobs and not pending:
                file.unlink(missing_ok=True)
                say(f"{jobs[0].settings.sweep}: complete, taken from the queue")
            for job in pending:
                if file in done.refused:
                    break
                say(f"{job.settings.sweep}, {job.part or 'its only chunk'}: {count(len(job.members))}")
                try:
                    result = run(job)
                except UserError as error:
                    _refuse(file, error, done, say)
                    break
                if result.elsewhere:
                    left.append(job)
                if result.ended:
                    done.chunks += 1
                result.elsewhere.clear()
                done.outcome.add(result)
                if done.outcome.signal is not None or done.chunks == max_chunks:
                    return done
        done.elsewhere = len(left)
        if left:
            if not wait_for_any(left, progress=False, patient=False):
                if not wait:
                    return done
                time.sleep(POLL)
        elif not wait and not any(file not in done.refused for file in files(results)):
            return done
        elif wait:
            time.sleep(POLL)


def _jobs(
    file: Path,
    results: Path,
    device: str,
    threads: int | None,
    any_source: bool,
    done: Work,
    say: Callable[[str], None],
) -> list[Job]:
    """The jobs of a posted sweep; none where it cannot be worked on here, which is said once."""
    try:
        return read(file, results, device, threads, any_source)
    except UserError as error:
        if file.exists():  # or another worker has just taken it from the queue
            _refuse(file, error, done, say)
        return []


def _refuse(file: Path, error: UserError, done: Work, say: Callable[[str], None]) -> None:
    """Others may still be worked on, so it is said once and no more."""
    if file not in done.refused:
        done.refused[file] = str(error)
        say(f"not worked on: {error}")


def _restricted(job: Job) -> Job:
    """The job with what is left of its members."""
    settings = job.settings
    measured = load_if_there(settings.records_path)
    return replace(
        job,
        members=tuple(
            member
            for member in job.members
            if not complete(member, Run(settings.runs_dir, member.spec.run_id), measured, settings.until)
        ),
    )
