"""`backend=ray`: each job is a task of a Ray cluster, or of a Ray of this machine's own. Ray starts a task again whose
worker died; it then goes on from its last state, in a results folder that every node sees under the same path."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from conf.backends import BackendSpec
from eval.running.backends.remote import Deaths, Progress, Report, add_to_path, carry_out, placed
from eval.running.job import Job, Outcome, available_threads
from eval.running.stopping import stop_on_signal
from posgen.errors import BadValue, MissingPackage, UserError, require, told

_LOOK = 0.5  # seconds between two looks at the signals
_SAVING = 120.0  # seconds that tasks have for saving when the sweep is interrupted


class Ray:
    """The backend; see eval.running.sweep.Backend."""

    def __init__(self, spec: BackendSpec) -> None:
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise MissingPackage("backend=ray needs ray: pip install 'posgen[ray]'", name="ray") from error
        self.spec = spec
        self._deaths = Deaths("ray")

    def __call__(self, jobs: Sequence[Job]) -> Outcome:
        import ray

        spec, outcome, progress, mistakes = self.spec, Outcome(), Progress(jobs), []
        with _connected(spec), stop_on_signal() as stopping:
            task = ray.remote(num_cpus=spec.cpus, num_gpus=spec.gpus, max_retries=spec.max_retries)(carry_out)
            working = {task.remote(job, os.getcwd()): job for job in placed(jobs, spec.cpus)}
            print(f"posgen: submitted {len(working)} task{'s' * (len(working) > 1)} to Ray", flush=True)
            ending = False
            while working:
                done, _ = ray.wait(list(working), num_returns=1, timeout=_SAVING if ending else _LOOK)
                if not done and ending:
                    break
                for ref in done:
                    job = working.pop(ref)
                    report = self._report(ref, job, ending)
                    if report.mistake:
                        mistakes.append(report.mistake)
                    progress.over(job, report)
                    outcome.add(report.outcome)
                if not ending and (stopping.asked or mistakes):
                    ending = True
                    for ref in working:
                        ray.cancel(ref)  # to a task that runs this is Ctrl-C: it saves after its step
        if mistakes:
            raise UserError(mistakes[0])
        if stopping.asked:
            outcome.interrupted, outcome.signal = outcome.interrupted or bool(working), stopping.signal
        return outcome

    def _report(self, ref: Any, job: Job, ending: bool) -> Report:
        import ray

        try:
            report: Report = ray.get(ref)
        except (ray.exceptions.TaskCancelledError, KeyboardInterrupt):
            return Report(Outcome(interrupted=True))
        except (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.NodeDiedError,
        ) as error:
            if ending:
                return Report(Outcome(interrupted=True))
            # Ray has tried again as often as it was told to.
            try:
                return self._deaths.note(job, f"died ({type(error).__name__})", attempts=1)
            except UserError as mistake:
                return Report(mistake=str(mistake))
        return report


@contextmanager
def _connected(spec: BackendSpec) -> Iterator[None]:
    import ray

    if ray.is_initialized():  # by whoever calls this
        yield
        return
    handlers = {}
    with suppress(ValueError):  # not in the main thread
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if spec.address == "local":
            add_to_path()
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a sweep on one's own machine is nobody's business
            cpus = available_threads()
            require(spec.cpus <= cpus, "cpus", spec.cpus, f"this machine has {cpus}; use at most that")
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        else:
            _reach(spec)
            ray.init(address=spec.address, **quiet)
        _check_resources(spec)
        yield
    except BadValue as error:
        raise error.under("backend") from None
    except (ConnectionError, ray.exceptions.RaySystemError, RuntimeError) as error:
        if ray.is_initialized():
            raise
        remedy = (
            f"no Ray cluster answers ({told(error)}); start one with `ray start --head`, or use backend.address=local"
        )
        raise BadValue("backend.address", spec.address, remedy) from None
    finally:
        ray.shutdown()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _reach(spec: BackendSpec) -> None:
    """BadValue when nobody listens at the address: Ray itself would try for minutes."""
    if spec.address == "auto":
        return
    host, _, port = spec.address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=spec.connect_seconds).close()
    except (OSError, OverflowError) as error:
        remedy = f"cannot be reached ({told(error)}); start Ray there, or use backend.address=local"
        raise BadValue("address", spec.address, remedy) from None


def _check_resources(spec: BackendSpec) -> None:
    """A word where no node has what a job asks for: Ray waits for one, since a cluster may grow."""
    import ray

    there = ray.cluster_resources()
    for name, wanted in (("CPU", spec.cpus), ("GPU", spec.gpus)):
        if there.get(name, 0) < wanted:
            if spec.address == "local":
                raise BadValue(f"{name.lower()}s", wanted, f"this machine has {int(there.get(name, 0))}")
            print(
                f"posgen: the cluster has {int(there.get(name, 0))} {name}s now, and a job asks for {wanted}: it waits "
                "for more",
                file=sys.stderr,
                flush=True,
            )
