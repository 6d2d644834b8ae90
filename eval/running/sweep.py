"""A sweep from plan to records: train the members in populations, measure them, write everything down.

A member is identified by its run_id. What is finished is not trained again, what was interrupted goes on from its
state, and what is new starts: the same call twice does the work once.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import msgspec
import torch

from eval.measuring.member import Context, Data, Validator
from eval.measuring.planned import PlannedMember, count, encoding_labels
from eval.running.evaluation import test_all
from eval.running.populations import populations, trained
from eval.running.progress import Bar
from eval.running.settings import RunOptions, compiles, set_threads
from eval.running.tracker import TrackedMember
from eval.store.kinds import AccuracyRecord
from eval.store.records import load_if_there
from eval.store.runs import Run
from models import memory
from models.population import Population, StepResult, batches_per_epoch
from models.spec import MemberSpec
from models.training import Progress, Trainer, Watcher
from posgen.errors import BadValue, require


@dataclass
class Outcome:
    """Run ids by how they ended. `stopped` are at the epoch that the options stop at; `remeasured` were trained before,
    but their records were not in this store; `skipped` were done before altogether. `interrupted`: the same call goes
    on from here."""

    finished: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
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
        measured = load_if_there(options.records_path)
        for member in plan:
            run = Run(options.runs_dir, member.spec.run_id)
            if options.until is not None:
                _check_until(member.spec, run, options.until)
            if (run.done or options.until is not None) and _covered(member, measured):
                outcome.skipped.append(member.spec.run_id)
                continue
            data.of(member.spec)
            todo.append((member, run))
        for member, run in todo:
            run.begin(member.spec, member.config)
            stack.callback(run.release)
        retested = [(m, r) for m, r in todo if r.done]
        test_all(retested, options, context, data)
        outcome.remeasured += [m.spec.run_id for m, _ in retested]
        fresh = [(m, r) for m, r in todo if not r.done]
        # Asked again now that the folders are this process's own: another may have gone on since the check.
        there = [(m, r) for m, r in fresh if options.until is not None and r.validated_epoch() == options.until]
        _stop(there, options, context, data, outcome)
        fresh = [(m, r) for m, r in fresh if (m, r) not in there]
        if fresh:
            stack.callback(options.tracker.close)
            options.tracker.start([_tracked(m, options) for m, _ in fresh])
        stopping = stack.enter_context(_stop_on_signal())
        for group in _populations(fresh, options.device):
            _train(group, options, context, data, stopping, outcome)
            memory.release(torch.device(options.device))  # or the next population would find no room
            if stopping.asked:
                outcome.interrupted = True
                break
    return outcome


def _check_until(spec: MemberSpec, run: Run, until: int) -> None:
    """Raise BadValue where a training cannot be tested at that epoch: it is past it, or is not validated there."""
    every, epochs = spec.optim.validate_every, spec.optim.epochs
    require(1 <= until < epochs, "until", until, f"use an epoch before the last of {epochs}, or leave it out")
    require(until % every == 0, "until", until, f"use a multiple of {every}: validations are {every} epochs apart")
    reached = epochs if run.done else run.validated_epoch()
    if reached > until and run.info().get("status") != "diverged":
        remedy = f"run {run.run_id} is past it already, at epoch {reached}, and its state of then is gone"
        raise BadValue("until", until, f"{remedy}; use {reached}" if reached < epochs else f"{remedy}; leave it out")


def _stop(
    members: Sequence[tuple[PlannedMember, Run]], options: RunOptions, context: Context, data: Data, outcome: Outcome
) -> None:
    """Test members whose states are at the epoch that the options stop at; the states stay, to be gone on from."""
    for _, run in members:
        state = run.state()
        run.report(status="stopped", epoch=options.until, train_seconds=round(state["seconds"], 3) if state else None)
    test_all(members, options, context, data)
    outcome.stopped += [member.spec.run_id for member, _ in members]


def _covered(member: PlannedMember, measured: Sequence[AccuracyRecord]) -> bool:
    """Whether every cell of the member has its record."""
    own = [r for r in measured if r.run_id == member.spec.run_id]
    found = {(protocol, r.pe, r.test_encoding, r.accuracy_mode) for r in own for protocol in r.protocols}
    return all((c.protocol, c.pe, c.test_encoding, c.accuracy) in found for c in member.cells)


def _populations(
    members: Sequence[tuple[PlannedMember, Run]], device: str
) -> Iterator[list[tuple[PlannedMember, Run, dict[str, Any] | None]]]:
    """Members that can train side by side: as `populations` says, and at the same step where some go on from one."""
    runs = {member.spec.run_id: run for member, run in members}
    for group in populations([member for member, _ in members], device):
        at_step: dict[int, list[tuple[PlannedMember, Run, dict[str, Any] | None]]] = {}
        for member in group:
            state = runs[member.spec.run_id].state()
            at_step.setdefault(state["steps"] if state else 0, []).append((member, runs[member.spec.run_id], state))
        yield from at_step.values()


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
        self.saved, self.due = time.monotonic(), False
        self.wait = options.checkpoint_seconds
        self.note, self.read, self.shortages = "", 0.0, 0

    def stepped(self, steps: int, result: StepResult) -> None:
        if time.monotonic() - self.read > 0.5 or steps == self.last:
            loss, accuracy = result.loss.mean().item(), result.accuracy.mean().item()
            self.note, self.read = f"loss {loss:.3f}, accuracy {100 * accuracy:.1f} %", time.monotonic()
        self.bar.at(steps, self.note)
        population = self.trainer.population
        if population.shortages > self.shortages:
            self.shortages = population.shortages
            passes = len(population.chunks())
            self.bar.console.print(f"memory ran out: each step now goes through its members in {passes} passes")
        # Not after the last step: its outcome is written at once.
        if time.monotonic() - self.saved > self.wait and steps < self.last:
            self.due = True

    def validated(self, member: Progress) -> None:
        self.options.tracker.log(member.spec.run_id, member.history[-1])

    def diverged(self, member: Progress) -> None:
        assert member.diverged_at is not None
        step, reason = member.diverged_at["step"], member.diverged_at["reason"]
        self.bar.console.print(f"run {member.spec.run_id}: stopped at step {step} because {reason}; the others go on")

    def stop(self) -> bool:
        if self.trainer.population.steps >= self.last:
            return True
        if self.due and not self.stopping.asked:
            self.save("running")
        return self.stopping.asked

    @property
    def last(self) -> int:
        """The step after which this training ends, for good or until a later call."""
        return self.trainer.per_epoch * self.options.until if self.options.until else self.trainer.total

    def save(self, status: str) -> None:
        """Every member's state, so that the same command goes on from here."""
        began = time.monotonic()
        for i, member in enumerate(self.trainer.progress):
            run = self.runs[member.spec.run_id]
            run.save_state(self.trainer.state(i))
            run.report(status=status, epoch=self.trainer.population.steps // self.trainer.per_epoch)
        self.saved, self.due = time.monotonic(), False
        # Gigabytes of a large population must not cost more than one part in twenty of its time.
        self.wait = max(self.options.checkpoint_seconds, 20 * (self.saved - began))


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
    first = group[0][2]
    steps = first["steps"] if first else 0
    for member, run, _ in group:
        epoch = steps // batches_per_epoch(member.spec.data.train_size, member.spec.optim.batch_size)
        trained_by = [*run.info().get("trained_by", [])] if steps else []
        maker = msgspec.to_builtins(context.maker)
        if maker not in trained_by[-1:]:
            trained_by.append(maker)
        run.report(**_header(member, options), trained_by=trained_by, status="running", epoch=epoch)
    compiled = compiles(options.device, options.compiled)
    leading = trained(specs)
    population = Population(leading, [data.tokens(s, "train") for s in leading], options.device, compiled)
    title = f"training {count(len(specs))}"
    watch = _Watch(options, Bar(title, 1, enabled=False), stopping)
    trainer = Trainer(population, Validator(data, compiled), watch, specs)
    states = [state for _, _, state in group if state]
    if states:
        trainer.load(states)
    watch.trainer, watch.runs = trainer, {m.spec.run_id: run for m, run, _ in group}
    members = {member.spec.run_id: (member, run) for member, run, _ in group}
    with Bar(title, watch.last, steps, options.progress) as watch.bar:
        trainer.run()
    _finish([(*members[p.spec.run_id], p) for p in trainer.lost], "diverged", options, context, data)
    outcome.diverged += [p.spec.run_id for p in trainer.lost]
    if options.until is not None and not stopping.asked:
        watch.save("stopped")
        _stop([members[p.spec.run_id] for p in trainer.progress], options, context, data, outcome)
        return
    if not trainer.finished:
        watch.save("interrupted")
        for progress in trainer.progress:
            options.tracker.finish(progress.spec.run_id, {}, "interrupted")
        return
    _finish([(*members[p.spec.run_id], p) for p in trainer.progress], "finished", options, context, data)
    outcome.finished += [p.spec.run_id for p in trainer.progress]


def _header(member: PlannedMember, options: RunOptions) -> dict[str, Any]:
    spec = member.spec
    return {
        "task": spec.task.name,
        "train_encoding": spec.train_encoding.name,
        "seed": spec.seed,
        "data_seed": spec.data.seed,
        "profile": options.profile,
        "sweep": options.sweep,
        "cells": [[c.protocol, c.pe, c.test_encoding, c.accuracy] for c in member.cells],
        "epochs": spec.optim.epochs,
    }


def _finish(
    ended: Sequence[tuple[PlannedMember, Run, Progress]], status: str, options: RunOptions, context: Context, data: Data
) -> None:
    """Write the outcome of trainings, which are never trained again from here on, and test them."""
    for _, run, progress in ended:
        chosen: dict[str, int | None] = {label: best.epoch for label, best in progress.best.items()}
        run.save_outcome(progress.history, chosen, {label: best.params for label, best in progress.best.items()})
        run.report(
            status=status,
            epoch=progress.history[-1]["epoch"] if progress.history else 0,
            diverged_at=progress.diverged_at,
            train_seconds=round(progress.seconds, 3),
        )
    test_all([(member, run) for member, run, _ in ended], options, context, data)


def _tracked(member: PlannedMember, options: RunOptions) -> TrackedMember:
    spec = member.spec
    protocols = tuple(dict.fromkeys(c.protocol for c in member.cells))
    labels = zip(encoding_labels(spec.test_encodings), spec.test_encodings, strict=True)
    return TrackedMember(
        run_id=spec.run_id,
        name=f"{spec.task.name}-{spec.train_encoding.name}-{spec.seed}",
        group=" ".join([options.sweep, *protocols[:1], spec.train_encoding.name]),
        job_type="train",
        tags=(options.profile, spec.task.name, *protocols),
        config=member.config,
        task=spec.task.name,
        trained_as=next((label for label, encoding in labels if encoding.key == spec.train_encoding.key), None),
    )
