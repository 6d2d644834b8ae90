"""`backend=slurm`: the jobs as a Slurm array, by submitit; or, with backend.executor=local, as processes from here.

A job that Slurm preempts, or that reaches its time limit, gets a warning (SIGUSR2) before. It saves its state after the
step, and submitit queues it again: it goes on from there.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conf.backends import BackendSpec, Executor
from eval.running.backends.remote import Deaths, Progress, Report, add_to_path, carry_out, placed, run_ids
from eval.running.job import Job, Outcome
from eval.running.stopping import stop_on_signal
from posgen.errors import MissingPackage, UserError

_POLL = 1.0
_REQUEUES = 1000  # of a job at its time limit: each time it goes on from its state
_WARNING = 120  # seconds between the warning and the end: the state of a large population takes a while to write
_PREEMPTED = 10.0  # seconds between the two signals of a preemption, at most


class Chunk:
    """A job as submitit runs it."""

    def __init__(self, job: Job, folder: str) -> None:
        self.job, self.folder = job, folder

    def __call__(self) -> Report:
        queue_again = signal.getsignal(signal.SIGUSR2)  # submitit's
        report = carry_out(self.job, self.folder)
        outcome = report.outcome
        if outcome.interrupted and outcome.signal == signal.SIGTERM:
            # A preemption is SIGTERM and SIGUSR2, in this order; SIGTERM alone is somebody who wants the job to end.
            time.sleep(_PREEMPTED)
        if outcome.interrupted and outcome.signal in (signal.SIGUSR1, signal.SIGUSR2) and callable(queue_again):
            queue_again(signal.SIGUSR2, None)  # does not return
        return report

    def checkpoint(self) -> Any:
        """What submitit queues again: the same. What was learnt is in the state on disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Chunk(self.job, self.folder))


class Slurm:
    """The backend; see eval.running.sweep.Backend. `logs`: the folder for submitit's files."""

    def __init__(self, spec: BackendSpec, logs: Path) -> None:
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            remedy = "backend=slurm needs submitit: pip install 'posgen[slurm]'"
            raise MissingPackage(remedy, name="submitit") from error
        if spec.executor is Executor.slurm and not (shutil.which("sbatch") and shutil.which("srun")):
            raise UserError(
                "backend=slurm: there is no sbatch here; run this on a login node of the cluster, or try it out on "
                "this machine with backend.executor=local"
            )
        self.spec, self.logs = spec, logs.absolute()
        self._deaths = Deaths("slurm")

    def __call__(self, jobs: Sequence[Job]) -> Outcome:
        chunks = [Chunk(job, os.getcwd()) for job in placed(jobs, self.spec.cpus)]
        submitted = self._submit(chunks)
        ids = ", ".join(job.job_id for job in submitted)
        print(f"posgen: submitted {len(chunks)} job{'s' * (len(chunks) > 1)}: {ids}; logs in {self.logs}", flush=True)
        if not self.spec.wait:
            return Outcome(submitted=[run_id for job in jobs for run_id in run_ids(job)])
        return self._wait(dict(zip(submitted, (chunk.job for chunk in chunks), strict=True)), Progress(jobs))

    def _submit(self, chunks: Sequence[Chunk]) -> list[Any]:
        import submitit

        spec = self.spec
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write {self.logs} ({error.strerror}): name another place, paths.results=DIR"
            ) from None
        add_to_path()
        slurm = {"slurm_max_num_timeout": _REQUEUES} if spec.executor is Executor.slurm else {}
        executor = submitit.AutoExecutor(folder=self.logs / "%j", cluster=spec.executor.value, **slurm)
        executor.update_parameters(
            name="posgen",
            timeout_min=spec.minutes,
            cpus_per_task=spec.cpus,
            gpus_per_node=spec.gpus,
            mem_gb=spec.memory_gb,
            stderr_to_stdout=True,
            slurm_partition=spec.partition,
            slurm_account=spec.account,
            slurm_qos=spec.qos,
            slurm_array_parallelism=spec.at_once,
            slurm_signal_delay_s=_WARNING,
            slurm_setup=list(spec.setup) or None,
            local_setup=list(spec.setup) or None,
        )
        try:
            with executor.batch():
                submitted = [executor.submit(chunk) for chunk in chunks]
        except submitit.core.utils.FailedJobError as error:  # sbatch's own words
            raise UserError(f"backend=slurm: {' '.join(str(error).split())}") from None
        return submitted

    def _wait(self, working: dict[Any, Job], progress: Progress) -> Outcome:
        outcome = Outcome()
        with stop_on_signal() as stopping:
            while working and not stopping.asked:
                for submitted in [job for job in working if job.done()]:
                    job = working.pop(submitted)
                    report = self._report(submitted, job)
                    if report.mistake:
                        raise UserError(report.mistake)
                    progress.over(job, report)
                    outcome.add(report.outcome)
                if working:
                    time.sleep(_POLL)
        if stopping.asked:
            outcome.interrupted, outcome.signal = True, stopping.signal
            ids = " ".join(job.job_id for job in working)
            end = f"scancel {ids}" if self.spec.executor is Executor.slurm else f"kill {ids}"
            print(f"posgen: no longer waiting; the jobs go on ({end} ends them)", file=sys.stderr, flush=True)
        return outcome

    def _report(self, submitted: Any, job: Job) -> Report:
        import submitit

        log = submitted.paths.stdout
        if self.spec.executor is Executor.local and not submitted.paths.result_pickle.exists():
            return self._deaths.note(job, f"ended without a word (its log: {log})")
        try:
            report: Report = submitted.result()
        except submitit.core.utils.UncompletedJobError:
            state = submitted.state.lower()
            return self._deaths.note(job, f"ended without a result (job {submitted.job_id}: {state}; its log: {log})")
        except submitit.core.utils.FailedJobError as error:
            lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("-")]
            reason = next((line for line in reversed(lines) if "Error" in line), "it failed")
            raise UserError(f"backend=slurm: job {submitted.job_id} failed: {reason.strip()}; its log: {log}") from None
        return report
