"""The unit of work: members to train and measure, as a value that another process, or another machine, can run.

`run(job)` takes its own locks. What is finished is not trained again, what was interrupted goes on from its state, and
what is new starts: the same job twice does the work once, in one process or in two at the same time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch

from conf.schema import TrackerKind, TrackerSpec
from eval.measuring.member import Context, Data
from eval.measuring.planned import PlannedMember
from eval.running.tracker import NoTracker, Tracker
from eval.store.claims import ClaimLostError
from eval.store.kinds import AccuracyRecord, Declared
from eval.store.records import load_if_there
from eval.store.runs import Run
from models.memory import shortage_told
from models.spec import MemberSpec
from posgen.errors import BadValue, require

NO_TRACKER = TrackerSpec(kind=TrackerKind.none)


@dataclass(frozen=True)
class RunSettings:
    """Where a sweep keeps things and how it runs. `threads` None: as many as the process may use; `compiled` None:
    where it pays; `until`: the epoch of the whole schedule at which trainings stop, are tested and keep their state;
    `tracker`: what `tracker_of` builds where the job runs; `save_seconds`: how often a training saves its state, at
    most; `experiment`: the declared one that all records are made for."""

    runs_dir: Path
    data_dir: Path
    records_path: Path
    sweep: str
    profile: str
    device: str = "cpu"
    compiled: bool | None = None
    threads: int | None = None
    until: int | None = None
    tracker: TrackerSpec = NO_TRACKER
    progress: bool = True
    save_seconds: float = 60.0
    experiment: Declared | None = None


@dataclass(frozen=True)
class Job:
    """Members that train together where their shapes allow it. `part` says which of how many jobs it is."""

    members: tuple[PlannedMember, ...]
    settings: RunSettings
    part: str = ""


@dataclass
class Outcome:
    """Run ids by how they ended. `stopped`: at the epoch that the settings stop at; `remeasured`: trained before, not
    recorded in this store; `skipped`: already complete; `elsewhere`: being trained by another process; `submitted`:
    handed to others, nobody waits for them. `interrupted`: the same call goes on from here. `signal`: the one that
    asked for an end, if so."""

    finished: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    remeasured: list[str] = field(default_factory=list)
    diverged: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    submitted: list[str] = field(default_factory=list)
    interrupted: bool = False
    signal: int | None = None

    def add(self, further: Outcome) -> None:
        """Add the outcome of a further job."""
        for name in (f.name for f in fields(Outcome) if f.name not in ("interrupted", "signal")):
            getattr(self, name).extend(getattr(further, name))
        self.interrupted = self.interrupted or further.interrupted
        self.signal = self.signal if further.signal is None else further.signal

    @property
    def ended(self) -> set[str]:
        """The runs for which nothing is left to do."""
        return {*self.finished, *self.stopped, *self.remeasured, *self.diverged, *self.skipped}


def run(job: Job, tracker: Tracker | None = None) -> Outcome:
    """Train, measure and record the members of a job, except those that another process is training.

    `tracker`: used instead of the one that the settings name. Raises UserError for what the user can mend.
    """
    outcome = Outcome()
    try:
        _run(job, tracker, outcome)
    except ClaimLostError as error:
        print(
            f"posgen: run {error} was taken over by another process, because this one gave no sign of life; its work "
            "here ends without being written",
            file=sys.stderr,
            flush=True,
        )
        outcome.elsewhere = [m.spec.run_id for m in job.members if m.spec.run_id not in outcome.ended]
    return outcome


def _run(job: Job, tracker: Tracker | None, outcome: Outcome) -> None:
    from eval.running.evaluation import evaluate_members
    from eval.running.fitting import check_fits
    from eval.running.stopping import stop_on_signal
    from eval.running.training import stopped_at, train_members

    settings = job.settings
    check_device(settings.device)
    set_threads(settings.threads)
    with shortage_told("training"), ExitStack() as stack:
        data = Data(settings.data_dir)
        context = Context.here(settings.sweep, settings.profile, settings.device, settings.experiment)
        members = _claimed(job, stack, outcome)
        # Read after the claim: until then another process may have trained and recorded what this job planned.
        measured = load_if_there(settings.records_path)
        for member, folder in members:
            if settings.until is not None:
                check_until(member.spec, folder, settings.until)
            if complete(member, folder, measured, settings.until):
                outcome.skipped.append(member.spec.run_id)
        members = [(m, folder) for m, folder in members if m.spec.run_id not in outcome.skipped]
        tracker = tracker or tracker_of(settings.tracker)
        stack.callback(tracker.close)
        # What is trained but not recorded first: minutes of testing, before hours of training that may be interrupted.
        trained = [(m, folder) for m, folder in members if folder.covers(m.spec)]
        evaluate_members(trained, settings, context, data, tracker)
        outcome.remeasured += [m.spec.run_id for m, _ in trained]
        fresh = [entry for entry in members if entry not in trained]
        check_fits([m for m, _ in fresh], settings)  # here: this may be another machine than the one that planned
        # A state may be at `until` already, tested into another store or not at all: it needs no step, only the test.
        stopped = [(m, f) for m, f in fresh if settings.until is not None and f.validated_epoch() == settings.until]
        stopped_at(stopped, settings, context, data, tracker, outcome)
        fresh = [entry for entry in fresh if entry not in stopped]
        # Signals wait for the end of a step only while there is a state to save; tests are simply made again.
        stopping = stack.enter_context(stop_on_signal())
        train_members(fresh, job, context, data, tracker, stopping, outcome)


def _claimed(job: Job, stack: ExitStack, outcome: Outcome) -> list[tuple[PlannedMember, Run]]:
    """The members whose folders this process now holds. Members that share a training are claimed together or not at
    all, in the order of their ids: two processes that each held half of them would both train for them."""
    shared: dict[str, list[PlannedMember]] = {}
    for member in job.members:
        shared.setdefault(member.spec.trajectory, []).append(member)
    claimed: dict[str, Run] = {}
    for members in shared.values():
        folders = [Run(job.settings.runs_dir, run_id) for run_id in sorted(m.spec.run_id for m in members)]
        with ExitStack() as attempt:
            for folder in folders:
                if not folder.claim():
                    outcome.elsewhere += [m.spec.run_id for m in members]
                    break
                attempt.callback(folder.release)
            else:
                claimed |= {folder.run_id: folder for folder in folders}
                stack.push(attempt.pop_all())
    held = [(m, claimed[m.spec.run_id]) for m in job.members if m.spec.run_id in claimed]
    for member, folder in held:
        folder.describe(member.spec, member.config)
    return held


def complete(member: PlannedMember, folder: Run, measured: Sequence[AccuracyRecord], until: int | None) -> bool:
    """Whether there is nothing left to do: it is trained, and every target of the member has its record."""
    if until is None and not folder.covers(member.spec):
        return False
    recorded = {
        (protocol, r.pe, r.test_encoding, r.accuracy_mode)
        for r in measured
        if r.run_id == member.spec.run_id
        for protocol in r.protocols
    }
    return all((t.protocol, t.pe, t.test_encoding, t.accuracy) in recorded for t in member.targets)


def check_until(spec: MemberSpec, folder: Run, until: int) -> None:
    """Raise BadValue where a training cannot be tested at that epoch: it is past it, or is not validated there."""
    every, epochs = spec.optim.validate_every, spec.optim.epochs
    require(1 <= until < epochs, "until", until, f"use an epoch before the last of {epochs}, or leave it out")
    require(until % every == 0, "until", until, f"use a multiple of {every}: validations are {every} epochs apart")
    reached = epochs if folder.done else folder.validated_epoch()
    if reached > until and folder.status != "diverged":
        remedy = f"run {folder.run_id} is past it already, at epoch {reached}, and its state of then is gone"
        raise BadValue("until", until, f"{remedy}; use {reached}" if reached < epochs else f"{remedy}; leave it out")


def tracker_of(spec: TrackerSpec) -> Tracker:
    """The tracker that a configuration asks for."""
    if spec.kind is TrackerKind.none:
        return NoTracker()
    from eval.running.wandb_tracker import WandbTracker

    return WandbTracker(
        Path(spec.directory), project=spec.project, entity=spec.entity, mode=spec.mode, init_timeout=spec.init_timeout
    )


def compiles(device: str, compiled: bool | None) -> bool:
    """Whether torch.compile fuses the step. None: on a GPU; on a CPU half a minute of compiling buys a few percent."""
    return torch.device(device).type == "cuda" if compiled is None else compiled


def thread_count(threads: int | None) -> int:
    """Threads that a setting asks for; None: all processors that this process may use."""
    if threads is None:
        threads = available_threads()
    require(threads >= 1, "threads", threads, "use at least 1")
    return threads


def set_threads(threads: int | None) -> None:
    """Let torch compute with so many threads; None: as `thread_count` says."""
    torch.set_num_threads(thread_count(threads))


def available_threads() -> int:
    """How many processors this process may use."""
    # Not cpu_count: in a container or under taskset it counts processors that this process never gets.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def check_device(device: str) -> None:
    """Raise BadValue where this machine has no such device."""
    available = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    wanted = "cuda:0" if device == "cuda" else device
    require(wanted in available, "device", device, f"this machine has {', '.join(available)}")
