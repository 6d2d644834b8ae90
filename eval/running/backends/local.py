"""`backend=local backend.processes=N`: the jobs in N processes of this machine at a time, each job in a fresh one."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from eval.running.backends.remote import Deaths, Progress, Report, carry_out, placed
from eval.running.job import Job, Outcome, available_threads
from eval.running.stopping import stop_on_signal
from posgen.errors import UserError

# A process of its own, and not a copy of this one: torch's threads do not survive a fork.
_SPAWN = multiprocessing.get_context("spawn")
_LOOK = 0.5  # seconds between two looks at the signals


@dataclass
class _Worker:
    job: Job
    slot: int
    process: Any
    pipe: Any


class Processes:
    """The backend; see eval.running.sweep.Backend."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._deaths = Deaths("local")

    def __call__(self, jobs: Sequence[Job]) -> Outcome:
        outcome, progress = Outcome(), Progress(jobs)
        side_by_side = min(self.processes, len(jobs))
        threads = (jobs[0].settings.threads or available_threads()) // side_by_side
        waiting = placed(jobs, max(1, threads), chosen=False)
        working: list[_Worker] = []
        mistakes: list[str] = []
        ending = False
        with stop_on_signal() as stopping:
            try:
                while working or (waiting and not ending):
                    while waiting and len(working) < side_by_side and not ending:
                        slot = min(set(range(side_by_side)) - {worker.slot for worker in working})
                        working.append(_start(waiting.pop(0), slot))
                    for worker in _over(working):
                        working.remove(worker)
                        report = self._report(worker, ending, mistakes)
                        progress.over(worker.job, report)
                        outcome.add(report.outcome)
                    if not ending and (stopping.asked or mistakes or outcome.signal is not None):
                        ending = True
                        for worker in working:
                            worker.process.terminate()  # it saves after its step
            finally:
                for worker in working:  # a second signal: at once
                    worker.process.kill()
                    worker.process.join()
        if mistakes:
            raise UserError(mistakes[0])
        outcome.interrupted = outcome.interrupted or bool(waiting)
        if stopping.asked:
            outcome.signal = stopping.signal
        return outcome

    def _report(self, worker: _Worker, ending: bool, mistakes: list[str]) -> Report:
        report = None
        with suppress(EOFError, OSError):
            if worker.pipe.poll():
                report = worker.pipe.recv()
        worker.process.join()
        worker.pipe.close()
        if isinstance(report, str):
            raise RuntimeError(f"a process of this sweep failed:\n{report}")
        if report is None:
            code = worker.process.exitcode
            if ending:  # ended before there was anything to save
                return Report(Outcome(interrupted=True))
            how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
            try:
                return self._deaths.note(worker.job, how)
            except UserError as error:
                report = Report(mistake=str(error))
        if report.mistake:
            mistakes.append(report.mistake)
        return report


def _start(job: Job, slot: int) -> _Worker:
    if job.settings.device == "cuda" and torch.cuda.device_count() > 1:
        device = f"cuda:{slot % torch.cuda.device_count()}"
        job = replace(job, settings=replace(job.settings, device=device))
    ours, theirs = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_work, args=(job, os.getcwd(), theirs))
    with _ctrl_c_ignored():
        process.start()
    theirs.close()
    return _Worker(job, slot, process, ours)


def _over(working: Sequence[_Worker]) -> list[_Worker]:
    """The workers that have reported or ended, waiting for a moment."""
    # A report may be larger than a pipe holds, so it is read while its process still lives.
    ready = multiprocessing.connection.wait([w.pipe for w in working] + [w.process.sentinel for w in working], _LOOK)
    return [worker for worker in working if worker.pipe in ready or worker.process.sentinel in ready]


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """For a process that is started meanwhile. Ctrl-C reaches all processes of a terminal; the first of them passes it
    on, once: twice would mean to end at once."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(job: Job, folder: str, pipe: Any) -> None:
    os.setpgid(0, 0)  # out of the terminal's reach, as said above
    try:
        pipe.send(carry_out(job, folder))
    except Exception:
        pipe.send(traceback.format_exc())
