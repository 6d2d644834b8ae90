"""What `train` and `sweep` share: plan, say what will happen, train, show what came out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.options import Request
from cli.text import MISSING, duration, nats, percent, table

if TYPE_CHECKING:
    from conf.schema import Config, ProfileSpec, TrackerSpec
    from eval.measuring.planned import PlannedMember
    from eval.running.settings import RunOptions
    from eval.running.tracker import Tracker
    from eval.store.kinds import AccuracyRecord


Planner = Callable[[Request, tuple[str, ...], "ProfileSpec"], list["PlannedMember"]]


@dataclass(frozen=True)
class Extras:
    """What is asked beside the choice of members. `name` None: the sweep is called as its profile. `apart`: one seed
    and protocol unless more are named, and records kept out of the profile's table. `below`: a folder of the profile's
    for the records of a sweep that `planner` plans (request, overrides, profile) -> members. `until`: the epoch at
    which trainings stop for now; their records are a profile of their own."""

    name: str | None
    fresh: bool
    dry_run: bool
    apart: bool = False
    below: str = ""
    planner: Planner | None = None
    until: int | None = None


def train_all(asked: Request, points: Sequence[tuple[str, ...]], extras: Extras) -> None:
    """Train and measure the members of every point (a set of overrides); all are planned before the first begins."""
    jobs = [_job(asked, overrides, extras) for overrides in points]
    for base, members in jobs:
        records = records_path(base, extras.apart, extras.below)
        _announce(base, members, records)
        if extras.dry_run:
            print(_listing(members))
            _estimate(base, members, extras.until)
            continue
        called = "-".join(filter(None, (base.profile.name, extras.below)))
        options = replace(run_options(base, extras.name or called, base.profile.name, records), until=extras.until)
        if extras.fresh:
            _forget(options.runs_dir, members)
        _train(members, options)


def run_options(base: Config, sweep: str, profile: str, records: Path) -> RunOptions:
    """Where and how: what eval.running.sweep needs of a configuration beside the members."""
    from eval.running.settings import RunOptions

    check_device(base.device)
    return RunOptions(
        runs_dir=Path(base.paths.runs),
        data_dir=Path(base.paths.data),
        records_path=records,
        sweep=sweep,
        profile=profile,
        device=base.device,
        compiled=base.compiled,
        threads=base.threads,
        tracker=tracker_of(base.tracker),
        checkpoint_seconds=base.save_seconds,
    )


def records_path(base: Config, apart: bool, below: str = "") -> Path:
    """The record store of a profile, from which its table is drawn and which is committed, or one in a folder `below`
    it; or, `apart`, the working store beside the runs, so that trying something out never changes a table."""
    folder = Path(base.paths.runs) if apart else Path(base.paths.results) / base.profile.name / below
    return folder / "records.jsonl"


def results_table(records: Iterable[AccuracyRecord]) -> str:
    """Measurements, one a line: how trained, how tested, and the accuracies in percent."""
    header = ("run", "task", "trained with", "tested with", "seed", "length", "ID %", "OOD %", "loss", "epoch", "")
    rows = []
    for r in records:
        epoch = MISSING if r.checkpoint_epoch is None else str(r.checkpoint_epoch)
        note = r.accuracy_mode.replace("teacher_forced", "") if r.status == "finished" else _ending(r)
        rows.append(
            (r.run_id, r.task, r.train_encoding, r.test_encoding, str(r.seed), str(r.length),
             percent(r.id_accuracy), percent(r.ood_accuracy), nats(r.metrics.loss if r.metrics else None),
             epoch, note)
        )  # fmt: skip
    return table(header, list(dict.fromkeys(rows)))


def _ending(record: AccuracyRecord) -> str:
    epochs = record.training.optim.epochs
    return f"epoch {record.trained_epochs} of {epochs}" if record.status == "stopped" else str(record.status)


def _job(asked: Request, overrides: tuple[str, ...], extras: Extras) -> tuple[Config, list[PlannedMember]]:
    from eval.running.plan import plan, settings

    base = settings(asked.profile, overrides, None if extras.apart else asked.seeds)
    if extras.until is not None:
        own = base.profile
        label = f"{own.label}; epoch {extras.until} of {base.optim.epochs}"
        base = replace(base, profile=replace(own, name=f"{own.name}+until={extras.until}", label=label))
    if extras.planner:
        return base, extras.planner(asked, overrides, base.profile)
    seeds, protocols = asked.seeds, asked.protocols
    if extras.apart:
        seeds, protocols = seeds or base.profile.seeds[:1], protocols or ["paper"]
    return base, plan(asked.tasks, asked.pes, seeds, protocols, asked.profile, overrides, base.profile)


def _announce(base: Config, members: Sequence[PlannedMember], records: Path) -> None:
    from eval.measuring.planned import count

    def each(values: Iterable[object]) -> str:
        return ",".join(dict.fromkeys(map(str, values)))

    cells = [cell for member in members for cell in member.cells]
    print(
        f"{count(len(members))}: task {each(m.spec.task.name for m in members)}, "
        f"pe {each(cell.pe for cell in cells)}, seed {each(m.spec.seed for m in members)}, "
        f"protocol {each(cell.protocol for cell in cells)}, profile {base.profile.name} ({base.profile.label}), "
        f"records in {records}",
        flush=True,
    )


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


def _estimate(base: Config, members: Sequence[PlannedMember], until: int | None) -> None:
    """Print what training these members takes on this machine, from a few real steps."""
    from eval.measuring.planned import count
    from eval.running.populations import estimate, populations
    from eval.running.progress import Bar
    from eval.running.settings import compiles, set_threads

    check_device(base.device)
    set_threads(base.threads)
    groups = populations(members, base.device)
    with Bar("timing a few steps", len(groups)) as bar:
        found = estimate(groups, base.device, compiles(base.device, base.compiled), bar.advance, until)
    for one in found:
        passes = f", each in {one.passes} passes" if one.passes > 1 else ""
        shared = f", {one.trainings} training{'s' if one.trainings > 1 else ''}" if one.trainings < one.members else ""
        print(
            f"population of {count(one.members)}{shared}: {one.weights:,} weights each, {one.steps:,} steps{passes}, "
            f"about {one.bytes / 2**30:.1f} GiB and {duration(one.seconds)}"
        )
    free = {(m.spec.run_id, c.test_encoding) for m in members for c in m.cells if c.accuracy == "free_running"}
    if free:
        print(f"and {len(free)} measurements running free, which this estimate does not count")
    total = duration(sum(one.seconds for one in found))
    print(f"in all about {total} on {base.device}, measured just now on this machine; nothing has been trained")


def _train(members: Sequence[PlannedMember], options: RunOptions) -> None:
    from eval.running.sweep import run_sweep
    from eval.store.records import load

    outcome = run_sweep(members, options)
    if outcome.interrupted:
        print("posgen: interrupted; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130)
    ids = [member.spec.run_id for member in members]
    records = [r for r in load(options.records_path) if r.run_id in ids]
    print(results_table(sorted(records, key=lambda r: ids.index(r.run_id))))
    for count, words in (
        (outcome.finished, "trained and measured"),
        (outcome.stopped, f"stopped at epoch {options.until} and measured; without --until they go on from there"),
        (outcome.remeasured, "found trained, and measured; --fresh trains them again"),
        (outcome.skipped, f"found {_found(options.until)}; --fresh trains them again"),
        (outcome.diverged, "diverged: their numbers are missing"),
    ):
        if count:
            print(f"{len(count)} {words}")


def _found(until: int | None) -> str:
    return "finished" if until is None else f"measured at epoch {until}"


def _forget(runs: Path, members: Sequence[PlannedMember]) -> None:
    """Empty the members' run folders, none of which another process may be using."""
    from eval.store.runs import Run

    for member in members:
        run = Run(runs, member.spec.run_id)
        run.begin(member.spec, member.config)  # refused while another process trains it
        for file in run.path.iterdir():
            if file.name != ".lock":
                file.unlink()
        run.release()


def tracker_of(spec: TrackerSpec) -> Tracker:
    """The tracker that a configuration asks for."""
    from conf.schema import TrackerKind
    from eval.running.tracker import NoTracker

    if spec.kind is TrackerKind.none:
        return NoTracker()
    from eval.running.wandb_tracker import WandbTracker

    return WandbTracker(
        Path(spec.directory), project=spec.project, entity=spec.entity, mode=spec.mode, init_timeout=spec.init_timeout
    )


def check_device(device: str) -> None:
    import torch

    from posgen.errors import require

    available = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    wanted = "cuda:0" if device == "cuda" else device
    require(wanted in available, "device", device, f"this machine has {', '.join(available)}")
