"""The trainings of a job: each population from its present step to its end or to an interruption, and what it saves."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import torch

from eval.measuring.member import Context, Data, Validator
from eval.measuring.planned import PlannedMember, count
from eval.running.evaluation import evaluate_members
from eval.running.job import Job, Outcome, RunSettings, compiles
from eval.running.populations import populations, trained
from eval.running.progress import Bar
from eval.running.saving import Started, end_lost, move_states, tidy, write_outcome
from eval.running.stopping import Stopping, say
from eval.running.tracker import TrackedMember, Tracker
from eval.running.watching import Watch
from eval.store import states
from eval.store.claims import ClaimLostError
from eval.store.runs import Run, now
from models import memory
from models.population import Population, batches_per_epoch, total_steps
from models.training import Trainer
from posgen.errors import UserError, told


def train_members(
    members: Sequence[tuple[PlannedMember, Run]],
    job: Job,
    context: Context,
    data: Data,
    tracker: Tracker,
    stopping: Stopping,
    outcome: Outcome,
) -> None:
    """Train members that are not done, population after population, until they are or `stopping` asks for an end."""
    tidy(job.settings.runs_dir)
    if not members:
        return
    tracker.start([_tracked(member, job.settings) for member, _ in members])
    begun: list[Started] = []
    for member, folder in members:
        with _failure_told([folder]):
            begun.append((member, folder, _usable(member, folder.state())))
    lost = end_lost(begun)
    stopping.testing = True
    evaluate_members(lost, job.settings, context, data, tracker)
    outcome.diverged += [member.spec.run_id for member, _ in lost]
    begun = [entry for entry in begun if entry[:2] not in lost]
    for group in _populations(begun, job.settings.device):
        with _failure_told([folder for _, folder, _ in group]):
            _train(group, job, context, data, tracker, stopping, outcome)
        memory.release(torch.device(job.settings.device))  # or the next population would find no room
        if stopping.asked:
            # Asked while the last members were tested, there is nothing left to go on with.
            ended = {*outcome.finished, *outcome.diverged, *outcome.stopped}
            outcome.interrupted = any(member.spec.run_id not in ended for member, _ in members)
            outcome.signal = stopping.signal
            return


def stopped_at(
    members: Sequence[tuple[PlannedMember, Run]],
    settings: RunSettings,
    context: Context,
    data: Data,
    tracker: Tracker,
    outcome: Outcome,
) -> None:
    """Test members whose states are at the epoch that the settings stop at; the states stay, to be gone on from."""
    for _, folder in members:
        state = folder.state()
        seconds = round(state["seconds"], 3) if state else None
        folder.report(status="stopped", epoch=settings.until, train_seconds=seconds)
    evaluate_members(members, settings, context, data, tracker)
    outcome.stopped += [member.spec.run_id for member, _ in members]


def _populations(begun: Sequence[Started], device: str) -> Iterator[list[Started]]:
    """Members that can train side by side: as `populations` says, and at the same step where some go on from one."""
    by_id = {member.spec.run_id: (member, folder, state) for member, folder, state in begun}
    for group in populations([member for member, _, _ in begun], device):
        at_step: dict[int, list[Started]] = {}
        for member, folder, state in (by_id[member.spec.run_id] for member in group):
            at_step.setdefault(state["steps"] if state else 0, []).append((member, folder, state))
        yield from at_step.values()


def _usable(member: PlannedMember, state: dict[str, Any] | None) -> dict[str, Any] | None:
    """The state, unless it comes from a training that did not validate all encodings that this member is tested with:
    which checkpoint to choose for those, only a training from the first epoch can tell."""
    if state is None or not state["history"] or state.get("diverged_at"):
        return state
    validated = state["history"][-1]["validation"]
    missing = [label for label in member.spec.labels if label not in validated]
    if missing:
        say(f"run {member.spec.run_id} begins again: it was not validated under {', '.join(missing)} so far")
    return None if missing else state


@contextmanager
def _failure_told(folders: Sequence[Run]) -> Iterator[None]:
    """Let runs say why their training ended in an error. Their states stay, and the next call goes on from these."""
    try:
        yield
    except ClaimLostError:
        raise  # they are another process's now
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else told(error)
        for folder in folders:
            # The disk may be full, or run.json damaged: what is raised is the error itself.
            with contextlib.suppress(UserError, ClaimLostError):
                if not folder.done:
                    folder.report(status="failed", reason=" ".join(reason.split())[:500])
        raise


def _train(
    group: Sequence[Started],
    job: Job,
    context: Context,
    data: Data,
    tracker: Tracker,
    stopping: Stopping,
    outcome: Outcome,
) -> None:
    """One population from its present step to its end, or to an interruption."""
    stopping.testing = False
    settings, specs = job.settings, [member.spec for member, _, _ in group]
    saved = [state for _, _, state in group if state]  # of all or of none: `_populations` groups by step
    steps = saved[0]["steps"] if saved else 0
    per_epoch = batches_per_epoch(specs[0].data.train_size, specs[0].optim.batch_size)  # a population has one shape
    for member, folder, _ in group:
        epoch = steps // per_epoch
        # A training that goes on after an update of the code, or on another machine, has several makers.
        trained_by = [*folder.info().get("trained_by", [])] if steps else []
        maker = msgspec.to_builtins(context.maker)
        if maker not in trained_by[-1:]:
            trained_by.append(maker)
        folder.report(
            **_header(member, settings, folder.info()), **_process(), trained_by=trained_by, status="running",
            epoch=epoch, reason=None,
        )  # fmt: skip
    move_states(group, settings.runs_dir)
    compiled = compiles(settings.device, settings.compiled)
    leading = trained(specs)
    tokens, answers = ([of(s, "train") for s in leading] for of in (data.tokens, data.answers))
    population = Population(leading, tokens, settings.device, compiled, answers)
    title = f"training {count(len(specs))}" + f", {job.part}" * bool(job.part)
    last = per_epoch * settings.until if settings.until else total_steps(specs[0])
    bar = Bar(title, last, steps, settings.progress)
    watch = Watch(settings, tracker, stopping, bar, {m.spec.run_id: folder for m, folder, _ in group}, last)
    trainer = Trainer(population, Validator(data, compiled, watch.validating), watch, specs)
    watch.follow(trainer)
    if saved:
        trainer.load(saved)
    members = {member.spec.run_id: (member, folder) for member, folder, _ in group}

    with bar:
        trainer.run()
    # What is trained is safe before the first test begins.
    stopped = settings.until is not None and not stopping.asked
    interrupted = not stopped and not trainer.finished
    watch.save("stopped" if stopped else "interrupted" if interrupted else "running")
    if not stopped and not interrupted:
        # Saved at the last step before the first outcome is written: a process killed among the outcomes leaves the
        # others a state with nothing left to train, and not one to train from in another group.
        for progress in trainer.progress:
            write_outcome(members[progress.spec.run_id][1], progress, "finished")
        for progress in trainer.progress:
            members[progress.spec.run_id][1].check_claim()
        states.remove(settings.runs_dir, watch.name)
    stopping.testing = True
    # The diverged first: their outcome is final whichever way the others ended.
    evaluate_members([members[p.spec.run_id] for p in trainer.lost], settings, context, data, tracker)
    outcome.diverged += [p.spec.run_id for p in trainer.lost]
    left = [members[p.spec.run_id] for p in trainer.progress]
    if stopped:
        stopped_at(left, settings, context, data, tracker, outcome)
    elif interrupted:
        for member, _ in left:
            tracker.finish(member.spec.run_id, {}, "interrupted")
    else:
        evaluate_members(left, settings, context, data, tracker)
        outcome.finished += [member.spec.run_id for member, _ in left]


def _header(member: PlannedMember, settings: RunSettings, earlier: Mapping[str, Any]) -> dict[str, Any]:
    spec = member.spec
    cells = [[t.protocol, t.pe, t.test_encoding, t.accuracy] for t in member.targets]
    return {
        "task": spec.task.name,
        "train_encoding": spec.train_encoding.name,
        "seed": spec.seed,
        "data_seed": spec.data.seed,
        "profile": settings.profile,
        "sweep": settings.sweep,
        "cells": [*(cell for cell in earlier.get("cells") or () if cell not in cells), *cells],
        "epochs": spec.optim.epochs,
        "recorded": [],
    }


def _process() -> dict[str, Any]:
    """Who trains, and since when."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": now()}


def _tracked(member: PlannedMember, settings: RunSettings) -> TrackedMember:
    spec = member.spec
    protocols = tuple(dict.fromkeys(target.protocol for target in member.targets))
    labels = spec.labels.items()
    return TrackedMember(
        run_id=spec.run_id,
        name=f"{spec.task.name}-{spec.train_encoding.name}-{spec.seed}",
        group=" ".join([settings.sweep, *protocols[:1], spec.train_encoding.name]),
        job_type="train",
        tags=(settings.profile, spec.task.name, *protocols),
        config=member.config,
        task=spec.task.name,
        trained_as=next((label for label, encoding in labels if encoding.key == spec.train_encoding.key), None),
    )
