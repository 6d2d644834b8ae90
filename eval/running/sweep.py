"""A sweep from plan to records: the plan becomes jobs, a backend runs them, and their outcomes are added up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from eval.measuring.member import Data
from eval.measuring.planned import PlannedMember, count
from eval.running.job import Job, Outcome, RunSettings, check_until, complete, run, set_threads
from eval.running.populations import TOGETHER, populations
from eval.running.progress import Bar
from eval.running.saving import clear_unfinished
from eval.running.tracker import Tracker
from eval.store.records import load_if_there
from eval.store.runs import Run
from posgen.data_size import positions

Backend = Callable[[Sequence[Job]], Outcome]
"""Runs jobs somewhere and returns their joint outcome; no further job begins when one was interrupted."""

_POLL = 1.0  # seconds between two looks at what another process is training


def run_sweep(
    plan: Sequence[PlannedMember],
    settings: RunSettings,
    tracker: Tracker | None = None,
    backend: Backend | None = None,
) -> Outcome:
    """Train, measure and record every member of the plan, or go on where an earlier call stopped.

    Processes that are given one plan at the same time share it: each takes the jobs that are free, and waits at the end
    for what the others train. `tracker`: used instead of the one that the settings name. Raises UserError for what the
    user can mend, before any training starts where it can be known then. With a `backend` jobs are chunks of at most
    `TOGETHER` trainings, on a GPU too: one goes to one process.
    """
    set_threads(settings.threads)
    clear_unfinished(settings.runs_dir)
    outcome = Outcome()
    pending = not_complete(plan, settings, outcome)
    at_most = None if backend is None else TOGETHER
    backend = backend or (lambda jobs: here(jobs, tracker))
    # Of the whole plan, whatever is done already: members train in the groups of an uninterrupted sweep, or products of
    # another shape would round otherwise.
    planned = jobs(plan, settings, at_most)
    while pending:
        result = backend(restricted(planned, pending))
        # What another process trains may be interrupted there, so it is still this sweep's work: wait, then look again.
        elsewhere = set(result.elsewhere)
        result.elsewhere.clear()
        outcome.add(result)
        pending = [member for member in pending if member.spec.run_id in elsewhere]
        if not pending or outcome.interrupted:
            return outcome
        wait_for_any(restricted(planned, pending), settings.progress)
        # Complete now, but not when this call began: reported as trained elsewhere and not as skipped.
        before = len(outcome.skipped)
        pending = not_complete(pending, settings, outcome)
        outcome.elsewhere += outcome.skipped[before:]
        del outcome.skipped[before:]
    return outcome


def jobs(members: Sequence[PlannedMember], settings: RunSettings, at_most: int | None = None) -> list[Job]:
    """The members as jobs, a population each, of `at_most` so many trainings."""
    groups = populations(members, settings.device, at_most)
    parts = [f"part {number} of {len(groups)}" * (len(groups) > 1) for number in range(1, len(groups) + 1)]
    return [Job(tuple(group), settings, part) for group, part in zip(groups, parts, strict=True)]


def restricted(planned: Sequence[Job], pending: Sequence[PlannedMember]) -> list[Job]:
    """The jobs with what is left of their members; those with nothing left are gone."""
    left = {member.spec.run_id for member in pending}
    restricted = [replace(job, members=tuple(m for m in job.members if m.spec.run_id in left)) for job in planned]
    return [job for job in restricted if job.members]


def here(jobs: Sequence[Job], tracker: Tracker | None = None) -> Outcome:
    """The backend of one process: one job after another."""
    outcome = Outcome()
    for number, job in enumerate(jobs, start=1):
        outcome.add(run(job, tracker))
        if outcome.signal is not None:
            outcome.interrupted = outcome.interrupted or number < len(jobs)
            break
    return outcome


def not_complete(plan: Sequence[PlannedMember], settings: RunSettings, outcome: Outcome) -> list[PlannedMember]:
    """The members that have something left to do; their data sets are made or checked before any training starts."""
    data, measured = Data(settings.data_dir), load_if_there(settings.records_path)
    # Without locks: what is in the way of the last member is an error now and not after hours. `run` checks once more.
    pending = []
    for member in plan:
        folder = Run(settings.runs_dir, member.spec.run_id)
        if settings.until is not None:
            check_until(member.spec, folder, settings.until)
        if complete(member, folder, measured, settings.until):
            outcome.skipped.append(member.spec.run_id)
        else:
            pending.append(member)
    sets = {(m.spec.task.name, m.spec.data): m.spec for m in pending}.values()
    with Bar("generating data", sum(positions(spec.data) for spec in sets), 0, settings.progress, after=1.0) as bar:
        for member in pending:
            data.of(member.spec, bar.advance)
    return pending


def wait_for_any(jobs: Sequence[Job], progress: bool = True, patient: bool = True) -> bool:
    """Until other processes let go of all of a job; unless `patient`, False as soon as all of them have shown that they
    live. A job is taken up as a whole: its members train in one group, or products of another shape would round
    otherwise."""
    folders = [[Run(job.settings.runs_dir, member.spec.run_id) for member in job.members] for job in jobs]
    if progress:
        members, holder = sum(map(len, folders)), next(filter(None, (f.holder() for f in folders[0])), None)
        who = holder.words if holder else "another process"
        message = f"posgen: waiting for {who}, which is training {count(members)} of this sweep"
        print(message, file=sys.stderr, flush=True)
    began = None
    while True:
        # What can be claimed was finished, or its process was killed, or has given no sign of life for too long. All
        # are asked each time: who is silent shows only to those who look on.
        claimable = [[folder.claimable() for folder in group] for group in folders]
        if any(map(all, claimable)):
            return True
        began = began or time.monotonic()
        if not patient and all(any(folder.alive_since(began) for folder in group) for group in folders):
            return False
        time.sleep(_POLL)
