"""What `train` and `sweep` print: what will happen, what it will take, and what came out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from cli.shared.output import MISSING, duration, nats, percent, table

if TYPE_CHECKING:
    from eval.measuring.planned import PlannedMember
    from eval.running.job import Outcome
    from eval.running.request import PlannedSweep
    from eval.store.kinds import AccuracyRecord


def train_all(sweeps: Sequence[PlannedSweep], fresh: bool, dry_run: bool) -> None:
    """Train and measure the members of every sweep, one sweep after another; or say what that would take."""
    from eval.running.sweep import run_sweep
    from eval.store.runs import Run

    for sweep in sweeps:
        for pe, error in sweep.left_out.items():
            print(f"left out of the league, these settings cannot train it: {pe} ({error})", flush=True)
        print(announcement(sweep), flush=True)
        if dry_run:
            print(_listing(sweep.members))
            _estimate(sweep)
            continue
        if fresh:
            for member in sweep.members:
                Run(sweep.settings.runs_dir, member.spec.run_id).forget()
        _show(sweep, run_sweep(sweep.members, sweep.settings))


def announcement(sweep: PlannedSweep) -> str:
    """One line: the members, by what they are, and where their records go."""
    from eval.measuring.planned import count

    def each(values: Iterable[object]) -> str:
        return ",".join(dict.fromkeys(map(str, values)))

    members, profile = sweep.members, sweep.config.profile
    cells = [cell for member in members for cell in member.cells]
    return (
        f"{count(len(members))}: task {each(m.spec.task.name for m in members)}, "
        f"pe {each(cell.pe for cell in cells)}, seed {each(m.spec.seed for m in members)}, "
        f"protocol {each(cell.protocol for cell in cells)}, profile {profile.name} ({profile.label}), "
        f"records in {sweep.settings.records_path}"
    )


def results_table(records: Iterable[AccuracyRecord]) -> str:
    """Measurements, one a line: how trained, how tested, and the accuracies in percent."""
    header = ("run", "task", "trained with", "tested with", "seed", "length", "ID %", "OOD %", "loss", "epoch", "")
    rows = [
        (r.run_id, r.task, r.train_encoding, r.test_encoding, str(r.seed), str(r.length),
         percent(r.id_accuracy), percent(r.ood_accuracy), nats(r.metrics.loss if r.metrics else None),
         MISSING if r.checkpoint_epoch is None else str(r.checkpoint_epoch), _remark(r))
        for r in records
    ]  # fmt: skip
    return table(header, list(dict.fromkeys(rows)))


def _remark(record: AccuracyRecord) -> str:
    if record.status == "stopped":
        return f"epoch {record.trained_epochs} of {record.training.optim.epochs}"
    return record.status if record.status == "diverged" else record.accuracy_mode.replace("teacher_forced", "")


def _listing(members: Sequence[PlannedMember]) -> str:
    rows = [
        (
            m.spec.run_id,
            m.spec.task.name,
            m.spec.train_encoding.name,
            str(m.spec.seed),
            " ".join(f"{cell.protocol}/{cell.pe}" for cell in m.cells),
        )
        for m in members
    ]
    return table(("run", "task", "trained with", "seed", "cells"), rows)


def _estimate(sweep: PlannedSweep) -> None:
    """Print what training these members takes on this machine, from a few real steps."""
    from eval.measuring.planned import count
    from eval.running.job import compiles, set_threads
    from eval.running.populations import estimate, populations
    from eval.running.progress import Bar

    settings = sweep.settings
    set_threads(settings.threads)
    groups = populations(sweep.members, settings.device)
    compiled = compiles(settings.device, settings.compiled)
    with Bar("timing a few steps", len(groups)) as bar:
        estimates = estimate(groups, settings.device, compiled, bar.advance, settings.until)
    for each in estimates:
        passes = f", each in {each.passes} passes" if each.passes > 1 else ""
        trainings = f", {each.trainings} training{'s' if each.trainings > 1 else ''}"
        shared = trainings if each.trainings < each.members else ""
        print(
            f"population of {count(each.members)}{shared}: {each.weights:,} weights each, {each.steps:,} steps{passes}"
            f", about {each.bytes / 2**30:.1f} GiB and {duration(each.seconds)}"
        )
    free = {(m.spec.run_id, c.test_encoding) for m in sweep.members for c in m.cells if c.accuracy == "free_running"}
    if free:
        print(f"and {len(free)} measurements running free, which this estimate does not count")
    total = duration(sum(each.seconds for each in estimates))
    print(f"in all about {total} on {settings.device}, measured just now on this machine; nothing has been trained")


def _show(sweep: PlannedSweep, outcome: Outcome) -> None:
    from eval.store.records import load

    if outcome.interrupted:
        print("posgen: interrupted; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130)
    ids = [member.spec.run_id for member in sweep.members]
    records = [r for r in load(sweep.settings.records_path) if r.run_id in ids]
    print(results_table(sorted(records, key=lambda r: ids.index(r.run_id))))
    until = sweep.settings.until
    known = "finished" if until is None else f"measured at epoch {until}"
    for run_ids, words in (
        (outcome.finished, "trained and measured"),
        (outcome.stopped, f"stopped at epoch {until} and measured; without --until they go on from there"),
        (outcome.remeasured, "found trained, and measured; --fresh trains them again"),
        (outcome.elsewhere, "trained by another process meanwhile"),
        (outcome.skipped, f"found {known}; --fresh trains them again"),
        (outcome.diverged, "diverged: their numbers are missing"),
    ):
        if run_ids:
            print(f"{len(run_ids)} {words}")
