"""A sweep from plan to records: train the members in populations, measure them, write everything down.

A member is identified by its run_id. What is finished is not trained again, what was interrupted goes on from its
state, and what is new starts: the same call twice does the work once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from eval.measuring import Context, Data, Validator, record, test
from eval.plan import Cell, PlannedMember, encoding_labels
from eval.progress import Bar
from eval.records import Record, append, load
from eval.runs import Run
from eval.tracking import NoTracker, TrackedMember, Tracker
from models.encodings import build
from models.population import Population, population_key
from models.spec import AccuracyMode, EncodingSpec
from models.training import Progress, Trainer, Watcher
from models.workers import parallel
from posgen.errors import BadValue, UserError, require


@dataclass(frozen=True)
class RunOptions:
    """Where a sweep keeps things and how it runs. `threads` None: as many as the process may use."""

    runs_dir: Path
    data_dir: Path
    records_path: Path
    sweep: str
    profile: str
    device: str = "cpu"
    threads: int | None = None
    tracker: Tracker = field(default_factory=NoTracker)
    progress: bool = True
    checkpoint_seconds: float = 60.0


@dataclass
class Outcome:
    """Run ids by how they ended. `remeasured` were trained before, but their records were not in this store; `skipped`
    were done before altogether. `interrupted`: the same call goes on from here."""

    finished: list[str] = field(default_factory=list)
    remeasured: list[str] = field(default_factory=list)
    diverged: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    interrupted: bool = False


def run_sweep(plan: Sequence[PlannedMember], options: RunOptions) -> Outcome:
    """Train, measure and record every member of the plan, or go on where an earlier call stopped.

    Raises UserError for what the user can mend, before any training starts where it can be known then.
    """
    set_threads(options.threads)
    outcome = Outcome()
    with ExitStack() as stack:
        data, context = Data(options.data_dir), Context.here(options.sweep, options.profile, options.device)
        todo: list[tuple[PlannedMember, Run]] = []
        measured = load(options.records_path) if options.records_path.exists() else []
        for member in plan:
            run = Run(options.runs_dir, member.spec.run_id)
            if run.done and _covered(member, measured):
                outcome.skipped.append(member.spec.run_id)
                continue
            data.of(member.spec)
            todo.append((member, run))
        for member, run in todo:
            run.begin(member.spec, member.config)
            stack.callback(run.release)
        retested = [(m, r) for m, r in todo if r.done]
        _record_all(retested, options, context, data, Outcome())
        outcome.remeasured += [m.spec.run_id for m, _ in retested]
        fresh = [(m, r) for m, r in todo if not r.done]
        if fresh:
            stack.callback(options.tracker.close)
            options.tracker.start([_tracked(m, options) for m, _ in fresh])
        stopping = stack.enter_context(_stop_on_signal())
        for group in _populations(fresh):
            _train(group, options, context, data, stopping, outcome)
            if stopping.asked:
                outcome.interrupted = True
                break
    return outcome


def set_threads(threads: int | None) -> None:
    """Let torch compute with so many threads; None: all processors that this process may use."""
    if threads is None:
        affinity = getattr(os, "sched_getaffinity", None)
        threads = len(affinity(0)) if affinity else os.cpu_count() or 1
    require(threads >= 1, "threads", threads, "use at least 1")
    torch.set_num_threads(threads)


def _covered(member: PlannedMember, measured: Sequence[Record]) -> bool:
    """Whether every cell of the member has its record."""
    own = [r for r in measured if r["run_id"] == member.spec.run_id]
    found = {(r["pe"], r["test_encoding"], protocol) for r in own for protocol in r["protocols"]}
    return all((c.pe, c.test_encoding, c.protocol) in found for c in member.cells)


def _populations(
    members: Sequence[tuple[PlannedMember, Run]],
) -> Iterator[list[tuple[PlannedMember, Run, dict[str, Any] | None]]]:
    """Members that can train side by side: equal shapes, and the same step where some go on from a state."""
    groups: dict[tuple[str, int], list[tuple[PlannedMember, Run, dict[str, Any] | None]]] = {}
    for member, run in members:
        state = run.state()
        groups.setdefault((population_key(member.spec), state["steps"] if state else 0), []).append(
            (member, run, state)
        )
    yield from groups.values()


class _Stopping:
    """Set by the first Ctrl-C (or SIGTERM): training ends after its step. A second one ends the process at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def _stop_on_signal() -> Iterator[_Stopping]:
    stopping = _Stopping()
    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, stopping)
    except ValueError:  # not in the main thread: signals are the caller's business
        pass
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Watch(Watcher):
    """Carries a training's news to the bar, the tracker and the run folders."""

    def __init__(self, options: RunOptions, bar: Bar, stopping: _Stopping) -> None:
        self.options, self.bar, self.stopping = options, bar, stopping
        self.trainer: Trainer
        self.runs: dict[str, Run]
        self.saved = time.monotonic()

    def stepped(self, steps: int, loss: float, accuracy: float) -> None:
        self.bar.at(steps, f"loss {loss:.3f}, accuracy {100 * accuracy:.1f} %")
        # Not after the last step: its outcome is written at once.
        if time.monotonic() - self.saved > self.options.checkpoint_seconds and steps < self.trainer.total:
            self.due = True

    due = False

    def validated(self, member: Progress) -> None:
        self.options.tracker.log(member.spec.run_id, member.history[-1])

    def diverged(self, member: Progress) -> None:
        assert member.diverged_at is not None
        step, reason = member.diverged_at["step"], member.diverged_at["reason"]
        self.bar.console.print(f"run {member.spec.run_id}: stopped at step {step} because {reason}; the others go on")

    def stop(self) -> bool:
        if self.due and not self.stopping.asked:
            self.save("running")
        return self.stopping.asked

    def save(self, status: str) -> None:
        """Every member's state, so that the same command goes on from here."""
        for i, member in enumerate(self.trainer.progress):
            run = self.runs[member.spec.run_id]
            run.save_state(self.trainer.state(i))
            run.report(status=status, epoch=self.trainer.population.steps // self.trainer.per_epoch)
        self.saved, self.due = time.monotonic(), False


def _train(
    group: Sequence[tuple[PlannedMember, Run, dict[str, Any] | None]],
    options: RunOptions,
    context: Context,
    data: Data,
    stopping: _Stopping,
    outcome: Outcome,
) -> None:
    """One population from its present step to its end, or to an interruption."""
    specs = [member.spec for member, _, _ in group]
    for member, run, _ in group:
        run.report(**_header(member, options, context), status="running", epoch=0, epochs=member.spec.optim.epochs)
    population = Population(specs, [data.tokens(s, "train") for s in specs], options.device)
    first = group[0][2]
    steps = first["steps"] if first else 0
    title = f"training {_count(len(specs))}"
    watch = _Watch(options, Bar(title, 1, enabled=False), stopping)
    trainer = Trainer(population, Validator(data), watch)
    states = [state for _, _, state in group if state]
    if states:
        trainer.load(states)
    watch.trainer, watch.runs = trainer, {m.spec.run_id: run for m, run, _ in group}
    members = {member.spec.run_id: (member, run) for member, run, _ in group}
    with Bar(title, trainer.total, steps, options.progress) as watch.bar:
        trainer.run()
    for progress in trainer.lost:
        _end(*members[progress.spec.run_id], progress, "diverged")
    _record_all([members[p.spec.run_id] for p in trainer.lost], options, context, data, outcome)
    if not trainer.finished:
        watch.save("interrupted")
        for progress in trainer.progress:
            options.tracker.finish(progress.spec.run_id, {}, "interrupted")
        return
    for progress in trainer.progress:
        _end(*members[progress.spec.run_id], progress, "finished")
    _record_all([members[p.spec.run_id] for p in trainer.progress], options, context, data, outcome)


def _count(members: int) -> str:
    return f"{members} member{'s' if members > 1 else ''}"


def _header(member: PlannedMember, options: RunOptions, context: Context) -> dict[str, Any]:
    spec = member.spec
    return {
        "task": spec.task.name,
        "train_encoding": spec.train_encoding.name,
        "seed": spec.seed,
        "data_seed": spec.data.seed,
        "profile": options.profile,
        "sweep": options.sweep,
        "cells": [[c.protocol, c.pe, c.test_encoding] for c in member.cells],
        "git_commit": context.git_commit,
        "git_dirty": context.git_dirty,
        "versions": context.versions,
        "device": context.device,
    }


def _end(member: PlannedMember, run: Run, progress: Progress, status: str) -> None:
    """Write a training's outcome; from here on the member is never trained again."""
    chosen: dict[str, int | None] = {label: best.epoch for label, best in progress.best.items()}
    run.save_outcome(progress.history, chosen, {label: best.params for label, best in progress.best.items()})
    run.report(
        status=status,
        epoch=progress.history[-1]["epoch"] if progress.history else 0,
        diverged_at=progress.diverged_at,
        train_seconds=round(progress.seconds, 3),
    )


def _record_all(
    members: Sequence[tuple[PlannedMember, Run]], options: RunOptions, context: Context, data: Data, outcome: Outcome
) -> None:
    """Test members that are done under their own encodings, record it, and tell the tracker."""
    if not members:
        return
    with Bar(f"testing {_count(len(members))}", len(members), 0, options.progress) as bar:

        def measured(one: tuple[PlannedMember, Run]) -> list[Record]:
            records = _test_own(*one, options, context, data)
            bar.advance()
            return records

        # Their outcomes are on disk already: should this be interrupted, the same call tests them again.
        found = parallel(measured, members)
    append(options.records_path, [record for records in found for record in records])
    for (member, run), records in zip(members, found, strict=True):
        status = run.info()["status"]
        (outcome.diverged if status == "diverged" else outcome.finished).append(member.spec.run_id)
        options.tracker.finish(member.spec.run_id, _summary(records), status)


def _test_own(member: PlannedMember, run: Run, options: RunOptions, context: Context, data: Data) -> list[Record]:
    spec, info = member.spec, run.info()
    history, chosen = run.outcome()
    tokens = data.test_tokens(spec, spec.data.test_length)
    records = []
    for label, encoding in zip(encoding_labels(spec.test_encodings), spec.test_encodings, strict=True):
        scores = None
        if info["status"] == "finished":
            scores = test(run.weights(label), spec, encoding, tokens, spec.accuracy, options.device)
        records += [
            record(
                member, context, pe, label, scores,
                length=spec.data.test_length, accuracy=spec.accuracy, checkpoint_epoch=chosen.get(label),
                history=history, diverged_at=info.get("diverged_at"), train_seconds=info.get("train_seconds"),
            )
            for pe in dict.fromkeys(c.pe for c in member.cells if c.test_encoding == label)
        ]  # fmt: skip
    return records


def _summary(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    return {r["test_encoding"]: {**(r["metrics"] or {}), "checkpoint_epoch": r["checkpoint_epoch"]} for r in records}


def _tracked(member: PlannedMember, options: RunOptions) -> TrackedMember:
    spec = member.spec
    protocols = tuple(dict.fromkeys(c.protocol for c in member.cells))
    return TrackedMember(
        run_id=spec.run_id,
        name=f"{spec.task.name}-{spec.train_encoding.name}-{spec.seed}",
        group=options.sweep,
        job_type=spec.train_encoding.name,
        tags=(options.profile, spec.task.name, *protocols),
        config=member.config,
    )


def evaluate(
    run_ids: Sequence[str],
    options: RunOptions,
    lengths: Sequence[int] | None = None,
    encodings: Sequence[EncodingSpec] | None = None,
    accuracy: AccuracyMode = AccuracyMode.teacher_forced,
) -> list[Record]:
    """Measure finished runs again: at other lengths (tokens), under other encodings, or running free.

    None stands for the run's own lengths and encodings. An encoding that was not validated is measured with the
    weights chosen for the member's first test encoding. Appends the records and returns them.
    """
    set_threads(options.threads)
    data, context = Data(options.data_dir), Context.here(options.sweep, options.profile, options.device)
    jobs: list[tuple[Run, PlannedMember, EncodingSpec, int]] = []
    for run_id in run_ids:
        run = Run(options.runs_dir, run_id)
        spec, info = run.spec(), run.info()
        if info.get("status") != "finished":
            raise UserError(f"run={run_id}: is {info.get('status')}, not finished; train it to the end first")
        cells = tuple(Cell(*cell) for cell in info["cells"])
        for encoding in encodings or ():
            trains = build(encoding, spec.model.head_dim).trainable
            if trains and encoding.key != spec.train_encoding.key:
                raise BadValue(
                    "pe", encoding.name, f"needs weights that run {run_id} never trained; train with it first"
                )
        prefix = spec.task.prefix_length
        for length in lengths or [spec.data.test_length]:
            require(length > prefix, "length", length, f"use more than the {prefix} tokens of the seed")
            member = PlannedMember(spec, cells, run.config())
            jobs += [(run, member, encoding, length) for encoding in encodings or spec.test_encodings]
    with Bar(f"measuring {len(jobs)} times", len(jobs), 0, options.progress) as bar:

        def measured(job: tuple[Run, PlannedMember, EncodingSpec, int]) -> Record:
            found = _again(*job, accuracy, options, context, data)
            bar.advance()
            return found

        records = parallel(measured, jobs)
    append(options.records_path, records)
    return records


def _again(
    run: Run,
    member: PlannedMember,
    encoding: EncodingSpec,
    length: int,
    accuracy: AccuracyMode,
    options: RunOptions,
    context: Context,
    data: Data,
) -> Record:
    spec, (history, chosen) = member.spec, run.outcome()
    labels = encoding_labels(spec.test_encodings)
    own = [label for label, test_encoding in zip(labels, spec.test_encodings, strict=True) if test_encoding == encoding]
    validated = own[0] if own else labels[0]
    label = own[0] if own else f"{encoding.name}~{encoding.key}" if encoding.name in labels else encoding.name
    scores = test(run.weights(validated), spec, encoding, data.test_tokens(spec, length), accuracy, options.device)
    return record(
        member, context, encoding.name, label, scores,
        length=length, accuracy=accuracy, checkpoint_epoch=chosen.get(validated),
        history=history, diverged_at=None, train_seconds=run.info().get("train_seconds"),
    )  # fmt: skip
