"""What `train` and `sweep` do and print: the plan, an estimate of time and memory, and the results."""

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
    from eval.running.timing import Timing
    from eval.store.kinds import AccuracyRecord


def train_all(sweeps: Sequence[PlannedSweep], fresh: bool, dry_run: bool) -> None:
    """Train and measure the members of every sweep, one sweep after another; `dry_run`: only list and estimate them,
    and then raise what the same call without it raises."""
    from pathlib import Path

    from eval.running.backends import backend_of
    from eval.running.request import check_fits_here
    from eval.running.sweep import run_sweep
    from eval.store.runs import Run

    timings: dict[str, Timing] = {}
    for sweep in sweeps:
        for pe, error in sweep.left_out.items():
            print(f"left out of the league, not trainable with these settings: {pe} ({error})", flush=True)
        print(announcement(sweep), flush=True)
        if dry_run:
            print(_listing(sweep.members), flush=True)
            print_estimate(sweep, timings)
            check_fits_here(sweep, fresh)
            continue
        backend = backend_of(sweep.config.backend, sweep.settings, Path(sweep.config.paths.results))
        if fresh:
            for member in sweep.members:
                Run(sweep.settings.runs_dir, member.spec.run_id).forget()
        _tell_long(sweep)
        _show(sweep, run_sweep(sweep.members, sweep.settings, backend=backend))


def _tell_long(sweep: PlannedSweep) -> None:
    """Before long work begins on this machine: what it takes at the least."""
    from eval.running.fitting import at_least
    from eval.running.request import is_here

    seconds = at_least(sweep.members, sweep.settings) if is_here(sweep) else None
    if seconds is not None:
        length = max(member.spec.data.test_length for member in sweep.members)
        print(
            f"posgen: at least about {duration(seconds.training)} of training and {duration(seconds.measuring)} of "
            f"validation and test at {length} tokens, by counting operations; --dry-run estimates it from real steps",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def announcement(sweep: PlannedSweep) -> str:
    """One line: the members, by what they are, and where their records go."""
    from eval.measuring.planned import count

    def listed(values: Iterable[object]) -> str:
        return ",".join(dict.fromkeys(map(str, values)))

    members, profile = sweep.members, sweep.config.profile
    targets = [target for member in members for target in member.targets]
    return (
        f"{count(len(members))}: task {listed(m.spec.task.name for m in members)}, "
        f"pe {listed(target.pe for target in targets)}, seed {listed(m.spec.seed for m in members)}, "
        f"protocol {listed(target.protocol for target in targets)}, profile {profile.name} ({profile.label}), "
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
            " ".join(f"{target.protocol}/{target.pe}" for target in m.targets),
        )
        for m in members
    ]
    return table(("run", "task", "trained with", "seed", "cells"), rows)


def print_estimate(sweep: PlannedSweep, timings: dict[str, Timing]) -> None:
    """Print how much memory and time these members take on this machine."""
    from eval.measuring.planned import count
    from eval.running.job import check_device, compiles, set_threads
    from eval.running.populations import estimate, populations
    from eval.running.progress import Bar
    from eval.running.timing import Basis

    settings = sweep.settings
    check_device(settings.device)
    set_threads(settings.threads)
    groups = populations(sweep.members, settings.device)
    compiled = compiles(settings.device, settings.compiled)
    with Bar("timing a few steps", len(groups), after=1.0) as bar:
        estimates = estimate(groups, settings.device, compiled, bar.advance, settings.until, timings)
    for population in estimates:
        passes = f", each in {population.passes} passes" if population.passes > 1 else ""
        trainings = f", {population.trainings} training{'s' if population.trainings > 1 else ''}"
        shared = trainings if population.trainings < population.members else ""
        least = "at least " if population.basis is Basis.operations else ""
        print(
            f"population of {count(population.members)}{shared}: {population.weights:,} weights each, "
            f"{population.steps:,} steps{passes}, about {population.bytes / 2**30:,.1f} GiB and "
            f"{least}{duration(population.seconds)}"
        )
    free = {(m.spec.run_id, t.test_encoding) for m in sweep.members for t in m.targets if t.accuracy == "free_running"}
    if free:
        print(f"not in this estimate: {len(free)} free-running measurements")
    total = duration(sum(population.seconds for population in estimates))
    counted = any(population.basis is Basis.operations for population in estimates)
    basis = "estimated from " + max((population.basis.value for population in estimates), key=len)
    if counted:
        basis = "by counting operations, at the rate of one large matrix product here"
    least = "at least " if counted else ""
    print(f"{least}about {total} in total on {settings.device}, {basis}; nothing has been trained")


def _show(sweep: PlannedSweep, outcome: Outcome) -> None:
    from eval.store.records import load_if_there

    if outcome.interrupted:
        print("posgen: interrupted; the same command resumes", file=sys.stderr)
        raise typer.Exit(128 + (outcome.signal or 2))
    ids = [member.spec.run_id for member in sweep.members]
    records = [r for r in load_if_there(sweep.settings.records_path) if r.run_id in ids]
    if records:
        print(results_table(sorted(records, key=lambda r: ids.index(r.run_id))))
    until = sweep.settings.until
    state = "finished" if until is None else f"measured at epoch {until}"
    for run_ids, words in (
        (outcome.finished, "trained and measured"),
        (outcome.stopped, f"stopped at epoch {until} and measured; without --until they resume"),
        (outcome.remeasured, "already trained, now measured; --fresh trains them again"),
        (outcome.elsewhere, "trained by another process meanwhile"),
        (outcome.skipped, f"already {state}; --fresh trains them again"),
        (outcome.diverged, "diverged: no numbers"),
        (outcome.submitted, "handed to others; posgen status shows them, the same command takes part or shows the end"),
    ):
        if run_ids:
            print(f"{len(run_ids)} {words}")
